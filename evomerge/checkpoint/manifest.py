"""Digests of a model's files, in the form of `sha256sum`, and where a download left some."""

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evomerge.errors import ModelError

MANIFEST = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_N_THREADS = 2


def manifest_of(files: Iterable[Path]) -> str:
    """The lines that `sha256sum -c` checks in the files' folder, in the order of their names."""
    ordered = sorted(files, key=lambda file: file.name)
    with ThreadPoolExecutor(_N_THREADS) as pool:
        digests = pool.map(_sha256, ordered)
        return "".join(
            f"{digest}  {file.name}\n" for digest, file in zip(digests, ordered, strict=True)
        )


def known_digest(file: Path) -> str | None:
    """The SHA-256 that a file should have, as its folder's manifest or a hub's cache says it.

    A hub's cache names the files that its links lead to by their digests.

    Raises:
        ModelError: there is a manifest that cannot be read.
    """
    listed = _read_manifest(file.parent).get(file.name)
    if listed is None and file.is_symlink() and _DIGEST.fullmatch(file.readlink().name):
        return file.readlink().name
    return listed


def _read_manifest(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    digests = {}
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ModelError(
                f"{path}, line {number} is '{line[:80]}', expected a SHA-256 and a file name as "
                "sha256sum writes them; restore the file, or remove it to leave the model unchecked"
            )
        digests[match[2]] = match[1]
    return digests


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
