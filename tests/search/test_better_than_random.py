"""What a controller that learns is worth."""

import numpy as np
import pytest

from evomerge.search.archive import hypervolume
from evomerge.search.controller import ask_rng
from evomerge.search.ordered import Window
from evomerge.search.table import CONTROLLERS


@pytest.mark.parametrize("name", ["nsga2", pytest.param("tpe", marks=pytest.mark.slow)])
def test_a_controller_beats_random_search_at_equal_evaluations(name: str, evaluated) -> None:
    """Two layered skills in 18 genes, 96 evaluations, tells 8 late; hypervolume above zero."""
    volumes, by_chance = (
        [final_volume(searcher, seed, evaluated) for seed in range(7)]
        for searcher in (name, "random")
    )
    assert np.median(volumes) > 1.1 * np.median(by_chance)
    assert np.median(volumes) > np.max(by_chance)


def final_volume(name: str, seed: int, evaluated) -> float:
    controller, window = CONTROLLERS[name].build(18, 16, seed), Window(8, 96)
    found = {}
    while not window.done:
        for step in window.steps():
            if step.action == "tell":
                controller.tell(found[step.number])
                continue
            genome = controller.ask(step.number, ask_rng(seed, step.number))
            found[step.number] = evaluated(step.number, genome.tolist(), two_skills(genome))
        for number in window.out:
            window.arrive(number)
    return hypervolume([evaluation.means for evaluation in found.values()], (0.0, 0.0))


def two_skills(genome: np.ndarray) -> list[float]:
    """Each skill wants its own nine genes at 0.6 and the other's at 0."""
    own, other = genome[:9], genome[9:]
    losses = (
        ((own - 0.6) ** 2).mean() + 0.3 * (other**2).mean(),
        ((other - 0.6) ** 2).mean() + 0.3 * (own**2).mean(),
    )
    return [float(np.exp(-6.0 * loss)) for loss in losses]
