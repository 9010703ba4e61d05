"""Log-likelihoods do not depend on what is computed beside them, or on how it is shared."""

import numpy as np
import pytest
import torch

from evomerge.scoring.likelihoods import LikelihoodPass
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.tokens import Pair, TokenisedItems
from tests.tiny import TinyZoo

HEADER = list(range(3, 40))
RNG = np.random.default_rng(0)


def tokens(n: int) -> list[int]:
    return RNG.integers(3, 100, n).tolist()


def question(n_context: int, *n_tokens: int) -> list[Pair]:
    context = [*HEADER, *tokens(n_context)]
    return [(context, tokens(n)) for n in n_tokens]


ITEMS = TokenisedItems.of(
    [question(5, 1, 2, 3), question(9, 4, 4), question(1, 1, 1, 1), question(5, 7), question(30, 2)]
)
ALL = range(ITEMS.n_items)


@pytest.fixture(scope="module")
def resident(tiny_zoo: TinyZoo) -> ResidentModel:
    return ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)


def one_by_one(resident: ResidentModel, longest: int) -> list[tuple[float, bool]]:
    """Each pair by the plainest of forward passes."""
    found = []
    for item in ALL:
        for context, continuation in ITEMS.pairs(item):
            n = len(continuation)
            whole = torch.tensor([*context, *continuation])[-longest - 1 :]
            with torch.inference_mode():
                log_p = resident.model(whole[None, :-1]).logits[0].double().log_softmax(-1)[-n:]
            own = log_p.gather(1, whole[-n:, None]).sum()
            found.append((float(own), bool((log_p.argmax(-1) == whole[-n:]).all())))
    return found


@pytest.mark.parametrize("longest", [256, 45])
@pytest.mark.parametrize("way", ["tree", "cache", "alone"])
def test_every_way_gives_what_single_passes_give(
    resident: ResidentModel, way: str, longest: int
) -> None:
    run = LikelihoodPass(resident, ITEMS, longest)
    found = run._run(tuple(ALL), way, greedy=True)
    expected = one_by_one(resident, longest)
    np.testing.assert_allclose(found.sums, [ll for ll, _ in expected], atol=1e-4)
    assert found.greedy.tolist() == [int(greedy) for _, greedy in expected]
    assert found.n_pairs == (3, 2, 3, 1, 1)


def test_what_greedy_decoding_says_is_greedy(resident: ResidentModel) -> None:
    context = torch.tensor([tokens(12)])
    with torch.inference_mode():
        said = resident.model.generate(context, max_new_tokens=3, do_sample=False)
    answer = said[0, 12:].tolist()
    other = [*answer[:-1], (answer[-1] + 1) % 100]
    items = TokenisedItems.of([[(context[0].tolist(), own) for own in (answer, other)]])
    assert LikelihoodPass(resident, items, 256).run([0], greedy=True).greedy.tolist() == [1, 0]


def test_a_long_common_beginning_is_read_once(resident: ResidentModel) -> None:
    run = LikelihoodPass(resident, ITEMS, 256)
    assert run.way == "tree"
    assert run._header.tolist() == HEADER
    assert max(int(part.batch.tokens.shape[1]) for part in run._plan(tuple(ALL), "tree")) < 37


def test_order_and_company_do_not_matter(resident: ResidentModel) -> None:
    run = LikelihoodPass(resident, ITEMS, 256)
    whole = dict(zip(ALL, run.run(ALL).by_item(), strict=True))
    some = (4, 0, 2)
    for item, (sums, _) in zip(some, run.run(some).by_item(), strict=True):
        np.testing.assert_allclose(sums, whole[item][0], atol=1e-4)
