"""The job server of a Ray cluster: hand over a command, follow its output, learn how it ended."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import ray.exceptions
from ray.job_submission import JobSubmissionClient

from evomerge.errors import InfrastructureError
from evomerge.workers import ray_private

OUTAGE_S = 60.0
"""How long the job server may be out of reach before one stops following."""
AGENT_S = 30.0
"""How long a head that has just started may take until it accepts jobs."""
NO_AGENT = "No available agent"
PAUSE_S = 1.0
"""Seconds between two looks at a job that says nothing."""

logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.ERROR)

_TRANSIENT = (RuntimeError, OSError, aiohttp.ClientError)
"""What the client raises while the server or the way to it is away."""


@dataclass(frozen=True)
class JobEnd:
    """How a job ended: Ray's word, the exit code of its command if it had one, Ray's message."""

    status: str
    exit_code: int | None
    message: str


class JobServer:
    """The job server at a URL.

    Raises:
        InfrastructureError: nothing answers there, it refuses the token, or it is none.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # Either would override the URL that was asked for.
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            os.environ.pop(name, None)
        ray_private.authenticate()
        try:
            self._client = JobSubmissionClient(url)
        except ray.exceptions.AuthenticationError as error:
            raise InfrastructureError(
                f"the cluster at {url} refused us: it wants the token that it was started with; "
                "put that into ~/.ray/auth_token (readable by you alone, chmod 600), or into "
                "RAY_AUTH_TOKEN"
            ) from error
        except (ConnectionError, OSError) as error:
            raise InfrastructureError(
                f"no job server answers at {url}; expected the dashboard of a Ray cluster, which "
                "listens on the head's loopback address, port 8265: is the tunnel to it open? "
                "(`ray dashboard CLUSTER.yaml`, or ssh -L 8265:127.0.0.1:8265 HEAD)"
            ) from error
        except (RuntimeError, KeyError, ValueError) as error:
            raise InfrastructureError(
                f"what answers at {url} is no job server of Ray 2: {error}; expected its dashboard"
            ) from error

    def submit(
        self, command: str, job_id: str, *, working_dir: Path | None, variables: Mapping[str, str]
    ) -> None:
        """Start a shell command on the head, which it takes no resources of.

        Args:
            command: what a shell on the head runs.
            job_id: a new name for the job.
            working_dir: a folder to upload and to run the command in; at most some hundred MB.
            variables: of the command's environment.

        Raises:
            InfrastructureError: the cluster does not take it.
        """
        environment: dict[str, object] = {"env_vars": dict(variables)}
        if working_dir is not None:
            environment["working_dir"] = str(working_dir)
        until_s = time.monotonic() + AGENT_S
        while True:
            try:
                self._client.submit_job(
                    entrypoint=command, submission_id=job_id, runtime_env=environment
                )
            except (*_TRANSIENT, ValueError) as error:
                if NO_AGENT in str(error) and time.monotonic() < until_s:
                    time.sleep(PAUSE_S)
                    continue
                raise InfrastructureError(
                    f"the cluster at {self.url} did not take the job: {error} {_advice(error)}"
                ) from error
            return

    def follow(self, job_id: str, write: Callable[[str], None]) -> JobEnd:
        """Give the job's output to `write` as it appears, from its beginning; how it ended.

        Raises:
            InfrastructureError: the job server has been out of reach for a minute.
        """
        n_seen, seen_s = 0, time.monotonic()

        def write_new(text: str, start: int) -> None:
            nonlocal n_seen
            write(text[max(n_seen - start, 0) :])
            n_seen = max(n_seen, start + len(text))

        while True:
            begun_s = time.monotonic()
            try:
                asyncio.run(self._tail(job_id, write_new))
                end = self._end(job_id)
                if end is not None:
                    return end
                seen_s = time.monotonic()
            except _TRANSIENT as error:
                now_s = time.monotonic()
                seen_s = now_s if now_s - begun_s > OUTAGE_S else seen_s  # it was there till now
                if now_s - seen_s > OUTAGE_S:
                    raise InfrastructureError(self._lost(job_id, error)) from error
            time.sleep(PAUSE_S)

    def command(self, verb: str, job_id: str) -> str:
        """What to type to do something with a job later; `verb` as in `ray job --help`."""
        return f"RAY_AUTH_MODE=token ray job {verb} --address {self.url} {job_id}"

    def _lost(self, job_id: str, error: Exception) -> str:
        return (
            f"lost sight of job {job_id}: {error}; it goes on without us. Look again with: "
            f"{self.command('logs --follow', job_id)}"
        )

    async def _tail(self, job_id: str, write: Callable[[str, int], None]) -> None:
        """Write each piece of the output with its place in the whole, until the job ends."""
        n = 0
        async for text in self._client.tail_job_logs(job_id):
            write(text, n)
            n += len(text)

    def _end(self, job_id: str) -> JobEnd | None:
        """How the job ended; None while it has not."""
        info = self._client.get_job_info(job_id)
        if not info.status.is_terminal():
            return None
        return JobEnd(str(info.status.value), info.driver_exit_code, info.message or "")


def _advice(error: Exception) -> str:
    if NO_AGENT in str(error):
        return (
            "(the head's agent does not run: is its port taken, 52365 unless `ray start` was given "
            "another --dashboard-agent-listen-port?)"
        )
    return "(a folder to upload must be small: keep models on the cluster and upload the rest)"
