"""Writing a file whole or not at all."""

import os
import uuid
from pathlib import Path

from evomerge.errors import InfrastructureError


def write_whole(path: Path, text: str) -> None:
    """Write the text so that after a crash the file has all of it, or is what it was.

    Raises:
        InfrastructureError: the disk refuses.
    """
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.draft")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InfrastructureError(
            f"cannot write {path}: {error.strerror}; free some space, or choose another place"
        ) from error
