"""What tasks may do beyond templates: told by whoever types the command, and by nothing else."""

from evomerge.errors import ScoringError
from evomerge.records import Permissions
from evomerge.scoring.task_files import LocalTask
from evomerge.scoring.task_yaml import code_in


def needed(task: LocalTask) -> Permissions:
    """What a task does beyond templates."""
    return Permissions(
        task_code="class" in task.config or any(code_in(task.config)),
        unsafe_code=bool(task.config.get("unsafe_code")),
        remote_code=bool(task.dataset_kwargs.get("trust_remote_code")),
    )


def require_allowed(task: LocalTask, permissions: Permissions) -> None:
    """Make sure that a task does nothing that is not allowed.

    Raises:
        ScoringError: it would; the message names the line and what to type.
    """
    places = {key: task.places.get(key, str(task.path)) for key in task.config}
    wanted = needed(task)
    code = [str(own) for own in code_in(task.config)]
    if "class" in task.config:
        code.append(f"class in {places['class']}")
    if wanted.task_code and not permissions.task_code:
        more = f" and {len(code) - 1} more" if len(code) > 1 else ""
        raise ScoringError(
            f"task {task.name!r} names code: {code[0]}{more}; it would run with all your rights: "
            "read it, then repeat the command with --allow-task-code"
        )
    if wanted.unsafe_code and not permissions.unsafe_code:
        raise ScoringError(
            f"task {task.name!r} runs the programs that the model writes (unsafe_code in "
            f"{places['unsafe_code']}); where they can do no harm, repeat the command with "
            "--confirm-run-unsafe-code"
        )
    if wanted.remote_code and not permissions.remote_code:
        raise ScoringError(
            f"task {task.name!r} wants code that comes with its dataset to run (trust_remote_code "
            f"in {places['dataset_kwargs']}); repeat the command with --trust-remote-code if "
            "you trust it"
        )
