"""Where things lie unless one says otherwise; imports nothing heavy."""

from pathlib import Path

from evomerge.user_cache import user_cache


def default_run_dir(config: Path) -> Path:
    """Where a run of an experiment file lives unless `--out` says otherwise."""
    return Path("runs") / config.stem


def default_statistics_dir() -> Path:
    """Where statistics of text are kept unless an experiment says otherwise."""
    return user_cache("statistics")


def default_banks_dir(config: Path) -> Path:
    """Where the item banks of an experiment file lie unless `--out` says otherwise."""
    return Path("runs") / f"{config.stem}.banks"
