"""Telling quantised models from plain ones, by config, file and tensor names."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evomerge.checkpoint.files import CONFIG
from evomerge.errors import ModelError
from evomerge.records import TensorInfo

_OTHER_CONFIGS = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
_PACKED = re.compile(
    r"\.(?:qweight|qzeros|g_idx|SCB|absmax|quant_map|weight_scale|weight_scale_inv|weight_packed"
    r"|weight_zero_point|input_scale)$|\.quant_state\."
)


def refuse_quantised(path: Path, config: Mapping[str, Any], tensors: Iterable[TensorInfo]) -> None:
    """Refuse a model whose tensors stand for weights that they are not.

    Raises:
        ModelError: the model is quantised; the message says what tells so.
    """
    found = next(_signs(path, config, tensors), None)
    if found is not None:
        raise ModelError(
            f"model {path} is quantised ({found}), expected plain floating-point weights; use the "
            "model it was made from, or dequantise and save it"
        )


def _signs(path: Path, config: Mapping[str, Any], tensors: Iterable[TensorInfo]) -> Iterator[str]:
    for part in (config, config.get("text_config")):
        settings = part.get("quantization_config") if isinstance(part, Mapping) else None
        if settings is not None:
            method = settings.get("quant_method") if isinstance(settings, Mapping) else None
            yield f"its {CONFIG} has a quantization_config, of {method or 'no known kind'}"
    for name in _OTHER_CONFIGS:
        if (path / name).is_file():
            yield f"it has a {name}"
    for info in tensors:
        is_weight = info.name.endswith("weight") and len(info.shape) > 1
        if _PACKED.search(info.name):
            yield f"it has the tensor '{info.name}'"
        elif is_weight and not info.dtype.is_floating_point:
            yield f"its tensor '{info.name}' is of {info.dtype}"
