"""Which tensors of a base an adapter changes, and how: found from names and shapes alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from evomerge.checkpoint.adapter_config import MERGE_IT, check_config, scale_of
from evomerge.checkpoint.adapter_formulas import AdapterKind, Formula
from evomerge.checkpoint.reader import HEADS, Checkpoint
from evomerge.errors import ModelError, ShapeError

_PREFIX = "base_model.model."
_WRAPPERS = ("base_layer", "modules_to_save")
_PEFT_NAMES = ("lora_", "ia3_", "hada_", "lokr_", "token_adapter")


@dataclass(frozen=True)
class Change:
    """What an adapter does to one tensor.

    Args:
        formula: of the new values.
        parts: names of the adapter's tensors, by their part in the formula.
        scale: of the low-rank change.
        is_transposed: whether the base stores the weight as `(n_in, n_out)`.
    """

    formula: Formula
    parts: Mapping[str, str]
    scale: float = 1.0
    is_transposed: bool = False

    def apply(self, values: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """The new values, from the old ones and the adapter's tensors, all float32."""
        if self.is_transposed:
            return self.formula(values.T, parts, self.scale).T.contiguous()
        return self.formula(values, parts, self.scale)


@dataclass(frozen=True)
class Changes:
    """All that an adapter does to its base, by the base's tensor names.

    Args:
        replaced: the adapter's own tensors that stand for the base's.
        changed: what is done to the tensor after that.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    changed: dict[str, Change] = field(default_factory=dict)


def find_changes(base: Checkpoint, stored: Checkpoint) -> Changes:
    """What the adapter whose own tensors are `stored` does to the base.

    Raises:
        ModelError: the adapter is no plain change of weights, or not of this base.
        ShapeError: it does not fit the base's shapes.
    """
    config = stored.config
    kind = check_config(stored.path, config)
    modules, whole = _sorted(stored, kind)
    found = Changes({_target(wanted, base, stored): own for wanted, own in whole.items()})
    for module, parts in modules.items():
        target = _target(f"{module}.weight", base, stored)
        scale = scale_of(stored.path, config, module)
        change = Change(kind.weight, parts, scale, bool(config.get("fan_in_fan_out")))
        values = stored.infos()[found.replaced[target]] if target in found.replaced else None
        shape = (values or base.infos()[target]).shape
        found.changed[target] = _oriented(change, target, shape, stored)
        bias = f"{target.removesuffix('.weight')}.bias"
        if kind.bias is not None and bias in base.infos():
            found.changed[bias] = Change(kind.bias, parts)
    return found


def _sorted(
    stored: Checkpoint, kind: AdapterKind
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The adapter's tensors: by module and part, and those that replace a tensor of the base."""
    modules: dict[str, dict[str, str]] = {}
    whole: dict[str, str] = {}
    for own in stored.infos():
        steps = own.removeprefix(_PREFIX).split(".")
        at = next((i for i, step in enumerate(steps) if step in kind.parts), None)
        if at is not None and steps[at + 1 :] in ([], ["weight"]):
            modules.setdefault(".".join(steps[:at]), {})[steps[at]] = own
        elif any(step.startswith(_PEFT_NAMES) for step in steps):
            raise ModelError(
                f"adapter {stored.path} has the tensor '{own}', expected only "
                f"{', '.join(kind.parts)} in a {stored.config['peft_type']} adapter; {MERGE_IT}"
            )
        else:
            whole[".".join(step for step in steps if step not in _WRAPPERS)] = own
    return modules, whole


def _target(wanted: str, base: Checkpoint, stored: Checkpoint) -> str:
    """The base's name for a tensor, which may have a prefix less or some more than the adapter's.

    peft names modules as the loaded model does: its `transformer.h.0` is `h.0` in some checkpoints.
    """
    names = base.infos()
    inner = wanted.partition(".")[2]
    outer = [name for name in names if name.endswith(f".{wanted}")]
    candidates: list[str] = [wanted, inner, *(outer if len(outer) == 1 else [])]
    for candidate in candidates:
        if candidate in names:
            return candidate
    reason = "does not have; is this the base that it was trained on? If it is, "
    if wanted in HEADS:
        reason = "does not have or ties to its embedding; "
    raise ModelError(
        f"adapter {stored.path} changes '{wanted}', which the base {base.path} {reason}{MERGE_IT}"
    )


def _oriented(change: Change, target: str, shape: tuple[int, ...], stored: Checkpoint) -> Change:
    """The change in the orientation that fits the shape; in that of the config where both do."""
    for is_transposed in (change.is_transposed, not change.is_transposed):
        candidate = replace(change, is_transposed=is_transposed)
        if len(shape) == 2 and _fits(candidate, shape, stored):
            return candidate
    found = {part: stored.infos()[name].shape for part, name in change.parts.items()}
    raise ShapeError(
        f"adapter {stored.path} has {found} for '{target}', expected what gives the base's shape "
        f"{shape}; use the adapter with the base that it was trained on"
    )


def _fits(change: Change, shape: tuple[int, ...], stored: Checkpoint) -> bool:
    """Whether the formula goes through, tried on shapes alone."""
    infos = stored.infos()
    parts = {
        part: torch.empty(infos[name].shape, device="meta") for part, name in change.parts.items()
    }
    try:
        return change.apply(torch.empty(shape, device="meta"), parts).shape == shape
    except (RuntimeError, KeyError):  # shapes that do not match, or a part that is missing
        return False
