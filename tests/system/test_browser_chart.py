"""A chart in a real Chromium: keyboard crosshair and zoom, readout, and export as an image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect


@pytest.fixture
def two(page: Page, yard: Any) -> list[str]:
    """A run of 100 steps and one of 400, on the page that compares them."""
    ids = [
        yard.log(name, {"train/loss": {step: scale / step for step in range(1, last + 1)}})
        for name, last, scale in (("short", 100, 1.0), ("long", 400, 2.0))
    ]
    page.goto(f"{yard.address}/compare?runs={','.join(ids)}&by=none&x=step&smoothing=0")
    yard.until(lambda: page.evaluate("window.runyard && window.runyard.charts['train-loss'] ? 1 : 0"))
    return ids


def sight(page: Page) -> list[float]:
    return list(page.evaluate("window.runyard.board.visibleRange()"))


def zoomed(page: Page) -> list[str]:
    return parse_qs(urlsplit(page.url).query).get("zoom", [])


def test_the_crosshair_is_moved_by_keys_and_says_where_it_stands_and_what_is_there(
    page: Page, yard: Any, two: list[str]
) -> None:
    chart = page.locator("#chart-train-loss")
    values = [chart.locator(f"[data-readout='{run}:train/loss']") for run in two]
    # At the end of each, as long as nothing is pointed at.
    assert [value.inner_text() for value in values] == ["0.01", "0.005"]
    expect(chart.locator(".at")).to_be_hidden()

    chart.locator(".plot").focus()
    page.keyboard.press("Home")
    expect(chart.locator(".at")).to_have_text("step 1")
    assert [value.inner_text() for value in values] == ["1", "2"]
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    at = int(re.sub(r"\D", "", chart.locator(".at").inner_text()))
    assert 3 <= at < 30
    assert float(values[0].inner_text()) == pytest.approx(1 / at, rel=1e-3)
    page.keyboard.press("ArrowLeft")
    assert int(re.sub(r"\D", "", chart.locator(".at").inner_text())) < at
    # Where a run has ended it has no value any more.
    page.keyboard.press("End")
    expect(chart.locator(".at")).to_have_text("step 400")
    assert [value.inner_text() for value in values] == ["–", "0.005"]
    # It is told to those who do not see it.
    assert re.match(r"step 400, #\d+ short –, #\d+ long 0.005", chart.locator("output").inner_text())
    page.keyboard.press("Escape")
    expect(chart.locator(".at")).to_be_hidden()
    assert values[0].inner_text() == "0.01"


def test_a_chart_is_zoomed_by_keys_and_a_view_of_the_end_is_one_of_the_end_when_it_is_opened(
    page: Page, yard: Any, two: list[str]
) -> None:
    plot = page.locator("#chart-train-loss .plot")
    plot.focus()
    whole = sight(page)
    for _ in range(2):
        page.keyboard.press("+")
    low, high = sight(page)
    assert high - low == pytest.approx((whole[1] - whole[0]) / 4)
    assert zoomed(page) == [f"{low:g},{high:g}"]
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert (sight(page), zoomed(page)) == (whole, [])
    page.keyboard.press("End")
    page.keyboard.press("+")
    low, high = sight(page)
    assert high == whole[1]
    assert zoomed(page) == [f"last,{high - low:g}"]
    page.reload()
    yard.until(lambda: page.evaluate("window.runyard && window.runyard.charts['train-loss'] ? 1 : 0"))
    assert sight(page) == [low, high]
    expect(page.locator("[data-reset-zoom]")).to_be_visible()
    plot.focus()
    page.keyboard.press("0")
    assert (sight(page), zoomed(page)) == (whole, [])
    # A logarithmic axis goes from the first point to the last.
    page.get_by_label("log x").check()
    assert page.evaluate("(({ min, max }) => [min, max])(window.runyard.charts['train-loss'].scales.x)") == [1, 400]


def test_a_picture_of_a_chart_is_called_after_it_and_has_its_heading_and_legend(
    page: Page, yard: Any, two: list[str]
) -> None:
    menu, chart = page.get_by_label("Menu of the train/loss chart"), page.locator("#chart-train-loss")
    for words in ("Save SVG", "Save PNG"):
        menu.click()
        with page.expect_download() as saved:
            chart.get_by_role("button", name=words).click()
        assert saved.value.suggested_filename == f"Comparing-2-runs-train-loss.{words[-3:].lower()}"
        content = Path(saved.value.path()).read_bytes()
        if words == "Save SVG":
            said = content.decode()
            assert "Comparing 2 runs · train/loss</text>" in said
            assert re.search(r"#\d+ long</text>", said)
        else:
            drawn = page.evaluate("window.runyard.charts['train-loss'].ctx.canvas.height")
            assert int.from_bytes(content[20:24], "big") > drawn + 40
