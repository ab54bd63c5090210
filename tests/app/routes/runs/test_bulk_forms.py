"""Bulk actions on selected or all matching runs, edits of a run, and undo, all without JavaScript."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.store.database import writing
from app.store.undo import record_act


def rows(page: Any) -> list[str]:
    """Run IDs of the table, from the top."""
    return [found["data-run"] for found in page.all("tr") if "data-run" in found]


def undo(client: Any, look: Any, page: Any) -> Any:
    """Press the button that undoes the last action."""
    act = page.one("input", type="hidden", name="act")["value"]
    return look(client.post("/runs/undo", data={"act": act, "back": "/runs"}))


def tags(runs: Any, *ids: str) -> list[list[str]]:
    """Return the tags of runs, after checking that rows and configurations agree."""
    found = [runs.get(run) for run in ids]
    assert [each.tags for each in found] == [each.config.tags for each in found]
    return [each.tags for each in found]


def test_undo_removes_a_tag_only_from_runs_that_did_not_have_it(client: Any, look: Any, runs: Any) -> None:
    one, two, three = runs.add(), runs.add(tags=["paper"]), runs.add()
    page = look(client.post("/runs/tag", data={"runs": [one, two], "tagged": " paper "}))
    assert "1 run tagged paper." in page.html
    assert tags(runs, one, two, three) == [["paper"], ["paper"], []]
    page = undo(client, look, page)
    assert "Undone: 1 run tagged paper." in page.html
    assert tags(runs, one, two) == [[], ["paper"]]
    page = look(client.post("/runs/untag", data={"runs": [f"{one},{two},{three}"], "tagged": "paper"}))
    assert tags(runs, two) == [[]]
    undo(client, look, page)
    assert tags(runs, one, two, three) == [[], ["paper"], []]


def test_undo_removes_each_of_several_tags_only_from_runs_that_did_not_have_it(
    client: Any, look: Any, runs: Any
) -> None:
    one, two = runs.add(), runs.add(tags=["x"])
    page = look(client.post("/runs/tag", data={"runs": [one, two], "tagged": 'bulk tag, x, "a, b", x'}))
    assert "2 runs tagged bulk tag, x, a, b." in page.html
    assert [runs.get(run).tags for run in (one, two)] == [["a, b", "bulk tag", "x"]] * 2
    undo(client, look, page)
    assert tags(runs, one, two) == [[], ["x"]]
    page = look(client.post("/runs/untag", data={"runs": [one, two], "tagged": "x, paper"}))
    assert "Tags x, paper removed from 1 run." in page.html
    undo(client, look, page)
    assert tags(runs, one, two) == [[], ["x"]]


def test_an_action_recorded_in_the_old_single_tag_format_can_still_be_undone(client: Any, runs: Any) -> None:
    one, two = runs.add(tags=["x"]), runs.add()
    with writing(runs.engine) as connection:
        given = record_act(connection, "tag", "1 run tagged x.", {"tag": "x", "runs": [one]}, 1.0)
        taken = record_act(connection, "untag", "Tag y taken from 1 run.", {"tag": "y", "runs": [two]}, 2.0)
    for act in (given, taken):
        assert client.post("/runs/undo", data={"act": act}).status_code == 200
    assert tags(runs, one, two) == [[], ["y"]]


@pytest.mark.parametrize("act", ["tag", "untag"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (" , ", "Enter at least one tag."),
        ("x" * 51, "Tag &#39;xxxxxxxxxxxxxxxxxxxx…&#39; has 51 characters; the maximum is 50."),
        (",".join(map(str, range(21))), "A run can have at most 20 tags."),
    ],
)
def test_an_invalid_tag_is_reported_at_its_field_and_nothing_is_lost(
    client: Any, look: Any, runs: Any, act: str, words: str, said: str
) -> None:
    ids = [runs.add(lr=0.1) for _ in range(52)]
    runs.add(lr=0.5)
    first = look(client.get("/runs?q=lr:0.1"))
    for address in ("/runs?q=lr:0.1", first.one("a", rel="next")["href"]):
        shown = look(client.get(address))
        back = shown.one("input", type="hidden", name="back", value=address.replace("lr:", "lr%3A"))["value"]
        chosen = rows(shown)[1:2]
        sent = {"runs": chosen, "tagged": words, "back": back, "every": "1"}
        page = look(client.post(f"/runs/{act}", data=sent), 422)
        assert said in page.html
        assert rows(page) == rows(shown)
        assert [box["value"] for box in page.all("input", name="runs") if "checked" in box] == chosen
        assert "checked" in page.one("input", name="every")
        field = page.one("input", name="tagged", value=words, aria_describedby="tagged-wrong")
        assert (field["aria-invalid"], "autofocus" in field) == ("true", True)
        assert page.one("span", id="tagged-wrong", role="alert")
    assert tags(runs, *ids) == [[]] * 52


def test_groups_stay_selected_after_an_invalid_tag(client: Any, look: Any, runs: Any) -> None:
    for lr in (0.1, 0.2):
        runs.add(lr=lr)
        runs.add(lr=lr)
    [chosen, _] = rows(look(client.get("/runs?group=lr")))
    page = look(client.post("/runs/tag", data={"runs": [chosen], "tagged": "", "back": "/runs?group=lr"}), 422)
    assert [box["value"] for box in page.all("input", name="runs") if "checked" in box] == [chosen]
    elsewhere = client.post("/runs/tag", data={"runs": [chosen], "tagged": "", "back": "//elsewhere.example/"})
    assert len(rows(look(elsewhere, 422))) == 4


def test_all_matching_runs_of_all_pages_can_be_selected(client: Any, look: Any, runs: Any) -> None:
    matching = [runs.add(family="vit", size="tiny") for _ in range(53)]
    other = runs.add()
    page = look(client.get("/runs?q=family:vit"))
    assert page.one("input", type="checkbox", name="every")["data-every"] == "53"
    question = page.one("input", type="hidden", name="matching")["value"]
    said = {"every": "1", "matching": question, "tagged": "transformer", "runs": matching[:1]}
    assert "53 runs tagged transformer." in look(client.post("/runs/tag", data=said)).html
    assert tags(runs, matching[0], matching[-1], other) == [["transformer"], ["transformer"], []]
    page = look(client.post("/runs/stop", data=said))
    assert "53 runs cancelled." in page.html
    assert runs.status(other) == "queued"


def test_runs_that_no_longer_exist_are_skipped(client: Any, look: Any, trained: Any, runs: Any) -> None:
    run = trained()
    page = look(client.post("/runs/delete", data={"runs": [run, "r_nothing"]}))
    assert "1 run deleted." in page.html
    assert rows(undo(client, look, page)) == [run]


def test_an_act_is_undone_once(client: Any, look: Any, trained: Any) -> None:
    page = look(client.post("/runs/delete", data={"runs": [trained()]}))
    act = page.one("input", type="hidden", name="act")["value"]
    assert client.post("/runs/undo", data={"act": act}).status_code == 200
    assert client.post("/runs/undo", data={"act": act}).status_code == 409
    assert client.post("/runs/undo", data={"act": "a_nothing"}).status_code == 404


def test_runs_are_launched_again_and_that_can_be_undone(client: Any, look: Any, runs: Any) -> None:
    first, second = runs.add(family="simple_mlp", seed=3), runs.add(family="simple_mlp", lr=0.02)
    gone = runs.add(family="nowhere")
    page = look(client.post("/runs/relaunch", data={"runs": [gone, second, first]}))
    assert "2 runs relaunched." in page.html
    assert "1 run could not be relaunched" in page.html
    again = runs.sql("SELECT parent, relation, seed, lr FROM run WHERE relation = 'clone' ORDER BY number")
    assert [row[0] for row in again] == [first, second]
    assert (again[0][2], again[1][3]) == (3, 0.02)
    undo(client, look, page)
    assert {row[0] for row in runs.sql("SELECT status FROM run WHERE relation = 'clone'")} == {"cancelled"}


def test_the_chosen_runs_are_compared_and_so_are_all_that_match(client: Any, runs: Any) -> None:
    one, two = runs.add(), runs.add()
    answer = client.post("/runs/compare", data={"runs": [one, two]}, follow_redirects=False)
    assert answer.headers["location"] == f"/compare?runs={one},{two}"
    answer = client.post("/runs/compare", data={"every": "1", "matching": ""}, follow_redirects=False)
    assert answer.headers["location"] == f"/compare?runs={two},{one}"


def test_name_tags_and_notes_are_edited_in_the_row_and_come_back(client: Any, look: Any, runs: Any) -> None:
    run = runs.add(name="old", tags=["a"])
    page = look(client.get("/runs?q=old"))
    [link] = [each["href"] for each in page.all("a", class_="edit")]
    page = look(client.get(link))
    assert page.one("input", name="name", form="edit-form")["value"] == "old"
    action = page.one("button", form="edit-form")["formaction"]
    back = page.one("input", name="back", form="edit-form")["value"]
    said = {"name": " new ", "tags": 'b, "c, d", b', "notes": "one\r\ntwo", "back": back}
    answer = client.post(action, data=said, follow_redirects=False)
    assert urlsplit(answer.headers["location"]).path == "/runs"
    assert parse_qs(urlsplit(answer.headers["location"]).query)["q"] == ["old"]
    changed = runs.get(run)
    assert (changed.config.name, changed.tags, changed.config.notes) == ("new", ["b", "c, d"], "one\ntwo")
    undo(client, look, look(client.get(answer.headers["location"])))
    back_again = runs.get(run)
    assert (back_again.config.name, back_again.tags, back_again.config.notes) == ("old", ["a"], "")


def test_an_invalid_name_or_tag_is_refused(client: Any, runs: Any) -> None:
    run = runs.add()
    assert client.post(f"/runs/{run}/edit", data={"tags": ",".join(map(str, range(21)))}).status_code == 422
    assert client.post("/runs/r_nothing/edit", data={"name": "a"}).status_code == 404
    assert client.get("/runs/r_nothing/edit").status_code == 404
    assert 'name="name"' in client.get(f"/runs/{run}/edit").text


def test_every_part_of_the_query_is_a_chip_that_removes_it(client: Any, look: Any, runs: Any) -> None:
    runs.add()
    question = '-status:failed "a b" lr>0.1'
    page = look(client.get("/runs", params={"q": question, "family": "vit", "tag": "x", "sort": "-val/acc,params"}))
    chips = [found for found in page.all("a") if "data-chip" in found]
    assert [chip["class"] for chip in chips] == ["chip question"] * 3 + ["chip filter"] * 2 + ["chip order"] * 2
    said = [parse_qs(urlsplit(chip["href"]).query) for chip in chips]
    assert [each.get("q") for each in said[:3]] == [
        ['"a b" lr>0.1'],
        ["-status:failed lr>0.1"],
        ['-status:failed "a b"'],
    ]
    assert ("family" not in said[3], "tag" not in said[4]) == (True, True)
    assert [each["sort"] for each in said[5:]] == [["params"], ["-val/acc"]]
    # What belongs together goes together.
    for words, rest in (("lr>0.1 (a or b)", [["(a or b)"], ["lr>0.1"]]), ("a or b", [None])):
        page = look(client.get("/runs", params={"q": words}))
        said = [parse_qs(urlsplit(each["href"]).query) for each in page.all("a") if "data-chip" in each]
        assert [each.get("q") for each in said] == rest
    # What cannot be read yet can be taken away as a whole.
    page = look(client.get("/runs", params={"q": 'color:"red'}))
    assert [each["href"] for each in page.all("a") if "data-chip" in each] == ["/runs"]


def test_a_table_is_sorted_by_several_columns_and_says_so(client: Any, look: Any, trained: Any) -> None:
    worse, same, better = trained(level=0.5, lr=0.2), trained(level=0.9, lr=0.1), trained(level=0.9, lr=0.3)
    page = look(client.get("/runs?sort=-val/acc,lr&columns=val/acc,lr,val/loss.last"))
    assert rows(page) == [same, better, worse]
    assert rows(look(client.get("/runs?sort=-val/acc,-lr"))) == [better, same, worse]
    heads = {found["data-column"]: found for found in page.all("th") if "data-column" in found}
    assert [heads[key]["aria-sort"] for key in ("val/acc", "lr", "val/loss.last")] == ["descending", "none", "none"]
    assert ", ascending, sort key 2" in page.html
    then = [parse_qs(urlsplit(found["data-then"]).query)["sort"][0] for found in page.all("a") if "data-then" in found]
    assert then == ["-val/acc,lr,-number", "val/acc,lr", "-val/acc,-lr", "-val/acc,lr,-val/loss.last"]
    assert "last val/loss" in page.html
    assert "at most 3 columns" in client.get("/runs?sort=lr,seed,epochs,params").text
