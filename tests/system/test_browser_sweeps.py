"""A person's way through a sweep, in a real Chromium: several values in the form, the count, the page that fills."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, Page, expect


def test_several_values_are_typed_launched_watched_and_compared(page: Page, yard: Any) -> None:
    page.goto(f"{yard.address}/launch?family=simple_dense_net&epochs=1")
    expect(page.locator("#launch-button")).to_have_text("Launch")
    expect(page.locator("#field-method")).to_be_hidden()
    page.locator("#field-lr").fill("1e-3, 3e-3")
    expect(page.locator("#launch-button")).to_have_text("Launch 2 runs")
    expect(page.locator("#field-method")).to_be_visible()
    page.locator("#field-seeds").fill("2")
    expect(page.locator("#sweep-sum")).to_contain_text("4 runs")
    page.locator("#also-family summary").click()
    page.locator("[name='also.family'][value='simple_mlp']").check()
    expect(page.locator("#launch-button")).to_have_text("Launch 8 runs")
    # What was typed and unfolded outlives the form that came anew.
    expect(page.locator("#field-lr")).to_have_value("1e-3, 3e-3")
    expect(page.locator("#also-family")).to_have_attribute("open", "")
    expect(page).to_have_url(re.compile("also.family=simple_mlp"))
    page.reload()
    expect(page.locator("#launch-button")).to_have_text("Launch 8 runs")
    page.get_by_text("Python", exact=True).click()
    expect(page.locator("#command-python")).to_contain_text("Runyard(")

    page.locator("#launch-button").click()
    page.wait_for_url(re.compile(r"/sweeps/s_\w+$"))
    expect(page.locator("h1")).to_have_text("family × lr")
    expect(page.locator("#sweep-compare")).to_have_text("Compare all 8 runs")
    # It fills while one looks.
    expect(page.locator("#sweep-ended")).to_have_text("8 of 8 runs ended", timeout=180_000)
    expect(page.locator("#sweep-status")).to_have_text("finished")
    expect(page.locator("#scatter-lr circle")).to_have_count(8)
    expect(page.locator("#configurations tbody tr")).to_have_count(4)
    expect(page.locator("#importances")).to_contain_text("Parameter importance")
    page.locator("#extend-seeds").fill("3")
    page.locator("#extend-button").click()
    expect(page.locator("#sweep-ended")).to_have_text("12 of 12 runs ended", timeout=180_000)
    page.locator("#sweep-compare").click()
    page.wait_for_url("**/compare?runs=**by=variant")


def test_without_a_script_commas_and_boxes_make_a_sweep_that_can_be_stopped_and_brought_back(
    browser: Browser, yard: Any
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{yard.address}/launch?family=vit&size=large&epochs=500")
    page.locator("#field-lr").fill("1e-3, 3e-4")
    page.locator("#also-optimizer summary").click()
    page.locator("[name='also.optimizer'][value='sgd']").check()
    expect(page.locator("#field-method")).to_be_visible()
    page.locator("#launch-button").click()
    page.wait_for_url(re.compile(r"/sweeps/s_\w+$"))
    sweep = page.url.rsplit("/", 1)[1]
    assert yard.call(f"/sweeps/{sweep}")["planned"] == 4
    page.locator("#sweep-stop").click()
    expect(page.locator("#undo-notice")).to_contain_text("cancelled")
    page.locator("#undo-cancel").click()
    expect(page.locator("#sweep-status")).to_have_text("running")
    yard.call(f"/sweeps/{sweep}/stop", {})
    yard.until(lambda: set(yard.call(f"/sweeps/{sweep}")["counts"]) == {"cancelled"})
    context.close()
