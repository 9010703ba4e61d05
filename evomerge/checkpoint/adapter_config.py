"""The settings of an adapter, and which of them keep it from being a plain change of weights."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evomerge.checkpoint.adapter_formulas import KINDS, AdapterKind
from evomerge.checkpoint.files import ADAPTER_CONFIG
from evomerge.errors import ModelError

MERGE_IT = (
    "merge it into its base with peft's merge_and_unload() and save_pretrained(), and name that "
    "folder instead"
)

_REFUSED = (
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "use_effective_conv2d",
)
"""Settings that add more than the formula of the adapter's kind."""

_KEEPS_THE_BASE = (None, True, False, "gaussian", "eva", "orthogonal")
"""The initialisations after which the base has its own weights still: others move a part of them
into the adapter, which then belongs to a base that is stored nowhere."""


def check_config(path: Path, config: Mapping[str, Any]) -> AdapterKind:
    """The adapter's kind, if it is a plain change of weights.

    Raises:
        ModelError: it is of an unknown kind, or a setting makes it something else.
    """
    found = config.get("peft_type")
    if found not in KINDS:
        raise ModelError(
            f"{path / ADAPTER_CONFIG} has peft_type {found}, expected one of {', '.join(KINDS)}, "
            f"whose change of the weights is a plain formula; {MERGE_IT}, if it can be merged"
        )
    for setting in _REFUSED:
        if config.get(setting):
            raise ModelError(
                f"{path / ADAPTER_CONFIG} sets {setting}, expected a plain {found} adapter; "
                f"{MERGE_IT}"
            )
    initial = config.get("init_lora_weights")
    if initial not in _KEEPS_THE_BASE:
        raise ModelError(
            f"{path / ADAPTER_CONFIG} has init_lora_weights '{initial}', which changes the base "
            f"before training, expected an adapter of the base as it is; {MERGE_IT}"
        )
    return KINDS[found]


def scale_of(path: Path, config: Mapping[str, Any], module: str) -> float:
    """The factor of a module's low-rank change: α / r, or α / √r where it is rank-stabilised.

    https://arxiv.org/abs/2312.03732 for the latter. `rank_pattern` and `alpha_pattern` hold for the
    modules that they match.

    Raises:
        ModelError: the configuration has no usable α or r.
    """
    alpha_name = KINDS[config["peft_type"]].alpha
    if alpha_name is None:
        return 1.0
    rank = _matched(config.get("rank_pattern"), module, config.get("r"))
    alpha = _matched(config.get("alpha_pattern"), module, config.get(alpha_name))
    if not (_is_number(rank) and rank > 0 and _is_number(alpha)):
        raise ModelError(
            f"{path / ADAPTER_CONFIG} has rank {rank} and {alpha_name} {alpha} for '{module}', "
            "expected numbers, the rank positive; save the adapter again with peft"
        )
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _matched(pattern: object, module: str, default: object) -> Any:
    """The value of the first key that is a module's name, the end of one, or matches that."""
    for key, value in (pattern if isinstance(pattern, dict) else {}).items():
        try:
            if re.fullmatch(rf"(.*\.)?({key})", module):
                return value
        except re.error as error:
            raise ModelError(
                f"{ADAPTER_CONFIG} has the pattern '{key}', which is no regular expression "
                f"({error}); save the adapter again with peft"
            ) from error
    return default


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
