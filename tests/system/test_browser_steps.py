"""Charts of steps that are large, negative, logged backwards, or times."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

LOSS = "window.runyard.charts['loss']"
MORNING = 1_764_057_600_000
"""25 November 2025, 08:00 UTC, in milliseconds."""


@pytest.fixture
def page_in_tokyo(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(timezone_id="Asia/Tokyo", locale="en-US")
    yield context.new_page()
    context.close()


class Script:
    """A script that logs to a run with MLflow's protocol."""

    def __init__(self, yard: Any, steps: list[int]) -> None:
        self.address = f"{yard.address}/api/2.0/mlflow/runs"
        self.run: str = self.post("create", experiment_id="0", run_name="steps")["run"]["info"]["run_id"]
        self.log({step: float(i) for i, step in enumerate(steps)})

    def post(self, path: str, **body: Any) -> Any:
        return httpx.post(f"{self.address}/{path}", json=body, timeout=20).raise_for_status().json()

    def log(self, values: dict[int, float]) -> None:
        metrics = [
            {"key": "val/loss", "value": value, "step": step, "timestamp": MORNING + i}
            for i, (step, value) in enumerate(values.items())
        ]
        for first in range(0, len(metrics), 1000):
            self.post("log-batch", run_id=self.run, metrics=metrics[first : first + 1000])

    def end(self) -> None:
        self.post("update", run_id=self.run, status="FINISHED")


def log(yard: Any, steps: list[int]) -> str:
    """The id of an ended run with the values 0, 1, … at these steps."""
    script = Script(yard, steps)
    script.end()
    return script.run


def open_chart(page: Page, yard: Any, run: str) -> None:
    page.goto(f"{yard.address}/runs/{run}?x=step&smoothing=0")
    expect(page.locator("#chart-loss canvas")).to_be_visible()


def ticks(page: Page) -> list[str]:
    found: list[str] = page.evaluate(f"{LOSS}.axes[0]._values")
    return found


def crosshair(page: Page, key: str) -> str:
    plot = page.locator("#chart-loss .plot")
    plot.focus()
    page.keyboard.press(key)
    return page.locator("#chart-loss").get_attribute("data-at") or ""


def test_steps_that_are_milliseconds_are_times_in_the_viewers_zone(page_in_tokyo: Page, yard: Any) -> None:
    run = log(yard, [MORNING + 60_000 * minute for minute in range(90)])
    open_chart(page_in_tokyo, yard, run)
    assert {"17:00", "17:30", "18:00"} <= set(ticks(page_in_tokyo))
    assert crosshair(page_in_tokyo, "Home") == "Nov 25 17:00:00.000 · step 1,764,057,600,000"
    # The axis does not begin at 0.
    assert page_in_tokyo.evaluate(f"{LOSS}.scales.x.min") == MORNING


def test_steps_of_64_bits_are_drawn_and_told_exactly(page: Page, yard: Any) -> None:
    run = log(yard, [-(2**63), 7, 2**63 - 1])
    open_chart(page, yard, run)
    assert {"−4E", "0", "4E"} <= set(ticks(page))
    assert crosshair(page, "Home") == "step −9,223,372,036,854,775,808"
    assert crosshair(page, "ArrowRight") == "step 7"
    assert crosshair(page, "End") == "step 9,223,372,036,854,775,807"
    page.locator("#chart-loss .chart-menu > summary").click()
    with page.expect_download() as saved:
        page.locator("#chart-loss .chart-menu").get_by_role("button", name="Save CSV").click()
    rows = list(csv.reader(io.StringIO(Path(saved.value.path()).read_text())))
    assert [row[0] for row in rows] == ["step", str(-(2**63)), "7", str(2**63 - 1)]


def test_points_that_come_late_are_drawn_where_their_steps_belong(page: Page, yard: Any) -> None:
    script = Script(yard, [10, 20])
    open_chart(page, yard, script.run)
    for step in (-5, 15):
        script.log({step: 0.5})
    yard.until(lambda: page.evaluate(f"{LOSS}.data[0].length") == 4)
    assert page.evaluate(f"{LOSS}.data.map((column) => [...column])") == [[-5, 10, 15, 20], [0.5, 0, 0.5, 1]]
    script.end()


def test_a_long_curve_that_gets_a_late_point_is_loaded_again(page: Page, yard: Any) -> None:
    script = Script(yard, list(range(6000)))
    open_chart(page, yard, script.run)
    assert page.evaluate("window.runyard.board.curves['val/loss'].coarse")
    script.log({-3: 9999.0})
    yard.until(lambda: page.evaluate(f"{LOSS}.data[0][0]") == -3)
    assert page.evaluate(f"{LOSS}.data[1][0]") == 9999
    script.end()


def test_zooming_into_large_steps_shows_each_of_them(page: Page, yard: Any) -> None:
    first = 10**12 // 2
    run = log(yard, [first + i for i in range(20)])
    open_chart(page, yard, run)
    page.evaluate(f"window.runyard.board.zoomTo([{first}, {first + 10}])")
    yard.until(lambda: "500.000000002G" in ticks(page))
    page.reload()
    expect(page.locator("#chart-loss canvas")).to_be_visible()
    assert page.evaluate("window.runyard.board.visibleRange()") == [first, first + 10]
