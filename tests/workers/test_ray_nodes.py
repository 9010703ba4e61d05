"""Nodes come and go while jobs run, and a node with other models is not worked on."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import TinyZoo

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SCRIPT = Path(__file__).with_name("nodes.py")


def report(*arguments: str) -> Any:
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "RAY_AUTH_TOKEN": secrets.token_hex(32)},
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_a_node_that_dies_and_one_that_joins_lose_and_repeat_nothing() -> None:
    assert report() == {"lost": 0, "repeated": 0, "nodes": 3}


def test_a_node_with_another_model_is_an_error_that_names_both(tiny_zoo: TinyZoo) -> None:
    error = report(str(tiny_zoo.base))["error"]
    assert "no worker could be started" in error
    assert f"ModelError: the model base in {tiny_zoo.base} on " in error
