"""A disk that fills up: a small tmpfs, made larger later."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def can_mount() -> bool:
    """Whether this process may mount a tmpfs."""
    return os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """The folder with a file system of its own, of so many bytes (`2m`), while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def enlarge(folder: Path, size: str) -> None:
    """Give the disk more room."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
