"""How long scoring takes beside lm-eval's `simple_evaluate` and beside the bare forward passes.

    python experiments/benchmarks/evaluate/run.py MODEL TASKS_PATH TASK... [--json]

All on the same model in memory, one thread, float32. `simple_evaluate` gets the same items as
`samples` and its report of the environment, which takes a second, is patched out. The best of a
few rounds, in processor seconds, so that other work on the machine disturbs little; `forward` is
the model on our own batches and nothing else. Agreement is item by item over the whole task.
"""

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from evomerge.scoring import choices, greedy, reference
from evomerge.scoring.benchmark import Benchmark, load_benchmarks
from evomerge.scoring.forward import Batch, logits_of
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Scorer
from evomerge.scoring.subset import choose_items

SIZES = (20, 120, 500)
BATCH_SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("tasks_path", type=Path)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    options = parser.parse_args()
    torch.set_num_threads(1)
    resident = ResidentModel.from_folder(options.model, dtype=torch.float32)
    benchmarks = load_benchmarks(options.tasks, tasks_path=options.tasks_path)
    scorer = Scorer(resident, benchmarks)
    rows = [
        measure(resident, scorer, benchmark, options.tasks_path.resolve(), n, options.rounds)
        for benchmark in benchmarks.values()
        for n in SIZES
        if n <= benchmark.n_items
    ]
    print_table(rows)
    if options.json:
        print(json.dumps({"rows": rows}))


def measure(
    resident: ResidentModel,
    scorer: Scorer,
    benchmark: Benchmark,
    tasks_path: Path,
    n_items: int,
    rounds: int,
) -> dict[str, object]:
    """Times and agreement on a subset of `n_items` items."""
    items = choose_items(benchmark.n_items, n_items, 0, benchmark.name)
    batches, heard = record_batches(lambda: scorer.score(benchmark.name, items))
    lm = HFLM(pretrained=resident.model, tokenizer=resident.tokenizer, batch_size=BATCH_SIZE)
    evaluated: dict[int, float] = {}

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                logits_of(resident, batch)

    def evaluate() -> None:
        evaluated.update(evaluate_with_lm_eval(lm, benchmark, tasks_path, items))

    score_s = best(lambda: scorer.score(benchmark.name, items), rounds * 3)
    forward_s = best(forward, rounds * 3)
    lm_eval_s = best(evaluate, rounds)
    scores = scorer.score(benchmark.name, items)
    return {
        "task": benchmark.name,
        "output_type": benchmark.output_type,
        "items": n_items,
        "score_s": score_s,
        "forward_s": forward_s,
        "simple_evaluate_s": lm_eval_s,
        "score_over_forward": score_s / forward_s,
        "simple_evaluate_over_score": lm_eval_s / score_s,
        "agreeing_items": sum(
            evaluated[i] == value for i, value in zip(scores.items, scores.values, strict=True)
        ),
        "generated_after_all": heard,
    }


def record_batches(score: Callable[[], object]) -> tuple[list[Batch], int]:
    """The batches of one scoring, and how many items lm-eval's model had to score."""
    batches: list[Batch] = []
    undecided: list[int] = []

    def forward(resident: ResidentModel, batch: Batch) -> torch.Tensor:
        batches.append(batch)
        return logits_of(resident, batch)

    score_items = reference.score_items

    def count(lm: HFLM, benchmark: Benchmark, items: Sequence[int]) -> object:
        undecided.extend(items)
        return score_items(lm, benchmark, items)

    with (
        mock.patch.object(choices, "logits_of", forward),
        mock.patch.object(greedy, "logits_of", forward),
        mock.patch.object(reference, "score_items", count),
    ):
        score()
    return batches, len(undecided)


def evaluate_with_lm_eval(
    lm: HFLM, benchmark: Benchmark, tasks_path: Path, items: Sequence[int]
) -> dict[int, float]:
    """The metric of each item by `simple_evaluate`, which finds data files in the work folder."""
    with (
        contextlib.chdir(tasks_path),
        contextlib.redirect_stderr(io.StringIO()),
        mock.patch("lm_eval.evaluator.add_env_info"),
    ):
        results = simple_evaluate(
            lm,
            tasks=[benchmark.name],
            task_manager=TaskManager(include_path=str(tasks_path), include_defaults=False),
            samples={benchmark.name: list(items)},
            bootstrap_iters=0,
        )
    rows = results["samples"][benchmark.name]
    return {row["doc_id"]: float(row[benchmark.metric]) for row in rows}


def best(call: Callable[[], object], rounds: int) -> float:
    """The fewest processor seconds of a few calls."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def print_table(rows: Sequence[dict[str, object]]) -> None:
    print(
        f"{'task':<18}{'items':>6}{'score':>9}{'forward':>9}{'lm-eval':>9}"
        f"{'/forward':>10}{'speed-up':>10}{'agree':>8}{'generated':>11}"
    )
    for row in rows:
        print(
            f"{row['task']:<18}{row['items']:>6}{row['score_s']:>8.3f}s{row['forward_s']:>8.3f}s"
            f"{row['simple_evaluate_s']:>8.3f}s{row['score_over_forward']:>10.2f}"
            f"{row['simple_evaluate_over_score']:>10.1f}{row['agreeing_items']:>8}"
            f"{row['generated_after_all']:>11}"
        )


if __name__ == "__main__":
    main()
