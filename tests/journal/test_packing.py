"""What is packed comes back exactly, and what was never packed is refused."""

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import JournalError
from evomerge.journal import codec, packing
from evomerge.journal.events import Asked, Scored
from evomerge.journal.journal import Journal, chained
from evomerge.records import GroupRecipe, ItemScores, Recipe, TaskScores

ZEROS_AND_ONES = st.lists(st.sampled_from([0.0, 1.0])).map(tuple)
MIXED = st.lists(
    st.sampled_from([0.0, 1.0, -0.0, 0.1 + 0.2]) | st.floats(allow_nan=False, allow_infinity=False)
).map(tuple)
ASCENDING = st.sets(st.integers(0, 5000)).map(lambda ids: tuple(sorted(ids)))
ANY_IDS = st.lists(st.integers(-5, 10**12)).map(tuple)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
GROUPS = st.dictionaries(
    st.text(),
    st.builds(
        GroupRecipe,
        st.sampled_from(["ties", "linear"]),
        st.dictionaries(
            st.sampled_from(["coefficient", "density", "scale"]),
            NUMBERS | st.lists(NUMBERS).map(tuple),
        ),
    ),
)


def through_json(packed: object) -> object:
    return json.loads(json.dumps(packed))


@given(ASCENDING | ANY_IDS)
def test_ids_come_back_in_their_order(ids: tuple[int, ...]) -> None:
    assert packing.unpack_ids(through_json(packing.pack_ids(ids))) == ids


@given(ZEROS_AND_ONES | MIXED)
def test_values_come_back_to_the_last_bit(values: tuple[float, ...]) -> None:
    back = packing.unpack_values(through_json(packing.pack_values(values)))
    assert repr(back) == repr(values)


@given(ASCENDING | ANY_IDS, st.booleans(), st.data())
def test_item_results_come_back_to_the_last_bit_with_or_without_weights(
    ids: tuple[int, ...], weighted: bool, data: st.DataObject
) -> None:
    numbers = st.lists(NUMBERS, min_size=len(ids), max_size=len(ids)).map(tuple)
    weights = data.draw(numbers) if weighted else ()
    scores = ItemScores("a", {"task:bits_per_byte": TaskScores(ids, data.draw(numbers), weights)})
    assert repr(codec.decode("scored", codec.encode(Scored(scores)))) == repr(Scored(scores))


def test_item_results_of_versions_without_weights_are_read() -> None:
    scores = ItemScores("a", {"task": TaskScores((1, 2), (0.5, 1.0))})
    payload = codec.encode(Scored(scores))
    assert "weights" not in payload
    assert codec.decode("scored", payload) == Scored(scores)


@given(GROUPS, st.lists(st.text()).map(tuple))
def test_recipes_come_back_with_their_order_and_identity(
    groups: dict[str, GroupRecipe], experts: tuple[str, ...]
) -> None:
    recipe = Recipe(experts, groups, seed=3)
    back = packing.unpack_recipe(through_json(packing.pack_recipe(recipe)))
    assert repr(back) == repr(recipe)
    assert back.digest == recipe.digest


def test_a_subset_scored_right_or_wrong_takes_a_bit_a_document() -> None:
    ids = tuple(range(0, 480, 4))
    assert len(packing.pack_ids(ids)) == math.ceil(478 / 24) * 4
    assert len(packing.pack_values((1.0, 0.0) * 60)) == math.ceil(121 / 24) * 4


def test_a_few_ids_of_many_are_a_list_as_that_is_shorter() -> None:
    assert packing.pack_ids((7, 900_000)) == (7, 900_000)


def test_values_that_only_equal_zero_and_one_are_not_taken_for_them() -> None:
    assert packing.pack_values((1.0, -0.0)) == (1.0, -0.0)


def test_candidates_scored_on_the_same_items_share_them() -> None:
    for ids in ((1, 2, 5), (5, 2, 1)):
        packed = through_json(packing.pack_ids(ids))
        assert packing.unpack_ids(packed) is packing.unpack_ids(through_json(packed))


def test_a_number_that_is_none_is_refused_in_a_genome(story) -> None:
    broken = Asked(0, 0, story.id(0), (math.inf,), story.recipe(0))
    with pytest.raises(ValueError, match="not JSON compliant"):
        codec.encode(broken)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("scored", '"values":"BQ=="', '"values":"BQ="'),
        ("scored", '"values":"BQ=="', '"values":"B!=="'),
        ("scored", '"values":"BQ=="', '"values":""'),
        ("scored", '"values":"BQ=="', '"values":"AA=="'),
        ("scored", '"values":"BQ=="', '"values":{"0":1}'),
        ("scored", '"items":"Gw=="', '"items":"AAA="'),
        ("scored", '"items":"Gw=="', '"items":3'),
        ("asked", '"kinds":[["ta"', '"types":[["ta"'),
        ("asked", '"kinds":[["ta",', '"kinds":[["ta","power",'),
        ("asked", '"head":[0,', '"head":[7,'),
        ("asked", '"head":[0,', '"head":["0",'),
        ("asked", '"groups":{', '"groups":3,"ungrouped":{'),
    ],
)
def test_damage_in_what_is_packed_is_told_as_any_other(
    tmp_path: Path, story, kind: str, right: str, wrong: str
) -> None:
    scores = TaskScores((0, 2, 3), (0.0, 1.0))
    events = {
        "asked": story.asked(0),
        "scored": Scored(ItemScores("c0ffee", {"sums": scores})),
    }
    payload = codec.encode(events[kind])
    assert right in payload
    path = tmp_path / "journal.db"
    Journal.create(path).close()
    write_first_event(path, kind, payload.replace(right, wrong))
    with (
        Journal.open(path) as journal,
        pytest.raises(JournalError, match=rf"event 1 of .* \({kind}\) cannot be understood"),
    ):
        list(journal.replay())


def write_first_event(path: Path, kind: str, payload: str) -> None:
    row = (1, 0.0, kind, None, payload)
    digest = chained("0" * 64, row)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (*row, digest))
        connection.execute("UPDATE head SET n_events = 1, digest = ?", (digest,))
        connection.commit()
