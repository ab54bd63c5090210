"""Change a running run on its page, with and without JavaScript, and see the change on its curves."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, Page, expect

SPEC: dict[str, Any] = {"family": "simple_mlp", "size": "tiny", "batch_size": 16, "epochs": 5000, "schedule": "cosine"}


def test_a_run_is_changed_on_its_page_and_each_change_is_marked_on_the_curves(page: Page, yard: Any) -> None:
    run = yard.launch(**SPEC)
    yard.wait_for_step(run, 200)
    page.goto(f"{yard.address}/runs/{run}")
    expect(page.locator("#control-epochs-hint")).to_contain_text("The cosine schedule is rescaled to the new total")
    expect(page.locator(".chart .uplot").first).to_be_visible()

    page.get_by_role("button", name="0.3", exact=True).click()
    newest = page.locator("#changes li").first
    expect(newest).to_contain_text("learning rate × 0.3")
    expect(newest.locator(".state")).to_have_text(re.compile(r"applied at step [\d,]+"))
    expect(page.locator("#control-said")).to_have_text(re.compile(r"learning rate × 0\.3: applied at step"))
    page.locator("#control-note").fill("looks good from here")
    page.locator("#control-note").press("Enter")
    expect(newest).to_contain_text("note: looks good from here")
    expect(page.locator("#control-note")).to_have_value("")
    page.locator("#control-epochs").fill("many")
    page.locator("#control-epochs-set").click()
    expect(page.locator("#control-said")).to_contain_text("number of epochs must be a whole number")
    # What was asked for before, and is done only now, does not take it away.
    page.evaluate("document.body.dispatchEvent(new CustomEvent('marks-changed'))")
    expect(page.locator("#change-problem")).to_have_count(0)
    expect(page.locator("#control-said")).to_contain_text("number of epochs must be a whole number")
    # What is being typed outlives the box's being shown anew, here because somebody else has changed the epochs.
    page.locator("#control-note").fill("half a sen")
    yard.call(f"/runs/{run}/changes", {"kind": "epochs", "value": 4500})
    expect(newest).to_contain_text("4,500 epochs")
    expect(newest.locator(".state")).to_have_text(re.compile("applied"))
    page.evaluate("document.body.dispatchEvent(new CustomEvent('status-changed'))")
    expect(page.locator("#control-epochs")).to_have_attribute("placeholder", "4500")
    expect(page.locator("#control-note")).to_have_value("half a sen")
    page.locator("#control-note").fill("")
    page.locator("#control-epochs").fill("4000")
    page.locator("#control-epochs-set").click()
    expect(newest).to_contain_text("4,000 epochs")
    expect(newest.locator(".state")).to_have_text(re.compile("applied"))

    # On every chart, at the step at which it was done; by kind, they go and come.
    step = yard.call(f"/runs/{run}/changes")["changes"][0]["step"]
    plot = page.locator("[data-chart='loss'] .uplot")
    expect(plot).to_have_attribute("data-marks", re.compile(rf"change@{step}\b"))
    expect(plot).to_have_attribute("data-marks", re.compile(r"note@\d+"))
    page.locator("#mark-keys [data-mark-kind=change]").uncheck()
    expect(plot).not_to_have_attribute("data-marks", re.compile("change@"))
    page.reload()
    expect(plot).to_have_attribute("data-marks", re.compile(r"note@\d+"))
    expect(plot).not_to_have_attribute("data-marks", re.compile("change@"))
    page.locator("#mark-keys [data-mark-kind=change]").check()

    # By keyboard: the mark that is chosen in the list is named on the charts.
    page.locator("#mark-keys [data-mark-kind=best]").uncheck()
    page.locator("#marks").focus()
    # A key that is pressed in the very moment in which the list comes anew is heard.
    page.evaluate("""() => {
      window.heard = new Promise((done) => document.addEventListener("htmx:afterSwap", function press({ detail }) {
        if (detail.target.id !== "run-changes" || document.activeElement.id !== "marks") return;
        document.removeEventListener("htmx:afterSwap", press);
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
        done(document.querySelectorAll("#marks [aria-selected=true]").length);
      }));
    }""")
    yard.call(f"/runs/{run}/changes", {"kind": "checkpoint"})
    assert page.evaluate("window.heard") == 1
    page.locator("#marks").blur()
    page.locator("#marks").focus()
    mark = page.locator("#marks [data-kind=note]").first
    # More presses than items: one that falls between two lists is not heard.
    for _ in range(4 * page.locator("#marks li").count()):
        page.keyboard.press("ArrowDown")
        # A list that comes anew in this moment has what is chosen marked a moment later.
        expect(page.locator("#marks [aria-selected=true]")).to_have_count(1)
        if mark.get_attribute("aria-selected") == "true":
            break
    expect(page.locator("[data-chart='loss'] .mark-label")).to_have_text("looks good from here")
    # Also when the list comes anew, with a mark that was made meanwhile.
    count = page.locator("#marks li").count()
    yard.call(f"/runs/{run}/changes", {"kind": "checkpoint"})
    yard.until(lambda: page.locator("#marks li").count() > count)
    expect(page.locator("#marks")).to_be_focused()
    expect(page.locator("#marks [data-kind=note]").first).to_have_attribute("aria-selected", "true")
    expect(page.locator("[data-chart='loss'] .mark-label")).to_be_visible()
    expect(page.locator("[data-chart='loss'] .mark-label")).to_have_text("looks good from here")

    page.get_by_role("button", name="Stop after this epoch").click()
    expect(page.locator(".page-head[data-status=succeeded]")).to_be_visible()
    expect(page.locator("#run-control form")).to_have_count(0)
    expect(page.locator("#changes")).to_contain_text("stop after the epoch")
    expect(page.locator("#marks")).to_contain_text("stop after epoch")


def test_a_run_is_changed_without_a_script(browser: Browser, yard: Any) -> None:
    run = yard.launch(**SPEC)
    yard.wait_for_step(run, 10)
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(f"{yard.address}/runs/{run}")
    page.locator("#control-note").fill("by hand")
    page.locator("#control-note-add").click()
    page.wait_for_url(f"**/runs/{run}#control")
    expect(page.locator("#changes li")).to_contain_text("note: by hand")
    yard.until(lambda: yard.call(f"/runs/{run}/changes")["changes"][0]["state"] == "applied")
    page.reload()
    expect(page.locator("#changes li")).to_contain_text("applied at step")
    expect(page.locator("[data-chart='loss'] line[data-kind='note'] title")).to_have_text("by hand")
    page.locator("#control-lr").fill("-1")
    page.locator("#control-lr-set").click()
    expect(page.locator("main")).to_contain_text("The factor must be a number")
    page.goto(f"{yard.address}/runs/{run}")
    page.get_by_role("button", name="Stop now").click()
    yard.wait_for(run, "cancelled")
    context.close()
