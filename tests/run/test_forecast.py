"""`evomerge plan` foretells what the run then does, and leaves nothing behind."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from evomerge.errors import ConfigError, ScoringError
from evomerge.run.directory import read_run
from evomerge.run.forecast import Forecast, forecast_of, front_size, parallel
from evomerge.run.forecast_text import print_forecast
from evomerge.run.start import run_experiment
from evomerge.run.validate import load_experiment
from evomerge.search.archive import non_dominated
from tests.experiment import write_experiment
from tests.tiny import TinyZoo


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_zoo: TinyZoo) -> Path:
    return write_experiment(tmp_path_factory.mktemp("forecast"), tiny_zoo, evaluations=20)


@pytest.fixture(scope="module")
def forecast(config: Path) -> Forecast:
    return forecast_of(config, ())


@pytest.mark.slow
def test_it_counts_what_the_run_then_does(config: Path, forecast: Forecast, tmp_path: Path) -> None:
    assert run_experiment(config, (), tmp_path / "run") == 0
    state, _ = read_run(tmp_path / "run")
    phases = [phase for _, phase in state.results]
    work = forecast.work
    n_search = work["baselines"].n_models.expected + work["search"].n_models.expected
    assert phases.count("search") == n_search == 25
    assert work["test"].n_models.low <= phases.count("test")
    journal = (tmp_path / "run/journal.db").stat().st_size
    assert forecast.sizes.journal_per_evaluation * 20 == pytest.approx(journal, rel=0.6)


def test_calibration_scores_the_first_candidates_on_all_items(config: Path) -> None:
    overrides = ("scoring.estimator=irt", "scoring.calibration=8")
    forecast = forecast_of(config, overrides)
    n_models = {kind: work.n_models.expected for kind, work in forecast.work.items()}
    n_items = {kind: work.n_items for kind, work in forecast.work.items()}
    assert (n_models["calibration"], n_models["search"]) == (8, 12)
    assert n_items == {
        "baselines": 64,  # of 80 documents of the search tasks, 16 are kept for the selection
        "calibration": 64,
        "search": 24,
        "selection": 16,
        "test": 120,
    }
    assert any("estimator: irt" in line for line in forecast.assumed)


@pytest.mark.slow
def test_memory_counts_every_process(config: Path, forecast: Forecast) -> None:
    here = forecast.memory_bytes
    assert (here["tracking"], here["ray"]) == (0, 0)  # one process, nothing tracked
    assert here["total"] == here["driver"] > here["worker"] > 1 << 20
    many = forecast_of(config, ("workers=2", "tracking.mlflow=true")).memory_bytes
    beside = many["driver"] + many["tracking"] + many["ray"]
    n_workers = min(2, os.cpu_count() or 1)
    assert many["total"] == beside + n_workers * many["worker"]


def test_workers_are_limited_by_the_window_and_by_the_cores_here(config: Path) -> None:
    def parallel_with(*overrides: str) -> tuple[int, list[str]]:
        return parallel(load_experiment(config, overrides))

    assert parallel_with() == (1, [])
    assert parallel_with("workers=64", "address=auto")[0] == 4
    n_workers, limits = parallel_with("workers=10000", "search.window=10000")
    assert n_workers == os.cpu_count()
    assert re.search(r"cores here hold \d+ of 1 CPUs each", limits[0])
    n_workers, limits = parallel_with("workers=auto", "address=head:6379")
    assert n_workers == 1
    assert "how many head:6379 holds is not known here" in limits[0]


def test_every_objective_has_its_errors_in_both_phases(forecast: Forecast) -> None:
    assert list(forecast.objectives) == ["words_search", "choice_search"]
    assert list(forecast.objectives["words_search"]) == ["search", "selection", "test"]
    search, selection, test = forecast.objectives["words_search"].values()
    assert (selection.n_items, selection.n_documents) == (8, 40)
    assert (search.n_items, search.n_documents, test.n_items, test.n_documents) == (12, 40, 60, 60)
    assert 0 < search.se[0] <= search.se[1] <= search.worst_se
    assert test.unpaired < search.unpaired


def test_nothing_is_written(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(config.parent.rglob("*"))
    print_forecast(forecast_of(config, ("budget.evaluations=40", "search.population=8")))
    assert sorted(config.parent.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr().out
    for part in ("40 candidates", "memory", "disk", "words_search", "on the test items", "assumed"):
        assert part in printed


def test_it_is_plain_json(forecast: Forecast) -> None:
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(forecast), allow_nan=False))["n_workers"] == 1


def test_what_cannot_be_run_is_not_foretold(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"no method `tis`; .*did you mean `ties`"):
        forecast_of(config, ("merge.method=tis",))


def test_baselines_that_cannot_be_scored_are_told(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    with pytest.raises(ScoringError, match=r"every baseline failed.*took longer than"):
        forecast_of(config, ("scoring.timeout_s=0.0001",))


@pytest.mark.parametrize(("n", "m"), [(1, 3), (50, 1), (50, 2), (96, 3)])
def test_a_front_of_random_points_is_as_large_as_stated(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    sizes = [non_dominated(rng.random((n, m))).sum() for _ in range(300)]
    assert np.mean(sizes) == pytest.approx(front_size(n, m), rel=0.08)
