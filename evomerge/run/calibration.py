"""Learning to estimate: item banks fitted to the models that were scored on all items."""

from functools import partial

from evomerge.errors import CalibrationError
from evomerge.irt.bank import ItemBank
from evomerge.irt.calibrate import fit_bank
from evomerge.irt.estimate import p_irt
from evomerge.journal.events import Calibrated, JsonValue
from evomerge.journal.state import RunState
from evomerge.records import ItemScores
from evomerge.run.estimates import Objectives
from evomerge.run.models import Models
from evomerge.run.plan import Plan
from evomerge.run.record import Record


def objectives_of(plan: Plan, state: RunState) -> Objectives:
    """How a run estimates its objectives by now: with its item banks, once it has fitted them."""
    banks = state.calibrated.banks if state.calibrated else {}
    return Objectives(
        plan.objectives,
        {
            task: partial(p_irt, ItemBank.from_json(bank))
            for task, bank in banks.items()
            if bank is not None
        },
        Models(state, plan.baselines),
    )


class Calibration:
    """The item banks of a run: fitted once, when the first candidates have been told.

    The first are the `plan.n_calibration` that are scored on all items. Until then the outcomes of
    later candidates wait, which are scored on fewer.
    """

    def __init__(self, record: Record, plan: Plan) -> None:
        self._record = record
        self._plan = plan

    def can_estimate(self, number: int) -> bool:
        """Whether the outcome of candidate `number` can be told."""
        return self._record.state.calibrated is not None or number < self._plan.n_calibration

    def is_due(self) -> bool:
        """Whether the banks can be fitted and have not been."""
        state = self._record.state
        return state.calibrated is None and len(state.told) >= self._plan.n_calibration

    def objectives(self) -> Objectives:
        """How the objectives are estimated by now."""
        return objectives_of(self._plan, self._record.state)

    def fit(self) -> None:
        """Fit a bank to each search task and journal them all.

        A task whose responses allow none, such as one that is not scored right or wrong, keeps the
        mean of the items, and the journal says why.
        """
        models = self._models()
        banks: dict[str, dict[str, JsonValue] | None] = {}
        notes: dict[str, str] = {}
        for task, items in self._plan.sorted_items("search").items():
            responses = [model.tasks[task].values for model in models]
            try:
                bank = fit_bank(task, items, responses)
            except CalibrationError as error:
                banks[task] = None
                notes[task] = str(error)
            else:
                banks[task] = {"digest": bank.digest, **bank.to_json()}
        self._record.append(Calibrated(banks, notes))

    def _models(self) -> list[ItemScores]:
        """The baselines and the first candidates as far as they were scored, each merge once."""
        state = self._record.state
        first = [state.candidates[number].id for number in range(self._plan.n_calibration)]
        ids = dict.fromkeys((*(r.digest for r in self._plan.baselines.values()), *first))
        results = (state.result(id_) for id_ in ids)
        return [result for result in results if isinstance(result, ItemScores)]
