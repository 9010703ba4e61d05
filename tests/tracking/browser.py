"""A headless browser, for tests that look at what a person would see."""

import shutil
import subprocess
from pathlib import Path

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--dump-dom",
)


def dump_dom(address: str, profile: Path, *, budget_ms: int = 8_000) -> tuple[str, list[str]]:
    """The document after its scripts ran, and what they wrote to the console."""
    browser = shutil.which("chromium")
    assert browser, "install chromium: this test looks at a page in a browser"
    done = subprocess.run(
        [
            browser,
            *_FLAGS,
            f"--virtual-time-budget={budget_ms}",
            f"--user-data-dir={profile}",
            address,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
