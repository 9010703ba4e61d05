"""A headless browser, for tests that look at what a person would see.

Chromium is spoken to over a pipe, in the messages of its DevTools protocol: no port is opened and
nothing else is needed.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
PATIENCE_S = 120.0


@contextmanager
def browser(profile: Path, *, size: tuple[int, int] = (1500, 1100)) -> Iterator["Page"]:
    """One empty page of a browser of its own; gone when the block ends."""
    chromium = shutil.which("chromium")
    assert chromium, "install chromium: this test looks at a page in a browser"
    (to_read, to_chromium), (from_chromium, to_write) = os.pipe(), os.pipe()
    # Chromium reads its file descriptor 3 and writes to 4.
    shell = f'exec "$@" 3<&{to_read} 4>&{to_write}'
    flags = (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}")
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", chromium, *flags],
        pass_fds=(to_read, to_write),
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Page(to_chromium, from_chromium)
    finally:
        os.close(to_chromium)  # the browser leaves when nobody speaks to it
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(from_chromium)


class Page:
    """A page that goes where it is told, runs scripts and shows itself."""

    def __init__(self, to_chromium: int, from_chromium: int) -> None:
        self._to, self._from = to_chromium, from_chromium
        self._unread = b""
        self._n_sent = 0
        self._session: str | None = None
        self.console: list[str] = []
        """What the page's scripts complained about."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime"):
            self._call(f"{domain}.enable")

    def before_each_load(self, script: str) -> None:
        """Run a script on every document before its own."""
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def go(self, address: str) -> None:
        """Open an address; wait for what it shows with `wait_for`."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + PATIENCE_S
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}\n{self.text()[:2000]}"
            time.sleep(0.2)

    def text(self) -> str:
        """What there is to read."""
        return str(self.run("document.body.innerText"))

    def picture(self, path: Path) -> None:
        """Write what there is to see as a PNG."""
        shot = self._call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._n_sent += 1
        message: dict[str, Any] = {"id": self._n_sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._n_sent:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") == "Runtime.exceptionThrown":
                self.console.append(json.dumps(answer["params"]["exceptionDetails"])[:500])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            piece = os.read(self._from, 1 << 16)
            assert piece, "the browser went away"
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))
