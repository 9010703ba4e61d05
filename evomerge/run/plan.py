"""Everything about a run that is settled before its first candidate, as written in its journal."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, get_args

from evomerge.config.experiment import Experiment, Objective
from evomerge.errors import JournalError
from evomerge.irt.adaptive import N_COMMON
from evomerge.merge.methods import MergeMethod
from evomerge.records import Job, Measure, Phase, Recipe, measure_key
from evomerge.run.banks import banked_measures
from evomerge.run.baselines import baseline_recipes
from evomerge.run.bounds import parse_requirement
from evomerge.run.choosing import methods_of
from evomerge.run.estimates import ACCURACY, ObjectiveTasks
from evomerge.scoring.item_sets import asking_order
from evomerge.search.space import SearchSpace

Items = Mapping[str, tuple[int, ...]]
ROTATION = 0.25
"""Share of the common items that each generation exchanges by default with `estimator: irt`."""

COMMON_SHARE = 0.2
"""Of a candidate's items, where the others are chosen for it; `N_COMMON` at least."""

NOT_IDENTITY: dict[str, Any] = {
    "base": True,
    "experts": True,
    "tasks_path": True,
    "objectives": {"__all__": {"text", "test_text"}},
    "tracking": True,
    "workers": True,
    "address": True,
    "resources": True,
    "scoring": {"timeout_s", "bank"},
    "merge": {"statistics": True},
}
"""What may differ between two runs of the same experiment: where things lie, and who watches.

Models, tasks, texts, statistics and item banks are compared by their fingerprints instead of their
paths.
"""


def n_items(items: Items) -> int:
    """How many items a model is scored on."""
    return sum(map(len, items.values()))


@dataclass(frozen=True)
class Plan:
    """An experiment with what was found out about its models and tasks.

    Args:
        experiment: the experiment file, paths absolute.
        groups: the layer groups of the base, in depth order.
        items: the documents of each phase by task, disjoint. The search asks some of its own, in
            the order in which they stand here (`order`); selection and test score all of theirs.
        dtype: the dtype that forward passes compute in.
        fingerprints: a digest of each model, benchmark, statistic and given item bank, by
            `model:<name>`, `task:<name>`, `statistics:<kind>:<model>` and `bank:<task>`.
        measures: how the item results of each measure add up, by its key. Those of versions that
            wrote none were accuracies.
        notes: in words, where the items are not what the experiment wants.
    """

    experiment: Experiment
    groups: tuple[str, ...]
    items: Mapping[Phase, Items]
    dtype: str
    fingerprints: Mapping[str, str]
    measures: Mapping[str, Measure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
        search = objective.benchmark("search")
        return ObjectiveTasks(
            name=objective.title,
            search=search,
            test=objective.benchmark("test"),
            metric=objective.metric,
            measure=self.measures.get(measure_key(search, objective.metric), ACCURACY),
            requirement=parse_requirement(objective.require) if objective.require else None,
        )

    @property
    def uses_banks(self) -> bool:
        """Whether scores on all items are estimated with item banks."""
        return self.experiment.scoring.estimator == "irt"

    @cached_property
    def banked(self) -> frozenset[str]:
        """The search tasks that the run has item banks of.

        What it measures on any other benchmark is compared item by item, so that all candidates
        are asked the same.
        """
        if not self.uses_banks:
            return frozenset()
        learns = self.experiment.scoring.bank is None
        tasks = banked_measures(self.experiment)
        return frozenset(task for task in tasks if learns or f"bank:{task}" in self.fingerprints)

    @property
    def n_calibration(self) -> int:
        """How many candidates are scored on all items of the search: the first ones."""
        scoring = self.experiment.scoring
        return scoring.calibration if self.uses_banks and scoring.bank is None else 0

    @cached_property
    def mixed(self) -> frozenset[str]:
        """The tasks with a bank that are also measured in a way that it is not about.

        Such measures are means of the common items, which therefore stay the same.
        """
        own = banked_measures(self.experiment)
        keys = {(objective.search, objective.key("search")) for objective in self.objectives}
        return frozenset(task for task, key in keys if task in self.banked and key != own[task])

    @property
    def n_common(self) -> int:
        """How many items of each task all candidates of a generation are asked.

        With `estimator: irt` others are then chosen for the candidate.
        """
        n = self.experiment.scoring.items
        return min(n, max(N_COMMON, round(COMMON_SHARE * n))) if self.uses_banks else n

    def is_asked(self, number: int | None) -> bool:
        """Whether items are chosen for candidate `number`, or for a baseline (None).

        Not for those that may be asked before the run has learned how: the first, which it learns
        from, and as many after them as the window lets out at the same time.
        """
        if not self.uses_banks or (number is None and self.n_calibration):
            return False
        return self.n_calibration == 0 or (number or 0) >= self._n_unasked

    @property
    def _n_unasked(self) -> int:
        return self.n_calibration + self.experiment.search.window - 1

    @property
    def rotation(self) -> float:
        """Which share of the common items each generation exchanges.

        Estimates of what a candidate would score on all items may be compared whatever items they
        come from: a quarter of them then changes, so that neighbours are compared on the rest and
        no set of items is searched for long. Means may not.
        """
        scoring = self.experiment.scoring
        default = ROTATION if scoring.estimator == "irt" else 0.0
        return default if scoring.rotation is None else scoring.rotation

    def generation(self, number: int) -> int:
        """The generation that candidate `number` belongs to, whatever the controller."""
        return number // self.experiment.search.population

    def order(self, benchmark: str, generation: int) -> tuple[int, ...]:
        """The search's items of a benchmark in the order in which a generation is asked them.

        The first `n_common` are those that all its candidates are asked.
        """
        return asking_order(
            self.items["search"][benchmark],
            generation,
            n_common=self.n_common,
            rotation=0.0 if benchmark in self.mixed else self.rotation,
        )

    def search_items(self, number: int | None) -> Items:
        """What the search scores candidate `number` on at first, or a baseline (None)."""
        generation, n = self.generation(number or 0), self.experiment.scoring.items
        if self.n_calibration > (number or 0):
            banked = self.sorted_items("search")
        else:
            banked = self._first_items(generation, self.n_common if self.is_asked(number) else n)
        others = self._first_items(0 if self.uses_banks else generation, n)
        return {name: (banked if name in self.banked else others)[name] for name in others}

    def sample_items(self) -> Items:
        """As many items as a candidate is asked in all, as an example."""
        return self._first_items(0, self.experiment.scoring.items)

    def baseline_items(self) -> Items:
        """As many items as a baseline is asked in all, as an example."""
        return self.search_items(None) if self.n_calibration else self.sample_items()

    def _first_items(self, generation: int, n: int) -> Items:
        return {
            task: tuple(sorted(self.order(task, generation)[:n])) for task in self.items["search"]
        }

    def sorted_items(self, phase: Phase) -> Items:
        """All items of a phase, ascending."""
        return {task: tuple(sorted(items)) for task, items in self.items[phase].items()}

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
        """The evaluation of a model that the search did not propose, or of any after it."""
        items = self.search_items(None) if phase == "search" else self.items[phase]
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
            "notes": list(self.notes),
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
                    phase: {task: tuple(items) for task, items in data["items"][phase].items()}
                    for phase in get_args(Phase)
                },
                dtype=data["dtype"],
                fingerprints=dict(data["fingerprints"]),
                measures={key: Measure(**own) for key, own in data.get("measures", {}).items()},
                notes=tuple(data["notes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(
                f"the journal's experiment cannot be understood: {error}; "
                "read it with the version of evomerge that wrote it"
            ) from error
