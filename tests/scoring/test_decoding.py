"""Our decoding against transformers' own, prompt by prompt."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.models.huggingface import HFLM

from evomerge.scoring.decoding import Decoder
from evomerge.scoring.limits import Limits, StopWatch
from evomerge.scoring.reference import Reference
from evomerge.scoring.resident import ResidentModel
from tests.tiny import TinyZoo

N_MOST = 8
RNG = np.random.default_rng(1)
HEADER = RNG.integers(3, 120, 40)
PROMPTS = [RNG.integers(3, 120, n).astype(np.int32) for n in (3, 30, 9, 12, 5, 21, 7)]
LONG = [np.concatenate([HEADER, prompt]).astype(np.int32) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def resident(tiny_zoo: TinyZoo) -> ResidentModel:
    return ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)


@pytest.fixture(scope="module")
def lm(resident: ResidentModel) -> HFLM:
    return Reference(resident, 4).lm


def limits(*stops: str) -> Limits:
    return Limits(frozenset({0}), frozenset({0, 1}), stops, N_MOST)


def said_alone(resident: ResidentModel, prompt: np.ndarray) -> tuple[int, ...]:
    tokens = torch.tensor(prompt[None].astype(np.int64))
    with torch.inference_mode():
        whole = resident.model.generate(tokens, max_new_tokens=N_MOST, do_sample=False)
    return tuple(whole[0, len(prompt) :].tolist())


@pytest.mark.parametrize("prompts", [PROMPTS, LONG])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_rows_of_a_batch_say_what_each_says_alone(
    resident: ResidentModel, lm: HFLM, batch_size: int, prompts: list[np.ndarray]
) -> None:
    decoder = Decoder(resident, lm, limits(), batch_size)
    found = decoder.decode(prompts, [()] * len(prompts))
    expected = [said_alone(resident, prompt) for prompt in prompts]
    assert sum(own is not None for own in found) >= len(prompts) - 2
    assert [own for own in found if own] == [
        alone for own, alone in zip(found, expected, strict=True) if own
    ]


def test_an_answer_goes_on_from_where_it_was_left(resident: ResidentModel, lm: HFLM) -> None:
    decoder = Decoder(resident, lm, limits(), 16)
    whole = decoder.decode(PROMPTS, [()] * len(PROMPTS))
    begun = [own[: min(n, len(own) - 1)] if own else () for n, own in enumerate(whole)]
    again = decoder.decode(PROMPTS, begun)
    assert [b for a, b in zip(whole, again, strict=True) if a] == [own for own in whole if own]


def test_a_row_ends_at_its_stop_string(resident: ResidentModel, lm: HFLM) -> None:
    whole = [said_alone(resident, prompt) for prompt in PROMPTS]
    text = lm.tok_decode(list(whole[1]))
    stop = text[len(text) // 2 :][:2]
    found = Decoder(resident, lm, limits(stop), 16).decode(PROMPTS, [()] * len(PROMPTS))
    for own, free in zip(found, whole, strict=True):
        if own is not None:
            assert own == free[: len(own)]
            stopped = stop in lm.tok_decode(list(own))
            assert stopped or len(own) == N_MOST or own[-1] == 0
            assert stop not in lm.tok_decode(list(own[:-1]))
    assert found[1] is not None
    assert len(found[1]) < N_MOST


@given(
    st.lists(st.integers(2, 127), min_size=1, max_size=12),
    st.lists(st.text("abegkmo \n", min_size=1, max_size=4), min_size=1, max_size=2),
)
def test_a_stop_string_is_seen_when_it_is_complete(
    lm: HFLM, tokens: list[int], stops: list[str]
) -> None:
    watch = StopWatch(lm, limits(*stops))
    for n in range(1, len(tokens) + 1):
        text = lm.tok_decode(tokens[:n])
        before = lm.tok_decode(tokens[: n - 1])
        completes = any(stop in text for stop in stops) and not any(s in before for s in stops)
        if completes:
            assert watch.has_stopped(tokens[:n])
        if not any(stop in text for stop in stops):
            assert not watch.has_stopped(tokens[:n])
