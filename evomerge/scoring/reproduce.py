"""The lm-eval command that reproduces a score, and task files it can run from anywhere."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from evomerge.errors import InfrastructureError, ScoringError
from evomerge.records import NO_CODE, Permissions
from evomerge.scoring.catalogue import Catalogue, LocalGroup
from evomerge.scoring.check import count_documents
from evomerge.scoring.task_files import LocalTask
from evomerge.scoring.task_yaml import TaskConfig, code_in

_OF_GROUP = ("group", "group_alias", "aggregate_metric_list")


def evaluate_command(
    model_dir: Path,
    tasks: Sequence[str],
    *,
    dtype: str,
    include_path: Path | None = None,
    device: str = "cpu",
    batch_size: int = 1,
    num_fewshot: int | None = None,
    items: Mapping[str, Sequence[int]] | None = None,
    chat_template: bool = False,
    permissions: Permissions = NO_CODE,
) -> list[str]:
    """The arguments of the `lm_eval` command that gives a model's scores on some tasks.

    Args:
        model_dir: a model folder.
        tasks: names of tasks and groups.
        dtype: what the scores were computed in, such as `float32`.
        include_path: folder of the tasks that lm-eval does not bring, as `write_portable_tasks`
            writes it: data files relative to a task's YAML are not found otherwise.
        device: torch device.
        batch_size: requests in a batch; in float32 the scores do not depend on it.
        num_fewshot: solved examples before each question; None leaves it to each task.
        items: of each task the items to score; by default all.
        chat_template: whether prompts are put into the model's chat template.
        permissions: what the tasks do that lm-eval wants confirmed.

    Raises:
        ScoringError: the command would not reproduce the scores of these items.
    """
    model_args = {"pretrained": str(model_dir.absolute()), "dtype": dtype}
    command = ["lm_eval", "run", "--model", "hf", "--model_args", json.dumps(model_args)]
    command += ["--tasks", ",".join(tasks), "--device", device, "--batch_size", str(batch_size)]
    if include_path:
        command += ["--include_path", str(include_path.absolute())]
    if num_fewshot is not None:
        command += ["--num_fewshot", str(num_fewshot)]
    if items is not None:
        command += ["--samples", _samples(tasks, items, num_fewshot)]
    if chat_template:
        command += ["--apply_chat_template"]
    if permissions.unsafe_code:
        command += ["--confirm_run_unsafe_code"]
    if permissions.remote_code:
        command += ["--trust_remote_code"]
    return command


def write_portable_tasks(
    names: Sequence[str], *, tasks_path: Path, out_dir: Path
) -> tuple[Path, ...]:
    """Write copies of local tasks that lm-eval can run from any working directory.

    Each is one YAML, includes merged in, whose data files are absolute paths; one that names code
    includes the original. Of a group its tasks are written too, under names that begin with the
    group's. What is not under `tasks_path` needs no copy, for lm-eval brings it, and is left out.

    Raises:
        ScoringError: a task's YAML is refused (see `Catalogue.read`), or a data file is missing.
        InfrastructureError: the folder cannot be written.
    """
    catalogue = Catalogue(tasks_path)
    configs: dict[str, TaskConfig] = {}
    for name in dict.fromkeys(names):
        if catalogue.is_local(name):
            found = catalogue.read(name)
            configs |= _of_group(found) if isinstance(found, LocalGroup) else _of_task(found, name)
    texts = {
        out_dir / f"{name.replace('::', '.')}.yaml": yaml.safe_dump(
            config, sort_keys=False, allow_unicode=True
        )
        for name, config in configs.items()
    }
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InfrastructureError(
            f"cannot write task files into {out_dir}: {error.strerror}; free space or permissions, "
            "then try again"
        ) from error
    return tuple(texts)


def _of_group(group: LocalGroup) -> dict[str, TaskConfig]:
    prefix = f"{group.name}::"
    named = {prefix + task.name.removeprefix(prefix): task for task in group.tasks}
    own: TaskConfig = {key: group.config[key] for key in _OF_GROUP if key in group.config}
    configs = {
        name: config for n, task in named.items() for name, config in _of_task(task, n).items()
    }
    return {group.name: own | {"task": list(named)}, **configs}


def _of_task(task: LocalTask, name: str) -> dict[str, TaskConfig]:
    count_documents(task)
    plain = {key: value for key, value in task.config.items() if not any(code_in(value))}
    original = {"include": str(task.path.absolute())} if len(plain) < len(task.config) else {}
    return {name: original | plain | {"task": name}}


def _samples(
    tasks: Sequence[str], items: Mapping[str, Sequence[int]], num_fewshot: int | None
) -> str:
    """The value of `--samples`: sorted, for lm-eval mislabels items in another order."""
    if num_fewshot != 0:
        raise ScoringError(
            f"some items with num_fewshot {num_fewshot}: lm-eval draws other few-shot examples "
            "for a subset than for the whole task; give num_fewshot=0 or leave out the items"
        )
    if empty := [task for task in tasks if not items.get(task)]:
        raise ScoringError(
            f"no items are given for {empty[0]!r}, and lm-eval would score all; "
            "give at least one for each task"
        )
    return json.dumps({task: sorted(set(items[task])) for task in tasks})
