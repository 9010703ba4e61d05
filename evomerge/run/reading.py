"""`status` and `front`: what the journal of a run says, read without touching it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from evomerge.journal.lock import held_by
from evomerge.journal.state import RunState
from evomerge.records import Comparison, Failure, Phase, Progress
from evomerge.run.calibration import objectives_of
from evomerge.run.directory import read_run
from evomerge.run.view import Spectator, comparison, history
from evomerge.tracking.directions import arrow
from evomerge.tracking.numbers import number_text
from evomerge.tracking.table import front_table, to_json

N_MESSAGES = 5
"""How many failures `status` quotes."""


def comparison_of(run_dir: Path) -> Comparison:
    """The front of a run so far, beside its baselines.

    Raises:
        UsageError: there is no run in the directory.
    """
    state, plan = read_run(run_dir)
    return comparison(state, objectives_of(plan, state), plan.baselines)


def front_json(run_dir: Path) -> dict[str, Any]:
    """The front and the baselines as JSON values."""
    return to_json(comparison_of(run_dir))


def print_front(run_dir: Path) -> None:
    """Print the front beside the baselines."""
    Console().print(front_table(comparison_of(run_dir)))


def status_of(run_dir: Path) -> dict[str, Any]:
    """How far a run is, as JSON values.

    Raises:
        UsageError: there is no run in the directory.
    """
    state, plan = read_run(run_dir)
    n_total = plan.experiment.budget.evaluations
    objectives = objectives_of(plan, state)
    past = history(state, objectives, Spectator(state, objectives, n_total))
    holder = held_by(run_dir)
    return {
        "run_dir": str(run_dir),
        "state": _state_word(state, running=holder is not None),
        "holder": str(holder) if holder else None,
        "n_done": state.n_done,
        "n_failed": state.n_failed,
        "n_told": len(state.told),
        "n_total": n_total,
        "phase": _phase(state),
        "n_rescored": _n_results(state, "selection"),
        "n_tested": _n_results(state, "test"),
        "n_duplicates": state.n_duplicates,
        "failures": state.failures,
        "messages": _messages(state),
        **_standing(past[-1] if past else None),
        **(
            _final_front(comparison(state, objectives, plan.baselines)) if state.is_rescored else {}
        ),
    }


def print_status(status: Mapping[str, Any]) -> None:
    """Print what `status_of` found, a fact a line."""
    console = Console(highlight=False, markup=False)
    holder = f" (held by {status['holder']})" if status["holder"] else ""
    console.print(f"{status['run_dir']}: {status['state']}{holder}", soft_wrap=True, markup=False)
    console.print(f"evaluations  {status['n_done']}/{status['n_total']}")
    if status["phase"] != "search" and status["state"] != "finished":
        console.print(f"phase        {status['phase']}")
    for name, word in (("n_rescored", "selection"), ("n_tested", "test")):
        if status[name]:
            console.print(f"{word:<12} {status[name]} models scored on its items")
    for reason, count in status["failures"].items():
        console.print(f"failed       {count} × {reason}")
    for message in status["messages"]:
        console.print(f"             {message}", soft_wrap=True)
    if status["n_feasible"] is not None:
        console.print(f"feasible     {status['n_feasible']} candidates meet every bound")
    for name, best in status["best"].items():
        console.print(f"best         {arrow(name, {*status['minimised']})} {number_text(best)}")
    console.print(f"front        {status['n_front']} members")
    console.print(f"hypervolume  {status['hypervolume']:.4f}")


def _state_word(state: RunState, *, running: bool) -> str:
    if state.finished is not None:
        return "finished"
    if running:
        return "running"
    return f"stopped by {state.stopped.reason}" if state.stopped else "interrupted"


def _phase(state: RunState) -> Phase:
    """The last phase that jobs were handed out for."""
    begun = {phase for _, phase in state.n_attempts}
    return next((phase for phase in reversed(get_args(Phase)) if phase in begun), "search")


def _n_results(state: RunState, phase: Phase) -> int:
    return sum(own == phase for _, own in state.results)


def _standing(last: Progress | None) -> dict[str, Any]:
    if last is None:
        return {"best": {}, "minimised": [], "n_feasible": None, "n_front": 0, "hypervolume": 0.0}
    return {
        "best": dict(last.best),
        "minimised": sorted(last.minimised),
        "n_feasible": last.n_feasible,
        "n_front": last.n_front,
        "hypervolume": last.hypervolume,
    }


def _final_front(final: Comparison) -> dict[str, Any]:
    """Once fresh items have had their say, the front is no longer that of the search alone."""
    return {"n_front": len(final.front) if final.is_feasible else 0}


def _messages(state: RunState) -> list[str]:
    failed = [result for result in state.results.values() if isinstance(result, Failure)]
    return [f"{failure.candidate_id}: {failure.message}" for failure in failed[-N_MESSAGES:]]
