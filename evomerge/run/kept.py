"""Results of baselines, kept beside the runs of a folder: no other run there scores them again."""

import json
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from evomerge.journal.codec import result_from_json, result_to_json
from evomerge.records import Failure, ItemScores, Job, Result
from evomerge.run.identity import (
    asking_parts,
    benchmark_parts,
    digest_of,
    keys_of,
    merge_parts,
    scoring_parts,
)
from evomerge.run.plan import Plan

FOLDER = ".cache"
"""Beside the run directories; free to delete."""
WORKER = "cache"
"""Where a result that was found here says that it comes from."""


def folder_beside(run_dir: Path) -> Path:
    """The folder of what the runs beside this one keep for each other."""
    return run_dir.resolve().parent / FOLDER


class KeptResults:
    """One file for each baseline and its items, named by a digest of all that it depends on.

    Names, paths and phases are not part of it: models and benchmarks count by their content.

    Args:
        folder: where the files are.
        plan: of the run that asks.
        note: told, in words, of files that cannot be used or written.
    """

    def __init__(self, folder: Path, plan: Plan, note: Callable[[str], None]) -> None:
        self._folder, self._plan, self._note = folder, plan, note
        self._baselines = {recipe.digest for recipe in plan.baselines.values()}

    def find(self, job: Job) -> ItemScores | None:
        """The scores of a baseline on exactly the items of this job, if some run has kept them."""
        if job.candidate_id not in self._baselines:
            return None
        parts = self._parts(job)
        path = self._path(parts)
        try:
            scores = _read(path, parts)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._note(f"{path} cannot be used ({error}); what it should hold is scored again")
            return None
        return replace(
            scores, candidate_id=job.candidate_id, phase=job.phase, seconds=0.0, worker=WORKER
        )

    def keep(self, job: Job, result: Result | None) -> None:
        """Write the scores of a baseline, unless they come from here; failures are not kept."""
        if not isinstance(result, ItemScores) or result.worker == WORKER:
            return
        if job.candidate_id not in self._baselines:
            return
        parts = self._parts(job)
        try:
            _write(self._path(parts), parts, result)
        except OSError as error:
            self._note(f"results of baselines are not kept for other runs: {error}")

    def _path(self, parts: dict[str, Any]) -> Path:
        return self._folder / f"baseline-{digest_of(parts)}.json"

    def _parts(self, job: Job) -> dict[str, Any]:
        benchmarks = {
            name: {
                **benchmark_parts(self._plan, name),
                "measures": keys_of(self._plan, name),
                "items": list(items),
            }
            for name, items in job.items.items()
        }
        return {
            "merge": merge_parts(self._plan, job.recipe),
            "benchmarks": benchmarks,
            "scoring": scoring_parts(self._plan),
            "asking": {name: asking_parts(self._plan, name) for name in job.asking},
        }


def _read(path: Path, parts: dict[str, Any]) -> ItemScores:
    """The scores in a file.

    Raises:
        OSError: it cannot be read.
        ValueError, KeyError, TypeError, AttributeError, RecursionError: it is not one of ours.
    """
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["depends_on"] != json.loads(json.dumps(parts)):
        raise ValueError("it is of something else")
    if kept["digest"] != digest_of(kept["result"]):
        raise ValueError("it was changed since it was written")
    result = result_from_json(kept["result"])
    if isinstance(result, Failure):
        raise ValueError("it holds a failure")
    return result


def _write(path: Path, parts: dict[str, Any], result: Result) -> None:
    """Write the result so that it is there whole or not at all.

    Raises:
        OSError: the disk refuses.
    """
    told = result_to_json(result)
    text = json.dumps({"depends_on": parts, "digest": digest_of(told), "result": told}, indent=1)
    draft = path.with_suffix(f".{os.getpid()}-{uuid.uuid4().hex[:8]}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
