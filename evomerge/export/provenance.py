"""Everything that made an exported model, for programs."""

import json
import math
from collections.abc import Mapping
from typing import Any

import evomerge
from evomerge.export.card import CardData
from evomerge.records import Estimate

FORMAT = 1


def provenance(card: CardData) -> str:
    """JSON with the recipe, where its models are and what they hash to, scores and versions."""
    data = {
        "format": FORMAT,
        "candidate": card.member.id,
        "recipe": card.member.recipe.to_json(),
        "models": {
            role: {"path": path, "sha256": card.digests.get(role)}
            for role, path in (("base", card.base), *card.experts.items())
        },
        "scores": {
            "search": _estimates(card.member.objectives),
            "test": _estimates(card.member.test),
        },
        "commands": list(card.commands),
        "seed": card.seed,
        "versions": {"evomerge": evomerge.__version__, **card.versions},
    }
    return json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {
        name: {"mean": _finite(estimate.mean), "se": _finite(estimate.se), "n": estimate.n}
        for name, estimate in estimates.items()
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
