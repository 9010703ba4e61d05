"""Everything about a run that is settled before its first candidate, as written in its journal."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from evomerge.config.experiment import Experiment, Objective
from evomerge.errors import JournalError
from evomerge.merge.methods import MergeMethod
from evomerge.records import Job, Measure, Phase, Recipe, measure_key
from evomerge.run.baselines import baseline_recipes
from evomerge.run.bounds import parse_requirement
from evomerge.run.choosing import methods_of
from evomerge.run.estimates import ACCURACY, ObjectiveTasks
from evomerge.search.space import SearchSpace

Items = Mapping[str, tuple[int, ...]]
Subset = Literal["search", "calibration", "test"]
"""Which documents: the search's choice, all of the search tasks, or those that it never sees."""

NOT_IDENTITY: dict[str, Any] = {
    "base": True,
    "experts": True,
    "tasks_path": True,
    "tracking": True,
    "workers": True,
    "address": True,
    "resources": True,
    "scoring": {"timeout_s"},
    "merge": {"statistics": True},
}
"""What may differ between two runs of the same experiment: where things lie, and who watches.

Models, tasks and statistics are compared by their fingerprints instead of their paths.
"""


@dataclass(frozen=True)
class Plan:
    """An experiment with what was found out about its models and tasks.

    Args:
        experiment: the experiment file, paths absolute.
        groups: the layer groups of the base, in depth order.
        items: the documents to score, by subset and task.
        dtype: the dtype that forward passes compute in.
        fingerprints: a digest of each model, task and statistic, by `model:<name>`, `task:<name>`
            and `statistics:<kind>:<model>`.
        measures: how the item results of each measure add up, by its key. Those of versions that
            wrote none were accuracies.
    """

    experiment: Experiment
    groups: tuple[str, ...]
    items: Mapping[Subset, Items]
    dtype: str
    fingerprints: Mapping[str, str]
    measures: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts' names, in the order of the experiment file."""
        return tuple(self.experiment.experts)

    @cached_property
    def methods(self) -> dict[str, tuple[MergeMethod, ...]]:
        """The merge methods that the search chooses from in each layer group, in depth order."""
        return methods_of(self.experiment.merge.method, self.groups)

    @cached_property
    def objectives(self) -> tuple[ObjectiveTasks, ...]:
        """What is optimised or held to a bound, in the order of the experiment file."""
        return tuple(self._objective(objective) for objective in self.experiment.objectives)

    def _objective(self, objective: Objective) -> ObjectiveTasks:
        search = objective.benchmark("search") or ""
        return ObjectiveTasks(
            name=objective.title,
            search=search,
            test=objective.benchmark("test"),
            metric=objective.metric,
            measure=self.measures.get(measure_key(search, objective.metric), ACCURACY),
            requirement=parse_requirement(objective.require) if objective.require else None,
        )

    @property
    def n_calibration(self) -> int:
        """How many candidates are scored on all items of the search tasks: the first ones."""
        scoring = self.experiment.scoring
        return scoring.calibration if scoring.estimator == "irt" else 0

    def search_items(self, number: int | None) -> Items:
        """What the search scores candidate `number` on, or a baseline (None)."""
        is_full = self.n_calibration > 0 if number is None else number < self.n_calibration
        return self.items["calibration" if is_full else "search"]

    @cached_property
    def space(self) -> SearchSpace:
        """Every merge that the search may propose."""
        return SearchSpace(self.methods, self.experts, self.experiment.seed)

    @cached_property
    def baselines(self) -> dict[str, Recipe]:
        """The merges that are reported beside the front, by name."""
        firsts = {group: choice[0] for group, choice in self.methods.items()}
        return baseline_recipes(firsts, self.experts, self.experiment.seed)

    def job(self, recipe: Recipe, phase: Phase) -> Job:
        """The evaluation of a model that the search did not propose, or of any on test items."""
        items = self.search_items(None) if phase == "search" else self.items["test"]
        return Job(recipe.digest, recipe, items, phase)

    @cached_property
    def digest(self) -> str:
        """What makes two runs the same experiment: equal digests give equal results."""
        identity = {
            **self.to_json(),
            "experiment": self.experiment.model_dump(mode="json", exclude=NOT_IDENTITY),
            "experts": self.experts,
        }
        text = json.dumps(identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values; `from_json` gives back an equal plan."""
        return {
            "experiment": self.experiment.model_dump(mode="json"),
            "groups": list(self.groups),
            "items": {
                phase: {task: list(items) for task, items in tasks.items()}
                for phase, tasks in self.items.items()
            },
            "dtype": self.dtype,
            "fingerprints": dict(self.fingerprints),
            "measures": {key: asdict(measure) for key, measure in self.measures.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Plan":
        """The plan that `to_json` wrote down.

        Raises:
            JournalError: it was written by a version that this one does not understand.
        """
        try:
            return cls(
                experiment=Experiment.model_validate(data["experiment"]),
                groups=tuple(data["groups"]),
                items={
                    phase: {task: tuple(items) for task, items in tasks.items()}
                    for phase, tasks in data["items"].items()
                },
                dtype=data["dtype"],
                fingerprints=dict(data["fingerprints"]),
                measures={key: Measure(**own) for key, own in data.get("measures", {}).items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(
                f"the journal's experiment cannot be understood: {error}; "
                "read it with the version of evomerge that wrote it"
            ) from error
