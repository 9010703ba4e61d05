"""The process of one worker on a Ray cluster."""

import logging
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import ray

from evomerge.journal.spool import Spool
from evomerge.records import Failure, Job, Result
from evomerge.workers.evaluator import Evaluator, attempt
from evomerge.workers.resources import WorkerResources

log = logging.getLogger(__name__)


class WorkerProcess:
    """What Ray runs: `hello` as soon as there is a process, `start` once, then `run` job by job."""

    def __init__(self, spool: Path | None) -> None:
        self._spool = None if spool is None else Spool(spool)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the driver

    def hello(self) -> str:
        """The id of the node on which this process is."""
        node: str = ray.get_runtime_context().get_node_id()
        return node

    def start(self, factory: Callable[[], Evaluator]) -> str:
        """Build the evaluator, which may take long, as may the imports of its factory; its name.

        Raises:
            Exception: whatever the factory raises.
        """
        self._evaluator = factory()
        return self._evaluator.name

    def run(self, job: Job) -> Result:
        """The job's result, on disk before it is sent where this node sees the spool."""
        result = attempt(self._evaluator, job)
        if self._spool is not None and not isinstance(result, Failure):
            self._keep(self._spool, result)
        return result

    def _keep(self, spool: Spool, result: Result) -> None:
        if not spool.folder.is_dir():
            return
        try:
            spool.put(result)
        except OSError as error:  # a full disk must not fail a candidate that was scored
            log.warning("the result of %s is not spooled: %s", result.candidate_id, error)


def launch(
    spool: Path | None, resources: WorkerResources, environment: Mapping[str, str]
) -> "ray.actor.ActorHandle":
    """Ask Ray for a worker process; it comes to life when a node has room.

    Ray's own retries are off: it would run a job twice, and not in order.
    """
    options = {
        "num_cpus": resources.num_cpus,
        "num_gpus": resources.num_gpus,
        "memory": resources.memory_bytes,
        "resources": dict(resources.custom),
        "max_restarts": 0,
        "max_task_retries": 0,
        "runtime_env": {"env_vars": dict(environment)},
    }
    return ray.remote(WorkerProcess).options(**options).remote(spool)
