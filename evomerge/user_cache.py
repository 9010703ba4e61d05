"""What is kept between runs for a user of a machine; all of it is free to delete."""

import os
from pathlib import Path


def user_cache(name: str) -> Path:
    """The folder for one kind of thing, below `$XDG_CACHE_HOME` or `~/.cache`; not made here."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "evomerge" / name
