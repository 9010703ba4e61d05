"""Learning to estimate: the item banks of a run, fitted in it or given to it."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from evomerge.errors import ScoringError
from evomerge.irt.asking import Asking, RandomAsking, Survey, survey_of
from evomerge.irt.trait_bank import TraitBank, fit_trait_bank
from evomerge.journal.events import Calibrated
from evomerge.journal.state import RunState
from evomerge.records import Asker, Estimate, ItemScores, Measure, TaskScores, measure_key
from evomerge.run.aggregating import aggregate
from evomerge.run.banks import banked_measures, given_banks, refusals
from evomerge.run.estimates import Estimator, Objectives
from evomerge.run.models import Models
from evomerge.run.plan import Plan
from evomerge.run.record import Record

FAIR_SHARE = 0.1
"""Of the candidates that were asked: more alarms than that say that a bank does not fit."""

Banks = dict[str, TraitBank | None]
Notes = dict[str, str]


def objectives_of(plan: Plan, state: RunState) -> Objectives:
    """How a run estimates its objectives by now: with its item banks, once it has them."""
    return _objectives(plan, state, surveys_of(plan, state))


def _objectives(plan: Plan, state: RunState, surveys: Mapping[str, Survey]) -> Objectives:
    return Objectives(plan.objectives, _estimators(plan, surveys), Models(state, plan.baselines))


def _estimators(plan: Plan, surveys: Mapping[str, Survey]) -> dict[str, Estimator]:
    """By measure key: a survey of its own measure; what else it asks, on items that all have."""
    banked = banked_measures(plan.experiment)
    found: dict[str, Estimator] = {}
    for objective in plan.objectives:
        if survey := surveys.get(objective.search):
            key = measure_key(objective.search, objective.metric)
            is_own = key == banked[objective.search]
            shared = frozenset(plan.order(objective.search, 0)[: plan.n_common])
            found[key] = survey if is_own else partial(_of_shared, shared, objective.measure)
    return found


def _of_shared(shared: frozenset[int], measure: Measure, scores: TaskScores) -> Estimate:
    return aggregate(scores.of(shared), measure)


def surveys_of(plan: Plan, state: RunState) -> dict[str, Survey]:
    """How a run asks and estimates each task that it has a bank of by now."""
    banks = state.calibrated.banks if state.calibrated else {}
    items, n = plan.sorted_items("search"), plan.experiment.scoring.items
    return {
        task: survey_of(TraitBank.from_json(bank), items[task], n, plan.n_common)
        for task, bank in banks.items()
        if bank is not None
    }


class Calibration:
    """The item banks of a run: read before its first model, or fitted to its first candidates.

    The first are the `plan.n_calibration` that are scored on all items. Until they have been told,
    the outcomes of later candidates wait, which are scored on fewer.

    Without `estimator: irt` there are none and nothing waits.

    Attributes:
        on_note: hears in words what is to be known of the banks.
    """

    def __init__(self, record: Record, plan: Plan) -> None:
        self._record = record
        self._plan = plan
        self.on_note: Callable[[str], None] = lambda _: None
        self._surveys = surveys_of(plan, record.state)

    def can_estimate(self, number: int) -> bool:
        """Whether the outcome of candidate `number` can be told."""
        has_learned = self._record.state.calibrated is not None or not self._plan.uses_banks
        return has_learned or number < self._plan.n_calibration

    def is_due(self) -> bool:
        """Whether the banks can be had and have not been."""
        plan, state = self._plan, self._record.state
        has_learned = state.calibrated is not None or not plan.uses_banks
        return not has_learned and len(state.told) >= plan.n_calibration

    def objectives(self) -> Objectives:
        """How the objectives are estimated by now."""
        return _objectives(self._plan, self._record.state, self._surveys)

    def asking(self, number: int | None) -> Mapping[str, Asker]:
        """How candidate `number`, or a baseline (None), is asked on after its first items."""
        plan = self._plan
        if not plan.is_asked(number):
            return {}
        orders = {name: plan.order(name, plan.generation(number or 0)) for name in plan.banked}
        measures = banked_measures(plan.experiment)
        return {
            name: Asking(self._surveys[name], measures[name], order)
            if name in self._surveys
            else RandomAsking(plan.experiment.scoring.items, order)
            for name, order in orders.items()
        }

    def learn(self) -> None:
        """Read or fit a bank of each search task, and journal them all.

        A task whose responses allow none, such as one that is not scored right or wrong, keeps the
        mean of its items, and the journal says why.

        Raises:
            CalibrationError: a bank that the experiment names cannot be used.
        """
        plan = self._plan
        banks, notes = self._fitted() if plan.experiment.scoring.bank is None else self._given()
        for task, bank in banks.items():
            if bank is not None and (doubt := bank.estimator.doubt):
                notes[task] = f"task {task}: {doubt}"
        found = {
            task: None if bank is None else {"digest": bank.digest, **bank.to_json()}
            for task, bank in banks.items()
        }
        self._record.append(Calibrated(found, notes))
        self._surveys = surveys_of(plan, self._record.state)
        for note in notes.values():
            self.on_note(note)

    def _given(self) -> tuple[Banks, Notes]:
        experiment = self._plan.experiment
        banks: Banks = {**given_banks(experiment, self._plan.fingerprints)}
        why = refusals(experiment.scoring.bank) if experiment.scoring.bank else {}
        tasks = (task for task in banked_measures(experiment) if task in why)
        return banks, {task: _keeps_the_mean(task, why[task]) for task in tasks}

    def _fitted(self) -> tuple[Banks, Notes]:
        models, fingerprints = self._models(), self._plan.fingerprints
        banks: Banks = {}
        notes: Notes = {}
        items = self._plan.sorted_items("search")
        for task, key in banked_measures(self._plan.experiment).items():
            responses = [model.tasks[key].values for model in models]
            provenance = {"fingerprint": fingerprints.get(f"items:{task}", "")}
            try:
                banks[task] = fit_trait_bank(task, items[task], responses, provenance)
            except ScoringError as error:
                banks[task] = None
                notes[task] = _keeps_the_mean(task, str(error))
        return banks, notes

    def _models(self) -> list[ItemScores]:
        """The baselines and the first candidates as far as they were scored, each merge once."""
        state = self._record.state
        first = [state.candidates[number].id for number in range(self._plan.n_calibration)]
        ids = dict.fromkeys((*(r.digest for r in self._plan.baselines.values()), *first))
        results = (state.result(id_) for id_ in ids)
        return [result for result in results if isinstance(result, ItemScores)]


def _keeps_the_mean(task: str, why: str) -> str:
    return f"task {task} keeps the mean of its items: {why}"


def alarms(plan: Plan, state: RunState) -> Iterator[str]:
    """In words, how often the banks did not fit the candidates; nothing where they always did."""
    asked = [state.result(c.id) for n, c in state.candidates.items() if plan.is_asked(n)]
    scored = [result for result in asked if isinstance(result, ItemScores)]
    measures = banked_measures(plan.experiment)
    for task, survey in surveys_of(plan, state).items():
        n = sum(survey.has_alarmed(result.tasks[measures[task]]) for result in scored)
        if n:
            line = f"task {task}: {n} of {len(scored)} candidates did not answer as its item bank "
            line += "expects and were asked more random items"
            if n > FAIR_SHARE * len(scored):
                line += "; the bank does not fit these merges: calibrate it on merges like them"
            yield line
