"""A person's look at a sweep of a script, in a real Chromium: the page that fills, its charts, and its buttons."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.system.test_browser_access import AXE, FAULTS, LOOKS, WIDE
from tests.system.test_command_sweeps import TRAIN, WAITING, sweep
from tests.system.test_commands import script


def faults_of(page: Page) -> list[str]:
    """What axe-core finds on a page in light and dark, wide and narrow, and what is too wide there."""
    found: list[str] = []
    page.evaluate(AXE.read_text())
    for size, scheme, rules in LOOKS:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        found += page.evaluate(FAULTS, rules)
        if page.evaluate("document.documentElement.scrollWidth") > size["width"]:
            found.append(f"wider than {size['width']} px")
    page.set_viewport_size(WIDE)
    return found


def test_a_sweep_of_a_script_fills_and_is_extended_and_compared(page: Page, yard: Any, tmp_path: Path) -> None:
    options = ("--sweep", "lr=0.1,0.3,0.5,0.9", "--seeds", "1", "--metric", "val_accuracy", "--goal", "max")
    words = (sys.executable, script(tmp_path, TRAIN), "--lr={lr}", "--seed", "{seed}")
    made = sweep(yard, tmp_path, *words, options=(*options, "--name", "rates"))
    page.goto(f"{yard.address}/sweeps")
    page.locator(f"#open-{made}").click()
    expect(page.locator("h1")).to_have_text("rates")
    expect(page.locator("#sweep-command pre")).to_contain_text("--lr={lr} --seed {seed}")
    expect(page.locator("#sweep-ended")).to_have_text("4 of 4 runs ended", timeout=180_000)
    expect(page.locator("#sweep-status")).to_have_text("finished")
    expect(page.locator("#sweep-best")).to_have_text("1")
    expect(page.locator("#scatter-lr circle")).to_have_count(4)
    expect(page.locator("#best-so-far circle")).to_have_count(4)
    expect(page.locator("#sweep-runs tbody tr").first).to_contain_text("0.3")
    assert faults_of(page) == []
    page.locator("#extend-seeds").fill("2")
    page.locator("#extend-button").click()
    expect(page.locator("#sweep-ended")).to_have_text("8 of 8 runs ended", timeout=180_000)
    expect(page.locator("#configurations tbody tr").first).to_contain_text("2 of 2")
    expect(page.locator("#importances")).to_contain_text("lr")
    page.locator("#sweep-compare").click()
    page.wait_for_url("**/compare?runs=**by=variant")
    titles = page.locator("#parallel .title")
    expect(titles.first).to_have_text("lr")
    expect(titles.last).to_have_text("best val_accuracy")


def test_a_sweep_of_a_script_is_stopped_by_its_button_and_brought_back(page: Page, yard: Any, tmp_path: Path) -> None:
    name = script(tmp_path, WAITING)
    made = sweep(yard, tmp_path, sys.executable, name, "{level}", options=("--sweep", "level=1,2,3,4,5,6"))
    page.goto(f"{yard.address}/sweeps/{made}")
    expect(page.locator("#sweep-ended")).to_have_text("0 of 6 runs ended")
    expect(page.locator(".sweep-counts .running")).to_be_visible(timeout=180_000)
    page.locator("#sweep-stop").click()
    expect(page.locator("#undo-notice")).to_contain_text("cancelled")
    yard.until(lambda: set(yard.call(f"/sweeps/{made}")["counts"]) == {"cancelled"})
    (tmp_path / "go").touch()
    page.locator("#undo-cancel").click()
    expect(page.locator("#sweep-ended")).to_have_text(re.compile(r"^6 of 6 runs ended$"), timeout=180_000)
    # They have their own values again.
    done = [run for run in yard.call(f"/sweeps/{made}")["runs"] if yard.call(f"/runs/{run}")["status"] == "succeeded"]
    assert {yard.call(f"/runs/{run}")["parameters"]["level"] for run in done} <= set("123456")
    assert done
    expect(page.locator("#unmeasured")).to_contain_text("without a value of val/acc; logged metrics: val_accuracy")
