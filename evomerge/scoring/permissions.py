"""What tasks may do beyond templates: told by whoever types the command, and by nothing else."""

from dataclasses import dataclass

from evomerge.errors import ScoringError
from evomerge.scoring.task_files import LocalTask
from evomerge.scoring.task_yaml import code_in


@dataclass(frozen=True)
class Permissions:
    """What a command line allows; no file and no environment variable can.

    Args:
        task_code: Python that a task's YAML names runs here and on workers.
        unsafe_code: what the model writes runs, in tasks that are about programs.
        remote_code: code that comes with a dataset runs.
    """

    task_code: bool = False
    unsafe_code: bool = False
    remote_code: bool = False


NOTHING = Permissions()


def require_allowed(task: LocalTask, permissions: Permissions) -> None:
    """Make sure that a task does nothing that is not allowed.

    Raises:
        ScoringError: it would; the message names the line and what to type.
    """
    places = {key: task.places.get(key, str(task.path)) for key in task.config}
    code = [str(own) for own in code_in(task.config)]
    if "class" in task.config:
        code.append(f"class in {places['class']}")
    if code and not permissions.task_code:
        more = f" and {len(code) - 1} more" if len(code) > 1 else ""
        raise ScoringError(
            f"task {task.name!r} names code: {code[0]}{more}; it would run with all your rights: "
            "read it, then repeat the command with --allow-task-code"
        )
    if task.config.get("unsafe_code") and not permissions.unsafe_code:
        raise ScoringError(
            f"task {task.name!r} runs the programs that the model writes (unsafe_code in "
            f"{places['unsafe_code']}); where they can do no harm, repeat the command with "
            "--confirm-run-unsafe-code"
        )
    if task.dataset_kwargs.get("trust_remote_code") and not permissions.remote_code:
        raise ScoringError(
            f"task {task.name!r} wants code that comes with its dataset to run (trust_remote_code "
            f"in {places['dataset_kwargs']}); repeat the command with --trust-remote-code if "
            "you trust it"
        )
