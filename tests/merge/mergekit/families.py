"""Tiny Llamas that are the same numbers on every machine: a base and three experts near it.

Numbers are sums of four 16-bit integers of a Philox stream, near enough to normal, so that they
depend on no library's way to draw normal numbers. The script that runs mergekit and the tests both
make them from the seed; no model is stored.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

HIDDEN, INTERMEDIATE, VOCABULARY = 8, 12, 16
EXPERTS = ("a", "b", "c")
_SHARED, _OWN = 0.6, 0.8  # parts of a task vector that experts have in common, and not
_UNCHANGED = 0.1


@dataclass(frozen=True)
class Family:
    """A base and its experts.

    Args:
        name: its name in the fixtures.
        seed: of all its numbers.
        layers: how many layers.
        tied: whether the head is the embeddings.
        change: the standard deviation of the experts' changes, in units of the weights, which have
            one of 0.05, or are near 1 in norms.
        opposed: whether expert `b` changes against what the others have in common.
    """

    name: str
    seed: int
    layers: int
    tied: bool
    change: float
    opposed: bool = False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        h, m = HIDDEN, INTERMEDIATE
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, h)}
        for layer in range(self.layers):
            inside = {
                "self_attn.q_proj": (h, h),
                "self_attn.k_proj": (h // 2, h),
                "self_attn.v_proj": (h // 2, h),
                "self_attn.o_proj": (h, h),
                "mlp.gate_proj": (m, h),
                "mlp.up_proj": (m, h),
                "mlp.down_proj": (h, m),
                "input_layernorm": (h,),
                "post_attention_layernorm": (h,),
            }
            shapes |= {f"model.layers.{layer}.{key}.weight": shape for key, shape in inside.items()}
        shapes["model.norm.weight"] = (h,)
        return shapes if self.tied else {**shapes, "lm_head.weight": (VOCABULARY, h)}

    def base(self) -> dict[str, Tensor]:
        """The base's tensors, float32."""
        return {
            name: torch.from_numpy(0.05 * self._noise("base", name) + ("norm" in name))
            for name in self.shapes()
        }

    def expert(self, expert: str) -> dict[str, Tensor]:
        """An expert's tensors, float32; a tenth of the entries are the base's."""
        return {name: weights + self._change(expert, name) for name, weights in self.base().items()}

    def models(self) -> dict[str, dict[str, Tensor]]:
        """The base and every expert by name; not to be written to."""
        return _models(self)

    def config(self) -> dict[str, object]:
        """`config.json` of each of them."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE,
            "num_hidden_layers": self.layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": HIDDEN // 2,
            "vocab_size": VOCABULARY,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "float32",
        }

    def _change(self, expert: str, name: str) -> Tensor:
        sign = -1.0 if self.opposed and expert == "b" else 1.0
        shared = sign * self._noise("shared", name)
        change = self.change * (_SHARED * shared + _OWN * self._noise(expert, name))
        is_changed = self._uniform(f"{expert} changed", name)[0] >= _UNCHANGED
        return torch.from_numpy(np.where(is_changed, change, 0.0).astype(np.float32))

    def _noise(self, whose: str, name: str) -> np.ndarray:
        """Nearly normal numbers of variance 1, of the tensor's shape, float32."""
        total = self._uniform(whose, name).sum(0)
        return ((total - 2.0) * 3.0**0.5).astype(np.float32)

    def _uniform(self, whose: str, name: str) -> np.ndarray:
        """Four uniform numbers in [0, 1) for each entry, `(4, *shape)` float64."""
        digest = hashlib.sha256(f"{self.seed} {whose} {name}".encode()).digest()
        shape = self.shapes()[name]
        raw = np.random.Philox(key=int.from_bytes(digest[:16])).random_raw(int(np.prod(shape)))
        parts = [(raw >> np.uint64(16 * i)) & np.uint64(0xFFFF) for i in range(4)]
        return (np.stack(parts).astype(np.float64) / 65536.0).reshape(4, *shape)


@cache
def _models(family: Family) -> dict[str, dict[str, Tensor]]:
    return {"base": family.base(), **{expert: family.expert(expert) for expert in EXPERTS}}


FAMILIES = {
    family.name: family
    for family in (
        Family("untied", seed=0, layers=3, tied=False, change=1e-3),
        Family("tied", seed=1, layers=2, tied=True, change=1e-2),
        # Changes so small, and so opposed, that mergekit's guards against division by zero act.
        Family("small", seed=2, layers=1, tied=True, change=1e-4, opposed=True),
    )
}
