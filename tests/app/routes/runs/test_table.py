"""The run table: sorting, search and paging by links and forms that work without JavaScript."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

HTMX = {"HX-Request": "true"}


def rows(page: Any) -> list[str]:
    """Run IDs of the table, from the top."""
    return [found["data-run"] for found in page.all("tr") if "data-run" in found]


def test_without_runs_the_table_says_what_to_do(client: Any, look: Any) -> None:
    page = look(client.get("/runs"))
    assert "No runs yet." in page.html
    assert page.all("a", href="/launch")


def test_a_row_has_every_figure(client: Any, look: Any, trained: Any) -> None:
    run = trained(name="mine")
    page = look(client.get("/runs"))
    assert rows(page) == [run]
    for words in ("mine", "succeeded", "simple_mlp", "digits", "1,000", "90.00%", "89.00%", "2 min 10 s"):
        assert words in page.html
    assert page.one("input", type="checkbox", name="runs", value=run)
    assert page.all("polyline")


def test_a_queued_row_shows_its_place(client: Any, look: Any, runs: Any) -> None:
    runs.add()
    page = look(client.get("/runs"))
    assert page.one("span", data_status="queued")["title"] == "no worker is connected"
    assert "queued · 1" in page.html


def test_the_reason_of_a_failure_is_the_title_of_its_badge(client: Any, look: Any, runs: Any) -> None:
    run = runs.add()
    runs.set(run, status="failed", reason="the loss is NaN")
    assert look(client.get("/runs")).one("span", data_status="failed")["title"] == "the loss is NaN"


def test_a_click_on_a_column_sorts_and_the_next_one_turns_round(client: Any, look: Any, trained: Any) -> None:
    worse, better = trained(level=0.5), trained(level=0.9)
    page = look(client.get("/runs?sort=-val/acc"))
    assert rows(page) == [better, worse]
    sorted_columns = [found for found in page.all("th") if found.get("aria-sort") == "descending"]
    assert len(sorted_columns) == 1
    assert page.all("a", href="/runs?sort=val%2Facc")
    assert rows(look(client.get("/runs?sort=val/acc"))) == [worse, better]


@pytest.mark.parametrize(
    "sort",
    ["number", "-status", "family", "size", "dataset", "params", "-val/acc", "-test/acc", "-duration", "-started"],
)
def test_every_column_can_be_sorted_by(client: Any, look: Any, trained: Any, runs: Any, sort: str) -> None:
    trained()
    runs.add()
    assert len(rows(look(client.get("/runs", params={"sort": sort})))) == 2


def test_filters_stay_in_the_links(client: Any, look: Any, runs: Any) -> None:
    mine = runs.add(name="mine")
    runs.add(family="vit", size="small")
    page = look(client.get("/runs?family=simple_mlp&status=&q=mine"))
    assert rows(page) == [mine]
    assert "of 2" in page.words["runs-total"]
    assert page.one("input", type="search", name="q")["value"] == "mine"
    assert "/runs?q=mine&family=simple_mlp&sort=status" in [link["href"] for link in page.all("a") if "href" in link]


def test_a_filter_without_matches_offers_all_runs(client: Any, look: Any, runs: Any) -> None:
    runs.add()
    assert "No matching runs." in look(client.get("/runs?q=nowhere")).html


def test_an_unknown_sort_lists_the_valid_ones(client: Any, look: Any) -> None:
    assert "Cannot sort by" in look(client.get("/runs?sort=color"), 422).html


def test_pages_follow_one_another_and_lead_back_to_the_first(client: Any, look: Any, runs: Any) -> None:
    added = [runs.add() for _ in range(53)]
    first = look(client.get("/runs"))
    following = first.one("a", rel="next")["href"]
    assert "after" in parse_qs(urlsplit(following).query)
    second = look(client.get(following))
    assert rows(first) + rows(second) == added[::-1]
    assert second.one("a", rel="first")["href"] == "/runs"
    assert not second.all("a", rel="next")


def test_htmx_gets_only_the_table_and_a_clean_address(client: Any, runs: Any) -> None:
    runs.add()
    answer = client.get("/runs?q=&status=queued&family=", headers=HTMX)
    assert "<html" not in answer.text
    assert answer.headers["hx-push-url"] == "/runs?status=queued"
    assert "<html" in client.get("/runs", headers=HTMX | {"HX-History-Restore-Request": "true"}).text


def test_rows_of_live_runs_are_refreshed(client: Any, look: Any, runs: Any, trained: Any) -> None:
    ended = trained()
    alive = runs.add()
    page = look(client.get("/runs"))
    address = page.one("div", id="runs-refresh")["hx-get"]
    assert parse_qs(urlsplit(address).query)["ids"] == [f"{alive},{ended}"]
    newest = runs.add()
    fresh = look(client.get(address, headers=HTMX))
    assert [found["data-run"] for found in fresh.all("tr", hx_swap_oob="morph")] == [alive]
    # On the first page, the newest first, a new run is put in above; elsewhere it is only said.
    assert rows(fresh) == [newest, alive]
    assert fresh.one("tbody", hx_swap_oob="afterbegin:#runs-table tbody")
    elsewhere = look(client.get("/runs?sort=status")).one("div", id="runs-refresh")["hx-get"]
    runs.add()
    assert "1 new run since" in look(client.get(elsewhere, headers=HTMX)).html
    client.patch(f"/api/v1/runs/{ended}", json={"name": "renamed"})
    assert "renamed" in client.get(fresh.one("div", id="runs-refresh")["hx-get"], headers=HTMX).text


def test_a_deletion_can_be_undone(client: Any, look: Any, trained: Any) -> None:
    run = trained()
    page = look(client.post("/runs/delete", data={"runs": [run], "back": "/runs?sort=status"}))
    assert rows(page) == []
    assert "1 run deleted." in page.html
    assert page.one("form", action="/runs/undo")
    act = page.one("input", type="hidden", name="act")["value"]
    page = look(client.post("/runs/undo", data={"act": act, "back": "/runs?sort=status"}))
    assert rows(page) == [run]
    assert "1 run restored." in page.html


def test_a_live_run_is_not_deleted(client: Any, look: Any, runs: Any, trained: Any) -> None:
    ended, alive = trained(), runs.add()
    page = look(client.post("/runs/delete", data={"runs": [ended, alive]}))
    assert rows(page) == [alive]
    assert (
        "1 run was not deleted because it is still active, or a model name or a registered model uses it." in page.html
    )


def test_chosen_runs_are_stopped_and_ended_ones_stay(client: Any, look: Any, runs: Any, trained: Any) -> None:
    ended, alive = trained(), runs.add()
    page = look(client.post("/runs/stop", data={"runs": [ended, alive]}))
    assert "1 run cancelled" in page.html
    assert (runs.status(ended), runs.status(alive)) == ("succeeded", "cancelled")
    undo = page.one("input", name="undo")["value"]
    page = look(client.post("/queue/restore", data={"undo": undo, "back": "/runs"}))
    assert "1 run is back in the queue at its previous position." in page.html
    assert runs.sql("SELECT count(*) FROM run WHERE status = 'queued' AND deleted_at IS NULL") == [(1,)]
    assert "back in the queue" not in look(client.post("/queue/restore", data={"undo": undo, "back": "/runs"})).html


def test_a_run_that_trains_is_asked_to_stop(client: Any, look: Any, runs: Any, trained: Any) -> None:
    trains = trained(outcome=None)
    page = look(client.post("/runs/stop", data={"runs": [trains]}))
    assert "Stopping 1 run" in page.html
    assert not page.all("button", id="undo-cancel")
    assert runs.status(trains) == "cancelling"


@pytest.mark.parametrize("back", ["https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example"])
def test_a_form_leads_nowhere_else(client: Any, runs: Any, back: str) -> None:
    run = runs.add()
    for address in ("/runs/stop", f"/runs/{run}/cancel"):
        answer = client.post(address, data={"runs": [run], "back": back}, follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/runs")


def test_hostile_words_in_the_address_are_only_text(client: Any, look: Any, runs: Any) -> None:
    runs.add(name='"><img src=x onerror=alert(1)>')
    page = look(client.get("/runs", params={"q": '"><img src=x onerror=alert(1)>', "deleted": '"><b>'}))
    assert not page.all("img")


def test_a_search_filters_the_table(client: Any, look: Any, runs: Any, trained: Any) -> None:
    good = trained(level=0.99, family="vit", size="tiny")
    trained(level=0.5)
    assert rows(look(client.get("/runs", params={"q": "family:vit val/acc>0.9 -status:failed"}))) == [good]


def test_an_incomplete_search_shows_what_is_missing_and_no_error_page(client: Any, look: Any, runs: Any) -> None:
    runs.add()
    page = look(client.get("/runs", params={"q": "color:red"}))
    assert "No field &#39;color&#39;; fields: is, tag" in page.html
    assert "Invalid search." in page.html
    refused = client.get("/api/v1/runs", params={"q": "color:red"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "q")


@pytest.mark.parametrize("question", ["famly:vit", "val/acc>90", "q=vit&group=color"])
def test_an_invalid_search_is_not_repeated_until_it_changes(client: Any, look: Any, runs: Any, question: str) -> None:
    runs.add()
    asked = question if "=" in question else f"q={question}"
    page = look(client.get(f"/runs?{asked}"))
    assert page.all("div", id="runs-refresh") == []
    # Once it can be read, the table that comes in its place asks for what changes.
    mended = client.get("/runs?q=simple_mlp", headers=HTMX)
    assert look(mended).one("div", id="runs-refresh")["hx-trigger"] == "yard-changed from:body"


def test_parquet_is_offered_where_it_can_be_written_and_else_it_says_what_it_needs(
    client: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    page = look(client.get("/runs?q=family:vit"))
    assert page.all("a", id="export-parquet") == []
    assert "disabled" in page.one("button", id="export-parquet", aria_describedby="parquet-wants")
    assert 'pip install "runyard[parquet]"' in page.html
    there = ModuleType("pyarrow")
    there.__spec__ = ModuleSpec("pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow", there)
    page = look(client.get("/runs?q=family:vit"))
    assert page.one("a", id="export-parquet")["href"] == "/api/v1/runs.parquet?q=family%3Avit"
    assert 'pip install "runyard[parquet]"' not in page.html


def test_a_viewer_chooses_any_setting_and_any_figure_as_a_column(client: Any, look: Any, trained: Any) -> None:
    run = trained(lr=0.02, tags=["paper"])
    chosen = "lr,optimizer,val/loss,val/loss.last,train/loss.max,tags,notes,nonsense,created"
    page = look(client.get("/runs", params={"columns": chosen}))
    headings = [words for words in ("learning rate", "optimizer", "val/loss.last", "created") if words in page.html]
    assert len(headings) == 4
    assert "<td" in page.html
    row = page.html[page.html.index(f'id="row-{run}"') :]
    assert [value in row for value in (">0.02<", ">adam<", ">0.4<", ">paper<")] == [True] * 4
    assert "nonsense" not in page.html.split('name="columns"')[0]
    assert page.all("th")[1]["aria-sort"] == "descending"
    # Later pages, sorting and filtering keep them.
    assert "columns=lr" in page.html
    again = look(client.get("/runs", params=[("column", "lr"), ("column", "seed")]))
    assert "learning rate" in again.html
    assert "best val/acc" not in again.html[again.html.index('id="runs-table"') :]


def test_search_suggestions_are_values_of_existing_runs(client: Any, trained: Any) -> None:
    trained(tags=["paper"], family="vit", size="tiny")
    words = client.get("/runs/suggestions").json()
    assert words["values"]["tag"] == ["paper"]
    assert words["values"]["family"] == ["vit"]
    assert "val/acc" in words["metrics"]
    assert {"family", "tag", "is", "lr", "created"} <= set(words["fields"])


def test_a_tag_of_a_run_leads_to_those_that_have_it(client: Any, look: Any, runs: Any) -> None:
    runs.add(tags=["paper"])
    runs.add()
    page = look(client.get("/runs?family=simple_mlp"))
    [link] = [each["href"] for each in page.all("a", class_="tag")]
    assert len(rows(look(client.get(link)))) == 1
