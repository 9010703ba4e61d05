"""A model that stays in memory while its weights change: loaded once, merged into many times."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.core_model_loading import revert_weight_conversion
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from evomerge.errors import ModelError, ScoringError

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class NonFiniteScore(ScoringError):  # noqa: N818
    """The model's logits, or what a metric makes of its answers, hold NaN or infinity."""


def resolve_dtype(name: str, checkpoint_dtype: str, device: str) -> str:
    """The name of the dtype to compute in: `auto` is float32 on a CPU, else the checkpoint's.

    Central processors without bfloat16 units emulate it, several times slower than float32.

    Raises:
        ScoringError: no such dtype.
    """
    resolved = name
    if name == "auto":
        resolved = "float32" if device.split(":")[0] == "cpu" else checkpoint_dtype
    if resolved not in DTYPES:
        raise ScoringError(
            f"dtype {resolved!r} is unknown, expected auto or one of {', '.join(DTYPES)}"
        )
    return resolved


class ResidentModel:
    """A live model: `tensors` are its weights under the checkpoint's names, to be written into.

    A name of the checkpoint that the architecture ignores, or that is the second name of a tied
    weight, has a tensor of its own that the model never reads, so that every tensor of a merge has
    a place to go. A forward pass that yields logits that are not finite raises `NonFiniteScore`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tensors: Mapping[str, Tensor],
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.tensors: Mapping[str, Tensor] = MappingProxyType(dict(tensors))
        self.head: nn.Module = model.get_output_embeddings()
        self.head.register_forward_hook(_refuse_non_finite)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the live weights, in which the model computes."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """Where the live weights are."""
        device: torch.device = self.model.device
        return device

    @classmethod
    def from_folder(cls, path: Path, *, dtype: torch.dtype, device: str = "cpu") -> "ResidentModel":
        """Load a Hugging Face folder once; nothing of it is ever executed.

        Raises:
            ModelError: the architecture is not one that transformers brings itself, the folder
                brings code, its tokenizer or weights cannot be loaded, or some tensor of the
                checkpoint has no place of its own in the live model.
        """
        _check_config(path)
        stored = _read_checkpoint(path)
        model = _load_model(path, dtype).to(device).eval()
        tensors = _live_tensors(path, model, stored)
        return cls(model, load_tokenizer(path), tensors)


def _refuse_non_finite(_head: nn.Module, _inputs: object, logits: Tensor) -> None:
    if not torch.isfinite(logits).all():
        raise NonFiniteScore("the model's logits are not finite; its weights cannot be scored")


def _check_config(path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        if "auto_map" in _read_json(path / name):
            raise ModelError(
                f"{path / name} has an auto_map: the folder brings its own code, which is never "
                "run; use a model of an architecture that transformers itself has"
            )
    model_type = _read_json(path / "config.json").get("model_type")
    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(
            f"{path / 'config.json'} has model_type {model_type!r}, expected a causal language "
            "model that the installed transformers knows; is it too old for this model?"
        )


def _read_json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot read {path}: {error}; expected a folder in Hugging Face format"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__}, expected a JSON object")
    return value


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Every tensor of the folder's safetensors files, memory-mapped."""
    index = path / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        weight_map = _read_json(index).get("weight_map", {})
        names = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
    tensors: dict[str, Tensor] = {}
    for name in names:
        try:
            with safe_open(path / name, framework="pt") as file:
                tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"cannot read {path / name}: {error}; expected safetensors weights"
            ) from error
    return tensors


def _load_model(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    transformers_logging.disable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"transformers cannot load {path}: {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"{path} lacks {len(missing)} tensor(s) that its architecture needs, such as "
            f"{missing[0]}; is the download complete?"
        )
    model.requires_grad_(False)
    model.tie_weights()  # as lm-eval does
    return model


def _live_tensors(
    path: Path, model: PreTrainedModel, stored: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensor of the live model, or a spare one, for every name of the checkpoint."""
    places = _places(model)
    spare = _second_names(path, model, stored, places)
    ignored = [r"rotary_emb\.inv_freq$", *(model._keys_to_ignore_on_load_unexpected or ())]
    tensors, homeless = {}, []
    for name, value in stored.items():
        if name not in spare and name in places and _same(places[name], value):
            tensors[name] = places[name]
        # After its place: GPT-2's pattern for `attn.bias`, a mask, fits `c_attn.bias` as well.
        elif name in spare or any(re.search(pattern, name) for pattern in ignored):
            tensors[name] = value.to(model.device, model.dtype, copy=True)
        else:
            homeless.append(name)
    if homeless:
        raise ModelError(
            f"{len(homeless)} tensor(s) of {path} are not found unchanged in the loaded model, "
            f"such as {homeless[0]}: transformers fuses, reorders or drops them on load; such a "
            "model cannot be merged in place"
        )
    return tensors


def _places(model: PreTrainedModel) -> dict[str, Tensor]:
    """The live weights under the names that a checkpoint has for them.

    Some names changed in transformers 5, and some tensors are fused, such as the experts of a
    layer; what it gives back under the old names are then slices of the fused tensor. Where they
    are copies, writing into them would be lost, so they are left out.
    """
    live: dict[str, Tensor] = model.state_dict()
    owned = {tensor.untyped_storage().data_ptr() for tensor in live.values()}
    with _SlicesStaySlices():
        named = revert_weight_conversion(model, dict(live))
    return {
        name: tensor
        for name, tensor in named.items()
        if tensor.untyped_storage().data_ptr() in owned
    }


class _SlicesStaySlices(TorchFunctionMode):
    """While active, `Tensor.contiguous` gives the tensor itself, which it may also give anyway."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        return args[0] if func is Tensor.contiguous else func(*args, **(kwargs or {}))


def _second_names(
    path: Path, model: PreTrainedModel, stored: Mapping[str, Tensor], places: Mapping[str, Tensor]
) -> set[str]:
    """Names of the checkpoint for a tied weight that the checkpoint also has under another."""
    live, tied = model.state_dict(), model.get_expanded_tied_weights_keys(all_submodels=True)
    seconds = set()
    for target, source in tied.items():
        (second,) = revert_weight_conversion(model, {target: live[target]})
        (first,) = revert_weight_conversion(model, {source: live[source]})
        if {first, second} <= stored.keys():
            if not _same(places[first], stored[second]):
                raise ModelError(
                    f"{path} stores {second} and {first} with different values, but its config "
                    "ties them, and so would lm-eval; set tie_word_embeddings to false in "
                    "config.json if the values are meant"
                )
            seconds.add(second)
    return seconds


def _same(live: Tensor, value: Tensor) -> bool:
    return torch.equal(live, value.to(live))


def load_config(path: Path) -> PretrainedConfig:
    """The config of a model folder, as transformers reads it.

    Raises:
        ModelError: it cannot be read, or transformers does not know the architecture.
    """
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot load the config of {path}: {error}") from error
    return config


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a model folder.

    Raises:
        ModelError: there is none, or it is not a fast one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot load the tokenizer of {path}: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(
            f"the tokenizer of {path} is a {type(tokenizer).__name__}, expected a fast one; "
            "is tokenizer.json missing?"
        )
    return tokenizer
