"""What a point of a figure says under the mouse."""

from collections.abc import Mapping
from html import escape

from evomerge.records import Estimate, Member, Recipe
from evomerge.tracking.ranking import scores
from evomerge.tracking.summary import means_by_expert
from evomerge.tracking.table import text_of


def hover_text(name: str, member: Member) -> str:
    """Name, scores and a summary of the recipe, in the few tags that plotly understands."""
    lines = [f"<b>{escape(name)}</b>"]
    lines += _score_lines(scores(member, "search"), "search")
    lines += _score_lines(member.selection, "selection")
    lines += _score_lines(member.test, "test")
    if member.violation > 0.0:
        lines.append(f"misses its bounds by {member.violation:.3f} of them")
    return "<br>".join([*lines, *recipe_lines(member.recipe)])


def _score_lines(estimates: Mapping[str, Estimate], phase: str) -> list[str]:
    return [
        f"{phase} {escape(name)} {text_of(estimate)} ({estimate.n} items)"
        for name, estimate in estimates.items()
    ]


def recipe_lines(recipe: Recipe) -> list[str]:
    """The methods, then each parameter's mean over the layer groups, one value an expert."""
    methods = ", ".join(dict.fromkeys(group.method for group in recipe.groups.values()))
    names = dict.fromkeys(name for group in recipe.groups.values() for name in group.values)
    return [f"<i>{escape(methods)}</i>", *(_parameter_line(recipe, name) for name in names)]


def _parameter_line(recipe: Recipe, name: str) -> str:
    means = means_by_expert(recipe, name)
    pairs = [f"{escape(owner)} {mean:.2f}".strip() for owner, mean in means]
    return f"mean {escape(name)}: {', '.join(pairs)}"
