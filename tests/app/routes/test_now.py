"""The first page says what runs, what waits and why, and what to do where there is nothing."""

from __future__ import annotations

import time
from typing import Any

HTMX = {"HX-Request": "true"}


def test_an_empty_yard_says_what_to_do_next(client: Any, look: Any) -> None:
    page = look(client.get("/"))
    assert "No runs yet." in page.html
    assert "runyard worker" in page.html
    assert page.all("a", href="/launch")


def test_a_run_that_trains_shows_its_figures_a_curve_and_a_stop_button(client: Any, look: Any, trained: Any) -> None:
    run = trained(outcome=None)
    page = look(client.get("/"))
    assert page.one("article", data_run=run)
    assert page.one("form", action=f"/runs/{run}/cancel", method="post")
    assert page.all("polyline")
    assert "90.00%" in page.html
    assert "182k" in page.html
    assert page.one("progress")["value"] == "1.0000"


def test_a_run_that_waits_shows_its_place_and_the_reason(client: Any, look: Any, runs: Any) -> None:
    runs.add()
    runs.add(name="second")
    page = look(client.get("/"))
    assert page.html.count("no worker is connected") == 2
    assert "No worker is connected." in page.html
    assert "No active runs, 2 queued." in page.html


def test_a_worker_shows_its_device_slots_memory_and_versions(client: Any, look: Any, present: Any) -> None:
    present(time.time(), slots=2)
    page = look(client.get("/"))
    for words in ("Test GPU", "2 of 2 slots free", "80 GiB", "torch 2.15", "trainbox · PID 7", "0 of 2 slots in use"):
        assert words in page.html


def test_a_single_slot_is_written_in_the_singular(client: Any, look: Any, present: Any) -> None:
    present(time.time(), slots=1)
    chip = look(client.get("/now/yard"))
    assert chip.one("a", class_="chip")["title"] == "Test GPU: 0 of 1 slot in use"
    assert "0 of 1 slot in use" in chip.words["yard"]


def test_the_reason_of_the_first_queued_run_keeps_its_spelling(client: Any, look: Any, runs: Any, present: Any) -> None:
    present(time.time())
    runs.add(worker="GPU-Box")
    assert "Needs worker GPU-Box; connected workers: trainbox." in look(client.get("/")).html


def test_a_long_queue_is_counted_with_separators(client: Any, look: Any, runs: Any) -> None:
    for i in range(1001):
        runs.add(float(i))
    assert "No active runs, 1,001 queued." in look(client.get("/")).html


def test_runs_that_have_ended_stand_below(client: Any, look: Any, trained: Any) -> None:
    run = trained(outcome="failed")
    page = look(client.get("/"))
    assert page.all("a", href=f"/runs/{run}")
    assert page.one("span", data_status="failed")


def test_the_live_part_is_the_same_as_the_first_paint(client: Any, trained: Any) -> None:
    trained()
    board = client.get("/now", headers=HTMX).text
    assert "<html" not in board
    assert board.strip() in client.get("/").text


def test_the_header_counts_what_waits(client: Any, look: Any, runs: Any) -> None:
    runs.add()
    assert "1 queued" in look(client.get("/now/yard")).html


def test_a_hostile_name_is_only_text(client: Any, look: Any, trained: Any) -> None:
    trained(outcome=None, name="<script>alert(1)</script>")
    page = look(client.get("/"))
    assert "<script>alert(1)" not in page.html
    assert "&lt;script&gt;alert(1)" in page.html


def test_stop_from_the_first_page_leads_back_to_it_and_can_be_undone(client: Any, look: Any, runs: Any) -> None:
    run = runs.add(name="back again")
    page = look(client.post(f"/runs/{run}/cancel", data={"back": "/"}))
    assert "1 run cancelled." in page.html
    assert runs.status(run) == "cancelled"
    undo = page.one("input", name="undo")["value"]
    page = look(client.post("/queue/restore", data={"undo": undo, "back": "/"}))
    assert "1 run is back in the queue" in page.html
    assert page.html.count("back again") > 1
    assert not page.all("button", id="undo-cancel")


def test_a_stop_of_what_trains_leads_back_with_nothing_to_undo(client: Any, trained: Any) -> None:
    run = trained(outcome=None)
    answer = client.post(f"/runs/{run}/cancel", data={"back": "/"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_the_first_of_a_long_queue_stand_here_and_lead_to_all_of_it(client: Any, look: Any, runs: Any) -> None:
    for i in range(12):
        runs.add(float(i))
    page = look(client.get("/"))
    assert len([each for each in page.all("li") if "data-run" in each]) == 10
    assert "All 12 queued runs" in page.html
    assert page.all("a", href="/queue")


def test_a_page_that_is_not_there_says_so_in_words(client: Any, look: Any) -> None:
    page = look(client.get("/nothing"), 404)
    assert "Nothing found at /nothing." in page.html


def test_the_description_of_the_api_needs_nothing_from_elsewhere(client: Any, look: Any) -> None:
    page = look(client.get("/docs"))
    addresses = [found.get("src") or found.get("href") for tag, found in page.elements if tag in ("script", "link")]
    assert all(address is None or address.startswith("/") for address in addresses)
    assert page.one("div", id="swagger")["data-openapi"] == "/openapi.json"
