"""Tasks as lm-eval's own objects, loaded and set as `simple_evaluate` would set them."""

import contextlib
import copy
import io
import logging
import os
import random
import sys
from collections.abc import Iterator

import datasets
import jinja2
import lm_eval.utils
import numpy as np
from jinja2.sandbox import SandboxedEnvironment
from lm_eval.api.registry import METRIC_REGISTRY
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import _import_func_in_yml

from evomerge.errors import ScoringError
from evomerge.scoring.check import check_output_type, count_documents
from evomerge.scoring.task_files import FILE_FORMATS, LocalTask
from evomerge.scoring.task_yaml import Code

TASK_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    datasets.exceptions.DatasetsError,
    jinja2.TemplateError,
)
"""What lm-eval, the libraries below it and tasks' code raise at a task that makes no sense."""

logging.getLogger("lm_eval").setLevel(logging.ERROR)

PYTHON_SEED, NUMPY_SEED = 0, 1234
"""lm-eval's own: some tasks shuffle their choices with whatever global generator there is."""


def load_task(local: LocalTask) -> ConfigurableTask:
    """The task of a YAML, its code imported: who calls this has made sure that it is allowed.

    Raises:
        ScoringError: it cannot be loaded, or its output type or a metric is not one of lm-eval's.
    """
    check_output_type(local.name, local.output_type)
    _check_metrics(local)
    count_documents(local)
    config = _with_code(local)
    try:
        with quiet():
            task = TaskManager(include_defaults=False).load(config)["tasks"][local.name]
    except TASK_ERRORS as error:
        raise _not_loaded(local, error) from error
    if not isinstance(task, ConfigurableTask):
        raise ScoringError(f"task {local.name!r} is a {type(task).__name__}, expected a YAML task")
    return task


def set_fewshot(name: str, task: ConfigurableTask, num_fewshot: int | None, seed: int) -> None:
    """Settle how many solved examples stand before each question, and which.

    Raises:
        ScoringError: the task fixes that there are none, but some are wanted.
    """
    own = task.config.num_fewshot
    if num_fewshot is not None and own == 0 and num_fewshot != 0:
        # lm-eval would keep the zero and say so in its log alone.
        raise ScoringError(
            f"task {name!r} fixes num_fewshot: 0, so that lm-eval gives it no examples, but "
            f"{num_fewshot} are asked for; delete the line from its YAML or ask for none"
        )
    if own is None or num_fewshot is not None:
        task.set_config(key="num_fewshot", value=num_fewshot or 0)
    task.set_fewshot_seed(seed=seed)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars of lm-eval and datasets off the terminal."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Global generators as lm-eval seeds them, and afterwards as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(PYTHON_SEED)
    np.random.seed(NUMPY_SEED)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _forbid_internals() -> None:
    """Let no template of a task reach into Python: lm-eval renders them without a sandbox."""
    theirs = lm_eval.utils.env
    sandbox = SandboxedEnvironment(
        loader=theirs.loader,
        undefined=theirs.undefined,
        keep_trailing_newline=theirs.keep_trailing_newline,
    )
    sandbox.filters.update(theirs.filters)
    lm_eval.utils.env = sandbox


_forbid_internals()


def _check_metrics(local: LocalTask) -> None:
    if "process_results" in local.config:
        return  # the task computes whatever it calls its metrics
    for metric in local.metrics:
        # lm-eval would look for it on a hub, and run what it finds there.
        if metric not in METRIC_REGISTRY:
            raise ScoringError(
                f"task {local.name!r} has metric {metric!r}, which lm-eval does not bring"
            )


def _with_code(local: LocalTask) -> dict[str, object]:
    """A copy of the task's values, the code that they name imported as lm-eval imports it."""
    config = {key: _imported(local, value) for key, value in local.config.items()}
    for name in filter(os.path.isabs, list(sys.modules)):
        # lm-eval calls a module by its file. What is of no module is pickled by value, and so
        # travels to workers that do not have the file.
        del sys.modules[name]
    return config


def _imported(local: LocalTask, value: object) -> object:
    if isinstance(value, Code):
        try:
            return _import_func_in_yml(value.name, value.path.parent)
        except (*TASK_ERRORS, ImportError, SyntaxError) as error:
            raise ScoringError(
                f"task {local.name!r} names {value}, which cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
    if isinstance(value, dict):
        return {key: _imported(local, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_imported(local, inner) for inner in value]
    return copy.deepcopy(value)


def _not_loaded(local: LocalTask, error: BaseException) -> ScoringError:
    dataset, subset = local.config.get("dataset_path"), local.config.get("dataset_name")
    on_hub = isinstance(dataset, str) and dataset not in FILE_FORMATS
    if on_hub and isinstance(error, OSError | datasets.exceptions.DatasetsError):
        arguments = ", ".join(repr(own) for own in (dataset, subset) if own)
        return ScoringError(
            f"the dataset {dataset} of task {local.name!r} is not on this machine and cannot be "
            f"downloaded ({_explained(error)}); while online, run once: python -c "
            f'"import datasets; datasets.load_dataset({arguments})"'
        )
    return ScoringError(
        f"lm-eval cannot load task {local.name!r} from {local.path}: {_explained(error)}"
    )


def _explained(error: BaseException) -> str:
    """The error and what caused it: `datasets` says only in the cause which column it missed."""
    cause = f" ({error.__cause__})" if error.__cause__ else ""
    return f"{type(error).__name__}: {error}{cause}"
