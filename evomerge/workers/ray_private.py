"""The few things that Ray does as we need only through its private parts.

Each has a test that fails when a new version of Ray moves the part.
"""

import os

import ray._private.ray_constants as constants
import ray._private.services as services
import ray._private.worker as worker
from ray._raylet import AuthenticationTokenLoader, Config

LOOPBACK_ONLY = constants.ENABLE_RAY_CLUSTERS_ENV_VAR


def stay_on_loopback() -> None:
    """Have a Ray that is started from here listen on 127.0.0.1 alone.

    Left to itself it takes the address of the network card, even where 127.0.0.1 is asked for.
    """
    os.environ[LOOPBACK_ONLY] = "0"
    constants.ENABLE_RAY_CLUSTER = False


def print_nothing() -> None:
    """Keep Ray from printing on standard output that a worker died; the pool deals with it."""
    worker._worker_logs_enabled = False


def authenticate() -> None:
    """Show the token to every cluster, as Ray reads the mode only once by itself."""
    os.environ["RAY_AUTH_MODE"] = "token"
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def has_token() -> bool:
    """Whether Ray finds a token in its variables or its file."""
    found: bool = AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    return found


def started_here() -> str | None:
    """`host:port` of the cluster that `ray start` last started on this machine, if it did."""
    found: str | None = services.find_bootstrap_address(None)
    return found


def seen_from_outside(target: str) -> str:
    """`host:port` with the address of the network card for that of the loopback device.

    That is how `ray.init` reads it, and where a cluster listens unless it was told otherwise.
    """
    host, _, port = target.rpartition(":")
    return f"{services.resolve_ip_for_localhost(host)}:{port}"
