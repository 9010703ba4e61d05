"""From raw item results to objectives: the one place where a score becomes an estimate."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evomerge.errors import ScoringError
from evomerge.records import (
    Bound,
    Candidate,
    Estimate,
    Evaluation,
    FailedCandidate,
    Failure,
    ItemScores,
    Measure,
    Outcome,
    Phase,
    Result,
    TaskScores,
    measure_key,
)
from evomerge.run.aggregating import aggregate, agreement
from evomerge.run.bounds import Requirement
from evomerge.run.models import Models

Estimator = Callable[[TaskScores], Estimate]

ACCURACY = Measure(is_share=True)
AGREEMENT = "agreement"
"""The metric whose item results are answers, to be compared with those of similar models."""


@dataclass(frozen=True)
class ObjectiveTasks:
    """Something that is measured: its name, and the benchmarks of the search and of the test.

    Args:
        name: what reports call it.
        search: the benchmark that measures it in the search, and in the selection after it.
        test: that of the final items; may be the same, of which the search sees other items.
        metric: the metric as the experiment names it; None for the benchmark's first.
        measure: how item results add up.
        requirement: what it is held to; None for an objective that is optimised.
    """

    name: str
    search: str
    test: str
    metric: str | None = None
    measure: Measure = ACCURACY
    requirement: Requirement | None = None

    def task(self, phase: Phase) -> str:
        """The benchmark that measures it in a phase, where that has items of it."""
        return self.test if phase == "test" else self.search

    def key(self, phase: Phase) -> str:
        """What its item results of a phase are kept under."""
        return measure_key(self.task(phase), self.metric)

    def signed(self, mean: float) -> float:
        """A mean such that larger is better."""
        return mean if self.measure.higher_is_better else -mean


@dataclass(frozen=True)
class Objectives:
    """What is optimised or held to a bound, and how item results become estimates of it.

    `estimators` has an entry for the key of each search task with a fitted item bank; every other
    estimate, and every one after the search, is what the items add up to by the measure.
    `models` are those that bounds and agreement refer to.
    """

    tasks: Sequence[ObjectiveTasks]
    estimators: Mapping[str, Estimator] = field(default_factory=dict)
    models: Models | None = None

    @property
    def optimised(self) -> tuple[ObjectiveTasks, ...]:
        """What is optimised, in order."""
        return tuple(objective for objective in self.tasks if objective.requirement is None)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what is optimised, in order."""
        return tuple(objective.name for objective in self.optimised)

    @property
    def minimised(self) -> frozenset[str]:
        """The names of the optimised objectives of which smaller is better."""
        return frozenset(o.name for o in self.optimised if not o.measure.higher_is_better)

    @property
    def measures(self) -> dict[str, Measure]:
        """How each objective and each bounded quantity adds up, by name."""
        return {objective.name: objective.measure for objective in self.tasks}

    def bounds(self) -> dict[str, Bound]:
        """The bounds by name; a limit is NaN as long as its baseline has no score."""
        return {
            objective.name: requirement.bound(self._baseline_mean(objective, requirement))
            for objective in self.tasks
            if (requirement := objective.requirement) is not None
        }

    def require_limits(self) -> None:
        """Make sure that every bound has come to a number.

        Raises:
            ScoringError: a baseline that one is a multiple of has no score.
        """
        for objective in self.tasks:
            requirement = objective.requirement
            if requirement and not math.isfinite(self._baseline_mean(objective, requirement)):
                raise ScoringError(
                    f"{objective.name} is held to {requirement}, but the baseline "
                    f"{requirement.baseline} has no finite score: did its evaluation fail? Name "
                    "another baseline or a number in `require`, and start a new run with --out"
                )

    def estimates(self, scores: ItemScores) -> dict[str, Estimate]:
        """Everything that the scores' phase measures, by name; agreement in the search alone."""
        found = {}
        for objective in self.tasks:
            key = objective.key(scores.phase)
            if objective.metric == AGREEMENT and (scores.phase != "search" or self.models is None):
                continue
            if key in scores.tasks:
                found[objective.name] = self._estimate(objective, key, scores)
        return found

    def outcome(self, candidate: Candidate, result: Result) -> Outcome:
        """What a controller is told about a candidate; items that add up to no number fail it."""
        if isinstance(result, Failure):
            return FailedCandidate(candidate, result)
        found = self.estimates(result)
        for name, estimate in found.items():
            if not math.isfinite(estimate.mean):
                message = f"the items of {name} add up to {estimate.mean}"
                return FailedCandidate(candidate, Failure(candidate.id, "non_finite", message))
        bounds = self.bounds()
        constraints = {name: found[name] for name in bounds}
        return Evaluation(
            candidate,
            objectives={name: found[name] for name in self.names},
            minimised=self.minimised,
            constraints=constraints,
            violation=violation(bounds, constraints),
        )

    def reference(self) -> list[float]:
        """The point that hypervolumes are measured from, signed so that larger is better.

        0 for an objective that is a share and the larger the better: no model is worse. Else the
        worst of base, experts and uniform average, which are scored before the first candidate; the
        merge at its defaults counts only where these have all failed.
        """
        return [self._worst(objective) for objective in self.optimised]

    def _worst(self, objective: ObjectiveTasks) -> float:
        if objective.measure.is_share and objective.measure.higher_is_better:
            return 0.0
        baselines = self.models.baselines() if self.models else {}
        usual = {name: scores for name, scores in baselines.items() if name != "default"}
        key = objective.key("search")
        means = [self._estimate(objective, key, own).mean for own in (usual or baselines).values()]
        return min((objective.signed(mean) for mean in means if math.isfinite(mean)), default=0.0)

    def _baseline_mean(self, objective: ObjectiveTasks, requirement: Requirement) -> float:
        """What a requirement is a multiple of: 1 for a plain number, NaN where it is not known."""
        if requirement.baseline is None:
            return 1.0
        scores = self.models.baselines().get(requirement.baseline) if self.models else None
        if scores is None:
            return math.nan
        return self._estimate(objective, objective.key("search"), scores).mean

    def _estimate(self, objective: ObjectiveTasks, key: str, scores: ItemScores) -> Estimate:
        own = scores.tasks[key]
        if objective.metric == AGREEMENT and self.models is not None:
            return agreement(own, self.models.neighbours(scores.candidate_id, key))
        estimator = self.estimators.get(key) if scores.phase == "search" else None
        return aggregate(own, objective.measure) if estimator is None else estimator(own)


def violation(bounds: Mapping[str, Bound], estimates: Mapping[str, Estimate]) -> float:
    """The sum of the bounds' shortfalls, of those that there is an estimate for."""
    return math.fsum(
        bound.shortfall(estimates[name].mean) for name, bound in bounds.items() if name in estimates
    )
