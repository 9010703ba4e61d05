"""Item results add up as in lm-eval, and their standard errors are those of resampling."""

import math
import random
from collections.abc import Callable
from statistics import fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api import metrics
from lm_eval.api.registry import get_aggregation

from evomerge.records import Measure, TaskScores
from evomerge.run.aggregating import AGGREGATIONS, aggregate

NUMBERS = st.floats(-30.0, 0.0)
RATES = st.lists(st.tuples(NUMBERS, st.integers(1, 60).map(float)), min_size=1, max_size=40)
LABELS = st.lists(
    st.tuples(st.integers(0, 3).map(float), st.integers(0, 3).map(float)), min_size=2, max_size=40
)
BINARY = st.lists(
    st.tuples(st.integers(0, 1).map(float), st.integers(0, 1).map(float)), min_size=2, max_size=40
)
PAIRED = {"weighted_mean", "weighted_perplexity", "bits_per_byte", "f1", "matthews_corrcoef"}
SINGLE = AGGREGATIONS.keys() - PAIRED - {"exact"}


def scores_of(pairs: list[tuple[float, float]]) -> TaskScores:
    values, weights = zip(*pairs, strict=True)
    return TaskScores(tuple(range(len(pairs))), values, weights)


def lm_eval_own(name: str) -> Callable[[list[object]], float]:
    return metrics.weighted_mean if name == "weighted_mean" else get_aggregation(name)


@pytest.mark.parametrize("name", sorted(SINGLE))
@settings(deadline=None)  # lm-eval imports scikit-learn in the first call
@given(values=st.lists(NUMBERS, min_size=1, max_size=40).map(tuple))
def test_single_numbers_add_up_as_in_lm_eval(name: str, values: tuple[float, ...]) -> None:
    found = aggregate(TaskScores(tuple(range(len(values))), values), Measure(name))
    assert found.mean == pytest.approx(lm_eval_own(name)([*values]), rel=1e-12)
    assert found.n == len(values)


@pytest.mark.parametrize("name", ["weighted_mean", "weighted_perplexity", "bits_per_byte"])
@settings(deadline=None)
@given(pairs=RATES)
def test_weighted_numbers_add_up_as_in_lm_eval(name: str, pairs: list[tuple[float, float]]) -> None:
    found = aggregate(scores_of(pairs), Measure(name))
    assert found.mean == pytest.approx(lm_eval_own(name)([*pairs]), rel=1e-12)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None)
@given(pairs=BINARY)
def test_f1_is_lm_evals(pairs: list[tuple[float, float]]) -> None:
    found = aggregate(scores_of(pairs), Measure("f1"))
    assert found.mean == pytest.approx(lm_eval_own("f1")([*pairs]), abs=1e-12)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None)
@given(pairs=LABELS)
def test_matthews_correlation_is_lm_evals(pairs: list[tuple[float, float]]) -> None:
    found = aggregate(scores_of(pairs), Measure("matthews_corrcoef"))
    assert found.mean == pytest.approx(lm_eval_own("matthews_corrcoef")([*pairs]), abs=1e-12)


@pytest.mark.parametrize("name", sorted(SINGLE | PAIRED))
def test_the_standard_error_is_that_of_resampling(name: str) -> None:
    rng = random.Random(3)  # noqa: S311 - test data
    pairs = [_item(name, rng) for _ in range(400)]
    found = aggregate(scores_of(pairs), Measure(name))
    resampled = [
        aggregate(scores_of(rng.choices(pairs, k=len(pairs))), Measure(name)).mean
        for _ in range(400)
    ]
    assert found.se == pytest.approx(stdev(resampled), rel=0.3)
    assert found.mean == pytest.approx(fmean(resampled), abs=found.se)


def _item(name: str, rng: random.Random) -> tuple[float, float]:
    if name in ("f1", "matthews_corrcoef"):
        gold = float(rng.random() < 0.4)
        return gold, gold if rng.random() < 0.8 else 1.0 - gold
    weight = float(rng.randint(5, 40))
    return rng.gauss(-1.0, 0.3) * (weight if name in PAIRED else 1.0), weight


@pytest.mark.parametrize("name", sorted(SINGLE | PAIRED))
def test_one_item_has_no_standard_error(name: str) -> None:
    assert math.isnan(aggregate(scores_of([(1.0, 1.0)]), Measure(name)).se)


def test_what_adds_up_to_no_number_says_so() -> None:
    assert math.isnan(aggregate(scores_of([(-1.0, 0.0)] * 3), Measure("weighted_mean")).mean)
    assert math.isinf(aggregate(scores_of([(-1e6, 1.0)] * 3), Measure("perplexity")).mean)


def test_a_fact_about_the_model_is_certain() -> None:
    found = aggregate(TaskScores((0,), (1234.0,)), Measure("exact", higher_is_better=False))
    assert (found.mean, found.se, found.n) == (1234.0, 0.0, 1)
