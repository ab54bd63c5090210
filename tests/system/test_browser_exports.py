"""Exports of runs, curves and comparisons in a real Chromium; the report opens without a server."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.formats.summary_values import EventMetadata
from app.formats.tfevents import read_scalars
from tests.browser import complaints_of


@pytest.fixture
def two(yard: Any) -> list[str]:
    """Two runs that have ended."""
    said = {"dataset": "digits", "family": "simple_mlp", "size": "tiny", "epochs": 2, "tags": ["taken"]}
    ids = [yard.launch(**said, seed=seed) for seed in (1, 2)]
    for run in ids:
        yard.wait_for(run, "succeeded")
    return ids


def saved(page: Page, button: str) -> Path:
    with page.expect_download() as download:
        page.locator(button).click()
    return Path(download.value.path())


def test_the_runs_that_a_question_finds_are_saved_as_a_table(page: Page, yard: Any, two: list[str]) -> None:
    page.goto(f"{yard.address}/runs?q=tag%3Ataken&sort=number")
    page.locator("#export-pop summary").click()
    table = list(csv.DictReader(io.StringIO(saved(page, "#export-csv").read_text())))
    assert [row["id"] for row in table][-2:] == two
    assert all(float(row["val/acc"]) > 0 for row in table)
    found = json.loads(saved(page, "#export-json").read_text())["runs"]
    assert [run["id"] for run in found] == [row["id"] for row in table]


def test_every_point_of_a_run_is_saved_for_tensorboard(page: Page, yard: Any, two: list[str]) -> None:
    page.goto(f"{yard.address}/runs/{two[0]}")
    with page.expect_download() as download:
        page.locator("#take-along").get_by_text("TensorBoard").click()
    assert "tfevents" in download.value.suggested_filename
    with open(download.value.path(), "rb") as file:
        scalars = list(read_scalars(file, EventMetadata()))
    logged = yard.call(f"/runs/{two[0]}/metrics?points=0")
    assert [each.step for each in scalars if each.tag == "train/loss"] == logged["train/loss"]["step"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_opens_without_a_server_and_leads_back_to_it(
    scheme: Any, page: Page, browser: Any, yard: Any, two: list[str], tmp_path: Path
) -> None:
    page.goto(f"{yard.address}/compare?runs={','.join(two)}&by=variant")
    report = tmp_path / "report.html"
    report.write_bytes(saved(page, "#report").read_bytes())
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme, offline=True)
    alone = context.new_page()
    asked: list[str] = []
    alone.on("request", lambda request: asked.append(request.url))
    complaints = complaints_of(alone)
    alone.goto(report.as_uri())
    expect(alone.locator("h1")).to_have_text("Comparing 2 runs")
    expect(alone.locator("#groups")).to_contain_text("±")
    assert alone.locator("polyline.curve").count() > 1
    # Its style came with it.
    assert alone.evaluate("getComputedStyle(document.querySelector('.card')).borderRadius") != "0px"
    assert alone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert asked == [report.as_uri()]
    assert complaints == []
    assert (
        alone.get_by_text("Open this comparison in Runyard")
        .get_attribute("href")
        .startswith(f"{yard.address}/compare?runs=")
    )
    context.close()
