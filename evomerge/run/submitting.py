"""`submit`: a run as a job of a Ray cluster, followed from here to its end."""

import shlex
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from evomerge.config.read import read_experiment
from evomerge.errors import ConfigError, InfrastructureError, UsageError
from evomerge.records import NO_CODE, Permissions
from evomerge.run.places import default_run_dir
from evomerge.workers.jobs import JobEnd, JobServer

LOOPBACK = ("localhost", "127.0.0.1", "::1")

VARIABLES = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
"""The environment of the run on the cluster."""


@dataclass(frozen=True)
class Submission:
    """A run as the cluster is asked for it.

    Args:
        config: the experiment file, as the cluster finds it.
        run_dir: the run directory on the cluster, absolute.
        workers: a number, or `auto`.
        overrides: `key.path=value` each.
        working_dir: a folder that is uploaded, in which `config` lies.
        permissions: what tasks may do there beyond templates.
    """

    config: str
    run_dir: str
    workers: str
    overrides: tuple[str, ...] = ()
    working_dir: Path | None = None
    permissions: Permissions = NO_CODE

    @property
    def command(self) -> str:
        """What the cluster's head runs."""
        sets = ["address=auto", f"workers={self.workers}", *self.overrides]
        words = ["python", "-m", "evomerge", "run", self.config]
        words += [word for override in sets for word in ("--set", override)]
        return shlex.join([*words, "--out", self.run_dir, *self.permissions.flags])


def submission(
    config: Path,
    *,
    workers: str = "auto",
    overrides: Sequence[str] = (),
    out: Path | None = None,
    working_dir: Path | None = None,
    permissions: Permissions = NO_CODE,
) -> Submission:
    """What to ask of the cluster, with as much checked as can be seen from here.

    Raises:
        ConfigError: the experiment file is here and has problems of form.
        UsageError: a path can mean nothing on the cluster.
    """
    if workers != "auto" and not (workers.isascii() and workers.isdigit() and int(workers) > 0):
        raise UsageError(f"found --workers {workers}; expected a number from 1 on, or `auto`")
    found = _here(config, working_dir)
    sets = ("address=auto", f"workers={workers}", *overrides)
    if found is not None and (problems := read_experiment(found, sets).problems):
        raise ConfigError(problems)
    return Submission(
        config=str(config if working_dir else found or config),
        run_dir=str(_run_dir(config, out, is_elsewhere=found is None or working_dir is not None)),
        workers=workers,
        overrides=tuple(overrides),
        working_dir=working_dir,
        permissions=permissions,
    )


def submit(wanted: Submission, url: str, *, wait: bool = True) -> int:
    """Hand the run to the cluster and follow it; its exit code, 0 where nobody waits.

    Raises:
        UsageError: the URL is none.
        InfrastructureError: the cluster cannot be reached, or does not take the job.
    """
    _check_url(url)
    server = JobServer(url)
    job_id = _job_id(PurePosixPath(wanted.run_dir).name)
    server.submit(wanted.command, job_id, working_dir=wanted.working_dir, variables=VARIABLES)
    print(f"Job {job_id} on {url}: {wanted.command}", flush=True)
    again = (
        f"Look again:  {server.command('logs --follow', job_id)}\n"
        f"Stop it:     {server.command('stop', job_id)}   (submit it again to go on)"
    )
    if not wait:
        print(again)
        return 0
    try:
        return _exit_code(server.follow(job_id, _write), job_id)
    except KeyboardInterrupt:
        print(f"\nStopped following; the search goes on.\n{again}", file=sys.stderr)
        return 130


def diagnose_there(config: Path | None, url: str, *, as_json: bool = False) -> int:
    """Run `evomerge doctor` on the head of a cluster and print what it prints; its exit code.

    Raises:
        UsageError: the URL is none.
        InfrastructureError: the cluster cannot be reached, or does not take the job.
    """
    _check_url(url)
    server = JobServer(url)
    job_id = _job_id("doctor")
    command = doctor_command(config, as_json=as_json)
    server.submit(command, job_id, working_dir=None, variables=VARIABLES)
    return _exit_code(server.follow(job_id, _write), job_id)


def doctor_command(config: Path | None, *, as_json: bool) -> str:
    """What the head runs to look at its cluster."""
    words = ["python", "-m", "evomerge", "doctor", "--address", "auto"]
    if as_json:
        words.append("--json")
    if config is not None:
        words.append(str(config.resolve() if config.exists() else config))
    return shlex.join(words)


def _job_id(subject: str) -> str:
    return f"evomerge-{subject}-{uuid.uuid4().hex[:8]}"


def _here(config: Path, working_dir: Path | None) -> Path | None:
    """The experiment file as it is found here, absolute; None where only the cluster has it."""
    if working_dir is None:
        if config.is_file():
            return config.resolve()
        if config.is_absolute():
            return None
        raise UsageError(
            f"there is no {config} here; expected an experiment file that the cluster has at the "
            "same path, an absolute path on the cluster, or a file in the folder of --working-dir"
        )
    if config.is_absolute() or not (working_dir / config).is_file():
        raise UsageError(
            f"there is no {config} in {working_dir}; with --working-dir the experiment file is "
            "named relative to that folder"
        )
    return (working_dir / config).resolve()


def _run_dir(config: Path, out: Path | None, *, is_elsewhere: bool) -> Path:
    if out is None and not is_elsewhere:
        return default_run_dir(config).absolute()
    if out is not None and (out.is_absolute() or not is_elsewhere):
        return out.absolute()
    found = "no --out" if out is None else f"--out {out}"
    raise UsageError(
        f"found {found}; expected an absolute path on the cluster, on a disk that outlives it, "
        "such as --out /home/me/runs/first: nothing here says where runs lie there"
    )


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"found --address {url}; expected the URL of the cluster's job server, such as "
            "http://127.0.0.1:8265 at the end of a tunnel to its head"
        )
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        print(
            f"warning: the token goes to {parts.hostname} unencrypted; a tunnel to the head's "
            "loopback address would hide it",
            file=sys.stderr,
        )


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _exit_code(end: JobEnd, job_id: str) -> int:
    """The run's own exit code.

    Raises:
        InfrastructureError: the job ended without one.
    """
    if end.status == "SUCCEEDED":
        return 0
    if end.exit_code:
        return end.exit_code if end.exit_code > 0 else 128 - end.exit_code
    raise InfrastructureError(
        f"job {job_id} ended as {end.status}: {end.message}; what was scored is in its run "
        "directory, submit it again to go on"
    )
