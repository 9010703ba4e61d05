"""Two nodes of a Ray cluster on this machine's loopback address, each a real `ray start`."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

REPOSITORY = Path(__file__).parents[2]
START_S = 180.0
"""Seconds that a node may take to start on a busy machine."""

ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Keeps Ray on 127.0.0.1, where it would take the address of the network card instead."""

RAY = (
    # With that set `ray start` joins no cluster, so it is unset for this one process alone.
    "import ray._private.ray_constants as constants, ray._private.services as services;"
    "constants.ENABLE_RAY_CLUSTER = True;"
    "services.get_node_ip_address = lambda *_: '127.0.0.1';"
    "from ray.scripts.scripts import main; main()"
)


class TwoNodes:
    """A head without cores and a worker node with two; further worker nodes may come and go."""

    def __init__(self, folder: Path) -> None:
        gcs, dashboard, self._client = free_ports(3)
        self._folder = folder
        self._stack = ExitStack()
        self._dashboard = dashboard
        self._gcs = gcs
        self.workers: list[subprocess.Popen[bytes]] = []
        self.url = f"http://127.0.0.1:{dashboard}"
        self.address = f"127.0.0.1:{gcs}"
        self.environment = _environment(folder / "token")

    def start(self) -> None:
        """The head, then the first worker node."""
        self._start_node(
            "head",
            *("--head", f"--port={self._gcs}", "--num-cpus=0"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard}"),
            f"--ray-client-server-port={self._client}",
        )
        self.add_worker_node()

    def add_worker_node(self) -> None:
        """Another node with two cores joins."""
        name = f"worker-{len(self.workers)}"
        self.workers.append(self._start_node(name, f"--address={self.address}", "--num-cpus=2"))

    def kill_worker_node(self) -> None:
        """The first worker node that is there is gone at once: its raylet dies by SIGKILL."""
        for process in psutil.Process(self.workers.pop(0).pid).children(recursive=True):
            if process.name() == "raylet":
                process.kill()

    def stop(self) -> None:
        """End what was started, nothing else."""
        self._stack.close()

    def _start_node(self, name: str, *own: str) -> "subprocess.Popen[bytes]":
        # Ray's sockets lie below it, and their paths must be short.
        temporary = self._stack.enter_context(_short_folder())
        [agent] = free_ports(1)
        shared = [f"--dashboard-agent-listen-port={agent}", f"--temp-dir={temporary}"]
        node = _node([*own, *shared], self.environment, self._folder / f"{name}.log")
        return self._stack.enter_context(node)


@contextmanager
def two_nodes(folder: Path) -> Iterator[TwoNodes]:
    """Start both with a token of their own, and end what was started, nothing else."""
    nodes = TwoNodes(folder)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()


def _environment(token: Path) -> dict[str, str]:
    """Of the nodes and of whoever talks to them."""
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        **ON_LOOPBACK,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@contextmanager
def _node(
    arguments: list[str], environment: dict[str, str], log: Path
) -> "Iterator[subprocess.Popen[bytes]]":
    command = [
        *(sys.executable, "-c", RAY, "start", "--block", "--node-ip-address=127.0.0.1"),
        *("--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"),
        *arguments,
    ]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for("block forever", log, process)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(text: str, log: Path, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    while text not in log.read_text():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"a node does not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.5)


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for own in sockets:
            own.bind(("127.0.0.1", 0))
        return [own.getsockname()[1] for own in sockets]


@contextmanager
def _short_folder() -> Iterator[str]:
    with TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder
