"""/api/v1/queue: read in pages, ordered, paused; and many runs stopped and brought back by one request."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from app.contract import broker
from tests.conftest import Runs, errors_of

pytestmark = pytest.mark.both_databases


def ids(client: Any) -> list[str]:
    return [each["run"]["id"] for each in client.get("/api/v1/queue?limit=500").json()["runs"]]


def test_the_queue_comes_in_pages_with_place_reason_and_what_to_expect(client: Any, runs: Runs, present: Any) -> None:
    made = [runs.add(float(i), name=f"n{i}") for i in range(5)]
    present(time.time(), slots=2)
    first = client.get("/api/v1/queue?limit=3").json()
    assert (first["paused"], first["paused_since"], first["total"]) == (False, None, 5)
    assert [(each["run"]["id"], each["position"]) for each in first["runs"]] == list(zip(made, (1, 2, 3), strict=False))
    second = client.get(f"/api/v1/queue?limit=3&after={first['next']}").json()
    assert ([each["position"] for each in second["runs"]], second["next"]) == ([4, 5], None)
    one, third = first["runs"][0], first["runs"][2]
    assert (one["run"]["title"], one["run"]["url"], one["why"]) == ("n0", f"/runs/{made[0]}", "starting")
    assert one["expected_start"] is not None
    assert (one["expected_seconds"], one["estimate"]) == (None, "no successful run of simple_mlp base on Test GPU yet")
    assert (third["expected_start"], third["start_why"]) == (None, "unknown, because run #1 has no estimate")


def test_a_wrong_cursor_is_refused_by_name(client: Any) -> None:
    assert "cursor" in errors_of(client.get("/api/v1/queue?after=x"))["after"]


def test_runs_are_moved_and_told_their_new_place(client: Any, runs: Runs) -> None:
    a, b, c = (runs.add(float(i)) for i in range(3))
    for said, order in (
        ({"run": c, "to": "first"}, [c, a, b]),
        ({"run": c, "to": "down"}, [a, c, b]),
        ({"run": a, "after": b}, [c, b, a]),
        ({"run": a, "before": c}, [a, c, b]),
    ):
        answer = client.post("/api/v1/queue/move", json=said)
        assert (answer.status_code, answer.json()) == (200, {"position": order.index(said["run"]) + 1})
        assert ids(client) == order


def test_a_move_that_cannot_be_says_why(client: Any, runs: Runs) -> None:
    waits, trains = runs.add(), runs.add()
    runs.set(trains, status="running")
    assert errors_of(client.post("/api/v1/queue/move", json={"run": waits}))["to"].startswith(
        "specify exactly one of to"
    )
    assert errors_of(client.post("/api/v1/queue/move", json={"run": waits, "to": "first", "before": trains}))
    assert errors_of(client.post("/api/v1/queue/move", json={"run": waits, "to": "left"}))
    answer = client.post("/api/v1/queue/move", json={"run": trains, "to": "first"})
    assert (answer.status_code, answer.json()["detail"]) == (409, f"run {trains} is no longer queued (status: running)")
    assert client.post("/api/v1/queue/move", json={"run": waits, "before": trains}).status_code == 409
    assert client.post("/api/v1/queue/move", json={"run": "r_none", "to": "up"}).status_code == 404


def test_a_paused_queue_says_so_to_everyone_and_wakes_workers_when_it_goes_on(
    client: Any, runs: Runs, redis: Redis, present: Any
) -> None:
    run = runs.add()
    present(time.time())
    assert client.post("/api/v1/queue/pause").json() == {"paused": True}
    said = client.get("/api/v1/queue").json()
    assert said["paused"]
    assert said["paused_since"].endswith("Z")
    assert [(each["why"], each["start_why"]) for each in said["runs"]] == [
        ("the queue is paused", "the queue is paused")
    ]
    assert "the queue is paused" in client.get(f"/runs/{run}").text
    redis.delete(broker.QUEUE)
    assert client.post("/api/v1/queue/resume").json() == {"paused": False}
    assert redis.llen(broker.QUEUE) == 1
    assert not client.get("/api/v1/queue").json()["paused"]


@pytest.fixture
def notices(redis: Redis) -> Callable[[], list[dict[str, Any]]]:
    """The commit notices since the last look."""
    heard = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    heard.subscribe(broker.COMMITS)
    heard.get_message(timeout=1.0)

    def look() -> list[dict[str, Any]]:
        found = []
        while (message := heard.get_message(timeout=0.2)) is not None:
            found.append(json.loads(message["data"]))
        return found

    return look


def test_many_runs_are_stopped_by_one_commit_and_come_back(client: Any, runs: Runs, notices: Any) -> None:
    made = [runs.add(float(i)) for i in range(4)]
    runs.set(made[3], status="running", fence=1, attempt=1)
    answer = client.post("/api/v1/runs/cancel", json={"runs": [*made, made[0]]})
    assert answer.json() == {"cancelled": made[:3], "stopping": [made[3]]}
    [notice] = notices()
    assert (sorted(notice["runs"]), notice["commit"]) == (sorted(made), runs.commit())
    answer = client.post("/api/v1/runs/restore-queued", json={"runs": made[1:3]})
    assert answer.status_code == 201
    new = {each["was"]: each["id"] for each in answer.json()["runs"]}
    assert ids(client) == [new[run] for run in made[1:3]]
    [notice] = notices()
    assert sorted(notice["runs"]) == sorted([*new, *new.values()])
    assert client.get(f"/api/v1/runs/{made[1]}").status_code == 404


def test_everything_that_waits_is_cancelled(client: Any, runs: Runs) -> None:
    made = [runs.add() for _ in range(3)]
    assert client.post("/api/v1/runs/cancel", json={"queued": True}).json() == {"cancelled": made, "stopping": []}
    assert client.post("/api/v1/runs/cancel", json={"queued": True}).json() == {"cancelled": [], "stopping": []}


@pytest.mark.parametrize(
    "said", [{}, {"queued": False}, {"runs": ["r_1"], "queued": True}, {"runs": []}, {"all": True}]
)
def test_a_stop_of_many_must_say_which(client: Any, said: dict[str, Any]) -> None:
    assert errors_of(client.post("/api/v1/runs/cancel", json=said))


def test_one_unknown_run_and_none_is_stopped(client: Any, runs: Runs) -> None:
    run = runs.add()
    answer = client.post("/api/v1/runs/cancel", json={"runs": [run, "r_none"]})
    assert (answer.status_code, answer.json()["detail"]) == (404, "no run 'r_none'")
    assert client.post("/api/v1/runs/cancel", json={"sweep": "s_none"}).status_code == 404
    assert runs.status(run) == "queued"


def test_what_had_started_does_not_come_back(client: Any, runs: Runs) -> None:
    waits, ended = runs.add(), runs.add()
    runs.finish(ended)
    client.post("/api/v1/runs/cancel", json={"queued": True})
    answer = client.post("/api/v1/runs/restore-queued", json={"runs": [waits, ended]})
    assert answer.status_code == 409
    assert answer.json()["detail"].endswith(f"the status of {ended} is succeeded")
    assert client.post("/api/v1/runs/restore-queued", json={"runs": ["r_none"]}).status_code == 404
    assert ids(client) == []


# PATCH ---------------------------------------------------------------------------------------------------------------


def test_name_notes_tags_and_priority_of_a_run_are_changed(client: Any, runs: Runs) -> None:
    first, second = runs.add(1.0, name="old", notes="kept"), runs.add(2.0)
    answer = client.patch(f"/api/v1/runs/{second}", json={"name": " better ", "tags": ["a", "a"], "priority": 3})
    assert answer.status_code == 200
    said = answer.json()
    assert (said["title"], said["tags"], said["spec"]["priority"], said["spec"]["tags"]) == ("better", ["a"], 3, ["a"])
    assert ids(client) == [second, first]
    assert client.patch(f"/api/v1/runs/{first}", json={}).json()["spec"]["notes"] == "kept"
    assert [run["id"] for run in client.get("/api/v1/runs?tag=a&q=better").json()["runs"]] == [second]


def test_a_run_that_has_begun_keeps_its_priority_and_can_be_named(client: Any, runs: Runs) -> None:
    run = runs.add(priority=2)
    runs.finish(run)
    assert client.patch(f"/api/v1/runs/{run}", json={"name": "the good one", "priority": 2}).status_code == 200
    answer = client.patch(f"/api/v1/runs/{run}", json={"priority": 3, "name": "lost"})
    assert answer.status_code == 409
    assert answer.json()["detail"] == (
        "the priority can only be changed while a run is queued; the status of this run is succeeded"
    )
    assert client.get(f"/api/v1/runs/{run}").json()["title"] == "the good one"
    assert client.patch("/api/v1/runs/r_none", json={}).status_code == 404


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"priority": 1001}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": None}, "priority"),
        ({"name": None}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"tags": [""]}, "tags"),
        ({"tags": "a"}, "tags"),
        ({"notes": 7}, "notes"),
        ({"lr": 0.1}, "lr"),
        ({"name": "\ud800"}, "name"),
    ],
)
def test_only_what_can_be_changed_is_taken(client: Any, runs: Runs, said: dict[str, Any], field: str) -> None:
    run = runs.add()
    body = json.dumps(said)
    answer = client.patch(f"/api/v1/runs/{run}", content=body, headers={"content-type": "application/json"})
    assert field in errors_of(answer)
