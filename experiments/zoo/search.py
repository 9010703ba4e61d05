"""Search merging coefficients at three granularities, with equal numbers of evaluations.

Every level maximises the same mean of skills on the same search items. The finalists, the five
best seen, are scored again on the selection items, which no search saw; the best of them wins.
"""

from collections.abc import Callable
from pathlib import Path

import cma
import numpy as np
from transformers import PreTrainedTokenizerFast

from experiments.zoo.fast import TaskScorer
from experiments.zoo.merging import GROUPS, MergeSpace, load_model, write_weights

SKILLS = ("math", "german", "lists", "math_de")
LARGEST = 1.5
N_FINALISTS = 5
Objective = Callable[[np.ndarray], float]


class MeanOfSkills:
    """The mean accuracy over the skills of the merge with given coefficients."""

    def __init__(
        self,
        zoo: Path,
        tokenizer: PreTrainedTokenizerFast,
        space: MergeSpace,
        *,
        split: str,
        n_items: int | None = None,
    ) -> None:
        self.space = space
        self.model = load_model(zoo / "models" / "base")
        self.scorers = [
            TaskScorer(zoo / "tasks" / f"{skill}_{split}.jsonl", tokenizer, n_items=n_items)
            for skill in SKILLS
        ]

    def __call__(self, coefficients: np.ndarray) -> float:
        write_weights(self.model, self.space.merge(coefficients), self.space.names)
        return float(np.mean([scorer.score(self.model).mean() for scorer in self.scorers]))


def spread(genes: np.ndarray, n_experts: int) -> np.ndarray:
    """Return `(n_experts, n_groups)` coefficients for one gene, one an expert, or all of them."""
    if len(genes) == 1:
        return np.full((n_experts, len(GROUPS)), genes[0])
    if len(genes) == n_experts:
        return np.repeat(genes[:, None], len(GROUPS), axis=1)
    return genes.reshape(n_experts, len(GROUPS))


def search_global(objective: Objective, n_evaluations: int, n_experts: int) -> list[np.ndarray]:
    """Return the finalists of an even grid; one dimension needs no better optimiser."""
    grid = [np.array([value]) for value in np.linspace(0.0, LARGEST, n_evaluations)]
    return _finalists(grid, [objective(spread(genes, n_experts)) for genes in grid])


def search_cma(
    objective: Objective, n_genes: int, n_evaluations: int, n_experts: int, *, seed: int
) -> list[np.ndarray]:
    """Return the finalists of CMA-ES (Hansen, https://arxiv.org/abs/1604.00772)."""
    options = {
        "bounds": [0.0, LARGEST],
        "popsize": 12,
        "seed": seed + 1,  # pycma takes zero for the clock
        "verbose": -9,
        "tolflatfitness": 1000,
        "tolfun": 0.0,
        "tolfunhist": 0.0,
    }
    strategy = cma.CMAEvolutionStrategy(np.full(n_genes, LARGEST / 2), 0.3, options)
    seen: list[np.ndarray] = []
    values: list[float] = []
    while len(seen) < n_evaluations:
        proposed = strategy.ask()[: n_evaluations - len(seen)]
        scores = [objective(spread(genes, n_experts)) for genes in proposed]
        seen += proposed
        values += scores
        if len(proposed) == strategy.popsize:
            strategy.tell(proposed, [-score for score in scores])
    return _finalists(seen, values)


def _finalists(seen: list[np.ndarray], values: list[float]) -> list[np.ndarray]:
    order = np.argsort(-np.array(values), kind="stable")[:N_FINALISTS]
    return [seen[i] for i in order]


def choose(finalists: list[np.ndarray], objective: Objective, n_experts: int) -> np.ndarray:
    """Return the coefficients of the finalist that is best on other items."""
    return max((spread(genes, n_experts) for genes in finalists), key=objective)
