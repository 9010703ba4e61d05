"""A driver to be killed: `python -m tests.chaos.driver FOLDER --evaluations 60 --workers 4`.

Begins or continues the made-up search in a folder's journal; collects what the spool holds first,
as a run does.
"""

import argparse
from functools import partial
from pathlib import Path

from evomerge.journal.spool import Spool
from evomerge.workers.cluster import connect
from evomerge.workers.ray_pool import RayPool
from tests.chaos.evaluators import Waiting
from tests.chaos.made_up import run_in


def main() -> None:
    """Parse, connect, search."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--address", default=None)
    options = parser.parse_args()
    cluster = connect(options.address, workers=options.workers)
    pool = RayPool(
        partial(Waiting, options.seconds),
        workers=options.workers,
        spool=options.folder / "spool",
        release=cluster.disconnect,
    )
    spool = Spool(options.folder / "spool")
    try:
        run_in(options.folder / "journal.db", pool, options.evaluations, spool=spool)
    finally:
        pool.close()


if __name__ == "__main__":
    main()
