"""The main path through Runyard in a real Chromium: launch, watch, stop and compare runs."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import complaints_of


def _chart(page: Page, words: str) -> Any:
    return page.evaluate(f"(() => {{ const u = window.runyard.charts.loss; return {words}; }})()")


def _launch(page: Page, yard: Any, family: str, size: str, epochs: int, steps: int, **more: Any) -> str:
    page.goto(f"{yard.address}/launch")
    page.locator(f"#family-{family}").locator("xpath=..").click()
    expect(page.locator("[name=size_of]")).to_have_value(family)
    page.locator(f"#size-{size}").locator("xpath=..").click()
    for field, value in (("#field-dataset", "digits"), ("#field-recipe", more.get("recipe", "default"))):
        with page.expect_response("**/launch/fields"):
            page.locator(field).select_option(value)
    for target in more.get("targets", []):
        page.locator(f"#target-{target}").check()
    page.locator("#field-epochs").fill(str(epochs))
    expect(page.locator("#plan-steps")).to_contain_text(f"{steps * epochs:,} total")
    page.get_by_role("button", name="Launch", exact=True).click()
    page.wait_for_url(re.compile(r"/runs/r_\w+$"))
    return page.url.rsplit("/", 1)[1]


def test_a_run_is_launched_watched_stopped_and_compared(page: Page, yard: Any) -> None:
    page.goto(yard.address)
    page.get_by_role("banner").get_by_role("link", name="Launch a run").click()
    page.wait_for_url("**/launch")
    page.locator("#family-simple_cnn").locator("xpath=..").click()
    expect(page.locator("#plan-params")).to_have_text("421,834")
    page.locator("#fold-augmentation > summary").click()
    page.locator("#field-rotation").fill("20")
    sheet = page.locator("#plan-augmented img")
    expect(sheet).to_be_visible(timeout=180_000)
    assert sheet.evaluate("image => image.decode().then(() => image.naturalWidth)") == 6 * (28 + 2) - 2

    run = _launch(page, yard, "simple_cnn", "base", 6, 39, recipe="fast", targets=["thickness", "smoothness"])
    expect(page.locator("h1")).to_have_text("simple_cnn base · digits")
    yard.wait_for(run, "succeeded")
    expect(page.locator(".page-head[data-status=succeeded]")).to_be_visible()
    expect(page.locator("#log-state")).to_have_text(re.compile(r"^\d+ lines$"))
    expect(page.locator(".nothing .yet:visible")).to_have_count(0)
    # Each of the three heads learned something, and its accuracy stands on the page.
    heads = {target: _accuracies(page, target)[-1] for target in ("digit", "thickness", "smoothness")}
    assert heads["digit"] >= 97
    for line in yard.call(f"/runs/{run}/logs")["lines"]:
        if found := re.match(
            r"(thickness|smoothness): majority-class baseline on the test set: ([0-9.]+)%", line["text"]
        ):
            assert heads.pop(found[1]) > float(found[2]) + 20
    assert list(heads) == ["digit"]

    # Every point that was stored is on the page.
    stored = len(yard.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]["step"])
    assert stored == 6 * 39
    page.reload()
    yard.until(lambda: page.evaluate("window.runyard && window.runyard.charts.loss ? 1 : 0"))
    assert _chart(page, "u.data[0].length") >= stored

    other = _launch(page, yard, "simple_mlp", "base", 5000, 39)
    expect(page.locator("body[data-live='1']")).to_be_attached()
    yard.until(lambda: page.evaluate("window.runyard && window.runyard.charts.loss ? 1 : 0"))
    yard.until(lambda: _chart(page, "u.data[0].length") > 12)

    # The zoom stays where it was put while points arrive.
    box = page.locator(".u-over").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    zoomed = _chart(page, "[u.scales.x.min, u.scales.x.max]")
    before = _chart(page, "u.data[0].length")
    yard.until(lambda: _chart(page, "u.data[0].length") > before + 10)
    assert _chart(page, "[u.scales.x.min, u.scales.x.max]") == zoomed
    yard.wait_for_step(other, 20)
    page.locator("button[id^=stop-]").click()
    expect(page.locator(".page-head[data-status=cancelled]")).to_be_visible()

    page.goto(f"{yard.address}/runs")
    for each in (run, other):
        page.locator(f"#row-{each} input[type=checkbox]").check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url(re.compile(r"/compare\?runs="))
    expect(page.get_by_text("simple_cnn base · digits").first).to_be_visible()
    expect(page.get_by_text("simple_mlp base · digits").first).to_be_visible()
    yard.until(lambda: page.evaluate("Object.keys(window.runyard.charts).length") >= 3)


def _accuracies(page: Page, target: str) -> list[float]:
    """What the table of heads says of one, in percent: its best validation, and its test."""
    row = page.locator("#heads tr", has=page.get_by_role("rowheader", name=target, exact=True)).inner_text()
    return [float(figure) for figure in re.findall(r"([0-9.]+) ?%", row)]


def test_launch_watch_and_stop_work_without_javascript(browser: Browser, yard: Any) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{yard.address}/launch")
    page.locator("#field-epochs").fill("-3")
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page.locator("#error-epochs")).to_have_text("Epochs must be at least 1.")
    page.locator("#field-epochs").fill("3000")
    page.get_by_role("button", name="Launch", exact=True).click()
    page.wait_for_url(re.compile(r"/runs/r_\w+$"))
    run = page.url.rsplit("/", 1)[1]
    yard.wait_for_step(run, 20)
    page.reload()
    assert page.locator("figure.chart svg polyline, figure.chart svg path").count() >= 2
    page.locator("button[id^=stop-]").click()
    yard.wait_for(run, "cancelled")
    page.reload()
    expect(page.locator(".page-head[data-status=cancelled]")).to_be_visible()
    context.close()


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("width", [1440, 390])
def test_an_invalid_field_gets_the_focus_and_is_named_beside_the_button(
    browser: Browser, yard: Any, javascript: bool, width: int
) -> None:
    context = browser.new_context(java_script_enabled=javascript, viewport={"width": width, "height": 844})
    page = context.new_page()
    page.goto(f"{yard.address}/launch?family=simple_cnn&dataset=digits")
    page.locator("#fold-augmentation > summary").click()
    page.locator("#field-mixup").fill("-1")
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page.locator("#field-mixup")).to_be_focused()
    expect(page.locator("#field-mixup")).to_be_in_viewport()
    expect(page.locator("#error-mixup")).to_have_text("Mixup must be at least 0.")
    # The list leads back to a field, into a closed group too.
    page.locator("#fold-augmentation > summary").click()
    expect(page.locator("#field-mixup")).not_to_be_visible()
    page.locator("#launch-invalid").get_by_role("link", name="Mixup must be at least 0.").click()
    expect(page.locator("#field-mixup")).to_be_focused()
    expect(page.locator("#field-mixup")).to_be_in_viewport()
    context.close()


def test_the_launch_button_is_in_sight_beside_a_long_plan(page: Page, yard: Any) -> None:
    page.goto(f"{yard.address}/launch?family=simple_cnn&size=tiny&dataset=digits&recipe=fast&erasing=0.25&cutmix=1")
    expect(page.locator("#plan-augmented img")).to_be_visible(timeout=180_000)
    expect(page.locator("#launch-waiting")).to_have_count(0, timeout=180_000)
    button = page.locator("#launch-button")
    expect(button).to_be_in_viewport(ratio=1)
    page.locator("#fold-metadata > summary").scroll_into_view_if_needed()
    page.locator("#launch-notes").evaluate("each => { each.parentElement.scrollTop = 1e4; }")
    expect(page.locator("#command-curl")).to_be_in_viewport()
    expect(button).to_be_in_viewport(ratio=1)


TOUCHING = """() => [...document.querySelectorAll("#launch-form .also")].flatMap((also) => {
  const label = document.createRange();
  label.selectNodeContents(also.parentElement.querySelector(":scope > label, :scope > legend"));
  const link = also.querySelector("summary").getBoundingClientRect();
  const touches = (text) => text.right + 4 > link.left && link.top + 1 < text.bottom && text.top + 1 < link.bottom;
  return [...label.getClientRects()].some(touches) ? [also.id] : [];
})"""
"""The choices whose label runs into the summary that offers more values."""


@pytest.mark.parametrize("width", [1440, 1366, 1000, 390])
def test_no_label_runs_into_the_offer_of_more_values(page: Page, yard: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{yard.address}/launch?family=vit&dataset=digits")
    page.locator(".folds > details").evaluate_all("folds => { for (const fold of folds) fold.open = true; }")
    expect(page.locator("#also-robustness > summary")).to_be_visible()
    assert page.evaluate(TOUCHING) == []


@pytest.mark.parametrize("path", ["/", "/launch", "/runs", "/compare", "/notifications", "/docs", "/nowhere"])
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_a_page_fits_its_window_and_the_browser_has_nothing_to_complain_of(
    browser: Browser, yard: Any, path: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    heard = complaints_of(page)
    page.goto(f"{yard.address}{path}", wait_until="load")
    if path == "/docs":
        expect(page.get_by_text("/api/v1/runs/{run_id}/cancel").first).to_be_visible(timeout=10000)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # The browser reports the 404 of a page that is not there, rightly.
    assert [each for each in heard if path != "/nowhere" or "404" not in each] == []
    context.close()
