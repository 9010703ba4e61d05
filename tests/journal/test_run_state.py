"""What the events of a run add up to."""

from dataclasses import replace

import pytest

from evomerge.errors import JournalError
from evomerge.journal.events import Calibrated, Duplicate, Finished, Lost, Stopped
from evomerge.journal.state import fold
from evomerge.records import Failure


def test_no_events_are_a_run_that_has_not_started() -> None:
    state = fold([])
    assert state.started is None
    assert (state.n_asked, state.n_done, state.open) == (0, 0, [])


def test_a_finished_chapter_leaves_nothing_open(story) -> None:
    state = fold([story.started, *story.chapter(0), *story.chapter(1)])
    assert state.started.run_id == "run-1"
    assert [candidate.id for candidate in state.candidates.values()] == [story.id(0), story.id(1)]
    assert state.told_numbers == [0, 1]
    assert (state.n_asked, state.n_done, state.n_failed) == (2, 2, 0)
    assert state.open == []


def test_a_candidate_is_open_until_it_has_a_result(story) -> None:
    state = fold([story.asked(0)])
    assert [c.number for c in state.open] == [0]
    state.add(story.proposed(0))
    assert [c.number for c in state.open] == [0]
    state.add(story.scored(0))
    assert state.open == []
    assert state.result(story.id(0)) == story.scored(0).scores


def test_results_are_known_in_the_order_of_their_arrival(story) -> None:
    asked = [story.asked(number) for number in range(3)]
    state = fold([*asked, story.scored(2), story.scored(0), story.told(0, 0)])
    assert state.done == [2, 0]
    assert state.told_numbers == [0]


def test_failures_are_counted_by_reason(story) -> None:
    asked = [story.asked(number) for number in range(3)]
    state = fold([*asked, story.failed(0), story.failed(2, "timeout"), story.scored(1)])
    assert state.failures == {"non_finite": 1, "timeout": 1}
    assert (state.n_done, state.n_failed) == (3, 2)
    assert isinstance(state.result(story.id(0)), Failure)


def test_a_duplicate_is_counted_and_changes_nothing_else(story) -> None:
    late = replace(story.scored(0, worker="w1"))
    state = fold([*story.chapter(0), Duplicate(late.result)])
    assert state.n_duplicates == 1
    assert state.result(story.id(0)).worker == "w0"


def test_a_result_of_another_phase_does_not_count_as_progress(story) -> None:
    tested = replace(story.scored(0), scores=replace(story.scored(0).scores, phase="test"))
    state = fold([story.asked(0), tested])
    assert state.n_done == 0
    assert state.result(story.id(0), "test") == tested.scores


def test_a_baseline_that_was_never_asked_does_not_count_as_progress(story) -> None:
    state = fold([story.asked(0), story.proposed(9), story.scored(9)])
    assert state.n_done == 0


def test_two_numbers_with_the_same_recipe_share_the_result(story) -> None:
    twin = replace(story.asked(0), number=1)
    state = fold([story.asked(0), story.failed(0), twin])
    assert (state.done, state.n_failed) == ([0, 1], 2)


def test_the_last_attempt_at_a_number_is_the_one_that_counts(story) -> None:
    known_again = replace(story.asked(0), number=1)
    fresh = replace(story.asked(5), number=1, attempt=1)
    state = fold([story.asked(0), story.failed(0), known_again, fresh])
    assert state.candidates[1].id == story.id(5)
    assert (state.done, state.failures) == ([0], {"non_finite": 1})
    assert [candidate.number for candidate in state.open] == [1]


def test_hand_outs_are_counted(story) -> None:
    state = fold([story.asked(0), story.proposed(0), story.proposed(0)])
    assert state.n_attempts == {(story.id(0), "search"): 2}


def test_a_lost_worker_is_counted_and_leaves_the_candidate_open(story) -> None:
    failure = story.failed(0, "worker_died").failure
    state = fold([story.asked(0), story.proposed(0), Lost(failure), Lost(failure)])
    assert state.n_lost == {(story.id(0), "search"): 2}
    assert ([c.number for c in state.open], state.n_failed) == ([0], 0)


def test_the_banks_of_a_run_are_known_once_they_are_calibrated(story) -> None:
    banks = Calibrated({"sums": {"digest": "ab"}, "words": None}, {"words": "too few models"})
    assert fold([story.started]).calibrated is None
    assert fold([story.started, banks, story.asked(0)]).calibrated == banks


def test_a_run_is_stopped_until_something_happens_again(story) -> None:
    state = fold([story.asked(0), Stopped("interrupted", time_s=5.0)])
    assert state.stopped.reason == "interrupted"
    assert state.time_s == 5.0
    state.add(story.proposed(0))
    assert state.stopped is None


def test_the_end_holds_the_front_and_the_baselines(story) -> None:
    state = fold([*story.chapter(0), Finished((story.id(0),), {"base": "b"})])
    assert state.finished.front == (story.id(0),)


def test_a_recipe_whose_identity_has_changed_is_refused(story) -> None:
    foreign = replace(story.asked(0), candidate_id="0" * 12)
    with pytest.raises(JournalError, match="is recorded as 000000000000, but its recipe has the"):
        fold([foreign])


@pytest.mark.parametrize("order", [1, -1])
def test_tells_out_of_order_are_refused(story, order: int) -> None:
    with pytest.raises(JournalError, match="expected order 0 and a candidate that was asked"):
        fold([*story.chapter(0)[:3], story.told(order, 0)])


def test_a_tell_of_what_was_never_asked_is_refused(story) -> None:
    with pytest.raises(JournalError, match="expected order 0 and a candidate that was asked"):
        fold([story.told(0, 3)])
