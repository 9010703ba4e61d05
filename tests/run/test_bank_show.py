"""`bank show` in the terminal, as JSON and as a page."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from evomerge.errors import CalibrationError, InfrastructureError, UsageError
from evomerge.irt.trait_bank import TraitBank, fit_trait_bank
from evomerge.run.bank_show import print_view, view_json, view_of, write_page
from evomerge.run.build import load_experiment_tasks
from evomerge.run.validate import load_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny_zoo: TinyZoo) -> Path:
    return write_experiment(tmp_path_factory.mktemp("show"), tiny_zoo)


@pytest.fixture(scope="module")
def bank(config: Path) -> TraitBank:
    rng = np.random.default_rng(0)
    ability, difficulty = rng.normal(size=(30, 1)), rng.normal(size=40)
    answers = ability - difficulty + rng.logistic(size=(30, 40)) > 0
    answers[:, 7] = True
    answers[:, 9] = ability[:, 0] < 0.0
    digest = load_experiment_tasks(load_experiment(config))["choice_search"].digest
    provenance = {"fingerprint": digest}
    return fit_trait_bank("choice_search", tuple(range(40)), answers.astype(float), provenance)


@pytest.fixture(scope="module")
def path(bank: TraitBank, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bank") / "choice_search.bank.json"
    bank.write(path)
    return path


def test_the_terminal_shows_what_matters(path: Path, config: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_view(view_of(path, config))
    shown = capsys.readouterr().out
    assert shown.startswith("choice_search: 40 items, fitted to 30 models\nmodel of answers: trai")
    assert "1 no_variance" in shown
    assert re.search(r"standard errors times: \d\.\d\d at 20", shown)
    assert re.search(r"traits-4 \(chosen\) +0\.\d{4}", shown)
    assert re.search(r"\n9 +negative .*say: ", shown)


def test_without_an_experiment_items_stay_numbers(path: Path) -> None:
    found = json.loads(json.dumps(view_json(view_of(path, None))))
    assert [row["item"] for row in found["worst"][:1]] == [9]
    assert all(row["text"] is None for row in found["worst"])
    assert found["flags"]["7"] == "no_variance"
    assert [row["name"] for row in found["comparison"]][-1] == found["model"]


def test_the_page_holds_everything_and_loads_nothing(path: Path, config: Path, tmp_path) -> None:
    view = view_of(path, config)
    view.texts[9] = "</script><script>alert(1)</script> a < b"  # an item may say anything
    write_page(view, tmp_path / "bank.html")
    page = (tmp_path / "bank.html").read_text()
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page
    assert "default-src 'none'" in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0].replace("<\\/", "</"))
    assert list(data) == ["curves", "information", "difficulties"]
    assert len(data["curves"]["data"]) == 18
    assert page.count("<td>negative</td>") >= 1


def test_a_bank_of_other_items_is_refused(bank: TraitBank, config: Path, tmp_path: Path) -> None:
    other = TraitBank(**{**vars(bank), "provenance": {"fingerprint": "abc"}})
    other.write(tmp_path / "other.bank.json")
    with pytest.raises(CalibrationError, match="fitted to items with fingerprint abc, expected"):
        view_of(tmp_path / "other.bank.json", config)


def test_an_experiment_without_the_task_is_refused(bank, config: Path, tmp_path: Path) -> None:
    TraitBank(**{**vars(bank), "task": "arc"}).write(tmp_path / "arc.bank.json")
    with pytest.raises(UsageError, match="has no task arc, expected the experiment that the bank"):
        view_of(tmp_path / "arc.bank.json", config)


def test_a_folder_is_refused_with_the_banks_in_it(path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder, .* it holds choice_search.bank.json"):
        view_of(path.parent, None)


def test_a_page_that_cannot_be_written_is_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"cannot write .*missing/bank.html"):
        write_page(view_of(path, None), tmp_path / "missing" / "bank.html")
