import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.scoring.greedy import _may_become

TEXT = st.text(alphabet="ab \n", max_size=5)


def exact_match(generated: str, target: str, stops: list[str], stripped: bool) -> bool:
    for stop in stops:
        generated = generated.split(stop)[0]
    return (generated.strip() if stripped else generated) == target


@given(
    st.booleans(),
    TEXT,
    st.lists(TEXT.filter(bool), min_size=1, max_size=2),
    st.text(alphabet="ab \n", max_size=12),
)
def test_no_beginning_of_a_right_answer_is_called_hopeless(
    stripped: bool, target: str, stops: list[str], generated: str
) -> None:
    for ending in ("", *stops):
        text = generated + ending
        if exact_match(text, target, stops, stripped):
            for n in range(len(text) + 1):
                if not any(stop in text[:n] for stop in stops):
                    assert _may_become(text[:n], target, stops, stripped)


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("", True),
        ("two d", True),
        ("two dogs", True),
        ("two dogs\n", True),
        ("two dogs\ufffd", True),
        ("two do\ufffd", True),
        ("two cats", False),
        ("two dogs and", False),
        (" two", False),
        ("two\ufffddogs", False),
    ],
)
def test_a_beginning_is_judged_by_the_target_and_the_stop_strings(text: str, may: bool) -> None:
    assert _may_become(text, "two dogs", ["\n\n", "<eos>"], stripped=False) is may


def test_spaces_around_a_stripped_answer_are_no_mistake() -> None:
    assert _may_become("  two dogs  \n", "two dogs", ["\n\n"], stripped=True)
    assert not _may_become("  two dogs  \nx", "two dogs", ["\n\n"], stripped=True)
