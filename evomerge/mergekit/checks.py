"""What the slices of a configuration must satisfy for its method."""

from collections.abc import Sequence

from evomerge.mergekit.configuration import Settings, Slice, Source
from evomerge.mergekit.methods import MERGEKIT_METHODS, MergekitMethod
from evomerge.mergekit.report import KeyPath, Report


def check_slice(part: Slice, method: str, report: Report) -> None:
    """Report models that are there twice, of different depth, too few or many, or no base."""
    _check_sources(part, report)
    if part.sources:
        _check_base(part, method, report)
        _check_number(part, method, report)


def check_slices(
    slices: Sequence[Slice], path: KeyPath, method: MergekitMethod, report: Report
) -> None:
    """Report slices that cannot be merged in one go since they are not of one kind."""
    if len({len(part.sources) for part in slices}) > 1:
        counts = ", ".join(str(len(part.sources)) for part in slices)
        report.add(
            path,
            f"the slices have {counts} sources, expected the same number in each: evomerge "
            "merges as many models in every layer; split the file, or add sources of weight 0",
        )
    if method.base == "optional" and len({part.base is None for part in slices}) > 1:
        report.add(
            path, "some slices have a base and others none, expected one or the other for all"
        )


def require_options(part: Slice, outer: Sequence[Settings], method: str, report: Report) -> None:
    """Report the parameters without a default that no level of the file sets."""
    record = MERGEKIT_METHODS[method]
    for option in (option for option in record.options if option.default is None):
        holders: Sequence[Slice | Source] = (part,)
        if option.per_model:
            holders = [source for source in part.sources if not _is_origin(source, part, record)]
        for holder in holders:
            levels = (holder.settings, part.settings, *outer)
            if all(option.name not in level for level in levels):
                report.add(
                    holder.place,
                    f"{method} needs `{option.name}`, which is not set here nor further out; add "
                    "it below `parameters`",
                )


def _is_origin(source: Source, part: Slice, method: MergekitMethod) -> bool:
    """Whether a source is the base of a method that moves away from it."""
    return method.base != "ignored" and source.model == part.base


def _check_sources(part: Slice, report: Report) -> None:
    names = [source.model for source in part.sources]
    for index, source in enumerate(part.sources):
        if source.model in names[:index]:
            report.add(
                source.place,
                f"'{source.model}' is in this slice already; expected each model once: "
                "mergekit would take one of the two alone",
            )
    spans = {stop - first for first, stop in (s.layers for s in part.sources if s.layers)}
    if len(spans) > 1:
        found = ", ".join(str(span) for span in sorted(spans))
        report.add(part.place, f"its sources have {found} layers, expected the same number of each")


def _check_base(part: Slice, method: str, report: Report) -> None:
    role = MERGEKIT_METHODS[method].base
    if role == "ignored" or any(source.model == part.base for source in part.sources):
        return
    if role in ("needed", "blended"):
        found = f"'{part.base}' is not among its models" if part.base else "there is no base"
        report.add(
            part.place, f"{method} needs a base, and {found}; expected `base_model` as one of them"
        )
    elif part.base:
        report.add(part.place, f"its base '{part.base}' is not among its models; add it to them")


def _check_number(part: Slice, method: str, report: Report) -> None:
    record = MERGEKIT_METHODS[method]
    n_models = sum(not _is_origin(source, part, record) for source in part.sources)
    least, most = record.n_models
    if not least <= n_models <= most:
        wanted = f"{least}" if least == most else f"{least} or more"
        beside = " beside the base" if record.base != "ignored" else ""
        report.add(part.place, f"{method} was given {n_models} models, expected {wanted}{beside}")
