"""Comparing models before a merge: every mismatch at once, in words, with a next step."""

import pytest
import torch

from evomerge.checkpoint.adapter import open_model
from evomerge.checkpoint.damage import find_damage
from evomerge.checkpoint.preflight import compare
from evomerge.checkpoint.reader import open_checkpoint


@pytest.fixture
def messages(save, tensors):
    """Compares an expert, made by changing the base's tensors and config, with the base."""
    base = open_checkpoint(save("base"))

    def compare_with(change=lambda tensors: None, **config):
        changed = tensors(1)
        change(changed)
        expert = open_checkpoint(save("expert", changed, **config))
        return [str(problem) for problem in compare(base, {"math": expert})]

    return compare_with


def test_fine_tunes_of_the_base_fit(messages):
    assert messages() == []


def test_another_dtype_fits(messages):
    assert messages(lambda x: x.update({name: y.float() for name, y in x.items()})) == []


def test_problems_name_the_expert_and_its_folder(messages):
    [message] = messages(lambda x: x.pop("model.norm.weight"))
    assert message.startswith("expert 'math' (")
    assert "expert): lacks 1 tensor ('model.norm.weight'), expected every" in message


def test_extra_tensors_are_listed_in_short(messages):
    [message] = messages(lambda x: x.update({f"model.new.{i}": torch.ones(1) for i in range(5)}))
    assert "has 5 tensors ('model.new.0', 'model.new.1', 'model.new.2' and 2 more)" in message


def test_another_vocabulary_is_explained(messages):
    found = messages(
        lambda x: x.update(
            {n: torch.zeros(19, 8) for n in ("lm_head.weight", "model.embed_tokens.weight")}
        )
    )
    assert len(found) == 2
    assert all("vocabularies have 19 and 16 tokens" in message for message in found)
    assert all("resize_token_embeddings(16)" in message for message in found)


def test_another_shape_is_named(messages):
    [message] = messages(lambda x: x.update({"model.norm.weight": torch.zeros(9)}))
    assert "tensor 'model.norm.weight' has shape (9,), expected (8,) as in the base" in message


def test_a_tied_expert_of_an_untied_base_is_explained(messages):
    [message] = messages(lambda x: x.pop("lm_head.weight"), tie_word_embeddings=True)
    assert "the base stores an output projection of its own (lm_head.weight)" in message
    assert "untie the expert" in message


def test_a_tied_expert_of_an_untied_base_gives_its_embedding_as_its_head(save, tensors):
    base = open_checkpoint(save("base"))
    tied = {name: x for name, x in tensors(1).items() if name != "lm_head.weight"}
    expert = open_model(save("expert", tied, tie_word_embeddings=True), base)
    assert compare(base, {"math": expert}) == []
    assert find_damage(expert) == []
    assert torch.equal(expert.read("lm_head.weight"), tied["model.embed_tokens.weight"])
    assert expert.infos()["lm_head.weight"].shape == (16, 8)


def test_an_expert_that_merely_lacks_its_head_is_not_completed(save, tensors):
    base = open_checkpoint(save("base"))
    headless = {name: x for name, x in tensors(1).items() if name != "lm_head.weight"}
    expert = open_model(save("expert", headless), base)
    assert len(compare(base, {"math": expert})) == 1


def test_an_untied_expert_of_a_tied_base_is_explained(save):
    base = open_checkpoint(save("base", tie_word_embeddings=True))
    [problem] = compare(base, {"math": open_checkpoint(save("expert"))})
    assert "the expert stores an output projection" in problem.message
    assert "untie the base" in problem.message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model_type", "mistral", "llama"),
        ("num_hidden_layers", 3, 2),
        ("num_attention_heads", 4, 2),
        ("num_key_value_heads", 1, 2),
    ],
)
def test_a_config_that_differs_is_explained(messages, key, value, expected):
    [message] = messages(**{key: value})
    assert f"{key} is {value}, expected {expected} as in the base; " in message


def test_rotary_bases_are_compared_wherever_the_config_keeps_them(save):
    base = open_checkpoint(save("base", rope_theta=10000.0))
    same = save("same", rope_parameters={"rope_theta": 10000.0, "rope_type": "default"})
    other = save("other", rope_parameters={"rope_theta": 500000.0, "rope_type": "default"})
    experts = {"same": open_checkpoint(same), "other": open_checkpoint(other)}
    [problem] = compare(base, experts)
    assert "other" in problem.where
    assert "rope_theta is 500000.0, expected 10000.0" in problem.message


def test_all_problems_of_all_experts_are_reported_together(save, tensors):
    short = {name: x for name, x in tensors(1).items() if ".layers.1." not in name}
    wide = tensors(2) | {"model.norm.weight": torch.zeros(9)}
    experts = {
        "short": open_checkpoint(save("short", short, num_hidden_layers=1)),
        "wide": open_checkpoint(save("wide", wide, num_attention_heads=4)),
        "fine": open_checkpoint(save("fine", seed=3)),
    }
    problems = compare(open_checkpoint(save("base")), experts)
    assert [problem.where.split("'")[1] for problem in problems] == ["short"] * 2 + ["wide"] * 2
