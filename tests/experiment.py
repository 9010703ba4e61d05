"""An experiment file over the tiny zoo, for tests that run the whole house."""

from pathlib import Path

from tests.tiny import TinyZoo

TEMPLATE = """\
base: {base}
experts: {{red: {red}, blue: {blue}}}
tasks_path: {tasks}
objectives:
  - {{task: words_search, test: words_test}}
  - {{task: choice_search, test: choice_test}}
merge: {{method: {method}}}
search: {{controller: nsga2, population: 4, window: {window}}}
scoring: {{items: 12, threads: 1}}
budget: {{evaluations: {evaluations}}}
mode: {mode}
seed: {seed}
tracking: {{mlflow: {mlflow}}}
"""


def write_experiment(
    folder: Path,
    zoo: TinyZoo,
    *,
    evaluations: int = 20,
    window: int = 4,
    method: str = "task_arithmetic",
    seed: int = 0,
    mode: str = "deterministic",
    mlflow: bool = False,
) -> Path:
    """`folder/experiment.yaml`: two objectives, five generations of four by default."""
    path = folder / "experiment.yaml"
    text = TEMPLATE.format(
        base=zoo.base,
        red=zoo.experts["red"],
        blue=zoo.experts["blue"],
        tasks=zoo.tasks_path,
        method=method,
        window=window,
        evaluations=evaluations,
        mode=mode,
        seed=seed,
        mlflow=str(mlflow).lower(),
    )
    path.write_text(text)
    return path
