"""The MLflow UI of a run: on loopback only, with parent, children and the interactive front."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from evomerge.errors import UsageError
from evomerge.run.projecting import sync_run
from evomerge.tracking.ui import mlflow_ui_command
from tests.synthetic import write_run
from tests.tracking.browser import WITHOUT_ASSISTANT, Page, browser
from tests.tracking.ui import Ui, serving


def test_a_run_without_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no mlflow.db, expected .* MLFLOW_TRACKING_URI"):
        mlflow_ui_command(tmp_path)


def test_the_ui_is_bound_to_this_machine(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    command = mlflow_ui_command(tmp_path, 5055)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5055"
    assert f"sqlite:///{tmp_path}/mlflow.db" in command


@pytest.fixture(scope="module", params=[40, 2000], ids=["few candidates", "2000 candidates"])
def ui(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """The UI of a finished run."""
    run_dir = tmp_path_factory.mktemp("runs") / "search"
    write_run(run_dir, request.param)
    sync_run(run_dir)
    with serving(run_dir) as made:
        yield made


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path / "profile") as opened:
        opened.before_each_load(WITHOUT_ASSISTANT)
        yield opened


@pytest.mark.slow
def test_the_parent_shows_what_was_found_and_its_children(ui: Ui, page: Page) -> None:
    page.go(ui.run_page())
    page.wait_for("document.body.innerText.includes('Child runs')")
    first = ui.children[0].info.run_name
    assert re.match("front 0*1 ", first)
    page.wait_for(f"document.body.innerText.includes('{first}')")
    assert "Finished" in page.text()
    assert "★" in page.text()


@pytest.mark.slow
def test_the_parent_has_curves(ui: Ui, page: Page) -> None:
    page.go(ui.run_page("/model-metrics"))
    page.wait_for("document.querySelectorAll('.scatterlayer .trace path.js-line').length >= 4")
    for name in ("best_math_search", "front_size", "hypervolume"):
        assert name in page.text()


@pytest.mark.slow
def test_the_front_can_be_compared_in_parallel_coordinates(ui: Ui, page: Page) -> None:
    page.go(ui.compare_page())
    page.wait_for("document.querySelectorAll('.parcoords .y-axis').length >= 4")
    axes = page.run("[...document.querySelectorAll('.axis-title')].map(a => a.textContent)")
    assert axes == ["coefficient.german", "coefficient.lists", "coefficient.math", "search/mean"]
    assert f"Comparing {len(ui.children)} Runs" in page.text()


@pytest.mark.slow
def test_the_interactive_front_opens_among_the_artifacts(ui: Ui, page: Page) -> None:
    page.go(ui.run_page("/artifacts/front.html"))
    page.wait_for("document.querySelector('iframe.mlflow-html-iframe') !== null")
    page.wait_for_inside(
        "document.querySelectorAll('#front .main-svg, #heat .main-svg').length >= 2"
    )


@pytest.mark.slow
def test_the_ui_refuses_strangers(ui: Ui) -> None:
    request = urllib.request.Request(f"{ui.address}/", headers={"Host": "evil.example"})  # noqa: S310
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)  # noqa: S310
