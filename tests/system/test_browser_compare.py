"""Comparison of variants over seeds in a real Chromium: live updates, zoom, and saved files."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from playwright.sync_api import Page, expect


def drawn(page: Page, words: str) -> Any:
    return page.evaluate(f"(() => {{ const u = window.runyard.charts['train-loss']; return {words}; }})()")


def rougher(page: Page, series: int) -> float:
    """How far a curve goes up and down in all."""
    walk = "reduce((sum, y, i, all) => sum + (i ? Math.abs(y - all[i - 1]) : 0), 0)"
    return float(drawn(page, f"u.data[{series}].filter((y) => y != null).{walk}"))


def choose(page: Page, words: str) -> None:
    page.get_by_label("Menu of the train/loss chart").click()
    page.locator("#chart-train-loss").get_by_role("button", name=words).click()


def test_seeds_of_two_variants_are_compared_while_they_train(page: Page, yard: Any, tmp_path: Path) -> None:
    said = {"dataset": "digits", "family": "simple_mlp", "size": "tiny", "epochs": 5}
    ids = [yard.launch(**said, lr=lr, seed=seed) for lr in (0.001, 0.01) for seed in (1, 2, 3)]
    page.goto(f"{yard.address}/compare?runs={','.join(ids)}&by=variant")
    expect(page.locator("#groups tbody tr")).to_have_count(2)
    for run in ids:
        yard.wait_for(run, "succeeded")
    # It was not loaded again by hand.
    expect(page.locator("#groups")).to_contain_text("3 of 3")
    expect(page.locator("#verdict")).to_contain_text("simple_mlp tiny · lr 0.0")
    expect(page.locator("#verdict")).to_contain_text(re.compile("is better than|do not differ significantly"))
    expect(page.locator("#verdict")).to_contain_text(
        re.compile(r"Welch's t-test p [=<] [0-9.]+; permutation test p [=<] [0-9.]+")
    )
    mean = page.locator("#groups tbody tr").first.locator("td").nth(1)
    expect(mean).to_have_text(re.compile(r"^[0-9.]+ ± [0-9.]+%$"))

    # Nor were the points of accuracy against cost, with the front that nothing beats.
    expect(page.locator("#scatter circle")).to_have_count(2)
    assert page.locator("#scatter .front").get_attribute("points")
    page.locator("#cost-FLOPs").click()
    expect(page.locator("#scatter h2")).to_contain_text("vs.")
    expect(page.locator("#cost-FLOPs")).to_have_attribute("aria-current", "true")

    page.reload()
    yard.until(lambda: page.evaluate("window.runyard && window.runyard.charts['train-loss'] ? 1 : 0"))
    # Two means, each faint and smoothed over it, with the two ends of its band.
    assert drawn(page, "u.series.length - 1") == 8
    assert drawn(page, "u.bands.length") == 2
    rough, even = rougher(page, 3), rougher(page, 4)
    assert even < rough
    page.get_by_label("smoothing").press("End")
    yard.until(lambda: drawn(page, "u.series.length - 1") == 8 and rougher(page, 4) < even)
    assert rougher(page, 3) == rough
    page.get_by_label("smoothing").press("Home")
    yard.until(lambda: drawn(page, "u.series.length - 1") == 6)
    page.get_by_label("smoothing").fill("0.8")
    yard.until(lambda: drawn(page, "u.series.length - 1") == 8 and rougher(page, 4) == even)

    # What is pointed at in a legend stands out on all charts.
    def seen(chart: str = "train-loss") -> Any:
        return page.evaluate(f"window.runyard.charts['{chart}'].series.slice(1).map(({{ alpha }}) => alpha)")

    assert seen()[:4] == [1, 1, 0.3, 1]
    page.locator("#chart-train-loss .keys [data-series]").first.hover()
    assert seen()[4:] == [0.15, 0.15, 0.3 * 0.15, 0.15]
    assert seen()[:4] == [1, 1, 0.3, 1]
    assert sorted(set(seen("val-loss"))) == [0.15, 1]
    page.locator("h1").hover()
    assert seen()[4:] == [1, 1, 0.3, 1]
    assert drawn(page, "u.data[1].every((high, i) => high === null || high >= u.data[2][i])")

    page.get_by_label("log x").check()
    assert drawn(page, "u.scales.x.distr") == 3
    assert drawn(page, "Math.min(...u.data[0])") > 0
    page.get_by_label("clip outliers").check()
    expect(page).to_have_url(re.compile("logx=1"))
    expect(page).to_have_url(re.compile("clip=1"))
    page.reload()
    yard.until(lambda: page.evaluate("window.runyard && window.runyard.charts['train-loss'] ? 1 : 0"))
    assert drawn(page, "u.scales.x.distr") == 3
    expect(page.get_by_label("clip outliers")).to_be_checked()

    with page.expect_download() as saved:
        choose(page, "Save CSV")
    table = list(csv.reader(io.StringIO(Path(saved.value.path()).read_text())))
    assert table[0][0] == "epoch"
    assert [name for name in table[0] if name.endswith("(mean of 3)")] == table[0][4::4]
    assert len(table) - 1 == drawn(page, "u.data[0].length")
    with page.expect_download() as saved:
        choose(page, "Save SVG")
    picture = ElementTree.parse(saved.value.path()).getroot()
    assert len(picture.findall(".//{*}svg/{*}path")) == 4
    assert len(picture.findall(".//{*}svg/{*}polygon")) == 2
    with page.expect_download() as saved:
        choose(page, "Save PNG")
    assert Path(saved.value.path()).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page.get_by_label("Menu of the train/loss chart").click()
    page.keyboard.press("Escape")
    expect(page.locator("#chart-train-loss .chart-menu")).not_to_have_attribute("open", "")

    page.get_by_role("link", name="Individual runs").click()
    page.wait_for_url(re.compile("by=none"))
    yard.until(lambda: page.evaluate("window.runyard && window.runyard.charts['train-loss'] ? 1 : 0"))
    assert drawn(page, "u.bands.length") == 0


def test_where_forks_split_is_marked_on_every_axis_between_runs_and_between_groups(page: Page, yard: Any) -> None:
    said = {"dataset": "digits", "family": "simple_mlp", "size": "tiny", "epochs": 4}
    ids = [yard.launch(**said, seed=seed) for seed in (1, 2)]
    for run in ids:
        yard.wait_for(run, "succeeded")
    forks = [yard.call(f"/runs/{run}/fork", {"epoch": 2, "changes": {"lr": 0.01}})["id"] for run in ids]
    for run in forks:
        yard.wait_for(run, "succeeded")
    step = yard.call(f"/runs/{forks[0]}")["parent_step"]
    loss = page.locator("#chart-train-loss")

    def place() -> float:
        """Where the mark stands on the x axis of the chart, in the axis' own unit."""
        found = drawn(page, "u.posToVal(parseFloat(u.over.querySelector('.split').style.left), 'x')")
        return float(found)

    for by, marks in (("none", 2), ("variant", 1)):
        page.goto(f"{yard.address}/compare?runs={','.join([*ids, *forks])}&by={by}&x=step")
        expect(page.locator("#splits")).to_contain_text(f"at step {step}")
        expect(loss.locator(".split")).to_have_count(marks)
        assert abs(place() - step) < 1
        page.get_by_role("radio", name="epoch").check()
        expect(loss.locator(".split")).to_have_count(marks)
        assert abs(place() - 2) < 0.1
        page.get_by_role("radio", name="training time").check()
        expect(loss.locator(".split")).to_have_count(marks)
        # A fork's time goes on from its parent's: what they share lies on one another, and nothing before the start.
        shared = drawn(page, f"u.data[0].filter((x) => x < {place()}).length")
        assert 0 < shared < drawn(page, "u.data[0].length")
        assert drawn(page, "u.data[0][0]") >= 0
