"""Benchmarks as they are called: a table, and with `--json` one JSON object as the last line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "experiments" / "benchmarks"


def last_line(*arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, *arguments, "--json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=BENCHMARKS.parents[1],
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    chance = 1 / (1 + np.exp(rng.normal(size=40) - 1.5 * rng.normal(size=(60, 1))))
    rows = (rng.random(chance.shape) < chance).astype(int)
    path = tmp_path_factory.mktemp("matrix") / "made_up.csv"
    header = "model," + ",".join(map(str, range(40)))
    lines = [f"m{place}," + ",".join(map(str, row)) for place, row in enumerate(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_the_comparison_of_estimators_on_a_table_of_ones_own(table: Path) -> None:
    script = str(BENCHMARKS / "estimate" / "run.py")
    options = ("--matrix", str(table), "--calibration", "30", "--seeds", "4", "--draws", "2")
    found = last_line(script, *options)
    rows = {row["estimator"]: row for row in found["rows"]}
    assert rows.keys() >= {"mean", "stratified", "anchors", "p-IRT", "gp-IRT", "ridge", "GREG"}
    assert rows.keys() >= {"mp-IRT", "gmp-IRT", "ours"}
    assert {row["items"] for row in rows.values()} == {20}
    assert rows["mean"]["ratio"] == 1.0
    assert rows["ours"]["above"] == 0.0
    assert rows["ours"]["above_se"] == 0.0
    assert rows["mean"]["above_se"] > 0.0
    assert rows["p-IRT"]["coverage"] is None
    assert found["wins"][0]["cells"] == 1
    assert found["pooled"][0]["task"] == "all"


def test_the_search_benchmark() -> None:
    script = str(BENCHMARKS / "search" / "run.py")
    found = last_line(script, "--seeds", "1", "--evaluations", "16")
    assert {row["controller"] for row in found["rows"]} == {"nsga2", "tpe", "random"}
