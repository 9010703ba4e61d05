"""What workers had finished when the driver before this one died."""

from collections.abc import Callable

from evomerge.errors import InfrastructureError
from evomerge.journal.spool import Spool
from evomerge.records import Result
from evomerge.run.record import Record

SPOOL_NAME = "spool"
"""Folder of the run directory in which workers leave results."""


def collect(spool: Spool, record: Record, is_wanted: Callable[[Result], bool]) -> int:
    """Make the spool ready, and journal its results of jobs that the run handed out; how many.

    Others are dropped: those that the journal has, and those of other candidates or other items,
    which a spool copied from elsewhere may hold.

    Args:
        is_wanted: whether a result holds scores of the items that its job asked for.

    Raises:
        InfrastructureError: the folder cannot be made.
        JournalError: the journal cannot take them; they stay in the spool.
    """
    try:
        spool.prepare()
    except OSError as error:
        raise InfrastructureError(
            f"cannot make {spool.folder}: {error.strerror}, expected a folder for the results of "
            "workers; free some space or mend its rights, then continue with `evomerge resume`"
        ) from error
    n_taken = 0
    for result in spool.collect():
        key = (result.candidate_id, result.phase)
        is_open = key in record.state.n_attempts and key not in record.state.results
        if is_open and is_wanted(result):
            record.append_result(result)
            n_taken += 1
        spool.remove(result)
    return n_taken
