"""What a run looks like from outside: progress and comparison, views of its state."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from evomerge.journal.state import RunState
from evomerge.records import (
    Comparison,
    Estimate,
    Evaluation,
    ItemScores,
    Member,
    Outcome,
    Phase,
    Progress,
    Recipe,
)
from evomerge.run.estimates import Objectives, violation
from evomerge.search.archive import Archive, front


class Spectator:
    """Follows a search outcome by outcome, at a cost that depends on the front alone."""

    def __init__(self, state: RunState, objectives: Objectives, n_total: int) -> None:
        self._state = state
        self._objectives = objectives
        self._n_total = n_total
        self._archive = Archive()
        self._best: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._n_done = self._n_feasible = 0
        self._has_bounds = bool(objectives.bounds())

    @cached_property
    def _reference(self) -> list[float]:
        """Asked for once the first candidate is told: all baselines are scored by then."""
        return self._objectives.reference()

    def see(self, outcome: Outcome, time_s: float) -> Progress:
        """The progress once this outcome, told at `time_s`, is counted in."""
        self._n_done += 1
        if isinstance(outcome, Evaluation):
            self._archive.add(outcome)
            if outcome.violation == 0.0:
                self._improve(outcome)
        else:
            reason = outcome.failure.reason
            self._failures[reason] = self._failures.get(reason, 0) + 1
        return Progress(
            n_done=self._n_done,
            n_failed=sum(self._failures.values()),
            n_total=self._n_total,
            best=dict(self._best),
            hypervolume=self._archive.hypervolume(self._reference),
            n_front=len(self._archive),
            failures=dict(self._failures),
            time_s=time_s,
            minimised=self._objectives.minimised,
            n_feasible=self._n_feasible if self._has_bounds else None,
        )

    def _improve(self, outcome: Evaluation) -> None:
        self._n_feasible += 1
        for name, estimate in outcome.objectives.items():
            better = min if name in outcome.minimised else max
            self._best[name] = better(self._best.get(name, estimate.mean), estimate.mean)


def history(state: RunState, objectives: Objectives, spectator: Spectator) -> list[Progress]:
    """The progress after each outcome that the journal says was told."""
    return [
        spectator.see(_outcome(state, told.number, objectives), told.time_s) for told in state.told
    ]


def evaluations(state: RunState, objectives: Objectives) -> list[Evaluation]:
    """Every candidate of the search that was scored, in the order of proposal."""
    outcomes = (_outcome(state, number, objectives) for number in sorted(state.done))
    return [outcome for outcome in outcomes if isinstance(outcome, Evaluation)]


def comparison(
    state: RunState, objectives: Objectives, baselines: Mapping[str, Recipe]
) -> Comparison:
    """The front of what is scored so far beside the baselines, with test scores where known."""
    evaluated = evaluations(state, objectives)
    best = front(evaluated)
    on_front = {evaluation.candidate.id for evaluation in best}
    members = {
        evaluation.candidate.id: _evaluated(state, evaluation, objectives)
        for evaluation in evaluated
    }
    return Comparison(
        objectives=objectives.names,
        measures=objectives.measures,
        bounds=objectives.bounds(),
        front=tuple(members[evaluation.candidate.id] for evaluation in best),
        baselines={name: _member(state, recipe, objectives) for name, recipe in baselines.items()},
        dominated=tuple(member for id_, member in members.items() if id_ not in on_front),
    )


def _member(state: RunState, recipe: Recipe, objectives: Objectives) -> Member:
    found = _estimates(state, recipe, objectives, "search")
    bounds = objectives.bounds()
    return Member(
        id=recipe.digest,
        recipe=recipe,
        objectives={name: found[name] for name in objectives.names if name in found},
        test=_estimates(state, recipe, objectives, "test"),
        means=_means(state, recipe, objectives),
        constraints={name: found[name] for name in bounds if name in found},
        violation=violation(bounds, found),
    )


def _evaluated(state: RunState, evaluation: Evaluation, objectives: Objectives) -> Member:
    """The same for a candidate whose objectives are estimated already."""
    recipe = evaluation.candidate.recipe
    return Member(
        id=recipe.digest,
        recipe=recipe,
        objectives=dict(evaluation.objectives),
        test=_estimates(state, recipe, objectives, "test"),
        means=_means(state, recipe, objectives),
        constraints=dict(evaluation.constraints),
        violation=evaluation.violation,
    )


def _means(state: RunState, recipe: Recipe, objectives: Objectives) -> dict[str, Estimate]:
    """The plain means of the search items where objectives are estimated otherwise."""
    if not objectives.estimators:
        return {}
    return _estimates(state, recipe, replace(objectives, estimators={}), "search")


def _estimates(
    state: RunState, recipe: Recipe, objectives: Objectives, phase: Phase
) -> dict[str, Estimate]:
    result = state.result(recipe.digest, phase)
    return objectives.estimates(result) if isinstance(result, ItemScores) else {}


def _outcome(state: RunState, number: int, objectives: Objectives) -> Outcome:
    candidate = state.candidates[number]
    return objectives.outcome(candidate, state.results[(candidate.id, "search")])
