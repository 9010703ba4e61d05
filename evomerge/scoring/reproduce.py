"""The lm-eval command that reproduces a score, and task files it can run from anywhere."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from evomerge.scoring.check import count_documents
from evomerge.scoring.task_files import find_tasks, read_task


def write_portable_tasks(
    names: Sequence[str], *, tasks_path: Path, out_dir: Path
) -> tuple[Path, ...]:
    """Write copies of local tasks that lm-eval can run from any working directory.

    Each is one YAML, includes merged in, whose data files are absolute paths. A task that is not
    under `tasks_path` needs no copy, for lm-eval brings it, and is left out.

    Raises:
        ScoringError: a task's YAML is refused (see `read_task`), or a data file is missing.
    """
    found = find_tasks(tasks_path)
    out_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for name in dict.fromkeys(names):
        if name in found:
            task = read_task(found[name])
            count_documents(task)
            written.append(out_dir / f"{name}.yaml")
            written[-1].write_text(
                yaml.safe_dump(task.config, sort_keys=False, allow_unicode=True), encoding="utf-8"
            )
    return tuple(written)
