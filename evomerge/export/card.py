"""The model card of an exported merge."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from evomerge.records import Estimate, Member, ParameterValue, Recipe

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MANY_GROUPS = 64


@dataclass(frozen=True)
class CardData:
    """What a model card says beyond the recipe.

    Args:
        title: the name of the model.
        member: the candidate with its scores on search and on test items.
        base: the base as the experiment names it: a folder, or a name on a hub.
        experts: the experts likewise, in the recipe's order.
        commands: the commands that reproduce the scores, to be printed as they are.
        license: its identifier on the hub, where it is known.
        digests: the fingerprint of the base (`base`) and of each expert (by its name).
        seed: the seed of the search.
        versions: library → version.
        headings: what an objective is called with its direction or bound, where not by its name.
        directions: in words, which way is better.
        feasibility: in words, whether bounds are met; empty where there are none.
    """

    title: str
    member: Member
    base: str
    experts: Mapping[str, str]
    commands: Sequence[str] = ()
    license: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    headings: Mapping[str, str] = field(default_factory=dict)
    directions: str = "larger is better"
    feasibility: str = ""


def model_card(card: CardData) -> str:
    """The card as Markdown with the metadata block that model hubs read."""
    names = [card.base, *card.experts.values()]
    metadata = ModelCardData(
        base_model=[name for name in names if _is_on_a_hub(name)] or None,
        library_name="transformers",
        license=card.license,
        model_name=card.title,
        pipeline_tag="text-generation",
        tags=["merge", "evomerge"],
    )
    sections = (_lead(card), _scores(card), _reproduce(card), _usage(card), _recipe(card))
    body = "\n".join(line for section in sections for line in section)
    return str(ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{body}\n"))


def _is_on_a_hub(name: str) -> bool:
    return bool(_HUB_NAME.fullmatch(name)) and not Path(name).exists()


def _lead(card: CardData) -> Iterator[str]:
    methods = dict.fromkeys(group.method for group in card.member.recipe.groups.values())
    yield f"# {card.title}"
    yield ""
    yield (
        f"A merge of {len(card.experts)} expert models into `{card.base}` by "
        f"{', '.join(f'`{method}`' for method in methods)}, found by evomerge. It is candidate "
        f"`{card.member.id}` of its search. Nothing was trained: its weights follow from those of "
        "the models below and the recipe at the end."
    )
    yield ""
    yield "| role | model | fingerprint (SHA-256) |"
    yield "|---|---|---|"
    for role, model in (("base", card.base), *card.experts.items()):
        digest = card.digests.get(role, "")
        yield f"| {_cell(role)} | `{_cell(model)}` | {f'`{digest[:16]}…`' if digest else '–'} |"
    yield ""


def _scores(card: CardData) -> Iterator[str]:
    yield "## Scores"
    yield ""
    yield f"Score ± standard error, with the number of items; {card.directions}. The search items"
    yield "chose this merge, so that their scores flatter it; the search never saw the test items."
    on_search = {**card.member.objectives, **card.member.constraints}
    columns = {"test items": card.member.test, "search items": on_search}
    if card.member.selection:
        yield "It is among the best, which were scored again on the selection items, also unseen by"
        yield "the search; both scores together chose the front."
        columns["selection items"] = card.member.selection
    yield ""
    if card.member.means:
        yield "Search scores estimate the mean over all search items from those that were scored;"
        yield "the mean of these alone, which the commands below measure, stands beside it."
        yield ""
        columns["scored items alone"] = card.member.means
    yield f"| objective | {' | '.join(columns)} |"
    yield "|---|" + "---|" * len(columns)
    for name in on_search:
        cells = [_estimate(estimates.get(name)) for estimates in columns.values()]
        yield f"| {_cell(card.headings.get(name, name))} | {' | '.join(cells)} |"
    yield ""
    if card.feasibility:
        yield card.feasibility
        yield ""


def _reproduce(card: CardData) -> Iterator[str]:
    if card.commands:
        yield "To measure them again:"
        yield ""
        yield "```bash"
        yield from card.commands
        yield "```"
        yield ""


def _usage(card: CardData) -> Iterator[str]:
    yield """## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this card lies
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(folder)
```

`mergekit_config.yml` says the same merge in the words of mergekit, and what mergekit does
otherwise; `evomerge.json` holds recipe, scores, fingerprints and versions for programs.
"""


def _recipe(card: CardData) -> Iterator[str]:
    recipe = card.member.recipe
    columns = [column for name in _parameters(recipe) for column in _columns(recipe, name)]
    yield "## Recipe"
    yield ""
    yield f"Search seed {card.seed}, mask seed {recipe.seed}."
    yield ""
    if len(recipe.groups) > _MANY_GROUPS:
        yield "<details><summary>All layer groups</summary>\n"
    yield "| layer group | method | " + " | ".join(_cell(title) for title, _, _ in columns) + " |"
    yield "|---|---|" + "---|" * len(columns)
    for name, group in recipe.groups.items():
        values = [_value(group.values.get(key), index) for _, key, index in columns]
        yield f"| {name} | {group.method} | " + " | ".join(values) + " |"
    if len(recipe.groups) > _MANY_GROUPS:
        yield "\n</details>"


def _parameters(recipe: Recipe) -> list[str]:
    return list(dict.fromkeys(name for group in recipe.groups.values() for name in group.values))


def _columns(recipe: Recipe, name: str) -> list[tuple[str, str, int]]:
    """Title, parameter and index of each column of a parameter."""
    values = [group.values.get(name) for group in recipe.groups.values()]
    if any(isinstance(value, tuple) for value in values):
        return [(f"{name} {expert}", name, index) for index, expert in enumerate(recipe.experts)]
    return [(name, name, 0)]


def _value(value: ParameterValue | None, index: int) -> str:
    if value is None:
        return ""
    return f"{value[index] if isinstance(value, tuple) else value:.3f}"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None or not math.isfinite(estimate.mean):
        return "–"
    error = f" ± {estimate.se:.4f}" if math.isfinite(estimate.se) else ""
    return f"{estimate.mean:.4f}{error} ({estimate.n})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
