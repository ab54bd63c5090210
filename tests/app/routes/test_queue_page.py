"""The queue's page: what waits and why, every act without a script, and a way back from a cancel."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.routes.queue import PAGE_ROWS
from app.store.database import writing
from app.store.run import Origin, insert_run
from tests.conftest import Runs, config

HTMX = {"HX-Request": "true"}


def places(page: Any) -> list[str]:
    return [each["data-run"] for each in page.all("li") if "data-run" in each]


def act(client: Any, run: str, what: str, **more: Any) -> Any:
    return client.post("/queue/act", data={"run": run, "act": what, **more})


def test_an_empty_queue_says_what_to_do_next(client: Any, look: Any, present: Any) -> None:
    page = look(client.get("/queue"))
    assert "The queue is empty." in page.html
    assert "runyard worker" in page.html
    present(time.time())
    page = look(client.get("/queue"))
    assert "The next run starts as soon as a slot is free." in page.html
    assert page.all("a", href="/launch")
    client.post("/queue/pause")
    assert "New runs wait until you resume the queue" in look(client.get("/queue")).html


def test_a_row_says_place_reason_start_and_length(
    client: Any, look: Any, runs: Runs, trained: Any, present: Any
) -> None:
    trained(outcome="succeeded")
    runs.set(runs.add(0.0), status="succeeded", device="Test GPU", ended_at=9.0, progress='{"samples_per_second": 100}')
    present(time.time())
    first, second = runs.add(1.0, epochs=10), runs.add(2.0, family="vit", size="large")
    page = look(client.get("/queue"))
    assert places(page) == [first, second]
    assert "starting" in page.words[f"wait-{first}"]
    assert "now" in page.words[f"wait-{first}"]
    assert "2 min 6 s" in page.words[f"wait-{first}"]
    assert "duration unknown (no successful run of vit large on Test GPU yet)" in page.words[f"wait-{second}"]
    assert page.one("time", datetime=page.all("time")[-1]["datetime"])
    assert page.words["queue-total"] == "2 queued"


def test_a_row_leads_to_its_sweep_and_to_what_it_comes_from(client: Any, look: Any, runs: Runs) -> None:
    parent = runs.add()
    runs.finish(parent)
    with writing(runs.engine) as connection:
        origin = Origin(parent, "retry", sweep="s_1", sweep_values={"lr": 0.01, "size": "tiny"})
        insert_run(connection, config(), {}, 1, 5.0, None, origin)
    page = look(client.get("/queue"))
    assert page.one("a", href="/sweeps/s_1")
    assert "digits · lr 0.01</a>" in page.html
    assert page.one("a", href=f"/runs/{parent}")
    assert f'retry of <a href="/runs/{parent}">#1</a>' in page.html


@pytest.mark.parametrize(
    ("relation", "words"),
    [
        ("clone", "clone of"),
        ("resume", "resumed from"),
        ("extend", "extension of"),
        ("fork", "fork of"),
        ("verify", "rerun of"),
    ],
)
def test_a_row_names_the_relation_to_its_parent(client: Any, look: Any, runs: Runs, relation: str, words: str) -> None:
    parent = runs.add()
    runs.finish(parent)
    with writing(runs.engine) as connection:
        insert_run(connection, config(), {}, 1, 5.0, None, Origin(parent, relation))
    assert f'{words} <a href="/runs/{parent}">#1</a>' in look(client.get("/queue")).html


def test_every_button_of_a_row_works_without_a_script(client: Any, look: Any, runs: Runs) -> None:
    a, b, c = (runs.add(float(i)) for i in range(3))
    for run, what, order in (
        (c, "first", [c, a, b]),
        (c, "down", [a, c, b]),
        (a, "last", [c, b, a]),
        (a, "up", [c, a, b]),
    ):
        assert places(look(act(client, run, what))) == order
    assert places(look(act(client, b, "before", other=c))) == [b, c, a]
    assert places(look(act(client, b, "after", other=a))) == [c, a, b]
    assert places(look(act(client, b, "priority", priority=7))) == [b, c, a]
    assert runs.get(b).priority == 7
    assert places(look(act(client, b, "priority", priority=""))) == [c, a, b]
    page = look(client.get("/queue"))
    assert [each["value"] for each in page.all("button") if "disabled" in each] == ["first", "up", "down", "last"]


def test_a_cancelled_run_comes_back_to_its_place(client: Any, look: Any, runs: Runs) -> None:
    a, b, c = (runs.add(float(i), name=f"n{i}") for i in range(3))
    page = look(act(client, b, "cancel"))
    assert places(page) == [a, c]
    assert "1 run cancelled." in page.html
    undo = page.one("input", name="undo")["value"]
    page = look(client.post("/queue/restore", data={"undo": undo}))
    assert [runs.get(run).name for run in places(page)] == ["n0", "n1", "n2"]
    assert "1 run is back in the queue at its previous position." in page.html
    # Nothing is left to bring back, however often the button is pressed.
    assert len(places(look(client.post("/queue/restore", data={"undo": undo})))) == 3


def test_chosen_runs_and_all_of_them_are_cancelled(client: Any, look: Any, runs: Runs) -> None:
    made = [runs.add(float(i)) for i in range(60)]
    trains = runs.add()
    runs.set(trains, status="running", fence=1, attempt=1)
    page = look(client.post("/queue/cancel", data={"runs": [*made[:2], trains]}))
    assert "2 runs cancelled." in page.html
    assert "1 run had already started and is being stopped." in page.html
    assert (len(places(page)), page.words["queue-total"]) == (PAGE_ROWS, "58 queued")
    page = look(client.post("/queue/cancel", data={"all": "1"}))
    assert "58 runs cancelled." in page.html
    assert places(page) == []
    page = look(client.post("/queue/restore", data={"undo": page.one("input", name="undo")["value"]}))
    assert page.words["queue-total"] == "58 queued"


def test_a_long_queue_stands_on_pages_and_acts_lead_back_to_theirs(client: Any, look: Any, runs: Runs) -> None:
    made = [runs.add(float(i)) for i in range(70)]
    page = look(client.get("/queue"))
    address = page.one("a", rel="next")["href"]
    second = look(client.get(address))
    assert places(page) + places(second) == made
    assert f"{PAGE_ROWS + 1}–70 of 70" in second.html
    assert second.one("a", rel="first")["href"] == "/queue"
    answer = client.post("/queue/act", data={"run": made[60], "act": "up", "back": address}, follow_redirects=False)
    assert answer.headers["location"] == address
    client.post("/queue/cancel", data={"runs": made[PAGE_ROWS:]})
    assert "This page has no more queued runs." in look(client.get(address)).html


def test_a_paused_queue_is_seen_everywhere_and_resumed(client: Any, look: Any, runs: Runs, present: Any) -> None:
    run = runs.add()
    present(time.time())
    page = look(client.post("/queue/pause"))
    assert page.one("div", id="queue-paused")
    assert page.one("button", id="queue-resume")
    board = look(client.get("/"))
    assert "Resume the queue" in board.html
    for each in (page, board, look(client.get("/runs")), look(client.get(f"/runs/{run}"))):
        assert "paused" in each.words["yard"]
    assert "the queue is paused" in look(client.get(f"/runs/{run}")).html
    page = look(client.post("/queue/resume"))
    assert page.one("button", id="queue-pause")
    assert "paused" not in page.words["yard"]


def test_a_run_that_asks_for_what_no_worker_has_says_so(client: Any, look: Any, runs: Runs, present: Any) -> None:
    present(time.time(), kind="cuda")
    run = runs.add(device="cuda:4")
    for address in ("/queue", f"/runs/{run}", "/"):
        assert "eeds cuda:4; connected workers have cuda:0" in look(client.get(address)).html


def test_a_script_that_asks_again_gets_what_changes(client: Any, runs: Runs) -> None:
    runs.add()
    part = client.get("/queue", headers=HTMX).text
    assert "<html" not in part
    assert part.strip() in client.get("/queue").text
    # A script follows the way back from an act as it goes, and is answered alike.
    assert "<html" not in client.post("/queue/pause", headers=HTMX).text


def test_what_cannot_be_done_any_more_is_said_in_words(client: Any, look: Any, runs: Runs) -> None:
    run = runs.add()
    runs.finish(run)
    assert "is no longer queued" in look(act(client, run, "up"), 409).html
    assert (
        "The priority can only be changed while a run is queued"
        in look(act(client, run, "priority", priority=3), 409).html
    )
    look(act(client, "r_none", "up"), 404)
    assert act(client, run, "sideways").status_code == 422
    assert act(client, run, "priority", priority=1001).status_code == 422


@pytest.mark.parametrize("address", ["/queue?after=x", "/queue?undo=nan", "/queue?undo=x"])
def test_an_address_that_makes_no_sense_is_refused(client: Any, address: str) -> None:
    assert client.get(address).status_code == 422


def test_a_hostile_name_is_only_text(client: Any, look: Any, runs: Runs) -> None:
    runs.add(name='"><script>alert(1)</script>')
    page = look(client.get("/queue"))
    assert "<script>alert(1)" not in page.html
