"""What judges the answers to a task, told by its YAML and the code that it names."""

import hashlib
from pathlib import Path

from evomerge.scoring.task_files import LocalTask
from evomerge.scoring.task_yaml import Code, code_in

_JUDGING = ("output_type", "filter_list", "metric_list", "process_results", "repeats")


def rules_digest(task: LocalTask) -> str:
    """A digest of a task's filters, metrics and modules of code, wherever they lie."""
    digest = hashlib.sha256()
    for key in _JUDGING:
        digest.update(repr(_without_places(task.config.get(key))).encode())
    for module in sorted({_module(code) for code in code_in(task.config)}):
        if module.is_file():
            digest.update(module.read_bytes())
    return digest.hexdigest()


def _module(code: Code) -> Path:
    """The file of some code, as lm-eval looks for it first: beside the YAML."""
    module = code.name.rpartition(".")[0].replace(".", "/")
    return code.path.parent / f"{module}.py"


def _without_places(value: object) -> object:
    if isinstance(value, Code):
        return value.name
    if isinstance(value, dict):
        return {key: _without_places(inner) for key, inner in value.items()}
    return [_without_places(inner) for inner in value] if isinstance(value, list) else value
