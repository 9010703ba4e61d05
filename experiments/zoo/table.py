"""Render the published tables from the study's results.

python experiments/zoo/table.py results/seed-0.json [...]
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Results = Mapping[str, Mapping[str, Sequence[int]]]

SKILLS = ("math", "german", "lists", "math_de")
TASKS = (*SKILLS, "say_english", "say_german")
COMPARISONS = (
    ("best global scalar", "uniform average"),
    ("per-expert scalars", "best global scalar"),
    ("layer-wise", "per-expert scalars"),
)


def accuracy(items: Sequence[int]) -> tuple[float, float]:
    """Return the mean of right and wrong answers and its standard error."""
    mean = float(np.mean(items))
    return mean, math.sqrt(mean * (1.0 - mean) / (len(items) - 1))


def mean_of_skills(results: Mapping[str, Sequence[int]]) -> tuple[float, float]:
    """Return the mean accuracy over the skills and its standard error."""
    means, errors = zip(*(accuracy(results[skill]) for skill in SKILLS), strict=True)
    return float(np.mean(means)), float(np.linalg.norm(errors)) / len(SKILLS)


def paired_difference(
    better: Mapping[str, Sequence[int]], worse: Mapping[str, Sequence[int]]
) -> tuple[float, float]:
    """Return the difference of two means of skills and its standard error, paired by item."""
    differences = [np.subtract(better[skill], worse[skill]) for skill in SKILLS]
    means = [difference.mean() for difference in differences]
    errors = [d.std(ddof=1) / math.sqrt(len(d)) for d in differences]
    return float(np.mean(means)), float(np.linalg.norm(errors)) / len(SKILLS)


def model_table(results: Results) -> str:
    """Return a Markdown table: accuracy ± standard error of every model on every task."""
    lines = [f"| Model | {' | '.join(TASKS)} | mean of skills |", "|---" * (len(TASKS) + 2) + "|"]
    for name, tasks in results.items():
        cells = [_cell(*accuracy(tasks[task])) for task in TASKS]
        lines.append(f"| {name} | {' | '.join(cells)} | {_cell(*mean_of_skills(tasks))} |")
    return "\n".join(lines)


def comparison_table(results: Results) -> str:
    """Return a Markdown table of paired differences with their 95 % intervals."""
    lines = ["| Difference of the means of skills | estimate | 95 % interval |", "|---|---|---|"]
    for better, worse in COMPARISONS:
        mean, error = paired_difference(results[better], results[worse])
        low, high = mean - 1.96 * error, mean + 1.96 * error
        lines.append(f"| {better} − {worse} | {mean:+.3f} | {low:+.3f} to {high:+.3f} |")
    return "\n".join(lines)


def _cell(mean: float, error: float) -> str:
    return f"{mean:.3f} ± {error:.3f}"


def main() -> None:
    for path in sys.argv[1:]:
        study = json.loads(Path(path).read_text())
        print(f"### Seed {study['seed']}\n")
        print(model_table(study["results"]), "\n", comparison_table(study["results"]), "", sep="\n")


if __name__ == "__main__":
    main()
