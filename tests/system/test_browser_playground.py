"""The playground in a browser: draw a seven, three models vote; change it; ask why; pick, drop and move a model."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from runyard import Run, Runyard
from tests.browser import opened_page

DROP = """([name, kind, content]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: kind }));
  document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data }));
}"""
DROP_LARGE = """() => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(16 * 2 ** 20 + 1)], "large.png", { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data }));
}"""
COLD_MILLISECONDS = 60_000
"""A process that imports torch starts with the first look."""


@pytest.fixture(scope="module")
def models(yard: Any) -> list[Run]:
    """Three networks of three families that have learned digits."""
    with Runyard(yard.address) as client:
        launched = [
            client.launch(family=family, size=size, dataset="digits", epochs=30, lr=lr, rotation=8, crop_padding=2)
            for family, size, lr in (("simple_cnn", "base", 1e-3), ("simple_mlp", "base", 1e-3), ("vit", "tiny", 3e-3))
        ]
        runs = [each.wait() for each in launched]
    assert [run.status for run in runs] == ["succeeded"] * 3
    return runs


def draw_seven(page: Page) -> None:
    """Two strokes with the mouse."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    left, top, side = box["x"], box["y"], box["width"]
    places = [(0.25, 0.2), (0.75, 0.2), (0.6, 0.5), (0.45, 0.85)]
    page.mouse.move(left + places[0][0] * side, top + places[0][1] * side)
    page.mouse.down()
    for across, down in places[1:]:
        page.mouse.move(left + across * side, top + down * side, steps=8)
    page.mouse.up()


def test_a_seven_is_drawn_and_three_models_vote(page: Page, yard: Any, models: list[Run]) -> None:
    chosen = ",".join(str(run.number) for run in models)
    page.goto(f"{yard.address}/playground?runs={chosen}")
    votes = page.locator(".vote")
    expect(votes).to_have_count(3, timeout=COLD_MILLISECONDS)
    draw_seven(page)
    expect(page.locator("#verdict")).to_contain_text("say 7")
    expect(page.locator("#verdict")).to_contain_text("of 3")
    # One of three may be wrong: the networks saw no digits of a mouse.
    expect(page.locator(".vote .top th")).to_have_count(3)
    # What the networks are fed is shown, and all of them are fed the same.
    fed = page.locator(".seen img:not(.why)")
    expect(fed).to_have_count(3)
    expect(fed.first).to_have_js_property("naturalWidth", 28)

    page.locator("#why").check()
    expect(page.locator(".looks figcaption", has_text="Grad-CAM")).to_have_count(1)
    expect(page.locator(".looks figcaption", has_text="attention rollout")).to_have_count(1)
    expect(page.locator(".looks figcaption", has_text="occlusion")).to_have_count(1)
    page.locator("#sweep").select_option("rotation")
    expect(page.locator(".sweep")).to_have_count(3)
    before = page.locator(".bars").first.inner_text()
    page.locator("#slide-rotation").focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#slide-rotation + output")).to_have_text("40°")
    expect(page.locator(".bars").first).not_to_have_text(before, use_inner_text=True)
    page.get_by_role("button", name="Reset").click()
    expect(page.locator(".bars").first).to_have_text(before, use_inner_text=True)


def test_a_test_picture_is_picked_with_the_keyboard_and_the_address_holds_it(
    page: Page, yard: Any, models: list[Run]
) -> None:
    page.goto(f"{yard.address}/playground?runs={models[0].number}")
    expect(page.locator(".vote")).to_have_count(1, timeout=COLD_MILLISECONDS)
    page.locator("#index").focus()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    expect(page.locator(".vote .bars")).to_contain_text("(true)")
    page.wait_for_url("**/playground?runs=*picture=digits:test:3*")
    page.reload()
    expect(page.locator("#index")).to_have_value("3")
    expect(page.locator(".vote .bars")).to_contain_text("(true)")
    # Without its script, the page shows the same votes.
    with page.expect_response("**/playground*") as answer:
        page.goto(f"{page.url}&look=1")
    assert "(true)" in answer.value.text()


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(page: Page, yard: Any, models: list[Run]) -> None:
    page.goto(f"{yard.address}/playground?runs={models[0].number}")
    expect(page.locator(".vote")).to_have_count(1, timeout=COLD_MILLISECONDS)
    page.evaluate(DROP, ["digit.png", "image/png", base64.b64encode(b"%PDF-1.7").decode()])
    expect(page.locator("#votes [role=alert]")).to_have_text("The image is not an image but a PDF.")


