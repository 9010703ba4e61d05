"""Names and values in the form that MLflow takes."""

import re

from hypothesis import given
from hypothesis import strategies as st

from evomerge.tracking.flatten import VALUE_LIMIT, flatten
from evomerge.tracking.names import sanitise


@given(st.lists(st.text(max_size=400), unique=True, max_size=12))
def test_sanitised_names_are_accepted_and_lead_back(names: list[str]) -> None:
    accepted = sanitise(names)
    back = {plain: name for name, plain in accepted.items()}
    assert [back[accepted[name]] for name in names] == names
    assert all(re.fullmatch(r"[A-Za-z0-9_\-. :]{1,250}", plain) for plain in accepted.values())


def test_names_that_become_alike_are_numbered() -> None:
    assert sanitise(["acc,none", "acc[none", "acc_none_2"]) == {
        "acc,none": "acc_none",
        "acc[none": "acc_none_2",
        "acc_none_2": "acc_none_2_2",
    }


def test_a_name_that_is_accepted_stays_as_it_is() -> None:
    assert sanitise(["math_de", "lists-2.x"]) == {"math_de": "math_de", "lists-2.x": "lists-2.x"}


def test_nested_values_get_dotted_names() -> None:
    config = {
        "base": "zoo/base",
        "search": {"window": 8},
        "objectives": [{"task": "a"}, {"task": "b"}],
    }
    assert flatten(config) == {
        "base": "zoo/base",
        "search.window": "8",
        "objectives.0.task": "a",
        "objectives.1.task": "b",
    }


def test_plain_lists_and_empty_values_stay_together() -> None:
    assert flatten({"a": [1, 2], "b": {}, "c": None}) == {"a": "[1, 2]", "b": "{}", "c": "null"}


def test_long_values_are_cut_to_the_limit() -> None:
    text = flatten({"a": "x" * 7000})["a"]
    assert len(text) == VALUE_LIMIT
    assert text.endswith("…")
