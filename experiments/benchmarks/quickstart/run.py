"""Does the quickstart's front beat what one has without a search? Five seeds, paired on test items.

    python experiments/benchmarks/quickstart/run.py [--seeds 5] [--out DIR] [--json]

For each seed: the member that search and selection items choose (the report's star) and the best of
the front, each against its strongest rival among the experts and the uniform average, on the mean
of the objectives over the test items. The lower bound is that of the paired 95 % interval: items
are the pairs, objectives are averaged, the standard error is √(Σ s²/n) / n_objectives.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from evomerge.journal.state import RunState
from evomerge.records import Estimate, ItemScores, Member
from evomerge.run.calibration import objectives_of
from evomerge.run.directory import read_run
from evomerge.run.view import comparison

CONFIG = Path(__file__).parents[2] / "quickstart.yaml"


@dataclass(frozen=True)
class Row:
    """One seed: means on the test items, and lower bounds against the strongest rival."""

    seed: int
    n_front: int
    strongest_rival: str
    rival_mean: float
    chosen_mean: float
    chosen_lower: float
    best_mean: float
    best_lower: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart-seeds"))
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    arguments = parser.parse_args()
    rows = [measure(seed, arguments.out / f"seed-{seed}") for seed in range(arguments.seeds)]
    print("seed  front  strongest rival      chosen (95 % lower)   best (95 % lower)   seconds")
    for row in rows:
        print(
            f"{row.seed:>4}  {row.n_front:>5}  {row.strongest_rival:<12} {row.rival_mean:.3f}"
            f"    {row.chosen_mean:.3f} ({row.chosen_lower:+.3f})      "
            f"{row.best_mean:.3f} ({row.best_lower:+.3f})   {row.seconds:7.1f}"
        )
    n_won = sum(row.best_lower > 0 for row in rows)
    print(
        f"some front member beats every expert and the uniform average: {n_won}/{len(rows)} seeds"
    )
    if arguments.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "n_won": n_won}))


def measure(seed: int, run_dir: Path) -> Row:
    """Run the quickstart with a seed and compare its front with its baselines."""
    start = time.monotonic()
    command = ["run", str(CONFIG), "--set", f"seed={seed}", "--out", str(run_dir)]
    subprocess.run([sys.executable, "-m", "evomerge", *command], check=True, stdout=sys.stderr)  # noqa: S603
    seconds = time.monotonic() - start
    state, plan = read_run(run_dir)
    shown = comparison(state, objectives_of(plan, state), plan.baselines)
    rivals = {name: shown.baselines[name] for name in (*plan.experts, "uniform")}
    strongest = max(rivals, key=lambda name: test_mean(rivals[name]))
    chosen = max(shown.front, key=lambda member: mean_of(member.objectives))
    best = max(shown.front, key=test_mean)
    return Row(
        seed=seed,
        n_front=len(shown.front),
        strongest_rival=strongest,
        rival_mean=test_mean(rivals[strongest]),
        chosen_mean=test_mean(chosen),
        chosen_lower=min(lower_bound(state, chosen, rival) for rival in rivals.values()),
        best_mean=test_mean(best),
        best_lower=min(lower_bound(state, best, rival) for rival in rivals.values()),
        seconds=seconds,
    )


def test_mean(member: Member) -> float:
    return mean_of(member.test)


def mean_of(estimates: Mapping[str, Estimate]) -> float:
    return statistics.fmean(estimate.mean for estimate in estimates.values())


def lower_bound(state: RunState, member: Member, rival: Member) -> float:
    """The paired 95 % lower bound of the difference of the means of the objectives."""
    ours, theirs = _test_scores(state, member), _test_scores(state, rival)
    means, variances = [], []
    for task, scores in ours.tasks.items():
        differences = [a - b for a, b in zip(scores.values, theirs.tasks[task].values, strict=True)]
        means.append(statistics.fmean(differences))
        variances.append(statistics.variance(differences) / len(differences))
    return statistics.fmean(means) - 1.96 * math.sqrt(sum(variances)) / len(means)


def _test_scores(state: RunState, member: Member) -> ItemScores:
    result = state.result(member.id, "test")
    if not isinstance(result, ItemScores):
        raise TypeError(f"{member.id} has no test scores: {result}")
    return result


if __name__ == "__main__":
    main()
