"""Read a configuration of mergekit from plain data: all problems at once, each with its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evomerge.errors import Problem
from evomerge.mergekit.checks import require_options
from evomerge.mergekit.configuration import Configuration, Tokenizer
from evomerge.mergekit.methods import MERGEKIT_METHODS
from evomerge.mergekit.read_slices import SliceReader
from evomerge.mergekit.report import KeyPath, Locate, Report, expected_one_of, nearest, shown

_KEYS = (
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
)
DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Reading:
    """What a file says, as far as it could be understood; None without a known method."""

    configuration: Configuration | None
    problems: tuple[Problem, ...]


def read_configuration(data: Mapping[str, Any], locate: Locate) -> Reading:
    """The configuration that the file's mapping says, and every problem of form.

    Without a value a key counts as absent, as in mergekit.

    Args:
        data: the file as plain data.
        locate: makes a problem of a key and a message.
    """
    report = Report(locate)
    known = report.mapping((), data, _KEYS)
    said = {key: value for key, value in known.items() if value is not None}
    configuration = _read(said, report)
    return Reading(configuration, tuple(report.problems))


def _read(data: Mapping[str, Any], report: Report) -> Configuration | None:
    method = _read_method(data, report)
    dtypes = {key: _read_dtype(key, data, report) for key in ("dtype", "out_dtype")}
    tokenizer = _read_tokenizer(data, report)
    template = _read_template(data.get("chat_template"), report)
    if method is None:
        return None
    reader = SliceReader(method, report)
    base = None
    if "base_model" in data:
        base = reader.reference(("base_model",), data["base_model"])
    slices, settings = reader.slices(data, base)
    settings.append(reader.settings(("parameters",), data.get("parameters")))
    for part in slices:
        require_options(part, settings, method, report)
    return Configuration(
        method=method,
        slices=tuple(slices),
        base=base,
        settings=tuple(settings),
        dtype=dtypes["dtype"],
        out_dtype=dtypes["out_dtype"],
        tokenizer=tokenizer,
        chat_template=template,
    )


def _read_method(data: Mapping[str, Any], report: Report) -> str | None:
    if "merge_method" not in data:
        report.add(("merge_method",), f"is missing, {expected_one_of('', MERGEKIT_METHODS)}")
        return None
    found = data["merge_method"]
    # The rest is read as for the method that is probably meant, to find what else is wrong.
    chosen = report.choice(("merge_method",), found, MERGEKIT_METHODS)
    return chosen or nearest(str(found), MERGEKIT_METHODS)


def _read_dtype(key: str, data: Mapping[str, Any], report: Report) -> str | None:
    return report.choice((key,), data[key], DTYPES) if data.get(key) else None


def _read_tokenizer(data: Mapping[str, Any], report: Report) -> Tokenizer | None:
    if "tokenizer" in data:
        node = report.mapping(("tokenizer",), data["tokenizer"], ("source", "pad_to_multiple_of"))
        path: KeyPath = ("tokenizer", "source")
        return _read_tokenizer_of(path, node.get("source"), node.get("pad_to_multiple_of"), report)
    if "tokenizer_source" in data:
        return _read_tokenizer_of(("tokenizer_source",), data["tokenizer_source"], None, report)
    return None


def _read_tokenizer_of(
    path: KeyPath, source: Any, multiple: Any, report: Report
) -> Tokenizer | None:
    if not isinstance(source, str):
        report.add(path, f"found {shown(source)}, expected base, union or a model's path")
        return None
    if multiple is None:
        return Tokenizer(source, path)
    if not isinstance(multiple, int) or multiple < 1:
        report.add(
            (*path[:-1], "pad_to_multiple_of"),
            f"found {shown(multiple)}, expected a whole number from 1",
        )
        return None
    return Tokenizer(source, path, multiple)


def _read_template(node: Any, report: Report) -> str | None:
    if node is None:
        return None
    if isinstance(node, str) and (node == "auto" or "{" in node):
        return node
    report.add(
        ("chat_template",),
        f"found {shown(node)}, expected `auto` or a template in Jinja: mergekit's own named "
        "templates are not part of evomerge; write the template itself",
    )
    return None
