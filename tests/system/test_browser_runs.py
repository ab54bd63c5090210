"""Search with completion and the choice of columns in a real Chromium."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page, Route, expect


def test_a_question_completes_itself_and_a_column_is_chosen(page: Page, yard: Any) -> None:
    tag = "question"
    for size in ("tiny", "small"):
        yard.wait_for(yard.launch(family="simple_mlp", size=size, dataset="digits", epochs=1, tags=[tag]), "succeeded")
    page.goto(f"{yard.address}/runs")
    search = page.locator("#search")
    with page.expect_response("**/runs/suggestions"):
        search.click()
    page.keyboard.type("ta")
    expect(page.locator("#suggestions li").first).to_have_text("tag:")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("que")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(search).to_have_value(f"tag:{tag} ")
    page.keyboard.type("-size:ti")
    expect(page.locator("#suggestions li")).to_have_text(["-size:tiny"])
    page.locator("#suggestions li").click()
    expect(search).to_have_value(f"tag:{tag} -size:tiny ")
    # Enter, while what was typed is being asked for already: nothing is cut off, and the browser has nothing to say.
    for _ in range(5):
        search.press_sequentially(" ")
        search.press("Enter")
    expect(page.locator("#runs-table tbody tr")).to_have_count(1)
    page.wait_for_url(re.compile("q=tag%3Aquestion"))
    page.keyboard.type("color:")
    expect(page.get_by_text("Invalid search.")).to_be_visible()
    page.keyboard.press("Escape")

    page.goto(f"{yard.address}/runs?q=tag:{tag}")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("learning rate", exact=True).check()
    page.get_by_label("curve").uncheck()
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("columnheader", name="learning rate")).to_be_visible()
    expect(page.get_by_role("columnheader", name="curve")).to_have_count(0)
    expect(page.locator("#runs-table tbody tr")).to_have_count(2)
    page.get_by_role("columnheader", name="learning rate").get_by_role("link").click()
    page.wait_for_url(re.compile("sort=lr"))
    expect(page.get_by_role("columnheader", name="learning rate")).to_have_attribute("aria-sort", "ascending")


def test_a_question_that_cannot_be_read_is_not_asked_again_while_runs_train(page: Page, yard: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/runs/rows" in request.url else None)
    run = yard.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=5000)
    yard.wait_for_step(run, 10)
    page.goto(f"{yard.address}/runs?q=famly:vit")
    expect(page.get_by_text("No field 'famly'")).to_be_visible()
    expect(page.locator("body")).to_have_attribute("data-live", "1")
    page.wait_for_timeout(2500)
    assert asked == []
    # Typed anew, it is asked as often as something changes.
    with page.expect_request("**/runs/rows*"):
        page.locator("#search").fill("family:simple_mlp")
        expect(page.locator(f"#row-{run}")).to_be_visible()
    page.locator("#search").fill("famly:simple_mlp")
    expect(page.get_by_text("No field 'famly'")).to_be_visible()
    asked.clear()
    page.wait_for_timeout(2500)
    assert asked == []
    yard.call(f"/runs/{run}/cancel", {})
    yard.wait_for(run, "cancelled")


def test_an_answer_for_rows_that_a_search_has_replaced_meanwhile_is_dropped(page: Page, yard: Any) -> None:
    run = yard.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=5000)
    yard.wait_for_step(run, 10)
    held: list[Route] = []
    page.route("**/runs/rows*", lambda route: held.append(route))
    page.goto(f"{yard.address}/runs?q=family:simple_mlp status:running")
    expect(page.locator(f"#row-{run}")).to_be_visible()
    for _ in range(100):
        if held:
            break
        page.wait_for_timeout(100)
    assert held, "the page does not ask for changed rows"
    page.locator("#search").fill("famly:simple_mlp")
    expect(page.locator(f"#row-{run}")).to_have_count(0)
    # It has a row for a table that is not there any more; the console must not complain.
    late = held[0].fetch()
    assert f"row-{run}" in late.text()
    held[0].fulfill(response=late)
    page.unroute("**/runs/rows*")
    page.locator("#search").fill("family:simple_mlp status:running")
    expect(page.locator(f"#row-{run}")).to_be_visible()
    yard.call(f"/runs/{run}/cancel", {})
    yard.wait_for(run, "cancelled")


def test_a_refresh_of_groups_enables_no_button_and_keeps_the_typed_text_and_the_focus(page: Page, yard: Any) -> None:
    run = yard.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=5000)
    yard.wait_for_step(run, 10)
    page.goto(f"{yard.address}/runs?group=family,size&status=running")
    expect(page.locator("[data-act=stop]")).to_be_disabled()
    page.evaluate("""() => {
      window.enabled = 0;
      new MutationObserver(() => {
        window.enabled += document.querySelectorAll("[data-act]:enabled").length;
      }).observe(document.getElementById("runs-list"), { childList: true, subtree: true, attributes: true });
    }""")
    page.locator("[data-tag-field]").fill("pap")
    for _ in range(2):
        with page.expect_response(re.compile(r"/runs\?.*group=")):
            pass
    page.keyboard.type("er")
    expect(page.locator("[data-tag-field]")).to_have_value("paper")
    assert page.evaluate("window.enabled") == 0
    yard.call(f"/runs/{run}/cancel", {})
    yard.wait_for(run, "cancelled")
