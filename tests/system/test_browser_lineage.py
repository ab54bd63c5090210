"""Resume and fork a run, and its lineage, in a real Chromium."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import click_across_updates, complaints_of


def test_a_run_is_stopped_resumed_and_forked_and_its_family_is_drawn(page: Page, yard: Any) -> None:
    spec = {"family": "simple_mlp", "size": "small", "batch_size": 16, "epochs": 400, "keep_checkpoints": 400}
    run = yard.launch(**spec, name="the first one")
    yard.wait_for_step(run, 100)
    page.goto(f"{yard.address}/runs/{run}")
    # What is unfolded stays so while the page is told of every step.
    page.locator("#environment-packages > summary").click()
    epoch = page.locator(".figures b").first.inner_text()
    yard.until(lambda: page.locator(".figures b").first.inner_text() != epoch)
    expect(page.locator("#environment-packages[open]")).to_be_visible()
    expect(page.locator("#act-resume")).to_have_count(0)
    # A page that is updated between press and release does not swallow the click.
    step = page.locator(".figures b").nth(1)
    click_across_updates(page, page.locator("button[id^=stop-]"), step)
    expect(page.locator(".page-head[data-status=cancelled]")).to_be_visible()
    expect(page.locator("#environment-freeze")).to_contain_text("torch==")

    page.locator("#act-resume").click()
    page.wait_for_url(lambda address: run not in address)
    expect(page.locator(".lineage li[aria-current]")).to_contain_text("resumed from step")
    resumed = page.url.rsplit("/", 1)[1]
    yard.wait_for(resumed, "running")
    click_across_updates(page, page.locator(".lineage").get_by_role("link", name=re.compile("the first one")), step)
    page.wait_for_url(f"**/runs/{run}")

    page.locator("#fork-fold > summary").click()
    page.locator("#fork-lr").fill("0.0005")
    page.locator("#fork-name").fill("gentler")
    page.locator("#act-fork").click()
    page.wait_for_url(lambda address: run not in address)
    expect(page.locator("h1")).to_have_text("gentler")
    forked = page.url.rsplit("/", 1)[1]
    for each in (resumed, forked):
        yard.call(f"/runs/{each}/cancel", {})
        yard.wait_for(each, "cancelled", "succeeded")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_page_of_a_forked_run_fits_its_window_with_all_unfolded(
    browser: Browser,
    yard: Any,
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    run = yard.launch(family="simple_mlp", size="tiny", epochs=4)
    yard.wait_for(run, "succeeded")
    fork = yard.call(f"/runs/{run}/fork", {"epoch": 2, "changes": {"lr": 0.01}})["id"]
    yard.wait_for(fork, "succeeded")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    shown = context.new_page()
    heard = complaints_of(shown)
    shown.goto(f"{yard.address}/runs/{fork}", wait_until="load")
    for summary in shown.locator("aside summary").all():
        summary.click()
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    expect(shown.locator(".lineage li")).to_have_count(2)
    assert heard == []
    context.close()
