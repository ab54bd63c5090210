"""What an import may send, and what is refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.store.database import next_commit, writing
from app.store.tracked_run import end_silent
from tests.conftest import Runs, errors_of

HEAD: dict[str, Any] = {"key": "0123456789abcdef", "experiment": "old", "name": "one", "started": 1.0, "ended": 9.0}


def piece(offset: int, *values: float) -> dict[str, Any]:
    steps = list(range(offset, offset + len(values)))
    return {"offset": offset, "step": steps, "value": list(values), "time": [1.0 + step for step in steps]}


def test_a_point_that_was_sent_before_is_not_added_again(client: TestClient) -> None:
    first = client.post("/api/v1/import", json=HEAD | {"curves": {"a": piece(0, 1, 2, 3)}}).json()
    again = client.post("/api/v1/import", json=HEAD | {"curves": {"a": piece(1, 2, 3, 4)}}).json()
    assert (first["added"], again["added"], again["id"]) == (3, 1, first["id"])
    curve = client.get(f"/api/v1/runs/{first['id']}/metrics").json()["a"]
    assert curve["value"] == [1, 2, 3, 4]


def test_a_piece_behind_a_gap_is_refused(client: TestClient) -> None:
    answer = client.post("/api/v1/import", json=HEAD | {"curves": {"a": piece(5, 1)}})
    assert answer.status_code == 409
    assert "a has only 0 points; cannot add points" in answer.json()["detail"]
    assert client.get("/api/v1/runs").json()["total"] == 0


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"key": "short"}, "key"),
        ({"name": " "}, "name"),
        ({"outcome": "well"}, "outcome"),
        ({"started": "NaN"}, "started"),
        ({"curves": {"a": {"step": [1], "value": [], "time": []}}}, "curves"),
        ({"curves": {"a": {"step": [2**63], "value": [1], "time": [1]}}}, "curves"),
        ({"more": 1}, "more"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(said: dict[str, Any], field: str, client: TestClient) -> None:
    assert field in errors_of(client.post("/api/v1/import", json=HEAD | said))


def test_an_imported_run_stands_on_every_page(client: TestClient) -> None:
    run = client.post("/api/v1/import", json=HEAD | {"curves": {"val/acc": piece(0, 0.5, 0.75)}}).json()["id"]
    page = client.get(f"/runs/{run}")
    assert page.status_code == 200
    assert "imported from TensorBoard" in page.text
    assert client.get(f"/api/v1/runs/{run}").json()["progress"] == {"step": 1}
    assert client.get("/runs").status_code == 200


def record(offset: int, *steps: int, **lists: list[Any]) -> dict[str, Any]:
    return {"offset": offset, "step": list(steps), "time": [1.0 + step for step in steps], **lists}


HISTOGRAM: dict[str, Any] = {"edges": [[0, 1, 2]], "counts": [[3, 1]]}


def status(client: TestClient, run: str) -> str:
    return str(client.get(f"/api/v1/runs/{run}").json()["status"])


def test_a_live_run_goes_on_until_a_part_ends_it(client: TestClient) -> None:
    live = client.post("/api/v1/import", json=HEAD | {"live": True, "curves": {"a": piece(0, 1)}}).json()
    assert live["status"] == "running"
    progress = client.get(f"/api/v1/runs/{live['id']}").json()["progress"]
    assert set(progress) == {"step", "heard"}
    client.post("/api/v1/import", json=HEAD | {"live": True, "started": 0.5, "curves": {"a": piece(1, 2)}})
    assert status(client, live["id"]) == "running"
    ended = client.post("/api/v1/import", json=HEAD | {"outcome": "failed"}).json()
    assert (ended["id"], ended["status"], ended["added"]) == (live["id"], "failed", 0)
    run = client.get(f"/api/v1/runs/{live['id']}").json()
    assert run["seconds"] == 8.5
    # What comes later is kept, and changes no outcome.
    again = client.post("/api/v1/import", json=HEAD | {"live": True, "curves": {"a": piece(2, 3)}}).json()
    assert (again["status"], again["added"]) == ("failed", 1)


def test_histograms_and_texts_that_were_sent_before_are_not_added_again(client: TestClient) -> None:
    first = {"histograms": {"w": record(0, 5, **HISTOGRAM)}, "texts": {"t": record(0, 5, 6, text=["one", "two"])}}
    more = {"texts": {"t": record(1, 6, 7, text=["two", "three"])}}
    assert client.post("/api/v1/import", json=HEAD | first).json()["histograms"] == 1
    done = client.post("/api/v1/import", json=HEAD | first | more).json()
    assert (done["added"], done["histograms"], done["texts"]) == (0, 0, 1)
    texts = client.get(f"/api/v1/runs/{done['id']}/texts/t").json()["texts"]
    assert [(each["number"], each["step"], each["text"]) for each in texts] == [
        (0, 5, "one"),
        (1, 6, "two"),
        (2, 7, "three"),
    ]
    gap = client.post("/api/v1/import", json=HEAD | {"texts": {"t": record(9, 1, text=["x"])}})
    assert gap.json()["detail"] == "t has only 3 texts; cannot add texts at offset 9"


def test_offsets_count_what_is_in_one_file(client: TestClient) -> None:
    def send(file: str, offset: int, *values: float) -> Any:
        return client.post("/api/v1/import", json=HEAD | {"file": file, "curves": {"a": piece(offset, *values)}}).json()

    # Two files grow at the same time.
    assert [send("f1", 0, 1)["added"], send("f2", 0, 10)["added"], send("f1", 1, 2)["added"]] == [1, 1, 1]
    # Read again from the beginning, one after the other.
    assert send("f1", 0, 1, 2, 3)["added"] == 1
    done = send("f2", 0, 10)
    assert done["added"] == 0
    assert sorted(client.get(f"/api/v1/runs/{done['id']}/metrics").json()["a"]["value"]) == [1, 2, 3, 10]


def test_a_run_is_found_by_another_of_its_files(client: TestClient) -> None:
    first = client.post("/api/v1/import", json=HEAD | {"file": "f2", "curves": {"a": piece(0, 1)}}).json()
    other = HEAD | {"key": "another-key", "file": "f1", "files": ["f1", "f2"], "curves": {"a": piece(0, 2)}}
    assert client.post("/api/v1/import", json=other).json()["id"] == first["id"]
    unknown = HEAD | {"key": "another-key", "files": ["f3"]}
    assert client.post("/api/v1/import", json=unknown).json()["id"] != first["id"]


def test_nothing_more_is_imported_into_a_run_that_was_stopped_here(client: TestClient) -> None:
    run = client.post("/api/v1/import", json=HEAD | {"live": True}).json()["id"]
    client.post(f"/api/v1/runs/{run}/cancel")
    answer = client.post("/api/v1/import", json=HEAD | {"live": True, "curves": {"a": piece(0, 1)}})
    assert answer.status_code == 409
    assert "was stopped here, so nothing more is imported" in answer.json()["detail"]


def test_a_run_that_failed_because_nothing_came_still_takes_what_its_files_have(client: TestClient, runs: Runs) -> None:
    run = client.post("/api/v1/import", json=HEAD | {"live": True, "curves": {"a": piece(0, 1)}}).json()["id"]
    with writing(runs.engine) as connection:
        assert end_silent(connection, next_commit(connection), time.time() + 10**6) == [run]
    assert status(client, run) == "failed"
    done = client.post("/api/v1/import", json=HEAD | {"live": True, "curves": {"a": piece(0, 1, 2)}}).json()
    assert (done["id"], done["status"], done["added"]) == (run, "failed", 1)
    assert client.put(f"/api/v1/runs/{run}/files/images/a.png", content=b"x").status_code == 204


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"histograms": {"w": record(0, 1, edges=[[0, 1]], counts=[])}}, "histograms"),
        ({"texts": {"t": record(0, 1, 2, text=["one"])}}, "texts"),
        ({"texts": {"t": record(0, 1, text=["x" * 200_001])}}, "texts"),
        ({"not_kept": {"x": -1}}, "not_kept"),
        ({"file": "no/path"}, "file"),
    ],
)
def test_records_that_make_no_sense_are_refused(said: dict[str, Any], field: str, client: TestClient) -> None:
    assert field in errors_of(client.post("/api/v1/import", json=HEAD | said))


def test_an_invalid_histogram_is_refused_with_a_sentence_and_nothing_is_added(client: TestClient) -> None:
    said = {"curves": {"a": piece(0, 1)}, "histograms": {"w": record(0, 1, edges=[[1, 0]], counts=[[2]])}}
    answer = client.post("/api/v1/import", json=HEAD | said)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "the edges of a histogram must be finite numbers in ascending order"
    assert client.get("/api/v1/runs").json()["total"] == 0


def test_what_is_not_imported_stands_on_the_page(client: TestClient) -> None:
    run = client.post("/api/v1/import", json=HEAD | {"not_kept": {"audio": 1200, "<b>": 1}}).json()["id"]
    page = client.get(f"/runs/{run}").text
    assert "Not imported:</b> &lt;b&gt; (1), audio (1,200)." in page
