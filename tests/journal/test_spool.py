"""A finished result on disk is there whole or not at all, and never in anybody's way."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.journal.spool import Spool
from evomerge.records import Failure, ItemScores, Job, Recipe, TaskScores

RECIPE = Recipe(experts=(), groups={})


def scores(name: str = "abc", value: float = 0.1, items: tuple[int, ...] = (4, 2)) -> ItemScores:
    values = tuple(value for _ in items)
    return ItemScores(name, {"task": TaskScores(items, values)}, "search", 1.5, "host:1")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    return spool


def test_what_is_put_is_collected_bit_for_bit(spool: Spool) -> None:
    for value in (0.1, 1 / 3, 5e-324, -0.0):
        spool.put(scores(value=value))
        assert spool.collect() == [scores(value=value)]


def test_a_result_that_is_removed_is_gone_and_others_stay(spool: Spool) -> None:
    spool.put(scores("abc"))
    spool.put(scores("def"))
    spool.remove(scores("abc"))
    spool.remove(scores("abc"))
    assert spool.collect() == [scores("def")]


def test_a_phase_is_a_result_of_its_own(spool: Spool) -> None:
    test = ItemScores("abc", {}, "test")
    spool.put(scores("abc"))
    spool.put(test)
    spool.remove(scores("abc"))
    assert spool.collect() == [test]


def test_a_result_is_found_for_the_very_items_of_a_job(spool: Spool) -> None:
    spool.put(scores("abc", items=(4, 2)))
    assert spool.find(Job("abc", RECIPE, {"task": (4, 2)})) == scores("abc")
    assert spool.find(Job("abc", RECIPE, {"task": (4, 2, 7)})) is None
    assert spool.find(Job("abc", RECIPE, {"task": (4, 2)}, "test")) is None
    assert spool.find(Job("def", RECIPE, {"task": (4, 2)})) is None


def test_a_failure_answers_no_job(spool: Spool) -> None:
    spool.put(Failure("abc", "exception"))
    assert spool.find(Job("abc", RECIPE, {})) is None


@given(cut=st.integers(0, 170), junk=st.binary(max_size=20))
def test_a_broken_file_is_reported_and_left_out(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"))
    spool.put(scores("abc"))
    spool.put(scores("def"))
    path = spool.folder / "abc-search.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + b"\xff" + junk)
    assert spool.collect() == [scores("def")]


def test_what_is_broken_is_named(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    (spool.folder / "abc-search.json").write_text('{"scores": 5}')
    assert spool.collect() == []
    assert "abc-search.json holds no result that can be read" in caplog.text
    assert "its candidate is evaluated again" in caplog.text


def test_a_result_under_the_name_of_another_is_none(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    spool.put(scores("abc"))
    (spool.folder / "abc-search.json").rename(spool.folder / "def-search.json")
    assert spool.collect() == []
    assert spool.find(Job("def", RECIPE, {"task": (4, 2)})) is None
    assert "it is one of abc in phase search" in caplog.text


def test_scores_that_no_journal_takes_are_no_result(spool: Spool) -> None:
    spool.put(scores("abc", value=0.25))
    path = spool.folder / "abc-search.json"
    path.write_text(path.read_text().replace("0.25", "NaN"))
    assert spool.collect() == []


def test_drafts_of_the_dead_are_no_results_and_are_cleared_away(spool: Spool) -> None:
    (spool.folder / "abc-search.123.draft").write_text("{")
    assert spool.collect() == []
    spool.prepare()
    assert list(spool.folder.iterdir()) == []


def test_clearing_forgets_everything(spool: Spool) -> None:
    spool.put(scores())
    (spool.folder / "abc-search.123.draft").write_text("{")
    spool.clear()
    assert list(spool.folder.iterdir()) == []


def test_without_a_folder_there_is_nothing_and_nothing_can_be_put(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "elsewhere")
    assert spool.collect() == []
    with pytest.raises(OSError, match="No such file"):
        spool.put(scores())


def test_a_writer_killed_at_any_moment_leaves_whole_results_only(spool: Spool) -> None:
    code = f"""
        from pathlib import Path
        from evomerge.journal.spool import Spool
        from evomerge.records import ItemScores
        spool = Spool(Path({str(spool.folder)!r}))
        print(flush=True)
        n = 0
        while True:
            spool.put(ItemScores(f"{{n:04}}", {{}}, "search", float(n)))
            n += 1
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    while len(list(spool.folder.glob("*.json"))) < 5:
        assert writer.poll() is None
    writer.kill()
    writer.communicate()
    results = spool.collect()
    assert len(results) == len(list(spool.folder.glob("*.json"))) >= 5
    assert all(float(result.candidate_id) == result.seconds for result in results)
