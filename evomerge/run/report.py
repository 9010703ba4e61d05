"""What a run leaves behind and says at its end."""

import json
import shlex
from pathlib import Path

from rich.console import Console

from evomerge.errors import InfrastructureError
from evomerge.records import Comparison
from evomerge.run.directory import FRONT_JSON, FRONT_PAGE, FRONT_PICTURE
from evomerge.tracking.page import front_page
from evomerge.tracking.ranking import ranked
from evomerge.tracking.still import front_png
from evomerge.tracking.table import front_table, to_json
from evomerge.tracking.target import EXPERIMENT, tracking_uri, without_credentials


def write_front(comparison: Comparison, run_dir: Path, title: str) -> None:
    """Write the front into the run directory: as JSON, interactive page, and picture.

    Raises:
        InfrastructureError: the directory cannot be written.
    """
    try:
        (run_dir / FRONT_JSON).write_text(
            json.dumps(to_json(comparison), indent=2, allow_nan=False), encoding="utf-8"
        )
        (run_dir / FRONT_PAGE).write_text(front_page(comparison, title), encoding="utf-8")
        front_png(comparison, run_dir / FRONT_PICTURE)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write the front into {run_dir}: {error.strerror}; free space or permissions, "
            f"then `evomerge resume {run_dir}`: nothing scored is lost"
        ) from error


def print_report(comparison: Comparison, run_dir: Path, mlflow: bool) -> None:
    """Print the front beside the baselines, where to see it, and what to type next."""
    Console().print(front_table(comparison))
    print(f"Interactive front: {run_dir / FRONT_PAGE}")
    quoted = shlex.quote(str(run_dir))
    commands = [f"evomerge front {quoted} --json"]
    if mlflow:
        store = without_credentials(tracking_uri(run_dir))
        print(f"MLflow: {store}, experiment {EXPERIMENT}")
        commands.insert(0, f"evomerge ui {quoted}")
    best = ranked(comparison)
    if best:
        folder = shlex.quote(str(run_dir / "best"))
        commands.append(f"evomerge export {quoted} {best[0][1].id} {folder}")
    print("Next:\n  " + "\n  ".join(commands))
