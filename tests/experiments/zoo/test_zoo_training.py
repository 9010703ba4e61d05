"""Training batches, merging and the fast scorer, on a model that has learnt nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from experiments.zoo.build import FAULTS, save
from experiments.zoo.fast import TaskScorer
from experiments.zoo.merging import GROUPS, load_model, load_space, write_weights
from experiments.zoo.tasks import Task, write_documents
from experiments.zoo.tokenizer import train_tokenizer
from experiments.zoo.train import collate, draw_batches, new_model


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(seed=0, n_questions_per_skill=200)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "left", "right")):
        model = new_model(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id, seed=seed)
        save(model, tokenizer, folder / name)
    return folder


def test_prompt_answer_and_end_token_are_weighted_and_padding_is_not() -> None:
    batch = collate([([5, 6], [7]), ([5], [7])], end_id=1, prompt_weight=0.1)
    assert batch.ids.tolist() == [[5, 6, 7, 1], [5, 7, 1, 0]]
    expected = torch.tensor([[0.1, 0.1, 1.0, 1.0], [0.1, 1.0, 1.0, 0.0]])
    torch.testing.assert_close(batch.loss_weights, expected)


def test_the_same_seed_draws_the_same_batches(tokenizer: PreTrainedTokenizerFast) -> None:
    first, second = (
        draw_batches(np.random.default_rng(4), tokenizer.backend_tokenizer, FAULTS)
        for _ in range(2)
    )
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(first, second, strict=True))


def test_encoding_then_decoding_returns_the_text(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "de: zwölf große Türen und fünf weiße Stühle ="
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_zero_coefficients_return_the_base(models: Path) -> None:
    space = load_space(models, ("left", "right"))
    assert torch.equal(space.merge(np.zeros((2, len(GROUPS)))), space.base)


def test_one_coefficient_of_one_returns_that_expert(models: Path) -> None:
    space = load_space(models, ("left", "right"))
    coefficients = np.array([[1.0] * len(GROUPS), [0.0] * len(GROUPS)])
    model = load_model(models / "base")
    write_weights(model, space.merge(coefficients), space.names)
    expert = load_model(models / "left")
    for (name, merged), original in zip(model.named_parameters(), expert.parameters(), strict=True):
        torch.testing.assert_close(merged, original, rtol=1e-2, atol=1e-4, msg=name)


def test_scoring_does_not_depend_on_padding(
    tmp_path: Path, models: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = tmp_path / "german_fewshot.jsonl"
    write_documents(path, Task("german", "german", multiple_choice=True), "fewshot", seed=0)
    model = load_model(models / "base")
    alone = TaskScorer(path, tokenizer, n_items=10).score(model)
    among_others = TaskScorer(path, tokenizer, n_items=25).score(model)
    np.testing.assert_array_equal(alone, among_others[:10])
