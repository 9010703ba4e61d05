"""`export`: a candidate of a run as a model folder, with the commands that reproduce its scores."""

from pathlib import Path

from evomerge.checkpoint.adapter import open_model
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.vocabulary_alignment import align
from evomerge.errors import UsageError
from evomerge.export.card import CardData
from evomerge.export.folder import export_model
from evomerge.journal.events import Started
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import Comparison, Member
from evomerge.run.build import fingerprint_models, require_unchanged
from evomerge.run.calibration import objectives_of
from evomerge.run.directory import read_run
from evomerge.run.needed import statistics_paths
from evomerge.run.plan import Plan
from evomerge.run.reproducing import reproducing_commands
from evomerge.run.view import comparison
from evomerge.tracking.directions import heading, legend
from evomerge.workers.worker import open_all_statistics


def export_candidate(run_dir: Path, candidate_id: str, out_dir: Path) -> None:
    """Write a candidate or baseline of a run as a Hugging Face folder.

    Raises:
        UsageError: there is no such run or candidate, or `out_dir` is taken.
        ModelError: a source cannot be read, or is no longer what it was when the run started.
    """
    out_dir = out_dir.resolve()  # `.` has no name of its own
    state, plan = read_run(run_dir)
    shown = comparison(state, objectives_of(plan, state), plan.baselines)
    member = find_member(shown, candidate_id)
    experiment = plan.experiment
    require_unchanged(plan, fingerprint_models(experiment))
    base = open_checkpoint(experiment.base)
    experts = {name: open_model(path, base) for name, path in experiment.experts.items()}
    aligned = align(base, experts, tokenizer=experiment.merge.tokenizer)
    card = CardData(
        title=out_dir.name,
        member=member,
        base=str(experiment.base),
        experts={name: str(path) for name, path in experiment.experts.items()},
        commands=tuple(reproducing_commands(plan, run_dir, out_dir, state.result(member.id))),
        digests=_model_digests(plan),
        seed=experiment.seed,
        versions=state.started.versions if isinstance(state.started, Started) else {},
        headings={name: heading(shown, name) for name in (*shown.objectives, *shown.bounds)},
        directions=legend(shown),
        feasibility=_feasibility(shown, member),
    )
    statistics = open_all_statistics(statistics_paths(experiment, plan.fingerprints))
    merge = PreparedMerge(aligned.base, aligned.experts, statistics)
    export_model(merge.merged(member.recipe), base, out_dir, card)
    print(f"{out_dir}: {member.id} exported; README.md tells its scores and how to reproduce them")


def _feasibility(shown: Comparison, member: Member) -> str:
    """In words, whether a member meets the bounds; empty where there are none."""
    if not shown.bounds:
        return ""
    if member.violation == 0.0:
        return "It meets every bound."
    return f"It misses its bounds by {member.violation:.3f} of them in all."


def find_member(shown: Comparison, wanted: str) -> Member:
    """The member with this identity, an unambiguous beginning of it, or this baseline's name.

    Raises:
        UsageError: there is none, or there are several.
    """
    if wanted in shown.baselines:
        return shown.baselines[wanted]
    members = {member.id: member for member in (*shown.members(), *shown.dominated)}
    found = [member for id_, member in members.items() if id_.startswith(wanted)]
    if len(found) == 1 and wanted:
        return found[0]
    best = ", ".join(member.id for member in shown.front[:5]) or "none yet"
    raise UsageError(
        f"{'no' if not found else len(found)} candidates of this run begin with `{wanted}`; "
        f"expected one identity, such as those of the front ({best}), or a baseline "
        f"({', '.join(shown.baselines)})"
    )


def _model_digests(plan: Plan) -> dict[str, str]:
    return {
        name.removeprefix("model:"): digest
        for name, digest in plan.fingerprints.items()
        if name.startswith("model:")
    }
