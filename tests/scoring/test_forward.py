import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evomerge.scoring.forward import TokenTree, logits_of, make_batches, n_shared
from evomerge.scoring.resident import ResidentModel
from tests.tiny import TinyZoo

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=6)


@given(SEQUENCES)
def test_a_tree_holds_every_sequence_along_its_path(sequences: list[list[int]]) -> None:
    tree = TokenTree.of(sequences)
    for path, sequence in zip(tree.paths, sequences, strict=True):
        assert [tree.tokens[node] for node in path] == sequence
        assert [tree.depths[node] for node in path] == list(range(len(sequence)))


@given(SEQUENCES)
def test_a_node_sees_its_ancestors_and_nothing_else(sequences: list[list[int]]) -> None:
    tree = TokenTree.of(sequences)
    for path in tree.paths:
        for i, node in enumerate(path):
            seen = [j for j in range(node + 1) if node < tree.ends[j]]
            assert seen == list(path[: i + 1])


@given(SEQUENCES)
def test_a_tree_has_one_node_for_each_distinct_prefix(sequences: list[list[int]]) -> None:
    prefixes = {tuple(s[: n + 1]) for s in sequences for n in range(len(s))}
    assert len(TokenTree.of(sequences).tokens) == len(prefixes)


def test_shared_tokens_are_counted_from_the_start() -> None:
    assert n_shared([1, 2, 3], [1, 2, 4]) == 2
    assert n_shared([1, 2], [1, 2, 4]) == 2
    assert n_shared([], [1]) == 0


@pytest.mark.parametrize("branching", [False, True])
def test_packed_logits_equal_those_of_each_sequence_alone(
    tiny_zoo: TinyZoo, branching: bool
) -> None:
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    trees = [
        TokenTree.of([[5, 6, 7, 8, 9], [5, 6, 10], [5, 6, 7, 11]] if branching else [[5, 6, 7]]),
        TokenTree.of([[20, 21, 22, 23, 24, 25, 26, 27, 28]]),
        TokenTree.of([[30]]),
    ]
    wanted = [range(len(tree.tokens)) for tree in trees]
    for batch in make_batches(trees, wanted, resident.device):
        logits = iter(logits_of(resident, batch))
        packed = {t: [next(logits) for _ in wanted[t]] for t in batch.members}
        for t, rows in packed.items():
            for path in trees[t].paths:
                tokens = torch.tensor([[trees[t].tokens[node] for node in path]])
                alone = resident.model(tokens).logits[0]
                torch.testing.assert_close(torch.stack([rows[node] for node in path]), alone)
