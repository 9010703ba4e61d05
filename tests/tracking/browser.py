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
from collections.abc import Callable, Iterator
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
WITHOUT_ASSISTANT = """
if (location.protocol == 'http:') {
  localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
  localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
}"""
"""What keeps a panel closed that MLflow's pages open at a first visit."""


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
        self._frames: list[tuple[str, int]] = []
        self._session: str | None = None
        self.console: list[str] = []
        """What the page's scripts complained about."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime"):
            self._call(f"{domain}.enable")
        self._call(
            "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True
        )

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
        self._wait(lambda: bool(self.run(script)), script)

    def wait_for_inside(self, script: str) -> None:
        """Wait until a JavaScript expression is true in a frame of the page."""
        self._wait(lambda: any(self._run_in(frame, script) for frame in [*self._frames]), script)

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end, f"never true: {what}\n{self.text()[:2000]}"
            time.sleep(0.2)

    def _run_in(self, frame: tuple[str, int], script: str) -> Any:
        session, context = frame
        try:
            answer = self._call(
                "Runtime.evaluate",
                session,
                expression=script,
                contextId=context,
                returnByValue=True,
            )
        except LookupError:  # the frame has gone
            return None
        return answer["result"].get("value")

    def text(self) -> str:
        """What there is to read."""
        return str(self.run("document.body.innerText"))

    def picture(self, path: Path) -> None:
        """Write what there is to see as a PNG."""
        shot = self._call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._n_sent += 1
        number = self._n_sent
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session or self._session:
            message["sessionId"] = session or self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._notice(answer)
        if "error" in answer:
            raise LookupError(answer["error"])
        return dict(answer["result"])

    def _notice(self, event: dict[str, Any]) -> None:
        """Remember complaints, and the frames in which scripts can run, by session and context."""
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.console.append(json.dumps(params["exceptionDetails"])[:500])
            case "Runtime.executionContextCreated":
                self._frames.append((event["sessionId"], params["context"]["id"]))
            case "Target.attachedToTarget" if "sessionId" in event:
                # A frame in a process of its own has a session of its own.
                text = {"method": "Runtime.enable", "id": 0, "sessionId": params["sessionId"]}
                os.write(self._to, json.dumps(text).encode() + b"\0")

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            piece = os.read(self._from, 1 << 16)
            assert piece, "the browser went away"
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))
