"""How a run estimates its objectives by now."""

from evomerge.journal.state import RunState
from evomerge.run.estimates import Objectives
from evomerge.run.plan import Plan


def objectives_of(plan: Plan, state: RunState) -> Objectives:
    """The means of the items scored."""
    return Objectives(plan.objectives)
