"""The notebook says what it does: it runs from its first cell to its last."""

import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient
from transformers import AutoModelForCausalLM

REPOSITORY = Path(__file__).parents[2]
NOTEBOOK = REPOSITORY / "notebooks/first_search.ipynb"
RUN_DIR = 'repository / "runs/first"'


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs() -> None:
    for cell in read().cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


class ThisPython(KernelSpecManager):
    """Kernels of the Python that runs the tests, wherever else there are some."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name=kernel_name, language="python")


@pytest.mark.slow
def test_it_searches_reads_the_front_and_exports_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = read()
    for cell in notebook.cells:
        cell.source = cell.source.replace(RUN_DIR, f"Path({str(tmp_path / 'first')!r})")
        cell.source = cell.source.replace("budget.evaluations=32", "budget.evaluations=16")
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython())
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, km=manager, timeout=480, resources=folder).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert {"text/html", "image/png", "application/vnd.plotly.v1+json"} <= kinds
    AutoModelForCausalLM.from_pretrained(tmp_path / "first" / "best")
    answers = shown[-1]["data"]["text/plain"]
    assert "de: drehe acht elf neunzehn =" in answers
