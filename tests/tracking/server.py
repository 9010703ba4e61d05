"""A real MLflow server that can be killed and started again, and what stands between it and us."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from evomerge.tracking.ui import mlflow_ui_environment

PATIENCE_S = 240.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(address: str) -> str:
    """The address, once it answers."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310
                assert answer.status == 200
                return address
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.5)


class Server:
    """An MLflow server with a database of its own, always on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Serve; returns when it answers."""
        if self._process is None:
            store = ["--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}"]
            place = ["--artifacts-destination", str(self._folder / "artifacts")]
            address = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *store, *place, *address],
                env={**os.environ, **mlflow_ui_environment()},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        wait_for(self.address)

    def kill(self) -> None:
        """End it and all its processes in the middle of whatever they do."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Careless:
    """Passes requests on to a server, and every now and then loses the answer.

    What the request asked for has been done then, and whoever asked does not know.
    """

    def __init__(self, server: Server, *, loses: float, seed: int = 0) -> None:
        self._port = int(server.address.rpartition(":")[2])
        self._chance = loses
        self._rng = random.Random(seed)  # noqa: S311 - dice, not secrets
        self._door = socket.create_server(("127.0.0.1", 0))
        self.n_lost = 0
        self.address = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        self._door.close()

    def _serve(self) -> None:
        while True:
            try:
                guest, _ = self._door.accept()
            except OSError:
                return
            host = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._pass, args=(guest, host, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(host, guest, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        try:
            while piece := source.recv(1 << 16):
                if is_answer and self._rng.random() < self._chance:
                    self.n_lost += 1
                    break
                target.sendall(piece)
        except OSError:
            pass
        for each in (source, target):
            each.close()
