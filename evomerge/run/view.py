"""What a run looks like from outside: progress and comparison, views of its state."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from evomerge.journal.state import RunState
from evomerge.records import (
    Bound,
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
from evomerge.run.selecting import pooled, rescored
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
    """The front of what is scored so far beside the baselines, with later scores where known.

    Once the best of the search have been scored again, the front is chosen among them by what both
    scores say together; a candidate whose second evaluation failed is not on it.
    """
    evaluated = evaluations(state, objectives)
    bounds = _bounds(state, objectives, baselines)
    best = front(_rescored(state, evaluated, objectives, bounds) or evaluated)
    on_front = {evaluation.candidate.id for evaluation in best}
    members = {
        one.candidate.id: _member(
            state, one.candidate.recipe, objectives, bounds, {**one.objectives, **one.constraints}
        )
        for one in evaluated
    }
    return Comparison(
        objectives=objectives.names,
        measures=objectives.measures,
        bounds=bounds,
        front=tuple(members[evaluation.candidate.id] for evaluation in best),
        baselines={
            name: _member(
                state, recipe, objectives, bounds, _estimates(state, recipe, objectives, "search")
            )
            for name, recipe in baselines.items()
        },
        dominated=tuple(member for id_, member in members.items() if id_ not in on_front),
    )


def _bounds(
    state: RunState, objectives: Objectives, baselines: Mapping[str, Recipe]
) -> dict[str, Bound]:
    """The bounds; multiples of a baseline are of the same items that candidates are judged by."""
    bounds = objectives.bounds()
    for objective in objectives.tasks:
        required = objective.requirement
        if required is not None and required.baseline is not None and state.is_rescored:
            both = _pooled(state, baselines[required.baseline], objectives)
            if objective.name in both:
                bounds[objective.name] = required.bound(both[objective.name].mean)
    return bounds


def _rescored(
    state: RunState,
    evaluated: Sequence[Evaluation],
    objectives: Objectives,
    bounds: Mapping[str, Bound],
) -> list[Evaluation]:
    """The candidates scored on search items and on fresh ones, by both; none before all are."""
    if not state.is_rescored:
        return []
    pairs = (
        (one, _estimates(state, one.candidate.recipe, objectives, "selection")) for one in evaluated
    )
    return [rescored(one, fresh, bounds) for one, fresh in pairs if fresh]


def _pooled(state: RunState, recipe: Recipe, objectives: Objectives) -> dict[str, Estimate]:
    """What search and fresh items together say of a model; nothing without either."""
    search, fresh = (
        _estimates(state, recipe, objectives, phase) for phase in ("search", "selection")
    )
    return pooled(search, fresh) if fresh else {}


def _member(
    state: RunState,
    recipe: Recipe,
    objectives: Objectives,
    bounds: Mapping[str, Bound],
    search: Mapping[str, Estimate],
) -> Member:
    """A member, given its estimates on the search items."""
    fresh = _estimates(state, recipe, objectives, "selection")
    both = pooled(search, fresh) if fresh else {}
    return Member(
        id=recipe.digest,
        recipe=recipe,
        objectives={name: search[name] for name in objectives.names if name in search},
        test=_estimates(state, recipe, objectives, "test"),
        means=_means(state, recipe, objectives),
        constraints={name: search[name] for name in bounds if name in search},
        violation=violation(bounds, (both if state.is_rescored else {}) or search),
        selection=fresh,
        pooled=both,
    )


def _means(state: RunState, recipe: Recipe, objectives: Objectives) -> dict[str, Estimate]:
    """What lm-eval says of the scored search items, where objectives are estimated otherwise.

    No estimate of all items where some were chosen for the candidate.
    """
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
