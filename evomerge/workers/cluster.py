"""The Ray that workers run on: one of our own on this machine, or one that is joined."""

import math
import os
import re
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from evomerge.errors import InfrastructureError
from evomerge.workers import ray_private
from evomerge.workers.guardian import Guardian
from evomerge.workers.resources import WorkerResources

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 100 << 20  # for the tasks; models are mapped from their files
REACH_S = 5.0
"""Seconds that the head of a cluster may take to accept a connection."""
ORDERLY_S = 3.0
"""Seconds in which the processes of a local Ray may end by themselves."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
CONNECTING = {
    "log_to_driver": False,
    "configure_logging": False,
    "ignore_reinit_error": False,
}


@dataclass(frozen=True)
class Cluster:
    """A connection of this process to Ray."""

    node: str
    """Id of the node that this process is on."""
    guardian: Guardian | None = None
    """Who cleans up a Ray of our own; None for one that was joined."""

    @property
    def local(self) -> bool:
        """Whether this Ray was started for us, and ends with us."""
        return self.guardian is not None

    def disconnect(self) -> None:
        """Leave; a Ray of our own ends."""
        if self.guardian is None:
            ray.shutdown()
            return
        # Ray is slow to shut down where some of its processes are stuck or were ended by others.
        impatience = threading.Timer(ORDERLY_S, self.guardian.dismiss)
        impatience.start()
        ray.shutdown()
        impatience.cancel()
        impatience.join()
        self.guardian.dismiss()


def connect(
    address: str | None, *, workers: int | None = None, resources: WorkerResources | None = None
) -> Cluster:
    """Start a Ray on this machine, or join the one at the address.

    Args:
        address: None to start one; else `auto` for that of this machine or of the Ray job that this
            process is part of, or `host:port` of a head of whose cluster this machine is a node.
        workers: how many a local Ray must have room for, even with fewer cores.
        resources: what each takes.

    Raises:
        InfrastructureError: Ray does not start, there is nobody at the address, or it refuses us.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray_private.print_nothing()
    if address is None:
        return _start(workers or 1, resources or WorkerResources())
    return _join(address)


def node_resources() -> list[Mapping[str, float]]:
    """The total resources of each living node.

    Raises:
        InfrastructureError: the node of this process is none of them, so that nothing it asks for
            will ever come.
    """
    alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    if _node_id() not in alive:
        raise InfrastructureError(
            "Ray's own process on this machine (the raylet) is gone, and with it the workers; what "
            "was scored is safe: have Ray run here again where evomerge does not start it, then "
            "resume"
        )
    return list(alive.values())


def _start(workers: int, resources: WorkerResources) -> Cluster:
    ray_private.stay_on_loopback()
    _require_private_token()
    ray_private.authenticate()
    guardian = Guardian()
    try:
        with guardian.marking(), _own_signal_handlers():
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, math.ceil(workers * resources.num_cpus)),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                _node_ip_address=LOOPBACK,
                _system_config={"prestart_worker_first_driver": False},
                **CONNECTING,
            )
    except Exception as error:
        guardian.dismiss()
        raise InfrastructureError(
            f"Ray does not start on this machine: {error}; its logs tell more, and `workers: 0` "
            "runs without it"
        ) from error
    except BaseException:
        guardian.dismiss()
        raise
    return Cluster(_node_id(), guardian)


def _join(address: str) -> Cluster:
    target = _find(address)
    if "RAY_AUTH_MODE" not in os.environ and ray_private.has_token():
        ray_private.authenticate()
    try:
        with _own_signal_handlers():
            ray.init(address=target, **CONNECTING)
    except Exception as error:
        raise InfrastructureError(
            f"the Ray cluster at {target} does not take us: {_reason(error)}"
        ) from error
    return Cluster(_node_id())


def _find(address: str) -> str:
    """`host:port` of the head that the address means, which is there: Ray would try for minutes."""
    target = _target(address)
    outside = ray_private.seen_from_outside(target)
    refusal = _refusal(outside)
    if refusal is None:
        return outside
    if _refusal(target) is None:
        ray_private.stay_on_loopback()
        return target
    raise InfrastructureError(
        f"nobody answers at {target} ({refusal}): is the head of the cluster up, and is this the "
        "port of its GCS (6379 unless told otherwise)? `ray status --address` asks it"
    )


def _target(address: str) -> str:
    found: str | None = address
    if address == "auto":
        found = os.environ.get("RAY_ADDRESS") or ray_private.started_here()
    if found is None:
        raise InfrastructureError(
            "no Ray cluster is found for the address auto: none was started on this machine, and "
            "RAY_ADDRESS is not set; start one with `ray start --head`, or give host:port"
        )
    if not re.fullmatch(r"[^/]+:\d+", found):
        raise InfrastructureError(
            f"{found} is not host:port; to run on a cluster from a machine outside it, use "
            "`evomerge submit`"
        )
    return found


def _refusal(target: str) -> str | None:
    """Why nobody answers there; None when somebody does."""
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return None


def _reason(error: BaseException) -> str:
    """What went wrong and what to do about it, from an error of Ray and those behind it."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    told = " ".join(texts)
    if "uthenticat" in told:
        return (
            "our token is missing or not the cluster's; copy the head's ~/.ray/auth_token to this "
            "machine (mode 600) or set RAY_AUTH_TOKEN_PATH, and set RAY_AUTH_MODE=token"
        )
    return (
        f"{texts[-1]}; this machine must be a node of it (`ray start --address`), or use "
        "`evomerge submit`"
    )


def _require_private_token() -> None:
    """Have a token that only this user can read; the file that Ray would make is open to all."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    path = Path.home() / ".ray" / "auth_token"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.exists():
            path.chmod(0o600)
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    except OSError as error:
        raise InfrastructureError(
            f"Ray's token cannot be kept private in {path}: {error}; set RAY_AUTH_TOKEN_PATH to a "
            "file that only you can read"
        ) from error


def _node_id() -> str:
    node: str = ray.get_runtime_context().get_node_id()
    return node


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep our handlers: Ray puts one of its own on SIGTERM, and its `SystemExit` is our signal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = {signum: signal.getsignal(signum) for signum in SIGNALS}
    terminated = False
    try:
        yield
    except SystemExit as exit_:
        terminated = exit_.code == signal.SIGTERM
        raise
    finally:
        for signum, handler in ours.items():
            signal.signal(signum, handler)
        if terminated:
            signal.raise_signal(signal.SIGTERM)
