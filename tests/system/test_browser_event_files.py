"""Images, histograms and texts of event files in a real Chromium, while they are followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from app.contract.histogram import checked_histogram
from app.formats.summary_values import HistogramValue, ImageValue, Scalar, TextValue
from docs.gallery import draw_waves
from tests.browser import complaints_of
from tests.system.test_browser_access import AXE, FAULTS
from tests.system.test_following import BEGAN, EventWriter, Start, followed_run
from tests.system.test_following import follow as follow


def write_step(writer: EventWriter, step: int) -> None:
    """A point, an image, a histogram and a text of a step."""
    edges, at = [float(edge) for edge in range(5)], BEGAN + step
    writer.add(
        Scalar("val/loss", step, 1 / (1 + step), at),
        ImageValue("val/samples", step, draw_waves(step), "png", at),
        HistogramValue("fc/weight", step, checked_histogram(edges, [1, step, 2, 1]), at),
        TextValue("note", step, f"# Step {step}\n<img src=x onerror=document.title='taken'>", at),
    )


def test_what_a_training_writes_is_seen_while_it_is_written(
    page: Page, browser: Browser, yard: Any, follow: Start, tmp_path: Path
) -> None:
    writer = EventWriter(tmp_path / "logs" / "watched")
    for step in (0, 10):
        write_step(writer, step)
    process = follow(yard, tmp_path / "logs")
    run = followed_run(yard, "watched")
    address = f"{yard.address}/runs/{run}"

    page.goto(address)
    expect(page.locator("#charts canvas").first).to_be_visible()
    expect(page.locator("#run-logged")).to_contain_text("TensorBoard event files")
    write_step(writer, 20)
    newest = "Object.values(window.runyard.charts).some((chart) => chart.data[0].at(-1) === 20)"
    yard.until(lambda: page.evaluate(newest), 15)

    page.get_by_role("link", name="Histograms", exact=True).click()
    page.wait_for_load_state()
    expect(page.locator("#names [aria-current]")).to_contain_text("fc/weight")
    expect(page.locator(".ridges polygon")).to_have_count(3)
    slider = page.get_by_role("slider", name="Step")
    expect(slider).to_have_attribute("aria-valuetext", "step 20: 24 values from 0 to 4, median 1.55")
    # A live page gets the newest by itself.
    write_step(writer, 30)
    expect(page.locator(".ridges polygon")).to_have_count(4)
    expect(page.locator("#step-shown")).to_contain_text("Step 30:")
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#step-shown")).to_have_text("Step 0: 4 values from 0 to 4, median 2.5")
    expect(page.locator(".ridges .chosen")).to_have_attribute("data-number", "0")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#step-shown")).to_contain_text("Step 10:")
    assert "at=1" in page.url
    # What was chosen stays when another one comes.
    write_step(writer, 40)
    expect(page.locator(".ridges polygon")).to_have_count(5)
    expect(page.locator("#step-shown")).to_contain_text("Step 10:")
    page.reload()
    expect(page.locator(".ridges .chosen")).to_have_attribute("data-number", "1")
    page.locator("#as-table summary").click()
    expect(page.locator("#as-table tbody th")).to_have_text(["0", "10", "20", "30", "40"])
    expect(page.locator("#as-table tr.chosen th")).to_have_text("10")

    page.get_by_role("link", name="Texts", exact=True).click()
    page.wait_for_load_state()
    expect(page.locator("#text-shown")).to_contain_text("# Step 40\n<img src=x onerror")
    page.get_by_role("slider", name="Step").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#text-shown")).to_contain_text("# Step 30")
    expect(page.get_by_role("slider", name="Step")).to_have_attribute("aria-valuetext", "step 30")
    page.wait_for_url("**at=3")
    page.keyboard.press("End")
    expect(page.locator("#text-shown")).to_contain_text("# Step 40")
    # At the newest, it follows.
    write_step(writer, 50)
    expect(page.locator("#text-shown")).to_contain_text("# Step 50")
    page.get_by_role("link", name="Earlier").click()
    expect(page.locator("#text-shown")).to_contain_text("# Step 40")
    assert page.title() == "Texts of watched · Runyard"

    # Images are sent after the texts, and the slider of a page has those that were there.
    yard.until(lambda: len(yard.call(f"/runs/{run}/files?under=images")["files"]) == 6)
    page.get_by_role("link", name="Files", exact=True).click()
    expect(page.locator("#preview-title")).to_have_text("val/samples")
    expect(page.locator("#step-shown")).to_have_text("step 50")
    page.wait_for_load_state()
    page.locator("#step").focus()
    page.keyboard.press("Home")
    expect(page.locator("#step-shown")).to_have_text("step 0")
    yard.until(lambda: page.evaluate("document.querySelector('#frame').naturalWidth") == 64)

    process.terminate()
    assert process.wait(30) == 0
    expect(page.locator("#preview-title")).to_have_text("val/samples")
    for scheme in ("light", "dark"):
        narrow = browser.new_context(
            viewport={"width": 390, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
        )
        small = narrow.new_page()
        complaints = complaints_of(small)
        for part in ("", "/histograms", "/texts", "/files"):
            small.goto(f"{address}{part}")
            assert small.evaluate("document.documentElement.scrollWidth") <= 390
            small.evaluate(AXE.read_text())
            assert small.evaluate(FAULTS, None) == []
        assert complaints == []
        narrow.close()


def test_texts_and_histograms_are_read_without_javascript(browser: Browser, yard: Any) -> None:
    record = {"offset": 0, "step": [1, 2], "time": [BEGAN, BEGAN]}
    said = {"key": "without-javascript", "experiment": "logs", "name": "plain", "started": BEGAN, "ended": BEGAN}
    said |= {"texts": {"t": record | {"text": ["first", "second"]}}}
    said |= {"histograms": {"h": record | {"edges": [[0, 1], [0, 2]], "counts": [[1], [2]]}}}
    run = yard.call("/import", said)["id"]
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{yard.address}/runs/{run}/texts")
    expect(page.locator("#text-shown")).to_have_text("second")
    page.get_by_role("link", name="Earlier").click()
    expect(page.locator("#text-shown")).to_have_text("first")
    page.goto(f"{yard.address}/runs/{run}/histograms")
    expect(page.locator(".ridges polygon")).to_have_count(2)
    expect(page.get_by_role("slider")).to_have_count(0)
    context.close()
