"""What a machine is and has, as found from a process on it; Ray is not needed."""

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from evomerge import __version__
from evomerge.checkpoint.adapter import open_stored
from evomerge.checkpoint.fingerprint import fingerprint
from evomerge.errors import ModelError

PACKAGES = ("ray", "torch", "transformers", "lm_eval", "numpy", "safetensors", "mlflow")
"""What a search depends on, beside Python and evomerge itself."""

MEMORY_INFO = Path("/proc/meminfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Machine:
    """A machine, or a container on one.

    Args:
        host: its name.
        versions: of Python, evomerge and `PACKAGES`; None for a package that is not there.
        n_cpus: cores that this process may use.
        memory_bytes: what is free of the main memory, as far as a limit of the container allows.
        disk_bytes: what is free where temporary files go.
        gpus: names of accelerators.
        authenticates: whether its processes want and show Ray's token.
        token: where they find it; None where they do not.
        token_is_private: whether nobody else can read it.
        models: a digest of each model that was asked for, or what is wrong with it in words.
    """

    host: str
    versions: Mapping[str, str | None]
    n_cpus: int
    memory_bytes: int
    disk_bytes: int
    gpus: tuple[str, ...]
    authenticates: bool
    token: str | None
    token_is_private: bool
    models: Mapping[str, str]


def describe(models: Mapping[str, Path]) -> Machine:
    """This machine, and the models in these folders as they are found on it."""
    token, is_private = _token()
    return Machine(
        host=socket.gethostname(),
        versions=_versions(),
        n_cpus=_n_cpus(),
        memory_bytes=_free_memory_bytes(),
        disk_bytes=shutil.disk_usage(tempfile.gettempdir()).free,
        gpus=_gpus(),
        authenticates=os.environ.get("RAY_AUTH_MODE", "").lower() == "token",
        token=token,
        token_is_private=is_private,
        models={name: _digest(folder) for name, folder in models.items()},
    )


def _versions() -> dict[str, str | None]:
    own = {"python": platform.python_version(), "evomerge": __version__}
    return {**own, **{package: _version(package) for package in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _n_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_memory_bytes() -> int:
    """Linux counts caches that it can drop as free; elsewhere all memory counts."""
    if not MEMORY_INFO.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = dict(line.split(":", 1) for line in MEMORY_INFO.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit = MEMORY_LIMIT.read_text().strip() if MEMORY_LIMIT.is_file() else "max"
    return free if limit == "max" else min(free, int(limit))


def _gpus() -> tuple[str, ...]:
    import torch  # takes seconds to import

    return tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _token() -> tuple[str | None, bool]:
    """Where Ray looks for its token, in its own order, and whether others can read it there."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN", True
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not path.is_file():
        return None, True
    return str(path), path.stat().st_mode & 0o077 == 0


def _digest(folder: Path) -> str:
    try:
        return fingerprint(open_stored(folder))
    except ModelError as error:
        return str(error)
