"""evomerge: search for the best merges of large language models."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("evomerge")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0.0.0"
