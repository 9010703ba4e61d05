import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evomerge.scoring.tokens import TokenisedItems, TokenTable

SEQUENCES = st.lists(st.integers(0, 200_000), max_size=5)
ITEMS = st.lists(st.lists(st.tuples(SEQUENCES, SEQUENCES), max_size=3), max_size=4)


@given(st.lists(SEQUENCES, max_size=6))
def test_a_table_gives_back_its_sequences(sequences: list[list[int]]) -> None:
    table = TokenTable.of(sequences)
    assert [table[i].tolist() for i in range(len(table))] == sequences
    assert table.tokens.dtype == np.int32


@given(ITEMS)
def test_items_give_back_their_pairs(items: list[list[tuple[list[int], list[int]]]]) -> None:
    tokens = TokenisedItems.of(items)
    assert tokens.n_items == len(items)
    for item, pairs in enumerate(items):
        found = tokens.pairs(item)
        assert [(context.tolist(), own.tolist()) for context, own in found] == pairs


def test_a_context_of_many_choices_is_kept_once() -> None:
    context = list(range(50))
    tokens = TokenisedItems.of([[(context, [1]), (context, [2])], [(context, [3])]])
    assert len(tokens.contexts) == 1
    assert len(tokens.contexts.tokens) == 50
