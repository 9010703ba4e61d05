"""A model without files."""

from collections.abc import Mapping

from torch import Tensor

from evomerge.records import TensorInfo


class MemorySource:
    """A model held in memory, which counts how often each tensor is read."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)
        self.n_reads = dict.fromkeys(tensors, 0)

    def infos(self) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo(name, tuple(tensor.shape), tensor.dtype)
            for name, tensor in self.tensors.items()
        }

    def read(self, name: str) -> Tensor:
        self.n_reads[name] += 1
        return self.tensors[name]
