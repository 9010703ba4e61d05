"""Results on disk between a worker and the journal, so that nobody's death loses a finished one.

A worker puts its result here before it sends it; whoever has journaled it removes it. What is left
when a driver starts was finished while the one before died.
"""

import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from evomerge.journal.codec import result_from_json, result_to_json
from evomerge.records import Asker, Failure, Job, Phase, Result, TaskScores

log = logging.getLogger(__name__)


class Spool:
    """A folder of results, one file each, named `<candidate id>-<phase>.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder, and drop the drafts of workers that died while writing.

        Raises:
            OSError: the disk refuses.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for draft in self.folder.glob("*.draft"):
            draft.unlink(missing_ok=True)

    def put(self, result: Result) -> None:
        """Write the result so that after a crash it is there whole or not at all.

        Raises:
            OSError: the disk refuses, or the folder does not exist on this machine.
            ValueError: a score is NaN or infinite.
        """
        text = json.dumps(result_to_json(result), allow_nan=False)
        path = self._path(result.candidate_id, result.phase)
        draft = path.with_suffix(f".{uuid.uuid4().hex}.draft")
        try:
            with draft.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise
        self._sync_folder()

    def collect(self) -> list[Result]:
        """Every result that is there whole; a broken file is reported and left where it is."""
        return list(self._read_all())

    def find(self, job: Job) -> Result | None:
        """The result of exactly this job, if a worker left it."""
        result = self._read(self._path(job.candidate_id, job.phase))
        return result if result is not None and answers(result, job.items, job.asking) else None

    def remove(self, result: Result) -> None:
        """Forget the result, which the journal holds by now; nothing if it is not there."""
        with suppress(OSError):
            self._path(result.candidate_id, result.phase).unlink()

    def clear(self) -> None:
        """Forget everything."""
        for pattern in ("*.json", "*.draft"):
            for path in self.folder.glob(pattern):
                with suppress(OSError):
                    path.unlink()

    def _path(self, candidate_id: str, phase: Phase) -> Path:
        return self.folder / f"{candidate_id}-{phase}.json"

    def _read_all(self) -> Iterator[Result]:
        for path in sorted(self.folder.glob("*.json")):
            result = self._read(path)
            if result is not None:
                yield result

    def _read(self, path: Path) -> Result | None:
        try:
            result = result_from_json(json.loads(path.read_text(encoding="utf-8")))
            json.dumps(result_to_json(result), allow_nan=False)  # else no journal would take it
            if path != self._path(result.candidate_id, result.phase):
                raise ValueError(f"it is one of {result.candidate_id} in phase {result.phase}")
            return result
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning(
                "%s holds no result that can be read (%s: %s); its candidate is evaluated again",
                path,
                type(error).__name__,
                error,
            )
            return None

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def answers(
    result: Result,
    items: Mapping[str, tuple[int, ...]],
    asking: Mapping[str, Asker] | None = None,
) -> bool:
    """Whether the result holds scores of exactly these items, and of those asked after them."""
    if isinstance(result, Failure):
        return False
    found = {name: _of_benchmark(result.tasks, name) for name in items}
    return sum(map(len, found.values())) == len(result.tasks) and all(
        bool(scores) and _are_asked(scores, items[name], (asking or {}).get(name))
        for name, scores in found.items()
    )


def _of_benchmark(tasks: Mapping[str, TaskScores], benchmark: str) -> dict[str, TaskScores]:
    """The results of a benchmark by measure key (`records.measure_key`)."""
    return {
        key: scores
        for key, scores in tasks.items()
        if key == benchmark or key.startswith(f"{benchmark}:")
    }


def _are_asked(
    found: Mapping[str, TaskScores], items: tuple[int, ...], asker: Asker | None
) -> bool:
    """Whether the items are those of the job, then those that its asker wants given the answers."""
    asked = items
    while asker is not None and all(s.items[: len(asked)] == asked for s in found.values()):
        more = asker.next_items({key: scores.first(len(asked)) for key, scores in found.items()})
        if not more:
            break
        asked += more
    return all(scores.items == asked for scores in found.values())
