"""What a run looks like from outside: progress and comparison, views of its state."""

from collections.abc import Mapping, Sequence

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
from evomerge.run.estimates import Objectives
from evomerge.run.selecting import pooled, rescored
from evomerge.search.archive import Archive, front


class Spectator:
    """Follows a search outcome by outcome, at a cost that depends on the front alone."""

    def __init__(self, state: RunState, objectives: Objectives, n_total: int) -> None:
        self._state = state
        self._n_total = n_total
        self._archive = Archive()
        self._best = dict.fromkeys(objectives.names, float("-inf"))
        self._failures: dict[str, int] = {}
        self._n_done = 0

    def see(self, outcome: Outcome, time_s: float) -> Progress:
        """The progress once this outcome, told at `time_s`, is counted in."""
        self._n_done += 1
        if isinstance(outcome, Evaluation):
            self._archive.add(outcome)
            for name, estimate in outcome.objectives.items():
                self._best[name] = max(self._best[name], estimate.mean)
        else:
            reason = outcome.failure.reason
            self._failures[reason] = self._failures.get(reason, 0) + 1
        return Progress(
            n_done=self._n_done,
            n_failed=sum(self._failures.values()),
            n_total=self._n_total,
            best={name: best for name, best in self._best.items() if best > float("-inf")},
            # Every metric so far lies in [0, 1], so that the origin is worse than any model.
            hypervolume=self._archive.hypervolume([0.0] * len(self._best)),
            n_front=len(self._archive),
            failures=dict(self._failures),
            time_s=time_s,
        )


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
    best = front(_rescored(state, evaluated, objectives) if state.is_rescored else evaluated)
    on_front = {evaluation.candidate.id for evaluation in best}
    members = {
        evaluation.candidate.id: _evaluated(state, evaluation, objectives)
        for evaluation in evaluated
    }
    return Comparison(
        objectives=objectives.names,
        front=tuple(members[evaluation.candidate.id] for evaluation in best),
        baselines={name: _member(state, recipe, objectives) for name, recipe in baselines.items()},
        dominated=tuple(member for id_, member in members.items() if id_ not in on_front),
    )


def _rescored(
    state: RunState, evaluated: Sequence[Evaluation], objectives: Objectives
) -> list[Evaluation]:
    """The candidates that have been scored on the search items and on fresh ones, by both."""
    pairs = (
        (one, _estimates(state, one.candidate.recipe, objectives, "selection")) for one in evaluated
    )
    return [rescored(one, fresh) for one, fresh in pairs if fresh]


def _member(state: RunState, recipe: Recipe, objectives: Objectives) -> Member:
    estimates = _estimates(state, recipe, objectives, "search")
    return Member(
        id=recipe.digest,
        recipe=recipe,
        objectives=estimates,
        **_later(state, recipe, objectives, estimates),
    )


def _evaluated(state: RunState, evaluation: Evaluation, objectives: Objectives) -> Member:
    """The same for a candidate whose objectives are estimated already."""
    recipe = evaluation.candidate.recipe
    return Member(
        id=recipe.digest,
        recipe=recipe,
        objectives=dict(evaluation.objectives),
        **_later(state, recipe, objectives, evaluation.objectives),
    )


def _later(
    state: RunState, recipe: Recipe, objectives: Objectives, search: Mapping[str, Estimate]
) -> dict[str, dict[str, Estimate]]:
    """What a member has beside its estimates on the search items, as far as it is known."""
    fresh = _estimates(state, recipe, objectives, "selection")
    return {
        "means": _means(state, recipe, objectives),
        "selection": fresh,
        "pooled": pooled(search, fresh) if fresh else {},
        "test": _estimates(state, recipe, objectives, "test"),
    }


def _means(state: RunState, recipe: Recipe, objectives: Objectives) -> dict[str, Estimate]:
    """The plain means of the search items where objectives are estimated otherwise."""
    if not objectives.estimators:
        return {}
    return _estimates(state, recipe, Objectives(objectives.tasks), "search")


def _estimates(
    state: RunState, recipe: Recipe, objectives: Objectives, phase: Phase
) -> dict[str, Estimate]:
    result = state.result(recipe.digest, phase)
    return objectives.estimates(result) if isinstance(result, ItemScores) else {}


def _outcome(state: RunState, number: int, objectives: Objectives) -> Outcome:
    candidate = state.candidates[number]
    return objectives.outcome(candidate, state.results[(candidate.id, "search")])
