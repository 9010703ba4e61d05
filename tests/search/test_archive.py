"""The Pareto front and its hypervolume."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import ScoringError, ShapeError
from evomerge.search.archive import Archive, front, hypervolume, non_dominated

POINTS = st.integers(1, 4).flatmap(
    lambda m: st.lists(
        st.lists(st.integers(0, 5).map(float), min_size=m, max_size=m), min_size=1, max_size=25
    )
)


def dominates(a: list[float], b: list[float]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


@given(POINTS)
def test_the_marked_points_are_those_that_no_point_dominates(points: list[list[float]]) -> None:
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == expected


@given(POINTS)
def test_minimising_is_maximising_the_negative(points: list[list[float]]) -> None:
    negative = -np.array(points)
    np.testing.assert_array_equal(non_dominated(negative, maximise=False), non_dominated(points))


def test_equal_points_are_all_kept() -> None:
    assert non_dominated([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]).tolist() == [True, True, False]


def test_no_points_have_an_empty_front() -> None:
    assert non_dominated(np.empty((0, 2))).tolist() == []
    assert front([]) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_refused_with_its_row(value: float) -> None:
    points = [[0.1, 0.2], [0.3, value], [0.5, 0.6]]
    with pytest.raises(ScoringError, match=r"row 1 of the points is \[0\.3, -?(nan|inf)\]"):
        non_dominated(points)
    with pytest.raises(ScoringError, match="row 1"):
        hypervolume(points, (0.0, 0.0))


def test_points_that_are_no_table_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(3,\), expected \(n_points, n_objectives\)"):
        non_dominated([0.1, 0.2, 0.3])


def test_the_hypervolume_of_boxes_that_overlap_is_their_union() -> None:
    assert hypervolume([[3.0, 1.0], [1.0, 2.0]], (0.0, 0.0)) == pytest.approx(3.0 + 1.0)


def test_the_hypervolume_with_one_objective_is_the_best_gain() -> None:
    assert hypervolume([[0.25], [0.75]], (0.5,)) == pytest.approx(0.25)


def test_points_below_the_reference_add_nothing() -> None:
    assert hypervolume([[0.4, 0.9]], (0.5, 0.5)) == 0.0
    assert hypervolume(np.empty((0, 2)), (0.5, 0.5)) == 0.0


def test_a_reference_of_another_dimension_is_refused() -> None:
    with pytest.raises(ShapeError, match="points have 2 objectives, the reference point has 3"):
        hypervolume([[0.4, 0.9]], (0.0, 0.0, 0.0))


def test_the_front_keeps_order_and_takes_each_candidate_once(evaluated) -> None:
    members = [evaluated(0, [], (0.0, 1.0)), evaluated(1, [], (0.0, 0.5)), evaluated(2, [], (1, 0))]
    assert front([*members, members[0]]) == [members[0], members[2]]


@given(POINTS)
def test_an_archive_fed_one_by_one_holds_the_front_of_all(
    evaluated, points: list[list[float]]
) -> None:
    evaluations = [evaluated(number, [], point) for number, point in enumerate(points)]
    archive = Archive()
    reference = (0.0,) * len(points[0])
    assert archive.hypervolume(reference) == 0.0
    for number, evaluation in enumerate(evaluations, start=1):
        assert archive.add(evaluation) == (evaluation in archive.front)
        volume = hypervolume(points[:number], reference)
        assert archive.hypervolume(reference) == pytest.approx(volume)
    assert list(archive.front) == front(evaluations)
    assert len(archive) == len(archive.front)
    assert not archive.add(archive.front[0])
    assert archive.hypervolume(reference) == pytest.approx(hypervolume(points, reference))
