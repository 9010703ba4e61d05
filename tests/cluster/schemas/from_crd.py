"""A custom resource definition on standard input as one strict JSON Schema on standard output."""

import json
import sys
from collections import Counter
from typing import Any

import yaml

LEFT_OUT = {
    "default",
    "description",
    "format",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
}
WORTH_A_NAME = 400
"""Characters from which on a part that repeats is said once."""


def main() -> None:
    crd = yaml.safe_load(sys.stdin)
    version = next(v for v in crd["spec"]["versions"] if v["name"] == "v1")
    schema = strict(version["schema"]["openAPIV3Schema"])
    del schema["properties"]["status"]
    schema["properties"]["metadata"] = {"type": "object"}
    print(json.dumps(said_once(schema), separators=(",", ":")))


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without what no validator needs, every object closed to unknown keys."""
    kept = {
        key: _inside(key, value, strict) for key, value in schema.items() if key not in LEFT_OUT
    }
    if "properties" in kept and not kept.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    return kept


def said_once(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with references to `$defs` where a large part repeats."""
    counts: Counter[str] = Counter()
    _count(schema, counts)
    names: dict[str, str] = {}
    definitions: dict[str, Any] = {}

    def refer(part: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(part, sort_keys=True)
        if counts[text] < 2:
            return {key: _inside(key, value, refer) for key, value in part.items()}
        if text not in names:
            names[text] = f"part{len(names) + 1}"
            definitions[names[text]] = {
                key: _inside(key, value, refer) for key, value in part.items()
            }
        return {"$ref": f"#/$defs/{names[text]}"}

    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **refer(schema), "$defs": definitions}


def _count(part: dict[str, Any], counts: Counter[str]) -> None:
    text = json.dumps(part, sort_keys=True)
    if len(text) >= WORTH_A_NAME:
        counts[text] += 1

    def descend(inner: dict[str, Any]) -> dict[str, Any]:
        _count(inner, counts)
        return inner

    for key, value in part.items():
        _inside(key, value, descend)


def _inside(key: str, value: Any, change: Any) -> Any:
    """A keyword's value with `change` applied to every schema directly in it."""
    if key in ("properties", "patternProperties"):
        return {name: change(schema) for name, schema in value.items()}
    if key in ("items", "additionalProperties") and isinstance(value, dict):
        return change(value)
    if key in ("allOf", "anyOf", "oneOf"):
        return [change(schema) for schema in value]
    return value


if __name__ == "__main__":
    main()
