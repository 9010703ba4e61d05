"""Every error that evomerge raises on purpose, as one tree.

    EvomergeError                 exit code 1
    ├── UsageError                2   the command line or the experiment file is wrong
    │   └── ConfigError           2   one or more problems in an experiment file
    ├── ModelError                3   a model or its data cannot be used
    │   ├── ShapeError            3   tensors that should match do not
    │   └── NonFiniteError        3   tensors hold NaN or infinity
    ├── ScoringError              4   a benchmark cannot be loaded or scored
    │   └── CalibrationError      4   an item bank cannot be fitted or read
    └── InfrastructureError       5   disk, locks, processes, servers
        ├── JournalError          5   the journal cannot be read or written
        └── RunLockedError        5   another process holds the run directory

A message says what was found, what was expected, and the next step. A failed *candidate* is not an
error but a value: see `records.Failure`.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class EvomergeError(Exception):
    """Root of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(EvomergeError):
    """The command line asks for something that cannot be done as asked."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a user's file: where, what was found, what was expected, what to do."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ConfigError(UsageError):
    """An experiment file with one or more problems, all of them listed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ModelError(EvomergeError):
    """A model on disk cannot be opened, does not fit the others, or holds unusable numbers."""

    exit_code = 3


class ShapeError(ModelError):
    """Tensors whose shapes should match do not."""


class NonFiniteError(ModelError):
    """Tensors of a model or of a merge hold NaN or infinity."""


class ScoringError(EvomergeError):
    """A benchmark cannot be loaded, or a model cannot be scored on it."""

    exit_code = 4


class CalibrationError(ScoringError):
    """A bank of items cannot be fitted to these responses, or is not one."""


class InfrastructureError(EvomergeError):
    """Disk, locks, processes or servers are in the way."""

    exit_code = 5


class JournalError(InfrastructureError):
    """The journal of a run cannot be read or written."""


class RunLockedError(InfrastructureError):
    """Another process holds the run directory."""
