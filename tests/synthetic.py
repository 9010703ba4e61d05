"""Runs that never ran: journals of any length, written with real events, without a model."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from evomerge.config.experiment import Experiment
from evomerge.journal.events import Asked, Event, Failed, Finished, Scored, Started, Stopped, Told
from evomerge.journal.journal import Journal
from evomerge.journal.state import fold
from evomerge.records import Candidate, Failure, ItemScores, Recipe, TaskScores
from evomerge.run.calibration import objectives_of
from evomerge.run.directory import JOURNAL_NAME
from evomerge.run.plan import Plan
from evomerge.run.view import comparison

EXPERTS = ("math", "german", "lists")
GROUPS = ("embeddings", *(f"layers.{i}-{i}" for i in range(6)), "final_norm", "head")
START_S = 1_790_000_000.0
N_ITEMS = 120


def plan(n_evaluations: int) -> Plan:
    """Three experts, three objectives of 120 items, each with a test task."""
    experiment = Experiment.model_validate(
        {
            "base": "/models/base",
            "experts": {name: f"/models/{name}" for name in EXPERTS},
            "objectives": [{"task": f"{name}_search", "test": f"{name}_test"} for name in EXPERTS],
            "budget": {"evaluations": n_evaluations},
        }
    )
    items = {
        phase: {f"{name}_{phase}": tuple(range(N_ITEMS)) for name in EXPERTS}
        for phase in ("search", "test")
    }
    return Plan(experiment, GROUPS, {**items, "selection": {}}, "float32", {})


@dataclass
class Telling:
    """Writes the journal of a run, as far as it is asked to."""

    run_dir: Path
    n_evaluations: int
    seed: int = 0

    def __post_init__(self) -> None:
        self.plan = plan(self.n_evaluations)
        self._rng = np.random.default_rng(self.seed)
        ticks = count()
        path = self.run_dir / JOURNAL_NAME
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.journal = Journal.create(path, clock=lambda: START_S + 0.25 * next(ticks))
        run_id = f"synthetic-{self.seed}-{self.n_evaluations}"
        self.journal.append(Started(self.plan.to_json(), self.plan.digest, run_id, {}))
        self.journal.append(*(Scored(self._scores(r)) for r in self.plan.baselines.values()))
        self._n_told = 0

    def tell(self, n: int) -> None:
        """`n` more candidates, asked, scored and told; one in fifty fails."""
        events = [event for _ in range(n) for event in self._chapter()]
        for first in range(0, len(events), 300):
            self.journal.append(*events[first : first + 300])

    def finish(self) -> None:
        """The end of the search."""
        self.journal.append(Finished((), {}))

    def stop(self) -> None:
        """An interrupt in good order."""
        self.journal.append(Stopped("SIGINT"))

    def test(self, *recipes: Recipe) -> None:
        """Scores of the recipes on the test items."""
        scores = (self._scores(recipe, "test") for recipe in recipes)
        self.journal.append(*(Scored(each) for each in scores))

    def _chapter(self) -> Iterator[Event]:
        number = self._n_told
        self._n_told += 1
        candidate = self._candidate(number)
        yield Asked(number, 0, candidate.id, candidate.genome, candidate.recipe)
        if number % 50 == 7:
            reason = "timeout" if number % 100 == 7 else "exception"
            yield Failed(Failure(candidate.id, reason, f"made up, candidate {number}"))
        else:
            yield Scored(self._scores(candidate.recipe))
        yield Told(number, number, candidate.id)

    def _candidate(self, number: int) -> Candidate:
        """A merge that leans to some experts; later ones lie nearer to what is good."""
        space = self.plan.space
        lean = self._rng.dirichlet(np.ones(len(EXPERTS)) * 2.5) * self._rng.uniform(1.0, 2.6)
        spread = 0.25 / (1 + 4 * number / self.n_evaluations)
        genome = np.tile(lean / 1.5, len(GROUPS)) + self._rng.normal(0, spread, space.n_dims)
        return space.candidate(number, np.clip(genome, 0, 1))

    def _scores(self, recipe: Recipe, phase: str = "search") -> ItemScores:
        chances = _chances(recipe)
        tasks = {
            f"{name}_{phase}": TaskScores(
                tuple(range(N_ITEMS)),
                tuple(map(float, self._rng.random(N_ITEMS) < chance)),
            )
            for name, chance in zip(EXPERTS, chances, strict=True)
        }
        return ItemScores(recipe.digest, tasks, phase, seconds=0.5, worker="none")


def _chances(recipe: Recipe) -> np.ndarray:
    """The chance of a right answer, by objective: an expert's share helps its own, noise hurts."""
    rows = np.array([group.values["coefficient"] for group in recipe.groups.values()])
    mean, noise = rows.mean(axis=0), rows.std(axis=0).sum()
    strength = mean / (1 + 0.4 * (mean.sum() - mean))
    return np.clip(0.1 + 0.85 * np.tanh(1.8 * strength) - 0.06 * noise, 0.02, 0.98)


def write_run(run_dir: Path, n_evaluations: int, *, seed: int = 0) -> Plan:
    """The journal of a finished run, its front scored on the test items."""
    told = Telling(run_dir, n_evaluations, seed)
    told.tell(n_evaluations)
    state = fold(told.journal.replay())
    objectives = objectives_of(told.plan, state)
    members = comparison(state, objectives, told.plan.baselines).members()
    told.test(*{member.id: member.recipe for member in members}.values())
    told.finish()
    told.journal.close()
    return told.plan
