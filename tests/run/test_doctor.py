"""`evomerge doctor` sees what is missing, old, open or different, and says what to do."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.version import Version

from evomerge.run.doctor import FLOORS, HERE, Diagnosis, diagnose, problems_of
from evomerge.run.doctor_text import print_diagnosis
from evomerge.workers.machine import Machine, describe
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

SOUND = Machine(
    host="one",
    versions={"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0+cpu"},
    n_cpus=2,
    memory_bytes=8 << 30,
    disk_bytes=8 << 30,
    gpus=(),
    authenticates=True,
    token="/home/me/.ray/auth_token",  # noqa: S106 - where it lies
    token_is_private=True,
    models={"base": "0" * 64},
)


def test_sound_machines_that_are_alike_have_no_problem() -> None:
    assert problems_of({HERE: SOUND, "node": replace(SOUND, host="two")}) == []


def versions(**changed: str | None) -> Callable[[Machine], Machine]:
    return lambda machine: replace(machine, versions={**machine.versions, **changed})


WRONG: dict[str, tuple[Callable[[Machine], Machine], str]] = {
    "another version": (
        versions(torch="2.12.0"),
        r"node: torch is 2\.12\.0, but 2\.13\.0\+cpu here; .*constraints\.txt on both",
    ),
    "another python": (versions(python="3.12.1"), r"node: python is 3\.12\.1, but 3\.11\.7 here"),
    "a missing package": (versions(ray=None), r"node: ray is not installed"),
    "a package with a known hole": (
        versions(ray="2.53.0"),
        r"node: ray 2\.53\.0 has a known security hole, expected 2\.54 or newer",
    ),
    "a full disk": (lambda m: replace(m, disk_bytes=5 << 20), r"node: 5 MiB of disk are free"),
    "no memory": (lambda m: replace(m, memory_bytes=1 << 20), r"node: 1 MiB of memory are free"),
    "no authentication": (
        lambda m: replace(m, authenticates=False),
        r"node: Ray runs without authentication, .*RAY_AUTH_MODE=token",
    ),
    "a token for all to read": (
        lambda m: replace(m, token_is_private=False),
        r"node: others can read Ray's token: chmod 600 /home/me/\.ray/auth_token",
    ),
    "a missing model": (
        lambda m: replace(m, models={"base": "model folder /b does not exist"}),
        r"node: base: model folder /b does not exist",
    ),
    "another model": (
        lambda m: replace(m, models={"base": "1" * 64}),
        r"node: base is not the one that is here; copy it again",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_on_a_node_is_told_with_what_to_do(name: str) -> None:
    change, expected = WRONG[name]
    problems = problems_of({HERE: SOUND, "node": change(SOUND)})
    assert any(re.search(expected, problem) for problem in problems), problems


def test_what_differs_is_marked_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    node = versions(torch="2.12.0")(SOUND)
    print_diagnosis(Diagnosis({HERE: SOUND, "node": node}, ("node: torch is 2.12.0",)))
    printed = capsys.readouterr().out
    assert "2.12.0 ✗" in printed
    assert "2.13.0+cpu ✗" not in printed
    assert "✗ node: torch is 2.12.0" in printed


def test_this_machine_is_described_with_the_digests_of_an_experiment(
    tmp_path: Path, tiny_zoo: TinyZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o600)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    diagnosis = diagnose(None, write_experiment(tmp_path, tiny_zoo))
    assert diagnosis.problems == ()
    machine = diagnosis.machines[HERE]
    assert list(machine.models) == ["base", "red", "blue"]
    assert len({digest for digest in machine.models.values() if len(digest) == 64}) == 3
    for package, floor in FLOORS.items():
        assert Version(machine.versions[package] or "0") >= Version(floor)
    assert json.loads(json.dumps(diagnosis.to_json()))["ok"]
    assert "secret" not in json.dumps(diagnosis.to_json())


def test_a_model_that_is_not_there_is_a_problem(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    config.write_text(config.read_text().replace(str(tiny_zoo.base), "/nowhere"))
    assert any(
        "here: base: model folder /nowhere does not" in p for p in diagnose(None, config).problems
    )


@pytest.mark.parametrize(("mode", "is_private"), [(0o600, True), (0o644, False), (0o640, False)])
def test_a_token_that_others_can_read_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, is_private: bool
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(mode)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    machine = describe({})
    assert (machine.token, machine.token_is_private) == (str(token), is_private)


def test_free_memory_and_disk_are_those_of_the_machine() -> None:
    machine = describe({})
    assert 1 <= machine.n_cpus <= (os.cpu_count() or 1)
    assert 0 < machine.memory_bytes < 1 << 45
    assert 0 < machine.disk_bytes < 1 << 55
