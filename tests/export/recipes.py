"""Recipes and cards of a tiny merge."""

from evomerge.export.card import CardData
from evomerge.merge.groups import layer_groups
from evomerge.records import Estimate, GroupRecipe, Member, ParameterValue, Recipe
from tests.tiny import TinyZoo

EXPERTS = ("red", "blue")


def recipe_for(
    tensors: list[str], method: str = "task_arithmetic", *, split: bool = False, equal: bool = False
) -> Recipe:
    """A recipe with a layer a group, every coefficient another unless `equal`."""
    groups = layer_groups(tensors, granularity=1, split_modules=split)
    density: dict[str, ParameterValue] = {"density": 0.5} if "ties" in method else {}
    coefficients = [
        (0.1 + 0.1 * i, 0.1 + 0.1 * i if equal else 0.9 - 0.05 * i) for i in range(len(groups))
    ]
    return Recipe(
        EXPERTS,
        {
            name: GroupRecipe(method, {"coefficient": pair, **density})
            for name, pair in zip(groups, coefficients, strict=True)
        },
    )


def card_for(recipe: Recipe, zoo: TinyZoo) -> CardData:
    """A card with scores of one objective and a command."""
    member = Member(
        recipe.digest,
        recipe,
        {"words|all": Estimate(0.75, 0.03, 120)},
        {"words|all": Estimate(0.71, 0.02, 500)},
    )
    return CardData(
        title="tiny merge",
        member=member,
        base=str(zoo.base),
        experts={name: str(path) for name, path in zoo.experts.items()},
        commands=("lm_eval --model hf --model_args pretrained=. --tasks words_test",),
        license="apache-2.0",
        digests={"base": "ab" * 32, "red": "cd" * 32},
        seed=7,
        versions={"torch": "2.13"},
    )
