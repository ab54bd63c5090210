"""Every page, in light and dark, wide and narrow, as axe-core sees it: nothing that shuts somebody out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from docs.gallery import SETTLING, Gallery, close, fill
from runyard import Runyard
from tests.browser import complaints_of

AXE = Path(__file__).resolve().parents[2] / "static" / "vendor" / "axe.min.js"
FAULTS = """async (rules) => {
  const found = await axe.run(document, { resultTypes: ["violations"], ...(rules && { runOnly: rules }) });
  return found.violations
    .filter((each) => ["serious", "critical"].includes(each.impact))
    .flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.target.join(" ")}: ${node.failureSummary}`));
}"""

COLOR_RULES = ["color-contrast", "link-in-text-block"]
"""What axe-core finds by colors alone; all else is the same in light and dark, and is looked for in light."""

WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 900}
LOOKS: list[tuple[ViewportSize, Literal["light", "dark"], list[str] | None]] = [
    (WIDE, "light", None),
    (WIDE, "dark", COLOR_RULES),
    (NARROW, "dark", COLOR_RULES),
    (NARROW, "light", None),
]
"""What each page is looked at in, and the rules of axe-core that are tried there; None: all."""

UNFOLDED = {
    "docs": (
        *(f".opblock-{method} .opblock-summary-control" for method in ("get", "post", "patch", "delete")),
        ".opblock-patch .try-out__btn",
        ".models-control",
    )
}
"""What is looked at unfolded, of pages that show little before."""


@pytest.fixture(scope="module")
def gallery(yard: Any) -> Iterator[Gallery]:
    with Runyard(yard.address) as client:
        filled = fill(client, epochs=2, draws=3, live_steps=5)
        # Runs that stand still: their pages look the same, and they take no time from what looks at them.
        number = len(filled.running)
        trainers = yard.until(lambda: len(found := yard.trainers()) == number and found, 60)
        for trainer in trainers:
            trainer.suspend()
        yield filled
        # After a failure, all runs were cancelled: the error to look at is that of the failure.
        for trainer in trainers:
            with suppress(psutil.NoSuchProcess):
                trainer.resume()
        close(client, filled)


def settled(page: Page, address: str) -> None:
    page.goto(address, wait_until="load")
    # Networks that nobody has looked at yet take their time on a busy machine.
    expect(page.locator(SETTLING)).to_have_count(0, timeout=180_000)


WATCHED = """() => {
  const shows = (each) => {
    const look = getComputedStyle(each);
    return (look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0) || look.boxShadow !== "none";
  };
  const named = (each) => {
    // What a link or a heading counts changes while something trains; where it leads does not.
    const said = each.getAttribute("aria-label") ?? each.getAttribute("href") ?? each.textContent ?? "";
    const words = said.trim().replace(/\\d+/g, "0").slice(0, 60);
    return `${each.tagName.toLowerCase()}${each.id ? "#" + each.id : ""} ${each.className} ${each.name ?? ""} ${words}`;
  };
  window.reached = new Set();
  const names = new Set();
  window.faults = [];
  document.addEventListener("focusin", ({ target }) => {
    if (window.reached.has(target)) return;
    window.reached.add(target);
    names.add(named(target));
    // What is drawn in the place of a box that cannot be seen shows the focus for it.
    const shown = [target, target.closest("label"), target.nextElementSibling];
    if (!shown.some((each) => each && shows(each))) window.faults.push(`no focus is seen: ${named(target)}`);
    const { width, height } = target.getBoundingClientRect();
    if (!width || !height) window.faults.push(`is not seen: ${named(target)}`);
  });
  window.missed = () => {
    return [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
      .filter((each) => each.checkVisibility({ visibilityProperty: true }) && !each.disabled && each.type !== "hidden")
      // What is shown anew while something trains is another element with the same name. What is not to be tabbed to is
      // where keys lead that say so.
      .filter((each) => !window.reached.has(each) && !names.has(named(each)) && each.getAttribute("tabindex") !== "-1")
      // One of a group of choices is enough: arrow keys change between them.
      .filter((each) => each.type !== "radio" || ![...window.reached].some((other) => other.name === each.name))
      .map(named);
  };
}"""


PAGES = [
    "now",
    "launch",
    "launch-augmented",
    "launch-wrong",
    "programs",
    "program",
    "program-wrong",
    "queue",
    "runs",
    "runs-grouped",
    "runs-none",
    "run-live",
    "run-finished",
    "run-forked",
    "run-failed",
    "model-card",
    "predictions",
    "predictions-none",
    "prediction-pictures",
    "robustness",
    "robustness-none",
    "files",
    "files-trained",
    "histograms",
    "texts",
    "sweeps",
    "sweep",
    "compare",
    "compare-runs",
    "compare-pick",
    "leaderboard",
    "playground",
    "models",
    "architectures",
    "datasets",
    "dataset",
    "dataset-import",
    "notifications",
    "admin",
    "admin-tokens",
    "admin-audit",
    "admin-system",
    "nowhere",
    "docs",
]


def test_every_page_is_looked_at(gallery: Gallery) -> None:
    assert list(gallery.pages) == PAGES


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault_nothing_is_wider_than_the_window_and_tab_reaches_everything(
    browser: Browser, yard: Any, gallery: Gallery, name: str
) -> None:
    # The look of the page is looked at, and not what is still on its way there.
    context = browser.new_context(viewport=WIDE, color_scheme="light", reduced_motion="reduce")
    page = context.new_page()
    heard = complaints_of(page)
    settled(page, yard.address + gallery.pages[name])
    faults = faults_of(page, UNFOLDED.get(name, ()))
    context.close()
    assert faults == []
    # The browser tells of the page that is not there, rightly.
    assert [each for each in heard if "404" not in each] == []


def faults_of(page: Page, unfolded: tuple[str, ...] = ()) -> list[str]:
    """What the Tab key misses, what axe-core finds and what is too wide, in all LOOKS."""
    faults = missed_by_tab(page)
    for each in unfolded:
        page.locator(each).first.click()
    page.evaluate(AXE.read_text())
    for size, scheme, rules in LOOKS:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        seen = f"{size['width']} px, {scheme}"
        faults += [f"{seen}: {found}" for found in page.evaluate(FAULTS, rules)]
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > size["width"]:
            faults.append(f"{seen}: {wide} px wide")
    return faults


def missed_by_tab(page: Page) -> list[str]:
    """What the Tab key does not reach, and what does not show that it has the focus."""
    page.evaluate(WATCHED)
    before, rounds = -1, 3
    # What was shown anew in the moment in which it had its turn has another: a live page goes round again.
    while (reached := int(page.evaluate("window.reached.size"))) > before or (
        (rounds := rounds - 1) and page.evaluate("window.missed().length")
    ):
        before = reached
        for _ in range(25):
            page.keyboard.press("Tab")
    return list(page.evaluate("[...window.faults, ...window.missed().map((each) => `is not reached: ${each}`)]"))
