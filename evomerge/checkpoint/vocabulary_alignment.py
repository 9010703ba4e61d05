"""Which vocabulary a merge has, and its base and experts seen with that vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evomerge.checkpoint.vocabulary import TOKENIZER, Vocabulary, union
from evomerge.checkpoint.vocabulary_rows import Model, Part, Placed, aligned, places
from evomerge.errors import ModelError, UsageError

BASE, UNION = "base", "union"


@dataclass(frozen=True)
class Alignment:
    """A base and its experts with the same vocabulary, ready to be merged.

    Args:
        base: the base, itself or with rows gathered anew.
        experts: the experts likewise, by name.
        n_rows: rows of every vocabulary table.
        vocabulary: the token of each row; None where no tokenizer was needed.
        owner: the model whose tokenizer files, special tokens and chat template the merge has.
        contributors: the experts whose tokens a union adds to the owner's.
    """

    base: Model
    experts: Mapping[str, Model]
    n_rows: int
    vocabulary: Vocabulary | None
    owner: Model
    contributors: tuple[Model, ...] = ()


def align(
    base: Model,
    experts: Mapping[str, Model],
    *,
    tokenizer: str | None = None,
    trim: bool = False,
    pad_to_multiple_of: int = 1,
) -> Alignment:
    """Give the base and its experts one vocabulary, by token string.

    A model without a tokenizer.json is taken to have the base's where its tables have as many rows,
    and is left as it is where they have not.

    Args:
        base: the base.
        experts: the experts by name.
        tokenizer: whose tokens the rows are. `base`: the base's; the name of an expert: that
            expert's; `union`: the base's in their rows, then what each expert adds, in the order
            of its ids. None: the base's, and tokenizers must not contradict each other.
        trim: leave out padding, so that the last row is that of the last token.
        pad_to_multiple_of: add rows until their number is a multiple of this.

    Raises:
        UsageError: no expert has the name that `tokenizer` gives.
        ModelError: the tokenizers contradict each other and `tokenizer` is None; or a tokenizer is
            damaged, or missing where it is needed.
    """
    sources = (base, *experts.values())
    owner = sources[_number_of_owner(tuple(experts), tokenizer)]
    if tokenizer is None:
        _require_agreement(base, experts)
    parts = _parts(sources, required=tokenizer is not None)
    mine = parts[sources.index(owner)]
    if mine.vocabulary is None:
        return Alignment(base, dict(experts), mine.n_rows, None, owner)
    adding = _additions(mine.vocabulary, parts) if tokenizer == UNION else {}
    wanted = union([mine.vocabulary, *adding.values()])
    n_rows = wanted.n_ids if trim else max(mine.n_rows, wanted.n_ids)
    n_rows += -n_rows % pad_to_multiple_of
    placed = [Placed(part, places(part, wanted, n_rows)) for part in parts]
    models = [aligned(each, placed) for each in placed]
    named = dict(zip(experts, models[1:], strict=True))
    return Alignment(models[0], named, n_rows, wanted, owner, tuple(adding))


def disagreement(base: Model, expert: Model) -> str | None:
    """Why the rows of two models cannot be merged as they stand; None where they can.

    They can where no token has different ids in the two tokenizers and no id different tokens: the
    same tokenizer however padded, or one that extends the other. Also where one of them has no
    tokenizer.json to compare, as an expert that was saved without.

    Raises:
        ModelError: a tokenizer is damaged.
    """
    mine, other = (Part.of(model).vocabulary for model in (base, expert))
    if mine is None or other is None:
        return None
    ids = [
        i
        for token, i in other.ids.items()
        if mine.ids.get(token, i) != i or mine.tokens.get(i, token) != token
    ]
    if not ids:
        return None
    first = ids[0]
    return (
        f"its tokenizer differs from the base's in {len(ids)} tokens: id {first} is "
        f"{other.tokens[first]!r}, in the base {mine.tokens.get(first)!r}; expected the base's "
        "tokenizer, an extension or a part of it. Set `merge.tokenizer: base` to merge by token "
        "string, or give the expert the base's tokenizer with evomerge transplant"
    )


def _additions(known: Vocabulary, parts: Sequence[Part]) -> dict[Model, Vocabulary]:
    """The models that have tokens beyond those known, with their vocabularies."""
    return {
        part.source: part.vocabulary
        for part in parts
        if part.vocabulary is not None and part.vocabulary.ids.keys() - known.ids.keys()
    }


def _number_of_owner(experts: tuple[str, ...], tokenizer: str | None) -> int:
    if tokenizer in (None, BASE, UNION):
        return 0
    if tokenizer in experts:
        return 1 + experts.index(tokenizer)
    raise UsageError(
        f"tokenizer is `{tokenizer}`, expected `{BASE}`, `{UNION}` or the name of an expert "
        f"({', '.join(experts)})"
    )


def _require_agreement(base: Model, experts: Mapping[str, Model]) -> None:
    for name, expert in experts.items():
        if message := disagreement(base, expert):
            raise ModelError(f"expert '{name}' ({expert.path}): {message}")


def _parts(sources: Sequence[Model], *, required: bool) -> list[Part]:
    base, *experts = map(Part.of, sources)
    parts = [base]
    for part in experts:
        alike = part.vocabulary is None and part.n_rows == base.n_rows
        parts.append(replace(part, vocabulary=base.vocabulary) if alike else part)
    for part in parts:
        if required and part.vocabulary is None:
            raise ModelError(
                f"model {part.source.path} has no {TOKENIZER}, expected one to tell which token "
                f"each of its {part.n_rows} rows belongs to; save its tokenizer there with "
                "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
            )
    return parts
