"""Pages with their browser code, on a server of this process: fast, because nothing trains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect

from app.contract.settings import Settings
from tests.app.own_dataset import describe_own_dataset
from tests.app.routes.conftest import trained
from tests.app.routes.datasets.test_api import read, upload
from tests.browser import opened_page
from tests.conftest import Runs
from tests.served import serving

__all__ = ["trained"]

# Not /launch and /architectures: they wait for a process that imports PyTorch.
PATHS = ["/", "/runs", "/queue", "/notifications", "/compare", "/leaderboard", "/sweeps", "/docs"]


@pytest.fixture
def address(server: FastAPI) -> Iterator[str]:
    with serving(server) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page that is closed before its server."""
    with opened_page(browser) as page:
        yield page


def test_every_module_loads(page: Page, address: str) -> None:
    for path in PATHS:
        answer = page.goto(address + path)
        assert answer is not None
        assert answer.status == 200, path


def test_a_runs_charts_are_drawn_read_and_exported(page: Page, address: str, trained: Callable[..., str]) -> None:
    run = trained()
    page.goto(f"{address}/runs/{run}?smoothing=0.6")
    page.wait_for_function("window.runyard?.charts.loss")
    plot = page.locator("#chart-loss .plot")
    plot.focus()
    page.keyboard.press("Home")
    expect(page.locator("#chart-loss .at")).to_have_text("step 0")
    page.keyboard.press("End")
    expect(page.locator("#chart-loss .at")).to_have_text("step 200")
    page.keyboard.press("+")
    expect(page).to_have_url(re.compile("zoom="))
    page.keyboard.press("0")
    expect(page).not_to_have_url(re.compile("zoom="))
    page.get_by_label("Menu of the loss chart").first.click()
    with page.expect_download() as download:
        page.locator("#chart-loss").get_by_role("button", name="Save CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("step,")
    # NaN at step 50 is an empty cell.
    assert lines[51].startswith("50,,")
    for kind in ("PNG", "SVG"):
        page.get_by_label("Menu of the loss chart").first.click()
        with page.expect_download() as download:
            page.locator("#chart-loss").get_by_role("button", name=f"Save {kind}").click()
        assert download.value.suggested_filename.endswith(f"-loss.{kind.lower()}")
        assert download.value.path().stat().st_size > 1000
    order = "each => each.map((box) => box.dataset.chart)"
    charts = page.locator("[data-group='Training and validation'] figure")
    before = charts.evaluate_all(order)
    page.get_by_label("Menu of the loss chart").first.click()
    page.locator("#chart-loss").get_by_role("button", name="Move right").click()
    assert charts.evaluate_all(order) == [before[1], before[0], *before[2:]]
    page.locator("[data-series]").first.hover()
    assert page.evaluate("window.runyard.board.highlighted") != ""


def test_runs_are_selected_and_compared_by_keyboard(page: Page, address: str, trained: Callable[..., str]) -> None:
    trained(seed=1)
    trained(seed=2, level=0.8)
    page.goto(f"{address}/runs")
    for key in ("j", " ", "j", " "):
        page.keyboard.press(key)
    expect(page.locator("[data-selected]")).to_have_text("2 selected")
    page.keyboard.press("c")
    page.wait_for_url("**/compare?**")
    page.wait_for_function("Object.keys(window.runyard?.charts ?? {}).length > 0")


def test_a_runs_name_is_edited_in_the_table(page: Page, address: str, trained: Callable[..., str]) -> None:
    trained()
    page.goto(f"{address}/runs")
    page.keyboard.press("j")
    page.keyboard.press("e")
    page.locator(".edit-row input[name=name]").fill("renamed")
    page.keyboard.press("Enter")
    expect(page.locator("#runs-table td.name")).to_contain_text("renamed")


def test_the_search_field_completes_what_is_typed(page: Page, address: str, trained: Callable[..., str]) -> None:
    trained()
    page.goto(f"{address}/runs")
    page.locator("#search").press_sequentially("datas")
    expect(page.get_by_role("listbox", name="Suggestions").get_by_role("option").first).to_have_text("dataset:")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#search")).to_have_value("dataset:")
    expect(page.get_by_role("option").first).to_have_text("dataset:digits")


def test_the_queue_is_reordered_by_keyboard(page: Page, address: str, runs: Runs) -> None:
    for seed in (1, 2, 3):
        runs.add(seed=seed)
    page.goto(f"{address}/queue")
    page.locator("#queue-rows > li").nth(2).focus()
    page.keyboard.press("Alt+Home")
    expect(page.locator("#queue-said")).to_contain_text("moved to position 1 of 3")
    page.keyboard.press("Delete")
    expect(page.locator("#queue-rows > li")).to_have_count(2)


def test_why_an_import_failed_is_told_whole_on_a_narrow_page(page: Page, address: str, settings: Settings) -> None:
    with httpx.Client(base_url=address) as client:
        number = upload(client, "1.zip", name="flowers").json()["id"]
    reason = f"no images found in {'a-folder-with-a-long-name/' * 5}; put the images of each class into a folder"
    read(settings, number, status="failed", reason=reason)
    page.set_viewport_size({"width": 390, "height": 844})
    for path, target in (("/datasets", f"#import-{number} .grow"), (f"/datasets/imports/{number}", ".reason")):
        page.goto(address + path)
        expect(page.locator(target)).to_contain_text(reason)
        expect(page.locator(target)).to_be_visible()
        cut = page.locator(target).evaluate("each => each.scrollWidth > each.clientWidth || each.clientWidth < 300")
        assert not cut, path
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    # Why a file is skipped, too.
    describe_own_dataset(settings.datasets)
    page.goto(f"{address}/datasets/flowers")
    page.get_by_role("heading", name="Files skipped").click()
    expect(page.get_by_role("cell", name="is not a readable image")).to_be_visible()
    table = page.get_by_role("region", name="Files skipped")
    assert table.evaluate("each => each.scrollWidth <= each.clientWidth")
    # A long list is scrolled by keyboard.
    table.focus()
    expect(table).to_be_focused()
