"""The queue in a real Chromium: ordered by keys and by drag, paused, cancelled and brought back, while others act."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import complaints_of

NAMES = ["one", "two", "three", "four", "five"]


@pytest.fixture
def waiting(yard: Any) -> Iterator[list[str]]:
    """Five runs in a queue that is paused, so that they stay there."""
    yard.call("/queue/pause", method="POST")
    yield [yard.launch(family="simple_mlp", epochs=1, name=name) for name in NAMES]
    yard.call("/runs/cancel", {"queued": True})
    yard.call("/queue/resume", method="POST")


def expect_order(page: Page, yard: Any, *names: str) -> None:
    """On the page, and in the queue as the API tells it."""
    expect(page.locator("#queue-rows > li .title a")).to_have_text(list(names))
    assert [each["run"]["title"] for each in yard.call("/queue")["runs"]] == list(names)


def row(page: Page, name: str) -> Any:
    return page.locator(f"#queue-rows > li[data-title='{name}']")


def test_the_queue_is_ordered_by_keys_and_by_drag_and_outlives_what_others_do(
    page: Page, yard: Any, waiting: list[str]
) -> None:
    heard = complaints_of(page)
    page.goto(f"{yard.address}/queue")
    expect(page.locator("body[data-live='1']")).to_be_attached()
    expect_order(page, yard, *NAMES)

    row(page, "three").focus()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("#queue-said")).to_have_text("three moved to position 2 of 5")
    expect_order(page, yard, "one", "three", "two", "four", "five")
    expect(row(page, "three")).to_be_focused()
    page.keyboard.press("Alt+ArrowDown")
    page.keyboard.press("Alt+ArrowDown")
    expect(page.locator("#queue-said")).to_have_text("three moved to position 4 of 5")
    page.keyboard.press("Alt+Home")
    expect(page.locator("#queue-said")).to_have_text("three moved to position 1 of 5")
    expect_order(page, yard, "three", "one", "two", "four", "five")
    page.keyboard.press("Alt+End")
    expect_order(page, yard, "one", "two", "four", "five", "three")
    page.keyboard.press("ArrowUp")
    expect(row(page, "five")).to_be_focused()

    # By drag; what someone else does meanwhile waits until it is over.
    handle = row(page, "five").locator("[data-handle]").bounding_box()
    target = row(page, "one").bounding_box()
    assert handle is not None
    assert target is not None
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(handle["x"], target["y"] + target["height"] * 0.8, steps=6)
    expect(row(page, "five")).to_have_attribute("data-dragged", "")
    yard.call(f"/runs/{waiting[3]}/cancel", method="POST")
    page.mouse.move(handle["x"], target["y"] + 2, steps=3)
    page.mouse.up()
    expect_order(page, yard, "five", "one", "two", "three")
    expect(page.locator("#queue-said")).to_have_text("five moved to position 1 of 4")

    # Escape lets go of a drag where it was.
    handle = row(page, "three").locator("[data-handle]").bounding_box()
    assert handle is not None
    page.mouse.move(handle["x"] + 5, handle["y"] + 5)
    page.mouse.down()
    page.mouse.move(handle["x"], target["y"], steps=4)
    page.keyboard.press("Escape")
    page.mouse.up()
    expect_order(page, yard, "five", "one", "two", "three")

    # A number that is out of range is refused beside the queue, and the field shows what counts again.
    priority = row(page, "three").locator("input[type=number]")
    priority.fill("5000")
    priority.press("Tab")
    expect(page.locator("#queue-said.bad")).to_contain_text("The priority was not changed: Value must be less than")
    expect(priority).to_have_value("0")
    expect_order(page, yard, "five", "one", "two", "three")

    # A number that is being written is not disturbed, and counts once it is done.
    priority.fill("9")
    yard.launch(family="simple_mlp", epochs=1, name="six")
    expect(page.get_by_role("link", name="5 queued")).to_be_visible()
    expect(page.locator("#queue-rows > li")).to_have_count(4)
    expect(priority).to_have_value("9")
    expect(priority).to_be_focused()
    priority.press("Tab")
    expect_order(page, yard, "three", "five", "one", "two", "six")
    assert heard == []


def test_runs_are_paused_cancelled_and_brought_back(page: Page, yard: Any, waiting: list[str]) -> None:
    heard = complaints_of(page)
    page.goto(f"{yard.address}/queue")
    expect(page.locator("#queue-paused")).to_contain_text("Queue paused")
    expect(page.locator("#yard")).to_contain_text("paused · 5")

    row(page, "two").focus()
    page.keyboard.press("Space")
    row(page, "four").locator("input[type=checkbox]").check()
    expect(page.locator("[data-selected]")).to_have_text("2 selected")
    page.get_by_role("button", name="Cancel selected").click()
    expect_order(page, yard, "one", "three", "five")
    expect(page.locator("#undo-notice")).to_contain_text("2 runs cancelled.")
    assert yard.call(f"/runs/{waiting[1]}")["status"] == "cancelled"
    page.get_by_role("button", name="Undo").click()
    expect_order(page, yard, *NAMES)
    expect(page.locator("#queue")).to_contain_text("2 runs are back in the queue at their previous positions")

    row(page, "three").focus()
    page.keyboard.press("Delete")
    expect_order(page, yard, "one", "two", "four", "five")
    expect(row(page, "four")).to_be_focused()
    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator("#queue")).to_contain_text("The queue is empty.")
    expect(page.locator("#undo-notice")).to_contain_text("4 runs cancelled.")
    page.get_by_role("button", name="Undo").click()
    expect_order(page, yard, "one", "two", "four", "five")

    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator("#queue")).to_contain_text("The queue is empty.")
    page.get_by_role("button", name="Resume queue").click()
    expect(page.get_by_role("button", name="Pause queue")).to_be_visible()
    page.get_by_role("button", name="Pause queue").click()
    expect(page.locator("#queue-paused")).to_be_visible()
    assert heard == []


def test_the_queue_works_without_javascript(browser: Browser, yard: Any, waiting: list[str]) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{yard.address}/queue")
    page.get_by_role("button", name="move four to the top").click()
    expect_order(page, yard, "four", "one", "two", "three", "five")
    row(page, "five").locator("input[type=number]").fill("3")
    row(page, "five").get_by_role("button", name="Set").click()
    expect_order(page, yard, "five", "four", "one", "two", "three")
    for name in ("four", "two"):
        row(page, name).locator("input[type=checkbox]").check()
    page.get_by_role("button", name="Cancel selected").click()
    expect_order(page, yard, "five", "one", "three")
    page.get_by_role("button", name="Undo").click()
    expect_order(page, yard, "five", "four", "one", "two", "three")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1000, "light"), (390, "dark")])
def test_the_page_fits_its_window(
    browser: Browser, yard: Any, waiting: list[str], width: int, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    heard = complaints_of(page)
    page.goto(f"{yard.address}/queue", wait_until="load")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width == 1440:  # the longest status that fits: a paused queue with runs, beside all links
        assert page.locator("header.top").evaluate("header => header.offsetHeight") <= 49
    assert heard == []
    context.close()
