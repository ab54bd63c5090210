"""Every page, in light and dark, wide and narrow, as axe-core sees it: nothing that shuts somebody out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from docs.gallery import Gallery, close, fill
from runyard import Runyard
from tests.system.conftest import complaints_of

AXE = Path(__file__).resolve().parents[2] / "static" / "vendor" / "axe.min.js"
FAULTS = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations
    .filter((each) => ["serious", "critical"].includes(each.impact))
    .flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.target.join(" ")}: ${node.failureSummary}`));
}"""


@pytest.fixture(scope="module")
def gallery(yard: Any) -> Iterator[Gallery]:
    with Runyard(yard.address) as client:
        filled = fill(client, epochs=2, many=3)
        yield filled
        close(filled)


def settled(page: Page, address: str) -> None:
    page.goto(address, wait_until="load")
    expect(page.locator(".htmx-request")).to_have_count(0)


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
        page.evaluate(axe)
        if found := page.evaluate(FAULTS):
            faults[name] = found
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
            faults.setdefault(name, []).append(f"is {wide} px wide")
    context.close()
    assert faults == {}
    # The browser tells of the page that is not there, rightly.
    assert [each for each in heard if "404" not in each] == []
