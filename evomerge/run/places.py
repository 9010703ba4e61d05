"""Where things lie unless one says otherwise; imports nothing heavy."""

from pathlib import Path


def default_run_dir(config: Path) -> Path:
    """Where a run of an experiment file lives unless `--out` says otherwise."""
    return Path("runs") / config.stem
