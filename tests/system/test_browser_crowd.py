"""Comparison of very many runs: curves share positions closer than a pixel, and exported files have the exact ones."""

from __future__ import annotations

import csv
import io
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

RUNS = 13
POINTS = 1500
LAST = 40_000


@pytest.fixture
def crowd(yard: Any) -> dict[str, dict[int, float]]:
    """Runs with points at steps of their own."""
    dice = random.Random(5)
    found: dict[str, dict[int, float]] = {}
    for at in range(RUNS):
        values = {step: dice.random() for step in sorted(dice.sample(range(LAST), POINTS))}
        found[yard.log(f"crowd {at}", {"train/loss": values})] = values
    return found


def test_many_curves_share_places_and_a_file_has_the_exact_ones(
    page: Page, yard: Any, crowd: dict[str, dict[int, float]], tmp_path: Path
) -> None:
    def drawn(words: str) -> Any:
        return page.evaluate(f"(() => {{ const u = window.runyard.charts['train-loss']; return {words}; }})()")

    def places() -> list[float]:
        return list(drawn("u.data[0].filter((x) => x >= u.scales.x.min && x <= u.scales.x.max)"))

    exact = {step for values in crowd.values() for step in values}
    page.goto(f"{yard.address}/compare?runs={','.join(crowd)}&by=none&x=step&smoothing=0.6")
    yard.until(lambda: page.evaluate("window.runyard && window.runyard.charts['train-loss'] ? 1 : 0"))
    # Each smoothed curve, without the faint one below it; no point is lost.
    assert drawn("u.series.slice(1).map(({ kind }) => kind)") == ["smooth"] * RUNS
    assert drawn("u.data.slice(1).map((ys) => ys.filter((y) => y !== undefined).length)") == [POINTS] * RUNS
    whole = places()
    assert len(exact) > 2 * len(whole)

    # What is pointed at is thick among the thin ones.
    key = page.locator("#chart-train-loss .keys [data-series]").nth(2)
    key.hover()
    assert drawn("u.series.slice(1).map(({ width }) => width)") == [1, 1, 1.75, *[1] * (RUNS - 3)]
    page.locator("h1").hover()

    # Looked at closely, each point stands where it is.
    page.evaluate("window.runyard.board.zoomTo([10000, 11000])")
    close = {step for step in exact if 10_000 <= step <= 11_000}
    yard.until(lambda: set(places()) == close)
    page.evaluate("window.runyard.board.zoomTo(null)")
    yard.until(lambda: places() == whole)

    page.get_by_label("smoothing").press("Home")
    yard.until(lambda: drawn("u.series.slice(1).every(({ kind }) => kind === 'plain')"))
    page.get_by_label("Menu of the train/loss chart").click()
    with page.expect_download() as saved:
        page.locator("#chart-train-loss").get_by_role("button", name="Save CSV").click()
    head, *rows = list(csv.reader(io.StringIO(Path(saved.value.path()).read_text())))
    assert head[0] == "step"
    assert len(head) == RUNS + 1
    columns = [{int(row[0]): float(row[at]) for row in rows if row[at]} for at in range(1, RUNS + 1)]
    assert [list(each) for each in columns] == [list(values) for values in crowd.values()]
    assert columns[0] == pytest.approx(next(iter(crowd.values())), rel=1e-6)

    # In a report nothing scrolls, and on paper nothing could: all of the legend is there.
    report = tmp_path / "report.html"
    report.write_bytes(page.request.get(f"{yard.address}/compare/report?runs={','.join(crowd)}&by=none").body())
    page.goto(report.as_uri())
    keys = page.locator(".chart.crowd .keys").first
    cut = "keys => keys.scrollHeight > keys.clientHeight + 1"
    assert not keys.evaluate(cut)
    page.emulate_media(media="print")
    assert not keys.evaluate(cut)


def test_no_place_is_further_than_a_unit_back_and_their_order_stays(page: Page, yard: Any) -> None:
    page.goto(f"{yard.address}/compare")
    densities = st.lists(st.integers(1, 60), min_size=13, max_size=16)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(densities, st.integers(), st.booleans(), st.floats(0, 0.9), st.floats(0.001, 0.1))
    def holds(densities: list[int], seed: int, steps: bool, start: float, width: float) -> None:
        dice = random.Random(seed)
        scale = 1 if steps else 1 / 7
        # Some curves are dense and some are sparse; one is long enough for places to be needed.
        chosen = [sorted(dice.sample(range(20_000), 10 * each)) for each in densities]
        chosen.append(sorted(dice.sample(range(20_000), 3000)))
        tables = [[[x * scale for x in xs], [dice.random() for _ in xs]] for xs in chosen]
        last = max(xs[-1] for xs, _ in tables)
        sight = [start * last, (start + width) * last]
        found = page.evaluate(
            "async (said) => (await import('/static/x-grid.js')).snapToGrid(...said)", [tables, sight, [0, last], steps]
        )
        assert found["fine"]["unit"] <= max(1 if steps else 0, width * last / 2500 * 1.000001)
        coarse = max(1, last // 2500) if steps else last / 2500
        for (xs, ys), (placed, kept) in zip(tables, found["tables"], strict=True):
            assert kept == ys
            assert all(before < after for before, after in pairwise(placed))
            assert all(0 <= x - at < coarse * 1.000001 for x, at in zip(xs, placed, strict=True))

    holds()
