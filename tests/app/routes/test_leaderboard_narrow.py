"""The leaderboard in a real Chromium: on a phone, by keyboard."""

from __future__ import annotations

from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from tests.browser import opened_page
from tests.served import serving


def test_on_a_phone_rows_stay_named_and_a_reference_unfolds_by_keyboard(server: FastAPI, browser: Browser) -> None:
    with serving(server) as address, opened_page(browser) as page:
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto(f"{address}/leaderboard?sort=-mnist")
        row = page.locator("tbody tr").first
        name, value = row.locator("th"), row.locator("td").nth(2)
        # Names fit into their column.
        assert page.evaluate(
            "[...document.querySelectorAll('tbody th')].every((th) => th.scrollWidth <= th.clientWidth)"
        )
        before = name.bounding_box()
        page.locator(".leaderboard .scroll").evaluate("(scrolled) => { scrolled.scrollLeft = 170; }")
        assert name.bounding_box() == before
        box = value.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390

        note = value.locator(".reference p")
        expect(note).to_be_hidden()
        value.locator(".reference summary").focus()
        page.keyboard.press("Enter")
        expect(note).to_be_visible()
        expect(note).to_contain_text("Measured by the Runyard project on")

        # A row has one line below it, not a stronger one below its name.
        color = "(cell) => getComputedStyle(cell).borderBottomColor"
        assert name.evaluate(color) == value.evaluate(color)
