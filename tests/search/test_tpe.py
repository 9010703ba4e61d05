"""The TPE controller beyond what all controllers do."""

import logging
import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler

from evomerge.errors import UsageError
from evomerge.records import Evaluation
from evomerge.search import tpe
from evomerge.search.controller import ask_rng
from evomerge.search.nsga2 import NSGA2
from evomerge.search.tpe import TPE


def hill(genome: np.ndarray, n_objectives: int) -> list[float]:
    """Objective i has its top at 0.3, 0.5, 0.7 … of every gene."""
    peaks = [0.3 + 0.2 * i for i in range(n_objectives)]
    return [float(np.exp(-4.0 * np.mean((genome - peak) ** 2))) for peak in peaks]


def random_past(evaluated, n: int, n_dims: int, n_objectives: int) -> list[Evaluation]:
    genomes = np.random.default_rng(1).random((n, n_dims))
    return [evaluated(k, genome, hill(genome, n_objectives)) for k, genome in enumerate(genomes)]


def told(past: list[Evaluation], n_dims: int, population: int = 4) -> TPE:
    controller = TPE(n_dims, population, seed=0)
    for evaluation in past:
        controller.tell(evaluation)
    return controller


def test_the_start_is_that_of_nsga2() -> None:
    for number in range(12):
        ours, theirs = (
            controller(n_dims=7, population=12, seed=4).ask(number, ask_rng(4, number))
            for controller in (TPE, NSGA2)
        )
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("n_objectives", [1, 3])
def test_a_proposal_is_the_next_trial_of_an_optuna_study(evaluated, n_objectives: int) -> None:
    past = random_past(evaluated, 20, 3, n_objectives)
    seed = int(ask_rng(0, 20).integers(2**32))
    genes = {f"gene_{i}": FloatDistribution(0.0, 1.0) for i in range(3)}
    study = optuna.create_study(
        directions=["maximize"] * n_objectives,
        sampler=TPESampler(n_startup_trials=1, constant_liar=False, seed=seed),
    )
    for evaluation in past:
        params = dict(zip(genes, evaluation.candidate.genome, strict=True))
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=genes, values=evaluation.means)
        )
    expected = list(study.ask(genes).params.values())
    assert told(past, 3).ask(20, ask_rng(0, 20)).tolist() == expected


def test_proposals_gather_where_the_scores_are_high(evaluated) -> None:
    controller = told(random_past(evaluated, 60, 2, 1), 2)
    proposals = [controller.ask(number, ask_rng(0, number)) for number in range(60, 80)]
    assert np.abs(np.median(proposals, axis=0) - 0.3).max() < 0.1


def test_larger_scores_are_better(evaluated) -> None:
    """Mirrored scores send the proposals to the other end."""
    past = [evaluated(k, [k / 30], [k / 30]) for k in range(31)]
    mirrored = [evaluated(k, [k / 30], [-k / 30]) for k in range(31)]
    ends = [
        np.median([told(one, 1).ask(number, ask_rng(0, number)) for number in range(31, 41)])
        for one in (past, mirrored)
    ]
    assert ends[0] > 0.8
    assert ends[1] < 0.2


def test_a_long_history_is_thinned_to_its_front_and_its_latest(
    evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tpe, "MOST_TRIALS", 20)
    past = [evaluated(k, [k / 21, 0.5], [0.1, 0.1]) for k in range(21)]
    for early, means in ((2, [1.0, 0.1]), (5, [0.1, 1.0])):
        past[early] = evaluated(early, [early / 21, 0.5], means)
    kept = [past[2], past[5], *past[13:]]
    assert len(kept) == 10
    for number in range(21, 25):
        np.testing.assert_array_equal(
            told(past, 2).ask(number, ask_rng(0, number)),
            told(kept, 2).ask(number, ask_rng(0, number)),
        )


def test_optuna_says_nothing(evaluated, capfd: pytest.CaptureFixture[str]) -> None:
    told(random_past(evaluated, 8, 2, 2), 2).ask(8, ask_rng(0, 8))
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == logging.WARNING


def test_no_candidates_to_start_from_is_refused() -> None:
    with pytest.raises(UsageError, match="population is 0, expected at least 1 to start from"):
        TPE(n_dims=3, population=0, seed=0)


def test_listing_the_controllers_does_not_load_optuna() -> None:
    program = "import sys, evomerge.search.table; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
