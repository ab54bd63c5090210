"""The run table in a real Chromium: rename, tag and group runs, save a view, and compare."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect


@pytest.fixture(scope="module")
def made(yard: Any) -> list[str]:
    """Two seeds of each of two variants, trained."""
    said = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 2, "tags": ["table"]}
    ids = [yard.launch(**said, lr=lr, seed=seed) for lr in (0.001, 0.01) for seed in (1, 2)]
    for run in ids:
        yard.wait_for(run, "succeeded")
    return ids


def headings(page: Page) -> list[str]:
    return [
        str(each)
        for each in page.locator("#runs-table th[data-column]").evaluate_all("all => all.map(e => e.dataset.column)")
    ]


def test_a_run_is_renamed_where_it_stands_and_the_chosen_ones_are_tagged(
    page: Page, yard: Any, made: list[str]
) -> None:
    page.goto(f"{yard.address}/runs?q=tag:table")
    expect(page.locator("#runs-table tbody tr")).to_have_count(4)
    # All by keys: to the first run, edit, save.
    page.keyboard.press("j")
    page.keyboard.press("e")
    name = page.locator(".edit-row input[name=name]")
    expect(name).to_be_focused()
    page.keyboard.type("the best one")
    page.locator(".edit-row input[name=tags]").fill("table, fresh")
    page.keyboard.press("Enter")
    expect(page.locator(f"#open-{made[3]}")).to_have_text("the best one")
    expect(page.locator(f"#row-{made[3]} .tag")).to_have_text(["fresh", "table"])
    expect(page.locator(".edit-row")).to_have_count(0)
    assert yard.call(f"/runs/{made[3]}")["tags"] == ["fresh", "table"]

    page.keyboard.press("Space")
    page.keyboard.press("j")
    page.keyboard.press("Space")
    expect(page.locator("[data-selected]")).to_have_text("2 selected")
    page.keyboard.press("t")
    page.keyboard.type("pair")
    page.keyboard.press("Enter")
    expect(page.locator("#act-notice")).to_contain_text("2 runs tagged pair.")
    assert [yard.call(f"/runs/{run}")["tags"].count("pair") for run in made] == [0, 0, 1, 1]
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone: 2 runs tagged pair.")).to_be_visible()
    assert "pair" not in yard.call(f"/runs/{made[2]}")["tags"]
    # A chip goes by a key, once the page's scripts are there.
    expect(page.locator("body")).to_have_attribute("data-live", "1")
    page.locator("[data-chip]").first.focus()
    page.keyboard.press("Delete")
    page.wait_for_url(re.compile(r"/runs$"))


def test_columns_are_moved_by_keys_and_by_dragging_and_a_second_one_sorts(
    page: Page, yard: Any, made: list[str]
) -> None:
    page.goto(f"{yard.address}/runs?q=tag:table&columns=status,lr,val/acc,val/loss.last")
    page.locator("th[data-column=lr] a").focus()
    page.keyboard.press(">")
    page.wait_for_url(re.compile("columns=status%2Cval%2Facc%2Clr"))
    expect(page.locator("th[data-column=lr] a")).to_be_focused()
    assert headings(page) == ["number", "status", "val/acc", "lr", "val/loss.last"]
    page.locator("th[data-column='val/loss.last']").drag_to(
        page.locator("th[data-column=status]"), target_position={"x": 3, "y": 10}
    )
    expect(page.locator("th[data-column]").nth(1)).to_have_attribute("data-column", "val/loss.last")
    page.locator("th[data-column=lr] a").click()
    page.wait_for_url(re.compile("sort=lr"))
    page.locator("th[data-column='val/loss.last'] a").click(modifiers=["Shift"])
    page.wait_for_url(re.compile("sort=lr%2C-val%2Floss.last"))
    lrs = page.locator("#runs-table tbody tr").evaluate_all("all => all.map(e => e.dataset.run)")
    assert set(lrs[:2]) == set(made[:2])
    loss = {run: yard.call(f"/runs/{run}")["summary"]["val/loss"]["last"] for run in made}
    assert loss[lrs[0]] >= loss[lrs[1]]
    assert loss[lrs[2]] >= loss[lrs[3]]


def test_runs_stand_in_groups_and_the_view_is_kept_by_name(page: Page, yard: Any, made: list[str]) -> None:
    page.goto(f"{yard.address}/runs?q=tag:table")
    page.locator("#group-pop > summary").click()
    page.get_by_role("link", name="variant").click()
    expect(page.locator("#runs-table tbody tr[data-group]")).to_have_count(2)
    expect(page.locator("#runs-table tbody tr").first).to_contain_text("±")
    page.get_by_role("link", name="best val/acc mean").click()
    page.wait_for_url(re.compile("sort=-val"))
    page.locator("#runs-table summary").first.click()
    expect(page.locator("#runs-table details[open] .members a")).to_have_count(2)

    # What is opened to be filled in is written in at once.
    page.locator("#group-pop > summary").click()
    expect(page.locator("#group-by")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#group-pop > summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#group-by")).to_be_focused()
    page.get_by_text("Save view").click()
    expect(page.get_by_label("View name")).to_be_focused()
    page.keyboard.type("variants of the table")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("variants of the table")
    page.goto(f"{yard.address}/runs")
    page.get_by_role("link", name="variants of the table").click()
    expect(page.locator("#runs-table tbody tr[data-group]")).to_have_count(2)
    page.get_by_text("This view", exact=True).click()
    page.get_by_role("button", name="Delete view").click()
    expect(page.locator("#act-notice")).to_contain_text("View variants of the table deleted.")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".views a")).to_have_text(["variants of the table"])
    yard.call(f"/views/{yard.call('/views')['views'][0]['id']}", method="DELETE")


def test_several_tags_are_typed_and_one_that_cannot_be_leaves_the_table_as_it_was(
    browser: Browser, yard: Any, made: list[str]
) -> None:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{yard.address}/runs?q=tag:table&sort=number")
    page.locator(f"#row-{made[1]} input[name=runs]").check()
    page.locator(f"#row-{made[2]} input[name=runs]").check()
    page.keyboard.press("t")
    page.keyboard.type("x" * 51)
    page.keyboard.press("Enter")
    expect(page.locator("#tagged-wrong")).to_contain_text("the maximum is 50")
    expect(page.locator("[data-tag-field]")).to_be_focused()
    expect(page.locator("[data-tag-field]")).to_have_value("x" * 51)
    expect(page.locator("[data-selected]")).to_have_text("2 selected")
    expect(page.locator("#runs-table tbody tr")).to_have_count(4)
    # It stands at the address of its table, which can be loaded anew.
    expect(page).to_have_url(f"{yard.address}/runs?q=tag%3Atable&sort=number")
    page.locator("[data-tag-field]").fill("bulk tag, x")
    page.keyboard.press("Enter")
    expect(page.locator("#act-notice")).to_contain_text("2 runs tagged bulk tag, x.")
    assert sorted(yard.call(f"/runs/{made[1]}")["tags"]) == ["bulk tag", "table", "x"]
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone: 2 runs tagged bulk tag, x.")).to_be_visible()
    assert yard.call(f"/runs/{made[2]}")["tags"] == ["table"]
    page.context.close()


def test_the_link_to_compare_a_group_is_in_sight_however_many_figures_there_are(
    page: Page, yard: Any, made: list[str]
) -> None:
    for columns in ("", "&columns=val/acc,test/acc,duration,val/loss,train/loss.last"):
        page.goto(f"{yard.address}/runs?q=tag:table&group=variant{columns}")
        frame = page.locator(".card.scroll").bounding_box()
        link = page.locator("#runs-table a.link").first.bounding_box()
        assert frame
        assert link
        assert link["x"] + link["width"] <= frame["x"] + frame["width"] - 10
    page.locator("#runs-table a.link").first.click()
    page.wait_for_url(re.compile("/compare"))


def test_only_keys_that_do_something_on_a_page_are_listed_there(page: Page, yard: Any, made: list[str]) -> None:
    def listed() -> list[str]:
        page.keyboard.press("?")
        keys = page.locator("#keys dt:visible kbd").all_text_contents()
        page.get_by_role("button", name="Close").click()
        return keys

    general = ["g", "n", "g", "r", "g", "d", "g", "a", "l"]
    rows, acts = ["j", "k", "↓", "↑", "Space"], ["Shift", "A", "c", "x", "t"]
    page.goto(f"{yard.address}/runs?q=tag:table")
    assert listed() == [*general, "/", *rows, "Enter", "e", *acts, "<", ">", "Shift", "Enter", "?"]
    page.goto(f"{yard.address}/runs?q=tag:table&group=variant")
    assert listed() == [*general, "/", *rows, *acts, "?"]
    page.goto(f"{yard.address}/compare")
    assert listed() == [*general, *rows, "Enter", "c", "?"]
    page.goto(f"{yard.address}/runs/{made[0]}")
    assert listed() == [*general, "←", "→", "+", "-", "0", "?"]
    page.goto(f"{yard.address}/sweeps")
    assert listed() == [*general, "?"]


def test_new_runs_come_in_above_and_nothing_that_is_chosen_is_lost(page: Page, yard: Any, made: list[str]) -> None:
    page.goto(f"{yard.address}/runs")
    page.locator(f"#row-{made[1]} input[name=runs]").check()
    # Far down, so that what comes in above would push what is looked at.
    page.set_viewport_size({"width": 1440, "height": 300})
    page.locator(f"#row-{made[0]}").scroll_into_view_if_needed()
    before = page.locator(f"#row-{made[0]}").bounding_box()
    new = yard.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=1, tags=["table"])
    expect(page.locator("#runs-table tbody tr").first).to_have_attribute("data-run", new)
    after = page.locator(f"#row-{made[0]}").bounding_box()
    assert before
    assert after
    assert abs(before["y"] - after["y"]) < 2
    expect(page.locator(f"#row-{made[1]} input[name=runs]")).to_be_checked()
    yard.wait_for(new, "succeeded")
    expect(page.locator(f"#row-{new} .badge")).to_contain_text("succeeded")
    yard.call(f"/runs/{new}", method="DELETE")


def test_a_baseline_is_pinned_and_lines_are_kept_by_a_brush(page: Page, yard: Any, made: list[str]) -> None:
    page.goto(f"{yard.address}/compare?runs={','.join(made)}&by=none")
    page.locator(f"#pin-{made[0]}").click()
    page.wait_for_url(re.compile(f"baseline={made[0]}"))
    expect(page.locator(".delta").first).to_have_text(re.compile(r"^[+−±]"))
    expect(page.locator(".pin.pinned")).to_have_text(re.compile("Baseline"))
    lines = page.locator("#parallel .through")
    expect(lines).to_have_count(4)
    axis = page.locator("#parallel .hit[data-title=lr]")
    axis.focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#parallel .through.out")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator("#parallel .through.out")).to_have_count(0)
    box = axis.bounding_box()
    assert box
    page.mouse.move(box["x"] + 14, box["y"] + box["height"] - 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 14, box["y"] + box["height"] * 0.6, steps=4)
    page.mouse.up()
    expect(page.locator("#parallel .through.out")).to_have_count(2)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#parallel .through.out")).to_have_count(0)
    page.locator("#all-settings").click()
    expect(page.locator("#differences")).to_contain_text("optimizer")

    page.get_by_role("link", name="Leaderboard").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Leaderboard")
    page.get_by_role("columnheader", name="digits").get_by_role("link").click()
    first = page.locator("#leaderboard tbody tr").first
    expect(first).to_contain_text("n = ")
    page.locator("#leaderboard a.missing").first.click()
    page.wait_for_url(re.compile("/launch"))
    expect(page.locator("input[name=seeds]")).to_have_value("3")
