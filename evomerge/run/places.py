"""Where things lie unless one says otherwise; imports nothing heavy."""

import os
from pathlib import Path


def default_run_dir(config: Path) -> Path:
    """Where a run of an experiment file lives unless `--out` says otherwise."""
    return Path("runs") / config.stem


def default_statistics_dir() -> Path:
    """Where statistics of text are kept unless an experiment says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "evomerge" / "statistics"
