"""Statistics of text on disk: a safetensors file for each kind and model, written once."""

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from evomerge.checkpoint.reader import Checkpoint, open_tensors
from evomerge.errors import InfrastructureError, ModelError, NonFiniteError


def write_statistics(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write statistics to a file; its folder is made where it is missing.

    The file is written aside and renamed when complete, so that there is never half of one under
    its name.

    Raises:
        NonFiniteError: some are NaN or infinite.
        InfrastructureError: the disk refuses.
    """
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise NonFiniteError(
                f"the statistics of tensor '{name}' are not finite; collect them with "
                "`scoring.dtype: float32`, and check the model if they are not even then"
            )
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.touch()
        mode = aside.stat().st_mode
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside)
        aside.chmod(mode)  # safetensors 0.8 lets nobody else read, whatever the umask says
        aside.replace(path)
    except (OSError, SafetensorError) as error:
        raise InfrastructureError(
            f"cannot write {path}: {error}; free space, or set merge.statistics.folder to another "
            "place, then try again: nothing half-written is left"
        ) from error
    finally:
        aside.unlink(missing_ok=True)


def open_statistics(path: Path, what: str) -> Checkpoint:
    """Open such a file without reading its tensors.

    Args:
        path: the file.
        what: what should be in it, for a human.

    Raises:
        ModelError: it is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(
            f"there is no {path} with the {what}; collect them with `evomerge prepare CONFIG`, and "
            "for workers on other machines set merge.statistics.folder to a folder that all share"
        )
    return open_tensors(path)
