"""The Chromium of a test process, and pages that fail their test when the console complains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.chromium import find_chromium

# Most of what is waited for comes at once, but a trainer, a worker or the browser itself may be starved meanwhile.
expect.set_options(timeout=30_000)

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for the whole session. Its event loop runs from now on: run coroutines with `run_apart`."""
    found = find_chromium()
    assert found, "no Chromium: `python -m tests.chromium` gets one"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened_page(browser: Browser) -> Iterator[Page]:
    """A page on which every complaint of the console, a blocked script or style too, fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    complaints = complaints_of(page)
    yield page
    context.close()
    assert complaints == [], complaints


def click_across_updates(page: Page, target: Locator, changing: Locator) -> None:
    """Press the mouse on ``target``, and release it only when ``changing`` has another text for the second time."""
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for _ in range(2):
        expect(changing).not_to_have_text(changing.inner_text())
    page.mouse.up()


def complaints_of(page: Page) -> list[str]:
    """What the browser complains of from now on."""
    heard: list[str] = []
    page.on("console", lambda said: heard.append(complaint(said)) if said.type == "error" else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    return heard


def complaint(said: ConsoleMessage) -> str:
    """What the console says and where: of what could not be loaded, the text alone does not name the address."""
    return f"{said.text} ({said.location['url']})" if said.location["url"] else said.text
