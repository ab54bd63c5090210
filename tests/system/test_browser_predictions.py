"""From a figure to the images: a trained run, its worst cell, its epochs, and another run on the same images."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.browser import opened_page

TINY = {"family": "simple_mlp", "size": "tiny", "dataset": "digits"}


def test_from_the_worst_cell_to_its_images_over_the_epochs_to_another_run(page: Page, yard: Any) -> None:
    weak = yard.launch(**TINY, epochs=3, seed=1)
    strong = yard.launch(**TINY, epochs=8, seed=2)
    for run in (weak, strong):
        yard.wait_for(run, "succeeded")
    page.goto(f"{yard.address}/runs/{weak}")
    page.get_by_role("link", name="Predictions", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Predictions of")

    # The most frequent confusion, as a sentence and as a cell, leads to its images.
    worst = yard.call(f"/runs/{weak}/predictions")["confusions"][0]
    expect(page.locator("#confusions li").first).to_contain_text(
        f"{worst['true']} is taken for {worst['predicted']}: {worst['count']} of {worst['of']} images"
    )
    page.locator(f'[data-cell="{worst["true"]},{worst["predicted"]}"] a').click()
    gallery = page.get_by_role("listbox")
    pictures = gallery.get_by_role("option")
    expect(pictures).to_have_count(worst["count"])
    expect(pictures.first.locator("b")).to_contain_text(str(worst["predicted"]))
    tile = pictures.first.locator(".tile")
    assert "/datasets/digits/sheet.png" in tile.evaluate("each => getComputedStyle(each).backgroundImage")

    # Keys open an image, move on, and close it, without a click before; the address leads to it again.
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("next and previous image")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("k")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Image 1 of")
    expect(dialog.get_by_role("img")).to_have_js_property("complete", True)
    expect(dialog.get_by_role("img")).not_to_have_js_property("naturalWidth", 0)
    expect(page).to_have_url(re.compile("#1$"))
    page.keyboard.press("End")
    expect(dialog).to_contain_text(f"Image {worst['count']} of")
    page.reload()
    expect(dialog).to_contain_text(f"Image {worst['count']} of")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    # The history in words, with the colors and figures of each epoch; this very image in the playground.
    page.goto(f"{yard.address}/runs/{weak}/predictions/pictures?part=validation#1")
    expect(dialog.locator("#picture-history")).to_contain_text("Over the epochs: ")
    expect(dialog.locator(".legend")).to_have_text("right wrong · epochs 1 to 3 from left to right")
    expect(dialog.locator(".epochs li")).to_have_count(3)
    shown = yard.call(f"/runs/{weak}/predictions/pictures?part=validation&limit=1")["pictures"][0]
    expect(dialog.locator(".epochs li").last).to_contain_text(f"epoch 3: {shown['history']['predicted'][-1]} · ")
    number = yard.call(f"/runs/{weak}")["number"]
    expect(dialog.get_by_role("link", name="Try in the playground")).to_have_attribute(
        "href", f"/playground?runs={number}&picture=digits:validation:{shown['index']}"
    )

    # Epochs: the matrix of each, by the keyboard and without loading the page again.
    page.goto(f"{yard.address}/runs/{weak}/predictions?part=validation")
    page.evaluate("window.stays = true")
    accuracy = page.locator("#accuracy")
    found = {}
    page.get_by_label("Epoch", exact=True).first.focus()
    page.keyboard.press("Home")
    for epoch in (1, 2, 3):
        expect(page.locator(".figures")).to_contain_text(f"accuracy after epoch {epoch}")
        found[epoch] = accuracy.inner_text()
        expect(page).to_have_url(re.compile(f"epoch={epoch}"))
        page.keyboard.press("ArrowRight")
    expect(page.locator(".figures")).not_to_contain_text("after epoch")
    expect(page).not_to_have_url(re.compile("epoch="))
    assert page.evaluate("window.stays")
    curve = yard.call(f"/runs/{weak}/metrics?names=val/acc&points=0")["val/acc"]["value"]
    assert [found[epoch] for epoch in (1, 2, 3)] == [f"{100 * value:.2f}%" for value in curve]

    # How sure is sure enough.
    page.get_by_label("Confidence at least").fill("0.5")
    expect(page.locator("#coverage-sentence")).to_have_text(
        re.compile(r"Answer only from 0\.5 on: [\d.]+% right on [\d.]+% of the images\.")
    )

    expect(page).to_have_url(re.compile(r"threshold=0\.5"))
    expect(page.get_by_role("link", name="shares")).to_have_attribute("href", re.compile(r"threshold=0\.5"))
    page.reload()
    expect(page.get_by_label("Confidence at least")).to_have_value("0.5")

    # Another run on the same images.
    page.goto(f"{yard.address}/compare?runs={weak},{strong}&by=none")
    expect(page.locator("#pair")).to_contain_text("McNemar's exact test")
    only_strong = page.locator("#two-by-two tbody tr").nth(1).locator("a")
    count = int(only_strong.inner_text())
    assert count > 0
    only_strong.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{count} test images (#")
    # Only those in sight are in the document.
    first = page.get_by_role("listbox").get_by_role("option").first
    expect(first).to_have_attribute("aria-setsize", str(count))
    expect(first).to_contain_text("#")


def test_a_run_without_predictions_is_evaluated_with_one_click(page: Page, yard: Any) -> None:
    run = yard.launch(**TINY, epochs=1, keep_predictions=False)
    yard.wait_for(run, "succeeded")
    page.goto(f"{yard.address}/runs/{run}/predictions")
    page.get_by_role("button", name="Evaluate now").click()
    expect(page.locator("#matrix")).to_be_visible(timeout=180_000)
    expect(page.locator("#accuracy")).to_have_text(re.compile(r"[\d.]+%"))


def test_on_a_phone_wide_tables_say_that_they_scroll_and_their_last_column_can_be_reached(
    browser: Browser, yard: Any
) -> None:
    run = yard.launch(**TINY, epochs=1)
    yard.wait_for(run, "succeeded")
    with opened_page(browser) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        for path, card in (("predictions", ".matrix-card"), ("card", "section:has(#card-4)")):
            page.goto(f"{yard.address}/runs/{run}/{path}")
            table = page.locator(card)
            expect(table.locator(".sideways-hint")).to_be_visible()
            last = table.locator("thead th").last
            scroller = table.locator(".sideways")
            scroller.scroll_into_view_if_needed()
            scroller.evaluate("each => each.scrollTo(each.scrollWidth, 0)")
            expect(last).to_be_in_viewport(ratio=0.95)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.set_viewport_size({"width": 1440, "height": 900})
        expect(page.locator(".sideways-hint").first).to_be_hidden()
