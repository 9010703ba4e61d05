"""Events to JSON text and back: plain values, no pickle, floats to the last bit.

Each kind of event has one `Codec` row in `CODECS`: the name stored in the file, how the event is
written, how it is read, and the key that makes it unique. Python's JSON writes the shortest text
that reads back as the same float64, so per-item results and genomes survive exactly. What makes
up most of a journal is packed (`journal.packing`): the items of a task as a bitmap, their results
as another where all are 0 or 1, and the names that the groups of a recipe share once.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evomerge.journal.events import (
    Asked,
    Calibrated,
    Duplicate,
    Event,
    Failed,
    Finished,
    Lost,
    Proposed,
    Scored,
    Selected,
    Started,
    Stopped,
    Told,
)
from evomerge.journal.packing import (
    Json,
    pack_ids,
    pack_recipe,
    pack_values,
    unpack_ids,
    unpack_recipe,
    unpack_values,
)
from evomerge.records import Failure, ItemScores, Result, TaskScores


@dataclass(frozen=True)
class Codec:
    """How one kind of event is stored.

    `key` names what may happen only once in a run; None for what may repeat.
    """

    kind: str
    encode: Callable[[Any], Json]
    decode: Callable[[Json], Event]
    key: Callable[[Any], str | None]


def encode(event: Event) -> str:
    """The event without its time as JSON text, mappings in their own order.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot hold.
    """
    data = CODECS[type(event)].encode(event)
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def decode(kind: str, payload: str) -> Event:
    """The event that `encode` wrote; LookupError, TypeError or ValueError when it is not one."""
    return DECODERS[kind](json.loads(payload))


def kind_of(event: Event) -> str:
    """The name under which this kind of event is stored."""
    return CODECS[type(event)].kind


def key_of(event: Event) -> str | None:
    """What this event says that may be said only once in a run, or None."""
    return CODECS[type(event)].key(event)


def _result_key(event: Scored | Failed) -> str:
    return f"result/{event.result.phase}/{event.result.candidate_id}"


def _task_to_json(task: TaskScores) -> Json:
    packed: Json = {"items": pack_ids(task.items), "values": pack_values(task.values)}
    return {**packed, "weights": pack_values(task.weights)} if task.weights else packed


def _task_from_json(data: Json) -> TaskScores:
    """Events of versions that knew no weights have none."""
    return TaskScores(
        unpack_ids(data["items"]),
        unpack_values(data["values"]),
        unpack_values(data.get("weights", [])),
    )


def _scores_to_json(scores: ItemScores) -> Json:
    return {
        "candidate_id": scores.candidate_id,
        "tasks": {name: _task_to_json(task) for name, task in scores.tasks.items()},
        "phase": scores.phase,
        "seconds": scores.seconds,
        "worker": scores.worker,
    }


def _scores_from_json(data: Json) -> ItemScores:
    return ItemScores(
        candidate_id=data["candidate_id"],
        tasks={name: _task_from_json(task) for name, task in data["tasks"].items()},
        phase=data["phase"],
        seconds=data["seconds"],
        worker=data["worker"],
    )


def _failure_to_json(failure: Failure) -> Json:
    return {
        "candidate_id": failure.candidate_id,
        "reason": failure.reason,
        "message": failure.message,
        "phase": failure.phase,
        "worker": failure.worker,
    }


def result_to_json(result: Result) -> Json:
    """A result as plain JSON values, scores to the last bit."""
    if isinstance(result, Failure):
        return {"failure": _failure_to_json(result)}
    return {"scores": _scores_to_json(result)}


def result_from_json(data: Json) -> Result:
    """The result that `result_to_json` wrote; KeyError, TypeError or ValueError if it is none."""
    if "failure" in data:
        return Failure(**data["failure"])
    return _scores_from_json(data["scores"])


def _asked_to_json(event: Asked) -> Json:
    return {
        "number": event.number,
        "attempt": event.attempt,
        "candidate_id": event.candidate_id,
        "genome": event.genome,
        "recipe": pack_recipe(event.recipe),
    }


def _asked_from_json(data: Json) -> Asked:
    return Asked(
        number=data["number"],
        attempt=data["attempt"],
        candidate_id=data["candidate_id"],
        genome=tuple(data["genome"]),
        recipe=unpack_recipe(data["recipe"]),
    )


def _started_to_json(event: Started) -> Json:
    return {
        "experiment": event.experiment,
        "digest": event.digest,
        "run_id": event.run_id,
        "versions": dict(event.versions),
    }


def _finished_to_json(event: Finished) -> Json:
    return {"front": list(event.front), "baselines": dict(event.baselines)}


def _finished_from_json(data: Json) -> Finished:
    return Finished(front=tuple(data["front"]), baselines=data["baselines"])


CODECS: Mapping[type[Event], Codec] = {
    Started: Codec("started", _started_to_json, lambda data: Started(**data), lambda _: "started"),
    Asked: Codec(
        "asked", _asked_to_json, _asked_from_json, lambda e: f"asked/{e.number}/{e.attempt}"
    ),
    Proposed: Codec(
        "proposed",
        lambda event: {"candidate_id": event.candidate_id, "phase": event.phase},
        lambda data: Proposed(**data),
        lambda _: None,
    ),
    Lost: Codec(
        "lost",
        lambda event: _failure_to_json(event.failure),
        lambda data: Lost(Failure(**data)),
        lambda _: None,
    ),
    Scored: Codec(
        "scored",
        lambda event: _scores_to_json(event.scores),
        lambda data: Scored(_scores_from_json(data)),
        _result_key,
    ),
    Failed: Codec(
        "failed",
        lambda event: _failure_to_json(event.failure),
        lambda data: Failed(Failure(**data)),
        _result_key,
    ),
    Duplicate: Codec(
        "duplicate",
        lambda event: result_to_json(event.result),
        lambda data: Duplicate(result_from_json(data)),
        lambda _: None,
    ),
    Told: Codec(
        "told",
        lambda e: {"order": e.order, "number": e.number, "candidate_id": e.candidate_id},
        lambda data: Told(**data),
        lambda event: f"told/{event.number}",
    ),
    Calibrated: Codec(
        "calibrated",
        lambda event: {"banks": dict(event.banks), "notes": dict(event.notes)},
        lambda data: Calibrated(**data),
        lambda _: "calibrated",
    ),
    Selected: Codec(
        "selected",
        lambda event: {"candidates": list(event.candidates)},
        lambda data: Selected(tuple(data["candidates"])),
        lambda _: "selected",
    ),
    Stopped: Codec(
        "stopped", lambda e: {"reason": e.reason}, lambda data: Stopped(**data), lambda _: None
    ),
    Finished: Codec("finished", _finished_to_json, _finished_from_json, lambda _: "finished"),
}
DECODERS = {codec.kind: codec.decode for codec in CODECS.values()}
