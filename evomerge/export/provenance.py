"""Everything that made an exported model, for programs."""

import json

import evomerge
from evomerge.export.card import CardData

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
            "search": {
                name: e.to_json()
                for name, e in {**card.member.objectives, **card.member.constraints}.items()
            },
            "selection": {name: e.to_json() for name, e in card.member.selection.items()},
            "test": {name: e.to_json() for name, e in card.member.test.items()},
        },
        "commands": list(card.commands),
        "seed": card.seed,
        "versions": {"evomerge": evomerge.__version__, **card.versions},
    }
    return json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
