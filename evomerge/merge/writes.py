"""What was merged into which live tensors, so that the same is not written twice."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class _Write:
    tensor: "weakref.ref[Tensor]"
    version: int
    address: int
    what: object


class Writes:
    """Remembers the last merge of each live tensor, as long as nobody else writes to it.

    Torch counts the writes to a tensor (`Tensor._version`), so whoever copies, loads or adds
    anything in place is noticed. Writes past torch's count are not: through `.data`, a NumPy view,
    an address. Whoever merges must be the only one who writes in such ways. Tensors made in
    inference mode have no count, and are never remembered.
    """

    def __init__(self) -> None:
        self._writes: dict[str, _Write] = {}

    def hold(self, name: str, tensor: Tensor, what: object) -> bool:
        """Whether this very tensor holds `what` already."""
        last = self._writes.get(name)
        return (
            last is not None
            and last.tensor() is tensor
            and (last.version, last.address) == (tensor._version, tensor.data_ptr())
            and last.what == what
        )

    def forget(self, names: Iterable[str]) -> None:
        """These tensors are about to be written to: until that has succeeded they hold nothing."""
        for name in names:
            self._writes.pop(name, None)

    def remember(self, name: str, tensor: Tensor, what: object) -> None:
        """This tensor now holds `what`, which is compared by `==`."""
        if not tensor.is_inference():
            self._writes[name] = _Write(
                weakref.ref(tensor), tensor._version, tensor.data_ptr(), what
            )
