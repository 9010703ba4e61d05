"""Whole runs whose objectives are minimised, held to bounds or without labels."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evomerge.errors import ScoringError
from evomerge.journal.events import Asked, Told
from evomerge.journal.journal import Journal
from evomerge.records import Comparison, ItemScores, Member
from evomerge.run.directory import read_run
from evomerge.run.loop import Search, run_search
from evomerge.run.reading import comparison_of, front_json, print_status, status_of
from evomerge.run.start import resume_run, run_experiment
from evomerge.scoring.scorers import Scorers
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

CHOICE = "task: choice_search, test: choice_test"
WORDS = "task: words_search, test: words_test"
LIKELY = f"{CHOICE}, metric: log_likelihood, name: likely"
SHORT = f"{WORDS}, metric: output_length, name: length"
ALIKE = "task: words_search, metric: agreement, name: alike"
ENOUGH = f"{CHOICE}, name: enough, require: '>= 1 * uniform'"


def write(folder: Path, zoo: TinyZoo, *objectives: str, evaluations: int = 12) -> Path:
    """The experiment of the tiny zoo with these objectives instead of its own."""
    config = write_experiment(folder, zoo, evaluations=evaluations)
    before, _, rest = config.read_text().partition("objectives:\n")
    lines = "".join(f"  - {{{objective}}}\n" for objective in objectives)
    config.write_text(f"{before}objectives:\n{lines}{rest[rest.index('merge:') :]}")
    return config


def dominates(one: Member, other: Member, minimised: frozenset[str]) -> bool:
    """Whether one is nowhere worse and somewhere better, by what is known before the test."""
    gains = [
        (-1.0 if name in minimised else 1.0) * (one.pooled[name].mean - other.pooled[name].mean)
        for name in one.objectives
    ]
    return min(gains) >= 0.0 < max(gains)


def require_a_front(shown: Comparison, minimised: frozenset[str]) -> None:
    """Of those that were scored again, the feasible that no other feasible one dominates."""
    candidates = [member for member in (*shown.front, *shown.dominated) if member.pooled]
    feasible = [member for member in candidates if member.violation == 0.0]
    assert feasible
    for member in candidates:
        beaten = any(dominates(other, member, minimised) for other in feasible)
        assert (member in shown.front) == (member in feasible and not beaten)


def test_a_front_keeps_its_bound_and_trades_in_natural_values(
    tmp_path: Path, tiny_zoo: TinyZoo, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path, tiny_zoo, LIKELY, SHORT, ENOUGH)
    assert run_experiment(config, (), tmp_path / "run") == 0
    shown = comparison_of(tmp_path / "run")
    limit = shown.baselines["uniform"].pooled["enough"].mean
    assert shown.objectives == ("likely", "length")
    assert shown.bounds["enough"].limit == limit
    assert any(member.violation > 0.0 for member in shown.dominated)
    assert all(member.pooled["enough"].mean >= limit for member in shown.front)
    require_a_front(shown, frozenset({"length"}))
    enough = shown.baselines["uniform"].constraints["enough"].mean
    candidates = (*shown.front, *shown.dominated)
    feasible = [m for m in candidates if m.constraints["enough"].mean >= enough]
    shortest = min(member.objectives["length"].mean for member in feasible)
    status = status_of(tmp_path / "run")
    assert (status["n_feasible"], status["best"]["length"]) == (len(feasible), shortest)
    assert status["hypervolume"] > 0.0
    capsys.readouterr()
    print_status(status)
    assert f"length ↓ {shortest:.3f}" in capsys.readouterr().out


def interrupting(after: int) -> Callable[..., None]:
    """A search that is interrupted in its middle."""

    def search_a_while(search: Search, dispatcher: Any) -> None:
        on_told, n_told = search.on_told, 0

        def count(outcome: Any) -> None:
            nonlocal n_told
            on_told(outcome)
            n_told += 1
            if n_told == after:
                os.kill(os.getpid(), signal.SIGTERM)

        search.on_told = count
        run_search(search, dispatcher)

    return search_a_while


def story(run_dir: Path) -> list[tuple[str, int, str]]:
    with Journal.open(run_dir / "journal.db", read_only=True) as journal:
        return [
            (type(event).__name__, event.number, event.candidate_id)
            for event in journal.replay()
            if isinstance(event, Asked | Told)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("controller", ["nsga2", "tpe"])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(
    tmp_path: Path, tiny_zoo: TinyZoo, monkeypatch: pytest.MonkeyPatch, controller: str
) -> None:
    config = write(tmp_path, tiny_zoo, LIKELY, SHORT, ALIKE, ENOUGH)
    overrides = (f"search.controller={controller}",)
    assert run_experiment(config, overrides, tmp_path / "smooth") == 0
    with monkeypatch.context() as patch:
        patch.setattr("evomerge.run.session.run_search", interrupting(after=7))
        assert run_experiment(config, overrides, tmp_path / "stopped") == 143
    assert len(read_run(tmp_path / "stopped")[0].told) < 12
    assert resume_run(tmp_path / "stopped") == 0
    assert story(tmp_path / "stopped") == story(tmp_path / "smooth")
    assert front_json(tmp_path / "stopped") == front_json(tmp_path / "smooth")
    require_a_front(comparison_of(tmp_path / "smooth"), frozenset({"length"}))


def test_where_nobody_meets_a_bound_the_nearest_are_shown_and_called_so(
    tmp_path: Path, tiny_zoo: TinyZoo, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path, tiny_zoo, SHORT, f"{CHOICE}, require: '>= 1.5'", evaluations=4)
    assert run_experiment(config, (), tmp_path / "run") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "No merge meets every bound (choice_search >= 1.5)" in printed
    shown = comparison_of(tmp_path / "run")
    least = min(member.violation for member in (*shown.front, *shown.dominated))
    assert {member.violation for member in shown.front} == {least}
    assert not front_json(tmp_path / "run")["feasible"]
    status = status_of(tmp_path / "run")
    assert (status["best"], status["n_front"], status["hypervolume"]) == ({}, 0, 0.0)


def test_a_bound_of_a_baseline_that_fails_stops_the_run(
    tmp_path: Path, tiny_zoo: TinyZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, n_calls = Scorers.score, 0

    def fails_once(self: Scorers, items: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:
            raise RuntimeError("out of luck")
        return score(self, items)

    monkeypatch.setattr(Scorers, "score", fails_once)
    config = write(tmp_path, tiny_zoo, SHORT, f"{CHOICE}, require: '>= 0.9 * base'")
    with pytest.raises(ScoringError, match=r"choice_search is held to >= 0\.9 \* base, but the"):
        run_experiment(config, (), tmp_path / "run")


def test_agreement_is_of_the_answers_that_the_journal_holds(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write(tmp_path, tiny_zoo, ALIKE, evaluations=4)
    assert run_experiment(config, (), tmp_path / "run") == 0
    state, _ = read_run(tmp_path / "run")
    results = [result for result in state.results.values() if isinstance(result, ItemScores)]
    answers = {value for own in results for value in own.tasks["words_search:agreement"].values}
    assert len(answers) > 2
    assert all(0.0 <= e.mean <= 1.0 for e in _alike(comparison_of(tmp_path / "run")))


def _alike(shown: Comparison) -> list[Any]:
    return [member.objectives["alike"] for member in (*shown.members(), *shown.dominated)]
