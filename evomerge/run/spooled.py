"""What workers had finished when the driver before this one died."""

from evomerge.errors import InfrastructureError
from evomerge.journal.spool import Spool
from evomerge.run.record import Record

SPOOL_NAME = "spool"
"""Folder of the run directory in which workers leave results."""


def collect(spool: Spool, record: Record) -> int:
    """Make the spool ready, and journal its results of jobs that the run handed out; how many.

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
        if key in record.state.n_attempts and key not in record.state.results:
            record.append_result(result)
            n_taken += 1
        spool.remove(result)
    return n_taken
