"""The page of the front: complete, offline, safe against names."""

import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from evomerge.records import Comparison
from evomerge.tracking.page import front_page
from tests.tracking.browser import browser
from tests.tracking.comparisons import comparison, member

PLOTLY = get_plotlyjs()


class Page(HTMLParser):
    """Collects what a page would load, its rows and its data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.rows: list[str] = []
        self.data = ""
        self._in_data = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.loaded += [values[key] or "" for key in ("src", "href", "data") if key in values]
        self._in_data = values.get("id") == "data"
        if tag == "tr" and values.get("data-id"):
            self.rows.append(values["data-id"] or "")

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False


@cache
def page_of(k: int, *, test: bool = True, title: str = "quickstart") -> str:
    """The page without plotly's own code, which is trusted and long."""
    text = front_page(comparison(k, test=test), title)
    assert PLOTLY in text
    return text.replace(PLOTLY, "")


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_page_loads_nothing_and_forbids_loading(k: int) -> None:
    text = page_of(k)
    assert Page(text).loaded == []
    assert "default-src 'none'" in text
    assert "@import" not in text


@pytest.mark.parametrize("k", [2, 3])
def test_the_page_has_a_row_and_a_heat_map_for_each_member(k: int) -> None:
    made = comparison(k)
    page = Page(page_of(k))
    data = json.loads(page.data)
    ids = {member.id for member in made.members()}
    assert set(page.rows) == ids
    assert set(data["heat"]) == ids
    assert set(data["front"]) == {"search", "test"}
    assert (data["coordinates"] is not None) == (k > 2)


def test_the_page_says_which_numbers_are_which() -> None:
    text = page_of(2)
    assert "Search</b> scores (100 items an objective) steered the search" in text
    assert "Test</b> scores (400 items an objective) are from items that the search" in text


def test_without_test_scores_the_page_says_so() -> None:
    text = page_of(2, test=False)
    assert "Nothing has been scored on test items yet" in text
    assert list(json.loads(Page(text).data)["front"]) == ["search"]


def test_a_name_cannot_break_out_of_the_page() -> None:
    text = page_of(4, title="</title><script>alert(1)</script>")
    assert "<script>alert(1)" not in text
    assert "<b>say" not in re.sub(r'<script type="application/json".*?</script>', "", text)
    json.loads(Page(text).data)


def after_a_long_search(k: int, n_dominated: int) -> Comparison:
    """Many dominated merges, none like another."""
    names = comparison(k).objectives
    losers = (
        member(100 + i, [0.1 + i / 50_000] * k, names, test=False) for i in range(n_dominated)
    )
    return replace(comparison(k), dominated=tuple(losers))


def test_of_very_many_dominated_merges_some_are_drawn_and_the_page_says_so() -> None:
    shown = after_a_long_search(2, 2000)
    text = front_page(shown, "long").replace(PLOTLY, "")
    assert "2000 dominated merges (of which 500 are drawn, evenly from first to last)" in text
    drawn = json.loads(Page(text).data)["front"]["search"]["data"][0]["customdata"]
    assert drawn == [member.id for member in shown.dominated[::4]]
    assert len(text) < 1_000_000
    assert "are drawn" not in page_of(2)


@pytest.mark.slow
def test_a_browser_draws_the_page_of_a_long_search(tmp_path: Path) -> None:
    page = tmp_path / "front.html"
    page.write_text(front_page(after_a_long_search(3, 10_000), "long"), encoding="utf-8")
    assert_drawn(page, n_figures=3)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_browser_draws_the_page_without_complaint(k: int, tmp_path: Path) -> None:
    page = tmp_path / "front.html"
    page.write_text(front_page(comparison(k), "quickstart"), encoding="utf-8")
    assert_drawn(page, n_figures=2 if k < 3 else 3)


def assert_drawn(path: Path, *, n_figures: int) -> None:
    """A browser shows the figures, of three layers each, and finds nothing wrong."""
    with browser(path.parent / "profile") as page:
        page.go(path.as_uri())
        page.wait_for(f"document.querySelectorAll('.main-svg').length >= {3 * n_figures}")
        assert page.console == []
