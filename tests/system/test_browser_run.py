"""A person watches a run: through restarts, zoomed in, overlaid with other runs, and with charts arranged by hand."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from app.store.database import next_commit, open_database, writing
from app.store.metric import Curve, add_curves, merge_chunks
from tests.browser import complaints_of

LOSS = "window.runyard.charts.loss"
# What the curve of a series holds: where it has no point there is `undefined`, which JSON leaves null.
HELD = """([key, label]) => {
  const u = window.runyard.charts[key];
  const at = u.series.findIndex((series) => series.label === label && series.alpha === 1);
  const there = u.data[0].map((_, i) => i).filter((i) => u.data[at][i] !== undefined);
  return [there.map((i) => u.data[0][i]), there.map((i) => u.data[at][i])];
}"""
SHIFTS = """() => {
  window.shifts = [];
  const named = (node) => node?.id || node?.className || node?.textContent;
  new PerformanceObserver((list) => window.shifts.push(
    ...list.getEntries().map((entry) => [entry.value, entry.sources.map((source) => named(source.node))])))
    .observe({ type: "layout-shift" });
}"""


SAID = """() => {
  window.said = [];
  const live = document.getElementById("live");
  new MutationObserver(() => window.said.push(live.textContent)).observe(live, { childList: true });
}"""


def drawn(page: Page, yard: Any) -> None:
    yard.until(lambda: page.evaluate("window.runyard && window.runyard.charts.loss ? 1 : 0"))


def test_points_drawn_are_points_logged_through_restarts_of_server_and_redis_and_nothing_moves(
    browser: Browser, yard: Any
) -> None:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    heard = complaints_of(page)
    run = yard.launch(family="simple_mlp", size="base", epochs=130, batch_size=128, dataset="digits")
    yard.wait_for_step(run, 200)
    # It stands still until its page is there: on a busy machine, it would have ended before.
    trainer = yard.trainer()
    trainer.suspend()
    try:
        page.goto(f"{yard.address}/runs/{run}?smoothing=0")
        drawn(page, yard)
    finally:
        trainer.resume()
    expect(page.locator("#live")).to_contain_text("behind")
    page.evaluate(SHIFTS)
    page.evaluate(SAID)
    before = page.evaluate(f"{LOSS}.data[0].length")
    yard.until(lambda: page.evaluate(f"{LOSS}.data[0].length") > before + 300)
    assert re.match(r"\d+% simple_mlp base", page.title())
    assert page.locator("link[rel=icon]").get_attribute("href", timeout=2000).startswith("data:image/svg+xml")  # type: ignore[union-attr]
    assert page.evaluate("window.shifts") == []
    for part in (("app.cli", "server"), ("redis-server", "unixsocket:")):
        victim = yard.child(*part)
        victim.kill()
        yard.until(lambda part=part, victim=victim: yard.child(*part).pid != victim.pid)
        yard.until(lambda: yard.try_call("/workers"))
        assert yard.call(f"/runs/{run}")["status"] in ("running", "finishing", "succeeded")
        expect(page.locator("#live")).not_to_contain_text("reconnecting")
    yard.wait_for(run, "succeeded")
    expect(page.locator(".page-head[data-status=succeeded]")).to_be_visible()
    logged = yard.call(f"/runs/{run}/metrics?points=0")
    for chart, label, name in (
        ("loss", "train", "train/loss"),
        ("loss", "val", "val/loss"),
        ("acc", "train", "train/acc"),
        ("acc", "val", "val/acc"),
    ):
        steps, values = page.evaluate(HELD, [chart, label])
        assert steps == logged[name]["step"], name
        assert values == logged[name]["value"], name
    assert page.title().startswith("✓")
    said = page.evaluate("window.said")
    assert any("reconnecting" in words for words in said), said[:3] + said[-3:]
    # That a server was not there is all that the browser may say.
    assert [words for words in heard if not re.search("Failed to load resource|^htmx:", words)] == []
    page.context.close()


@pytest.fixture
def long_run(yard: Any) -> str:
    """An ended run of 200,000 steps whose points were written past the trainer."""
    run: str = yard.launch(family="simple_mlp", size="tiny", epochs=1, dataset="digits", seed=77)
    yard.wait_for(run, "succeeded")
    engine = open_database(yard.database)
    steps = np.arange(10, 200_010, dtype=np.int64)
    values = np.random.default_rng(5).normal(size=len(steps)) + np.linspace(8, 1, len(steps))
    values[70_000] = 99.0
    with writing(engine) as connection:
        commit = next_commit(connection)
        for part in np.array_split(np.arange(len(steps)), 8):
            curve = Curve(steps[part], values[part], 1.7e9 + steps[part] / 1000)
            add_curves(connection, {(run, "train/loss"): curve}, commit)
        merge_chunks(connection, run, commit, ended=True)
    engine.dispose()
    return run


def test_a_long_run_is_drawn_from_few_points_and_zooming_in_brings_the_finer_ones(
    page: Page, yard: Any, long_run: str
) -> None:
    page.goto(f"{yard.address}/runs/{long_run}?smoothing=0.9")
    drawn(page, yard)
    assert page.evaluate(f"{LOSS}.data[0].length") < 20_000
    # The spike is there, and the smoothed curve has been made from all points.
    raw = f"{LOSS}.series.findIndex((each) => each.label === 'train' && each.alpha < 1)"
    assert page.evaluate(f"Math.max(...{LOSS}.data[{raw}].filter(Boolean))") == 99
    with page.expect_response("**/points/part?*") as answered:
        box = page.locator("#chart-loss .u-over").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.505 * box["width"], box["y"] + 50)
        page.mouse.move(box["x"] + 0.515 * box["width"], box["y"] + 50)
        page.mouse.up()
    assert answered.value.ok
    within = f"((u) => u.data[0].filter((x) => x >= u.scales.x.min && x <= u.scales.x.max).length)({LOSS})"
    yard.until(lambda: page.evaluate(within) > 1000)
    # Once more, to where every point is drawn.
    page.evaluate("window.runyard.board.zoomTo([100_000, 100_500])")
    yard.until(lambda: page.evaluate(within) >= 501)
    logged = yard.call(f"/runs/{long_run}/metrics?points=0&names=train/loss&first=100000&last=100500")["train/loss"]
    steps, values = page.evaluate(HELD.replace("alpha === 1", "alpha < 1"), ["loss", "train"])
    found = [value for step, value in zip(steps, values, strict=True) if 100_000 <= step <= 100_500]
    assert found == logged["value"]


def test_other_runs_are_overlaid_and_the_difference_to_a_baseline_is_shown(page: Page, yard: Any) -> None:
    said = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 3}
    first, second, third = (yard.launch(**said, seed=seed) for seed in (501, 502, 503))
    for run in (first, second, third):
        yard.wait_for(run, "succeeded")
    page.goto(f"{yard.address}/runs/{third}?smoothing=0")
    drawn(page, yard)
    alone = page.evaluate(f"{LOSS}.series.length")
    page.locator("#beside summary").click()
    page.get_by_label("mean of earlier runs").check()
    page.locator(f"#beside input[value={first}]").check()
    page.get_by_label("Baseline").select_option(first)
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile("with=earlier"))
    drawn(page, yard)
    # Of the other run train and val; of the mean both with the two ends of their bands.
    assert page.evaluate(f"{LOSS}.series.length") == alone + 2 + 6
    mine, theirs = (yard.call(f"/runs/{run}")["summary"]["val/acc"]["last"] for run in (third, first))
    points = 100 * (mine - theirs)
    told = page.locator("#chart-acc [data-delta='val/acc']").inner_text()
    assert told == f"Δ {'+' if points > 0 else '−' if points < 0 else '±'}{abs(points):.2f}"
    page.reload()
    expect(page.locator("#chart-acc")).to_contain_text("mean of")


def test_an_overlaid_run_is_as_fine_and_as_live_as_the_run_itself(page: Page, yard: Any, long_run: str) -> None:
    run = yard.launch(family="simple_mlp", size="tiny", epochs=1, dataset="digits", seed=506)
    yard.wait_for(run, "succeeded")
    page.goto(f"{yard.address}/runs/{run}?smoothing=0.9&with={long_run}")
    drawn(page, yard)
    held = f"window.runyard?.board?.curves['{long_run}:train/loss']"
    assert page.evaluate(f"{held}.step.length") < 20_000
    every = yard.call(f"/runs/{long_run}/metrics?points=0&names=train/loss")["train/loss"]["value"]
    smoothed = sum(0.1 * 0.9**i * value for i, value in enumerate(reversed(every[-400:])))
    for address in (
        f"/runs/{run}?smoothing=0.9&with={long_run}",
        f"/compare?runs={run},{long_run}&by=none&smoothing=0.9&x=step",
    ):
        page.goto(yard.address + address)
        yard.until(lambda: page.evaluate(f"{held}?.even !== undefined"))
        # The smoothed curve is made from all points, and not from those that are held.
        assert page.evaluate(f"{held}.even.total / {held}.even.share") == pytest.approx(smoothed, abs=1e-3)
        page.evaluate("window.runyard.board.zoomTo([100_000, 100_500])")
        yard.until(lambda: (page.evaluate(f"{held}.part?.step.length") or 0) >= 501)

    other = yard.launch(family="simple_mlp", size="tiny", epochs=5000, dataset="digits", seed=507)
    yard.wait_for_step(other, 50)
    page.goto(f"{yard.address}/runs/{run}?smoothing=0&with={other}")
    drawn(page, yard)
    newest = f"window.runyard.board.curves['{other}:train/loss'].step.at(-1)"
    before = page.evaluate(newest)
    yard.until(lambda: page.evaluate(newest) > before)
    yard.call(f"/runs/{other}/cancel", {})
    yard.wait_for(other, "cancelled")


def test_charts_are_found_folded_and_moved_and_stay_so(page: Page, yard: Any) -> None:
    run = yard.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=5, targets=["digit", "thickness"])
    yard.wait_for(run, "succeeded")
    page.goto(f"{yard.address}/runs/{run}")
    drawn(page, yard)
    group = page.locator("[data-group='Training and validation']")
    assert group.locator("figure").evaluate_all("each => each.map((box) => box.dataset.chart)") == ["loss", "acc"]
    group.locator("#chart-loss .chart-handle").focus()
    page.keyboard.press("ArrowRight")
    groups = page.locator("#charts > details")
    first = groups.evaluate_all("each => each.map((group) => group.dataset.group)")
    page.locator("[data-group=thickness] > .chart-handle").focus()
    page.keyboard.press("ArrowUp")
    moved = groups.evaluate_all("each => each.map((group) => group.dataset.group)")
    assert moved.index("thickness") == first.index("thickness") - 1
    page.locator("[data-group=thickness] > summary").click()
    page.reload()
    drawn(page, yard)
    assert groups.evaluate_all("each => each.map((group) => group.dataset.group)") == moved
    assert group.locator("figure").evaluate_all("each => each.map((box) => box.dataset.chart)") == ["acc", "loss"]
    expect(page.locator("[data-group=thickness]")).not_to_have_attribute("open", "")
    page.locator("#chart-acc .chart-handle").scroll_into_view_if_needed()
    page.locator("#chart-loss").scroll_into_view_if_needed()
    handle, other = (page.locator(f"#chart-{key} .chart-handle").bounding_box() for key in ("acc", "loss"))
    assert handle is not None
    assert other is not None
    page.mouse.move(handle["x"] + 5, handle["y"] + 5)
    page.mouse.down()
    page.mouse.move(other["x"] + 400, other["y"] + 150, steps=6)
    page.mouse.up()
    assert group.locator("figure").evaluate_all("each => each.map((box) => box.dataset.chart)") == ["loss", "acc"]
    page.get_by_label("Filter charts").fill("gradient")
    expect(page.locator("figure.chart:visible")).to_have_count(1)
    page.get_by_label("Search the log").fill("best so far")
    expect(page.locator("#log-lines mark").first).to_be_visible()
    assert page.locator("#log-lines > div:visible").count() < page.locator("#log-lines > div").count()
    page.get_by_label("Search the log").fill("")
    page.locator("#log-level").select_option("error")
    expect(page.locator("#log-state")).to_contain_text("0 of ")


def test_a_failed_run_says_what_to_do_and_leads_there(page: Page, yard: Any) -> None:
    run = yard.launch(
        family="simple_mlp", size="tiny", dataset="digits", epochs=2, lr=1000, optimizer="sgd", schedule="constant"
    )
    yard.wait_for(run, "failed")
    page.goto(f"{yard.address}/runs/{run}")
    expect(page.locator("#run-failed")).to_contain_text("NaN")
    page.locator("#again-lower-rate").click()
    page.wait_for_url(re.compile(r"/launch\?"))
    expect(page.locator("[name=lr]")).to_have_value("100")


# What the page does when the points that it reads anew hold one more curve.
ONE_MORE_CURVE = """() => {
  const { board } = window.runyard;
  const { definition, box } = board.charts.get("loss");
  const [first] = definition.series;
  const more = { ...definition, series: [...definition.series, { ...first, id: "another", label: "another" }] };
  board.load([more], { ...board.curves, another: board.curves[first.id] }, () => box);
}"""


def test_a_curve_that_comes_during_a_drag_does_not_end_the_drag(page: Page, yard: Any) -> None:
    run = yard.launch(family="simple_mlp", size="tiny", epochs=3, dataset="digits", seed=504)
    yard.wait_for(run, "succeeded")
    page.goto(f"{yard.address}/runs/{run}?smoothing=0")
    drawn(page, yard)
    alone = page.evaluate(f"{LOSS}.series.length")
    box = page.locator("#chart-loss .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 50, steps=3)
    page.evaluate(ONE_MORE_CURVE)
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 50, steps=3)
    assert page.evaluate(f"{LOSS}.series.length") == alone
    page.mouse.up()
    expect(page.locator("[data-reset-zoom]")).to_be_visible()
    yard.until(lambda: page.evaluate(f"{LOSS}.series.length") == alone + 1)
    end = page.evaluate("window.runyard.board.fullRange()[1]")
    seen = page.evaluate(f"[{LOSS}.scales.x.min, {LOSS}.scales.x.max]")
    assert seen == pytest.approx([0.25 * end, 0.75 * end], abs=0.02 * end)
    # The menu belongs to the chart that is seen.
    with page.expect_download() as saved:
        page.locator("#chart-loss .chart-menu summary").click()
        page.locator("#chart-loss .chart-menu").get_by_role("button", name="Save CSV").click()
    assert saved.value.path().read_text().startswith("step,train,val,another")


def test_the_x_axis_may_be_the_clock_in_the_viewers_zone(browser: Browser, yard: Any) -> None:
    page = browser.new_context(timezone_id="Asia/Kolkata", viewport={"width": 1440, "height": 900}).new_page()
    heard = complaints_of(page)
    run = yard.launch(family="simple_mlp", size="tiny", epochs=3, dataset="digits", seed=505)
    yard.wait_for(run, "succeeded")
    page.goto(f"{yard.address}/runs/{run}?smoothing=0")
    drawn(page, yard)
    page.locator("#controls").get_by_text("clock time").click()
    logged = yard.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]["time"]
    held = page.evaluate(HELD, ["loss", "train"])[0]
    assert held == pytest.approx(logged, abs=0.001)
    box = page.locator("#chart-loss .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 50)
    end = datetime.fromtimestamp(logged[-1], timezone(timedelta(hours=5.5)))
    expect(page.locator("#chart-loss")).to_have_attribute("data-at", re.compile(f"{end:%H:%M}:"))
    page.goto(f"{yard.address}/runs/{run}/card")
    ended = datetime.fromisoformat(yard.call(f"/runs/{run}")["ended"]).astimezone(end.tzinfo)
    expect(page.locator("time[data-shown=date]").last).to_have_text(re.compile(f"{ended:%-d, %Y, %-I:%M:%S}"))
    page.go_back()
    drawn(page, yard)
    page.evaluate("([low, high]) => window.runyard.board.zoomTo([low, high])", [logged[0], logged[len(logged) // 2]])
    page.reload()
    drawn(page, yard)
    seen = page.evaluate(f"[{LOSS}.scales.x.min, {LOSS}.scales.x.max]")
    assert seen == pytest.approx([logged[0], logged[len(logged) // 2]], abs=0.001)
    # On a logarithmic axis all points but that at 0 stand, and nothing is named that has no name.
    page.get_by_role("button", name="Reset zoom").click()
    page.get_by_label("log x").check()
    for axis in ("step", "epoch", "training time"):
        page.locator("#controls").get_by_text(axis, exact=True).click()
        assert page.evaluate(f"{LOSS}.data[0].length") >= len(logged) - 1
        assert page.evaluate(f"{LOSS}.scales.x.distr") == 3
        named = page.evaluate(f"{LOSS}.axes[0]._values")
        assert any(named)
        assert not any("null" in str(each) for each in named if each is not None)
    assert heard == []
    page.context.close()


def test_zoom_and_crosshair_are_shared_by_all_charts_and_kept_in_the_address(page: Page, yard: Any) -> None:
    run = yard.launch(family="simple_mlp", size="tiny", epochs=5000, dataset="digits", seed=508)
    yard.wait_for_step(run, 200)
    page.goto(f"{yard.address}/runs/{run}?smoothing=0")
    drawn(page, yard)
    # The crosshair stands at the same step in every chart, with the value of each curve there.
    box = page.locator("#chart-loss .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 50)
    at, told, own, other = page.evaluate("""() => {
      const box = document.getElementById("chart-loss");
      const { loss, acc } = window.runyard.charts;
      const told = box.querySelector("[data-readout='train/loss']").textContent;
      return [box.dataset.at, told, loss.cursor.left, acc.cursor.left];
    }""")
    assert re.fullmatch(r"step [\d,]+", at)
    assert other == pytest.approx(own, abs=1)
    step = int(at.removeprefix("step ").replace(",", ""))
    logged = yard.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]
    assert float(told) == pytest.approx(logged["value"][logged["step"].index(step)], rel=1e-3)
    # Zoomed to the end, the charts follow it, and only there.
    page.evaluate("window.runyard.board.zoomTo([-40, 0].map((by) => window.runyard.board.fullRange()[1] + by))")
    seen = "[window.runyard.charts.loss.scales.x.min, window.runyard.charts.loss.scales.x.max]"
    low, high = page.evaluate(seen)
    yard.until(lambda: page.evaluate(seen)[1] > high + 20)
    later = page.evaluate(seen)
    assert later[1] - later[0] == pytest.approx(high - low)
    page.evaluate("window.runyard.board.zoomTo([40, 90])")
    before = page.evaluate(f"{LOSS}.data[0].length")
    yard.until(lambda: page.evaluate(f"{LOSS}.data[0].length") > before + 20)
    assert page.evaluate(seen) == [40, 90]
    # The address is this very view.
    page.get_by_label("log y").check()
    again = page.context.new_page()
    again.goto(page.url)
    yard.until(lambda: again.evaluate("window.runyard && window.runyard.charts.loss ? 1 : 0"))
    assert again.evaluate(seen) == [40, 90]
    assert again.evaluate(f"{LOSS}.scales.y.distr") == 3
    again.close()
    # One chart alone, and back.
    page.get_by_label("Menu of the loss chart").click()
    page.locator("#chart-loss").get_by_role("button", name="Full screen").click()
    yard.until(lambda: page.evaluate("document.fullscreenElement?.id") == "chart-loss")
    page.evaluate("document.exitFullscreen()")
    yard.call(f"/runs/{run}/cancel", {})
    yard.wait_for(run, "cancelled")


def test_a_forecast_appears_once_enough_runs_have_finished(page: Page, yard: Any) -> None:
    said = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 3}
    for run in [yard.launch(**said, seed=seed) for seed in range(600, 610)]:
        yard.wait_for(run, "succeeded")
    # The sentence is there from the end of its first epoch to that of its last.
    yard.call("/queue/pause", {})
    run = yard.launch(family="vit", size="tiny", dataset="digits", epochs=3, batch_size=4)
    page.goto(f"{yard.address}/runs/{run}")
    yard.call("/queue/resume", {})
    expect(page.locator("#run-forecast")).to_contain_text(
        re.compile(r"interval contained the final value of \d+"), timeout=180_000
    )
    yard.call(f"/runs/{run}/cancel", {})
    yard.wait_for(run, "cancelled", "succeeded")


def test_a_model_name_can_be_given_as_soon_as_the_run_has_a_checkpoint(page: Page, yard: Any) -> None:
    yard.call("/queue/pause", {})
    run = yard.launch(family="simple_mlp", size="base", epochs=5000, dataset="digits")
    page.goto(f"{yard.address}/runs/{run}")
    expect(page.locator("#run-aliases")).to_contain_text("once there is a checkpoint, after the first epoch")
    yard.call("/queue/resume", {})
    page.locator("#alias-name").fill("while-it-trains", timeout=180_000)
    page.get_by_role("button", name="Point here").click()
    expect(page.locator("#run-aliases a[href='/models#model-while-it-trains']")).to_be_visible()
    page.get_by_role("button", name="Remove while-it-trains").click()
    yard.call(f"/runs/{run}/cancel", {})
    yard.wait_for(run, "cancelled")
