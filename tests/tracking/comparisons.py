"""Made-up comparisons with any number of objectives."""

import math
from collections.abc import Mapping, Sequence

from evomerge.records import Comparison, Estimate, GroupRecipe, Member, Recipe

EXPERTS = ("math", "german")
GROUPS = ("embeddings", "layers.0-1", "layers.2-3", "final_norm", "head")
NAMES = ("math_de", "lists", "acc,none [de]", "<b>say & do</b>")


def recipe(seed: int, method: str = "ties") -> Recipe:
    """A recipe that differs from seed to seed."""
    values = {"coefficient": (0.1 * seed, 0.5), "density": 0.2 + 0.01 * seed}
    return Recipe(EXPERTS, {name: GroupRecipe(method, values) for name in GROUPS}, 0)


def estimate(mean: float, n: int) -> Estimate:
    """A fraction of `n` items with its binomial standard error."""
    return Estimate(mean, math.sqrt(mean * (1 - mean) / n), n)


def member(seed: int, means: Sequence[float], names: Sequence[str], *, test: bool) -> Member:
    """A member with the given means; on test items it loses a hundredth."""
    made = recipe(seed)
    on_search = {name: estimate(mean, 100) for name, mean in zip(names, means, strict=True)}
    on_test = {
        name: estimate(max(mean - 0.01, 0), 400) for name, mean in zip(names, means, strict=True)
    }
    return Member(made.digest, made, on_search, on_test if test else {})


def comparison(k: int, *, test: bool = True, n_front: int = 3) -> Comparison:
    """`n_front` members that trade the first objective for the others, baselines, two dominated."""
    names = NAMES[:k]
    front = [
        member(i, [0.4 + 0.1 * i, *[0.8 - 0.15 * i] * (k - 1)], names, test=test)
        for i in range(n_front)
    ]
    baselines: Mapping[str, Sequence[float]] = {
        "base": [0.05] * k,
        "expert math": [0.9, *[0.02] * (k - 1)],
        "uniform average": [0.3] * k,
    }
    return Comparison(
        objectives=names,
        front=tuple(front),
        baselines={
            name: member(20 + i, means, names, test=test)
            for i, (name, means) in enumerate(baselines.items())
        },
        dominated=tuple(member(30 + i, [0.2 + 0.1 * i] * k, names, test=False) for i in range(2)),
    )
