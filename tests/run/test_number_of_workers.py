"""How many workers evaluate changes nothing but the time."""

import json
from pathlib import Path

import pytest

from evomerge.journal.events import Asked, Duplicate, Event, Scored, Told
from evomerge.journal.journal import Journal
from evomerge.run.start import run_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def events_of(run_dir: Path) -> list[Event]:
    with Journal.open(run_dir / "journal.db", read_only=True) as journal:
        return list(journal.replay())


def story(run_dir: Path) -> dict[str, object]:
    """Proposals, tells in their order, per-item scores in both phases, and the front."""
    events = events_of(run_dir)
    assert not any(isinstance(event, Duplicate) for event in events)
    scored = [event.scores for event in events if isinstance(event, Scored)]
    return {
        "asked": [(e.number, e.genome, e.recipe) for e in events if isinstance(e, Asked)],
        "told": [(e.order, e.number, e.candidate_id) for e in events if isinstance(e, Told)],
        "scores": {(scores.candidate_id, scores.phase): scores.tasks for scores in scored},
        "front": json.loads((run_dir / "front.json").read_text()),
    }


def workers_of(run_dir: Path) -> set[str]:
    return {event.scores.worker for event in events_of(run_dir) if isinstance(event, Scored)}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("estimator", ["mean", "irt"])
def test_0_1_2_and_4_workers_tell_the_same_story(
    tmp_path: Path, tiny_zoo: TinyZoo, estimator: str
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=24, window=8)
    settings = [f"scoring.estimator={estimator}", "scoring.calibration=8"]
    numbers = (0, 1, 2, 4) if estimator == "mean" else (0, 2)
    for n in numbers:
        assert run_experiment(config, [*settings, f"workers={n}"], tmp_path / str(n)) == 0
    alone = story(tmp_path / "0")
    assert len(alone["told"]) == 24  # type: ignore[arg-type]
    for n in numbers[1:]:
        assert story(tmp_path / str(n)) == alone, f"{n} workers"
        assert not workers_of(tmp_path / str(n)) & workers_of(tmp_path / "0")


@pytest.mark.timeout(900)
def test_the_number_of_workers_may_change_when_a_run_goes_on(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    whole = write_experiment(tmp_path, tiny_zoo, evaluations=20)
    assert run_experiment(whole, [], tmp_path / "alone") == 0
    assert run_experiment(whole, ["workers=2"], tmp_path / "run") == 0
    cut = tmp_path / "cut"
    cut.mkdir()
    with Journal.create(cut / "journal.db") as journal:
        events = events_of(tmp_path / "run")
        half = next(k for k, e in enumerate(events) if isinstance(e, Told) and e.number == 9)
        journal.append(*events[:half])
    assert run_experiment(whole, ["workers=0"], cut) == 0
    assert story(cut) == story(tmp_path / "alone")
