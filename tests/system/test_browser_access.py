"""Every page, in light and dark, wide and narrow, as axe-core sees it: nothing that shuts somebody out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from docs.gallery import SETTLING, Gallery, close, fill
from runyard import Runyard
from tests.browser import complaints_of

AXE = Path(__file__).resolve().parents[2] / "static" / "vendor" / "axe.min.js"
FAULTS = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations
    .filter((each) => ["serious", "critical"].includes(each.impact))
    .flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.target.join(" ")}: ${node.failureSummary}`));
}"""

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
        filled = fill(client, epochs=2, draws=3)
        yield filled
        close(client, filled)


def settled(page: Page, address: str) -> None:
    page.goto(address, wait_until="load")
    # Networks that nobody has looked at yet take their time on a busy machine.
    expect(page.locator(SETTLING)).to_have_count(0, timeout=20_000)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_axe_finds_no_serious_fault_on_any_page_and_nothing_is_wider_than_the_window(
    browser: Browser, yard: Any, gallery: Gallery, width: int, scheme: Literal["light", "dark"]
) -> None:
    # The look of the pages is looked at, and not what is still on its way there.
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    heard = complaints_of(page)
    faults: dict[str, list[str]] = {}
    axe = AXE.read_text()
    for name, path in gallery.pages.items():
        settled(page, yard.address + path)
        for each in UNFOLDED.get(name, ()):
            page.locator(each).first.click()
        page.evaluate(axe)
        if found := page.evaluate(FAULTS):
            faults[name] = found
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
            faults.setdefault(name, []).append(f"is {wide} px wide")
    context.close()
    assert faults == {}
    # The browser tells of the page that is not there, rightly.
    assert [each for each in heard if "404" not in each] == []


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


def test_everything_that_can_be_pressed_is_reached_by_tab_and_shows_its_focus(
    browser: Browser, yard: Any, gallery: Gallery
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    faults: dict[str, list[str]] = {}
    for name, path in gallery.pages.items():
        settled(page, yard.address + path)
        page.evaluate(WATCHED)
        before, rounds = -1, 3
        # What was shown anew in the moment in which it had its turn has another: a live page goes round again.
        while (reached := int(page.evaluate("window.reached.size"))) > before or (
            (rounds := rounds - 1) and page.evaluate("window.missed().length")
        ):
            before = reached
            for _ in range(25):
                page.keyboard.press("Tab")
        if found := page.evaluate("[...window.faults, ...window.missed().map((each) => `is not reached: ${each}`)]"):
            faults[name] = found
    context.close()
    for name, found in faults.items():
        print(name, *found, sep="\n    ")
    assert faults == {}