def test_a_file_that_is_too_large_takes_the_place_of_the_last_vote(page: Page, yard: Any, models: list[Run]) -> None:
    page.goto(f"{yard.address}/playground?runs={models[0].number}")
    expect(page.locator(".vote")).to_have_count(1, timeout=COLD_MILLISECONDS)
    page.evaluate(DROP_LARGE)
    expect(page.locator("#votes")).to_have_text("An image can have at most 16 MiB.")
    expect(page.locator("#votes [role=alert]")).to_have_count(1)
    expect(page).not_to_have_url(re.compile("picture="))


def test_the_address_names_no_other_image_than_the_one_that_is_judged(page: Page, yard: Any, models: list[Run]) -> None:
    page.goto(f"{yard.address}/playground?runs={models[0].number}")
    expect(page.locator(".vote")).to_have_count(1, timeout=COLD_MILLISECONDS)
    expect(page).to_have_url(re.compile("picture=digits:test:0"))
    draw_seven(page)
    expect(page).not_to_have_url(re.compile("picture="))


def test_an_index_beyond_the_end_is_answered_in_a_sentence_and_asks_for_no_image(
    page: Page, yard: Any, models: list[Run]
) -> None:
    page.goto(f"{yard.address}/playground?runs={models[0].number}")
    expect(page.locator(".vote")).to_have_count(1, timeout=COLD_MILLISECONDS)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#index").fill("360")
    expect(page.locator("#votes [role=alert]")).to_have_text("Digits has 360 test images, the last one is 359.")
    assert not [url for url in asked if "image.png" in url]


def test_an_alias_is_given_on_the_run_page_moved_and_moved_back(page: Page, yard: Any, models: list[Run]) -> None:
    first, second = models[0], models[1]
    for run in (first, second):
        page.goto(f"{yard.address}/runs/{run.id}")
        page.locator("#alias-name").fill("drawn-digits")
        page.get_by_role("button", name="Point here").click()
        expect(page.locator("#run-aliases")).to_contain_text("drawn-digits")
    page.goto(f"{yard.address}/models")
    card = page.locator("#model-drawn-digits")
    expect(card).to_contain_text(f"#{second.number}")
    expect(card).to_contain_text("/api/v1/models/drawn-digits/predict")
    page.get_by_role("button", name=f"Move back to #{first.number}").click()
    expect(card).to_contain_text(f"#{first.number} {first.title}")
    expect(card.locator(".lines li")).to_have_count(3)
    page.goto(f"{yard.address}/playground?runs=drawn-digits")
    expect(page.locator(".vote h3")).to_contain_text("drawn-digits", timeout=COLD_MILLISECONDS)


def test_it_can_be_drawn_on_with_a_finger_on_a_phone(browser: Browser, yard: Any, models: list[Run]) -> None:
    with opened_page(browser) as page:
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto(f"{yard.address}/playground?runs={models[0].number}")
        expect(page.locator(".vote")).to_have_count(1, timeout=COLD_MILLISECONDS)
        with page.expect_response("**/playground/look"):
            draw_seven(page)
        # While the finger draws, the answer is in sight: directly below. One network alone may not see a seven.
        near, verdict = page.locator("#verdict-near"), page.locator("#verdict")
        yard.until(lambda: re.match(r"It says \d", near.inner_text()) and near.inner_text() == verdict.inner_text())
        expect(near).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
