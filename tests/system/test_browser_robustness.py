"""A robustness card in a real Chromium, made by a real job of a real run; and "evaluate now"."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from app.contract.predictions import Predictions
from tests.browser import complaints_of


def test_a_card_is_made_from_the_page_of_a_run_and_compared(page: Page, browser: Browser, yard: Any) -> None:
    first, second = (
        yard.launch(family="simple_mlp", size="tiny", epochs=4, seed=seed, name=f"seed {seed}") for seed in (1, 2)
    )
    for run in (first, second):
        yard.wait_for(run, "succeeded")
        page.goto(f"{yard.address}/runs/{run}")
        page.get_by_role("link", name="Robustness").click()
        page.locator("#robustness-start").click()
        expect(page.locator("#robustness-live, .heat").first).to_be_visible()
        expect(page.locator(".heat tbody tr")).to_have_count(15, timeout=180_000)
        expect(page.locator("#robustness-live")).to_have_count(0)
    page.reload()
    page.locator("#robustness-with").select_option(first)
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url(f"**/robustness?with={first}")
    expect(page.locator(".heat tbody .delta")).to_have_count(15 * 6)
    summary = yard.call(f"/runs/{first}")["summary"]
    assert summary["robust/acc"]["last"] < summary["test/acc"]["last"]
    assert len([name for name in summary if name.startswith("robust/")]) == 16
    page.goto(f"{yard.address}/compare?runs={first},{second}")
    expect(page.get_by_text("robust/acc").first).to_be_visible()

    narrow = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    small = narrow.new_page()
    complaints = complaints_of(small)
    small.goto(f"{yard.address}/runs/{second}/robustness?with={first}")
    assert small.evaluate("document.documentElement.scrollWidth") <= 390
    shown = os.environ.get("RUNYARD_TEST_PICTURES")
    if shown:
        small.screenshot(path=str(Path(shown) / "narrow.png"), full_page=True)
        page.goto(f"{yard.address}/runs/{second}/robustness?with={first}")
        page.screenshot(path=str(Path(shown) / "wide.png"), full_page=True)
    assert complaints == []
    narrow.close()


def test_a_run_without_predictions_is_evaluated_now(yard: Any) -> None:
    run = yard.launch(family="simple_mlp", size="tiny", epochs=2, keep_predictions=False)
    before = yard.wait_for(run, "succeeded")
    folder = yard.folder / "data" / "artifacts" / run
    assert not list(folder.rglob("predictions.safetensors"))
    job = yard.call(f"/runs/{run}/jobs", {"kind": "evaluate"})
    found = yard.until(lambda: (each := yard.call(f"/jobs/{job['id']}"))["ended"] and each, 120)
    assert found["status"] == "succeeded", found["reason"]
    assert found["result"]["accuracy"]["test"]["digit"] == before["summary"]["test/acc"]["last"]
    (path,) = folder.rglob("predictions.safetensors")
    written = Predictions.from_bytes(path.read_bytes())
    assert (written.header.run, len(written.parts["test"]["digit"])) == (run, 360)
