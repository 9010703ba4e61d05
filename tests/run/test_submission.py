"""What `evomerge submit` asks of a cluster, and what it refuses before it asks."""

import shlex
from pathlib import Path

import pytest

from evomerge.errors import ConfigError, InfrastructureError, UsageError
from evomerge.run.submitting import _exit_code, doctor_command, submission, submit
from evomerge.workers.jobs import JobEnd

QUICKSTART = Path("experiments/quickstart.yaml")


def test_the_head_runs_the_unchanged_file_with_the_cluster_s_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    command = submission(QUICKSTART, overrides=("seed=1",), out=Path("runs/a b")).command
    config, run_dir = QUICKSTART.resolve(), Path("runs/a b").absolute()
    assert shlex.split(command) == [
        *("python", "-m", "evomerge", "run", str(config)),
        *("--set", "address=auto", "--set", "workers=auto", "--set", "seed=1"),
        *("--out", str(run_dir)),
    ]


def test_a_run_goes_where_it_would_go_without_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert submission(QUICKSTART).run_dir == str(Path("runs/quickstart").absolute())


def test_a_file_that_only_the_cluster_has_may_be_named() -> None:
    wanted = submission(Path("/there/only.yaml"), workers="4", out=Path("/there/runs/first"))
    assert wanted.command == (
        "python -m evomerge run /there/only.yaml --set address=auto --set workers=4 "
        "--out /there/runs/first"
    )


def test_a_file_in_an_uploaded_folder_keeps_its_relative_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(QUICKSTART_LIKE)
    wanted = submission(Path("mine.yaml"), out=Path("/runs/mine"), working_dir=tmp_path)
    assert (wanted.config, wanted.working_dir) == ("mine.yaml", tmp_path)


QUICKSTART_LIKE = """\
base: base
experts: {red: red}
objectives: [{task: words}]
"""

REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "a file that is nowhere": (
        {"config": Path("no.yaml")},
        r"there is no no\.yaml here; expected an experiment file that the cluster has",
    ),
    "a file outside of the uploaded folder": (
        {"config": Path("/mine.yaml"), "working_dir": Path("/tmp")},  # noqa: S108
        r"there is no /mine\.yaml in /tmp; with --working-dir .* relative to that folder",
    ),
    "no workers": (
        {"config": Path("/there.yaml"), "workers": "0"},
        r"found --workers 0; expected a number from 1 on, or `auto`",
    ),
    "a run directory that nothing says where": (
        {"config": Path("/there/only.yaml")},
        r"found no --out; expected an absolute path on the cluster",
    ),
    "a relative run directory on the cluster": (
        {"config": Path("/there/only.yaml"), "out": Path("runs/first")},
        r"found --out runs/first; expected an absolute path on the cluster",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_mean_nothing_on_the_cluster_is_refused(name: str) -> None:
    arguments, expected = REFUSED[name]
    with pytest.raises(UsageError, match=expected):
        submission(**arguments)  # type: ignore[arg-type]


def test_a_typo_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(QUICKSTART_LIKE + "sed: 1\n")
    with pytest.raises(ConfigError, match=r"sed: unknown key; .*did you mean `seed`"):
        submission(config)


@pytest.mark.parametrize("address", ["head:6379", "ray://head:10001", "auto"])
def test_an_address_that_is_no_url_is_refused(address: str) -> None:
    wanted = submission(Path("/there/only.yaml"), out=Path("/there/runs/first"))
    with pytest.raises(UsageError, match=rf"found --address {address}; expected the URL"):
        submit(wanted, address)


def test_a_cluster_that_is_not_there_is_told() -> None:
    wanted = submission(Path("/there/only.yaml"), out=Path("/there/runs/first"))
    with pytest.raises(
        InfrastructureError, match=r"no job server answers at http://127\.0\.0\.1:1;"
    ):
        submit(wanted, "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (JobEnd("SUCCEEDED", 0, ""), 0),
        (JobEnd("FAILED", 4, "exit code 4"), 4),
        (JobEnd("STOPPED", 143, ""), 143),
        (JobEnd("FAILED", -9, "killed"), 137),
    ],
)
def test_the_exit_code_is_that_of_the_run(end: JobEnd, code: int) -> None:
    assert _exit_code(end, "job") == code


def test_a_job_that_ended_without_its_run_is_a_fault_of_the_cluster() -> None:
    with pytest.raises(InfrastructureError, match=r"job j ended as FAILED: node died; .*again"):
        _exit_code(JobEnd("FAILED", None, "node died"), "j")


def test_the_doctor_on_the_head_says_the_same_in_json_when_asked() -> None:
    config = Path("/there/only.yaml")
    plain = "python -m evomerge doctor --address auto /there/only.yaml"
    assert doctor_command(config, as_json=False) == plain
    assert doctor_command(None, as_json=True) == "python -m evomerge doctor --address auto --json"
