"""Whether models can be merged: all problems at once, before anything expensive starts."""

from collections.abc import Mapping
from typing import Any

from evomerge.checkpoint.reader import HEADS
from evomerge.checkpoint.vocabulary_rows import Model
from evomerge.errors import Problem

_SAME_CONFIG = {
    "model_type": "only models of one architecture merge tensor by tensor",
    "num_hidden_layers": "use a fine-tune of the same base",
    "hidden_size": "use a fine-tune of the same base",
    "num_attention_heads": "the same tensors would mean other heads; use a fine-tune of the base",
    "num_key_value_heads": "the same tensors would mean other heads; use a fine-tune of the base",
    "n_head": "the same tensors would mean other heads; use a fine-tune of the base",
    "num_heads": "the same tensors would mean other heads; use a fine-tune of the base",
    "head_dim": "the same tensors would mean other heads; use a fine-tune of the base",
    "hidden_act": "weights made for one activation do not work with another",
    "hidden_activation": "weights made for one activation do not work with another",
    "activation_function": "weights made for one activation do not work with another",
    "query_pre_attn_scalar": "attention is scaled differently; use a fine-tune of the same base",
    "partial_rotary_factor": "positions are encoded differently; use a fine-tune of the same base",
    "num_experts_per_tok": "the routers were trained for another number of active experts",
    "rope_theta": "positions are encoded differently; if you know that the expert works with the "
    "base's value, set it in the expert's config.json",
}
"""Keys of config.json that must agree, with what to do where they do not."""


def compare(base: Model, experts: Mapping[str, Model]) -> list[Problem]:
    """Everything that keeps the experts from being merged into the base, expert by expert.

    Different dtypes are fine: merges have the base's. An empty list means the models fit.
    """
    problems: list[Problem] = []
    for name, expert in experts.items():
        where = f"expert '{name}' ({expert.path})"
        messages = [*_config_differences(base, expert), *_tensor_differences(base, expert)]
        problems += [Problem(where, message) for message in messages]
    return problems


def _config_differences(base: Model, expert: Model) -> list[str]:
    messages = []
    for key, next_step in _SAME_CONFIG.items():
        found, expected = _setting(expert.config, key), _setting(base.config, key)
        if found != expected and None not in (found, expected):
            messages.append(f"{key} is {found}, expected {expected} as in the base; {next_step}")
    return messages


def _setting(config: Mapping[str, Any], key: str) -> Any:
    if key == "rope_theta" and key not in config:  # where transformers 5 keeps it
        parameters = config.get("rope_parameters")
        return parameters.get(key) if isinstance(parameters, dict) else None
    text = config.get("text_config")
    return config.get(key, text.get(key) if isinstance(text, Mapping) else None)


def _tensor_differences(base: Model, expert: Model) -> list[str]:
    expected, found = dict(base.infos()), dict(expert.infos())
    messages = []
    for head in HEADS:
        if (head in expected) != (head in found):
            messages.append(_tied_message(head, head in expected))
            expected.pop(head, None)
            found.pop(head, None)
    if missing := [name for name in expected if name not in found]:
        messages.append(
            f"lacks {_some(missing)}, expected every tensor of the base; use a fine-tune of the "
            "same base, saved whole"
        )
    if extra := [name for name in found if name not in expected]:
        messages.append(
            f"has {_some(extra)} that the base does not have; use a fine-tune of the same base, "
            "without added modules"
        )
    for name in expected:
        if name in found and found[name].shape != expected[name].shape:
            messages.append(_shape_message(name, found[name].shape, expected[name].shape))
    return messages


def _tied_message(head: str, base_has_it: bool) -> str:
    owner, other = ("the base", "the expert") if base_has_it else ("the expert", "the base")
    return (
        f"{owner} stores an output projection of its own ({head}) and {other} ties it to its "
        f"embedding, expected both alike; untie {other}: load it, set "
        "config.tie_word_embeddings = False, clone the embedding into the output projection, and "
        "save it"
    )


def _shape_message(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    message = f"tensor '{name}' has shape {found}, expected {expected} as in the base; "
    by_token = len(found) == len(expected) == 2 and found[1:] == expected[1:]
    if by_token and any(mark in name for mark in ("emb", "wte", "shared", "head")):
        return message + (
            f"the vocabularies have {found[0]} and {expected[0]} tokens: resize the expert with "
            f"model.resize_token_embeddings({expected[0]}) if the tokens it adds or lacks do not "
            "matter, otherwise use an expert with the base's tokenizer"
        )
    return message + "use a fine-tune of the same base"


def _some(names: list[str]) -> str:
    """At most three of the names, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {'tensor' if len(names) == 1 else 'tensors'} ({shown}{more})"
