"""Administration: limits of people, removing and restoring them, and the page about the system."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.services.recorder import Recorder
from app.web.dependencies import Parts
from tests.conftest import Runs
from tests.fake_worker import Worker
from tests.people import ADMINISTRATOR, NAMES, PASSWORD, bearer, session

MEMBER = NAMES["member"]
SPEC = {"family": "simple_mlp", "size": "tiny", "dataset": "digits"}


def launch(client: TestClient, header: dict[str, str], **more: Any) -> Any:
    return client.post("/api/v1/runs", headers=header, json=SPEC | more)


# Limits ---------------------------------------------------------------------------------------------------------------


def test_beyond_the_limit_nothing_is_queued_by_any_way(parts: Parts, client: TestClient, runs: Runs) -> None:
    admin = bearer(parts, ADMINISTRATOR)
    changed = client.patch(f"/api/v1/users/{MEMBER}", headers=admin, json={"most_queued": 3})
    assert (changed.json()["most_queued"], changed.json()["most_running"]) == (3, None)
    header = bearer(parts, MEMBER)
    first = launch(client, header).json()["id"]
    sentence = "grace may have at most 3 runs queued at once, and 1 is queued; nothing was launched"
    refused = client.post("/api/v1/sweeps", headers=header, json={"base": SPEC, "grid": {"seed": [1, 2, 3]}})
    assert (refused.status_code, refused.json()["detail"]) == (409, sentence)
    assert runs.sql("SELECT count(*) FROM run")[0][0] == 1
    assert runs.sql("SELECT count(*) FROM sweep")[0][0] == 0
    taken = client.post("/api/v1/sweeps", headers=header, json={"base": SPEC, "grid": {"seed": [1, 2]}})
    assert taken.status_code == 201
    runs.finish(first, "failed")
    assert launch(client, header).status_code == 201
    for path, body in ((f"/runs/{first}/retry", None), (f"/runs/{first}/clone", {}), ("/runs", SPEC)):
        assert client.post(f"/api/v1{path}", headers=header, json=body).status_code == 409, path
    # Others are not held back, and neither is what was accepted.
    assert launch(client, admin).status_code == 201
    assert client.patch(f"/api/v1/users/{MEMBER}", headers=admin, json={"most_queued": 0}).json()["most_queued"] == 0
    assert client.post(f"/api/v1/runs/{first}/retry", headers=header).status_code == 201
    reset = client.patch(f"/api/v1/users/{MEMBER}", headers=admin, json={"most_queued": None})
    assert reset.json()["most_queued"] is None


def test_the_limit_of_the_settings_is_for_whoever_has_none(parts: Parts, client: TestClient) -> None:
    parts.settings = parts.settings.model_copy(update={"most_queued": 1})
    header = bearer(parts, MEMBER)
    assert [launch(client, header).status_code for _ in range(2)] == [201, 409]
    admin = bearer(parts, ADMINISTRATOR)
    assert [launch(client, admin).status_code for _ in range(2)] == [201, 409]
    client.patch(f"/api/v1/users/{MEMBER}", headers=admin, json={"most_queued": 2})
    assert [launch(client, header).status_code for _ in range(2)] == [201, 409]


def test_a_run_that_was_cancelled_is_restored_as_its_authors(parts: Parts, client: TestClient, runs: Runs) -> None:
    header, admin = bearer(parts, MEMBER), bearer(parts, ADMINISTRATOR)
    run = launch(client, header).json()["id"]
    client.patch(f"/api/v1/users/{MEMBER}", headers=admin, json={"most_queued": 1})
    client.post(f"/api/v1/runs/{run}/cancel", headers=admin)
    other = launch(client, header).json()["id"]
    refused = client.post("/api/v1/runs/restore-queued", headers=admin, json={"runs": [run]})
    assert (refused.status_code, runs.status(run)) == (409, "cancelled"), refused.text
    client.post(f"/api/v1/runs/{other}/cancel", headers=admin)
    restored = client.post("/api/v1/runs/restore-queued", headers=admin, json={"runs": [run]})
    assert restored.status_code == 201, restored.text
    assert runs.sql("SELECT created_by FROM run WHERE status = 'queued'") == [(MEMBER,)]


def test_limits_are_set_on_the_page_and_refused_with_a_sentence(admin: TestClient) -> None:
    page = admin.post(f"/admin/people/{MEMBER}/limits", data={"running": "2", "queued": ""})
    assert "0 of 2 active, 0 queued" in page.text
    (grace,) = [each for each in admin.get("/api/v1/users").json()["users"] if each["name"] == MEMBER]
    assert (grace["most_running"], grace["most_queued"]) == (2, None)
    for wrong in ("-1", "many", "1.5", "9999999", "\u0663"):
        refused = admin.post(f"/admin/people/{MEMBER}/limits", data={"running": "1", "queued": wrong})
        assert (refused.status_code, "A limit must be" in refused.text) == (422, True)
    (grace,) = [each for each in admin.get("/api/v1/users").json()["users"] if each["name"] == MEMBER]
    assert grace["most_running"] == 2
    (event,) = admin.get("/api/v1/audit", params={"action": "person.limit"}).json()["events"]
    assert (event["target"], event["detail"]) == (MEMBER, {"most_running": 2})


def test_people_move_their_runs_among_their_own(parts: Parts, client: TestClient) -> None:
    mine, theirs = bearer(parts, MEMBER), bearer(parts, ADMINISTRATOR)
    a = [launch(client, mine).json()["id"] for _ in range(3)]
    b = [launch(client, theirs).json()["id"] for _ in range(2)]
    listed = client.get("/api/v1/queue", headers=mine).json()
    assert [each["run"]["id"] for each in listed["runs"]] == [a[0], b[0], a[1], b[1], a[2]]
    assert listed["in_turn"] is True
    moved = client.post("/api/v1/queue/move", headers=mine, json={"run": a[2], "to": "up"})
    assert moved.json() == {"position": 3}
    moved = client.post("/api/v1/queue/move", headers=mine, json={"run": a[2], "to": "first"})
    assert moved.json() == {"position": 1}
    refused = client.post("/api/v1/queue/move", headers=mine, json={"run": a[0], "before": b[0]})
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith("runs of grace and of ada start in turn; move it among those of grace")


# Removing -------------------------------------------------------------------------------------------------------------


def test_who_is_removed_leaves_their_runs_and_can_be_restored(parts: Parts, admin: TestClient, runs: Runs) -> None:
    header = bearer(parts, MEMBER, "launch")
    run = launch(admin, header).json()["id"]
    asked = admin.get(f"/admin/people/{MEMBER}/remove").text
    assert "1 run with the name grace" in asked
    assert "1 token stop" in asked
    page = admin.post(f"/admin/people/{MEMBER}/delete").text
    assert "<b>grace</b> was removed" in page
    assert admin.get("/api/v1/whoami", headers=header).status_code == 401
    assert admin.post("/api/v1/sign-in", json={"name": MEMBER, "password": PASSWORD}).status_code == 401
    assert runs.get(run).created_by == MEMBER
    assert [each["name"] for each in admin.get("/api/v1/users").json()["removed"]] == [MEMBER]
    assert "<b>grace</b> is back" in admin.post(f"/admin/people/{MEMBER}/restore").text
    assert admin.get("/api/v1/whoami", headers=header).json()["name"] == MEMBER
    assert admin.post(f"/admin/people/{MEMBER}/restore").status_code == 404
    actions = [each["action"] for each in admin.get("/api/v1/audit", params={"target": MEMBER}).json()["events"]]
    assert actions[:2] == ["person.restore", "person.remove"]


def test_a_new_person_of_a_removed_name_begins_without_what_the_other_had(parts: Parts, admin: TestClient) -> None:
    header = bearer(parts, MEMBER, "launch")
    admin.patch(f"/api/v1/users/{MEMBER}", json={"most_running": 4})
    assert admin.delete(f"/api/v1/users/{MEMBER}").status_code == 204
    added = admin.post("/api/v1/users", json={"name": MEMBER, "password": "another horse battery"})
    assert (added.status_code, added.json()["most_running"]) == (201, None)
    assert admin.get("/api/v1/whoami", headers=header).status_code == 401
    assert admin.post(f"/api/v1/users/{MEMBER}/restore").status_code == 404


def test_after_the_trash_is_emptied_nobody_is_restored(parts: Parts, admin: TestClient, recorder: Recorder) -> None:
    admin.delete(f"/api/v1/users/{MEMBER}")
    recorder.housekeeper.clock = lambda: 4e9
    recorder.housekeeper.reconcile()
    assert admin.get("/api/v1/users").json()["removed"] == []
    refused = admin.post(f"/api/v1/users/{MEMBER}/restore")
    assert refused.json()["detail"] == "nobody called 'grace' was removed in the last 7 days"


# The system -----------------------------------------------------------------------------------------------------------


def test_the_system_says_what_is_well_and_what_is_not(
    parts: Parts, admin: TestClient, recorder: Recorder, worker: Worker
) -> None:
    worker.beat()
    recorder.step()
    found = admin.get("/api/v1/system").json()
    states = {each["what"]: each["state"] for each in found["checks"]}
    assert {states[each] for each in ("Database", "Redis", "Recorder", "Workers", "Queue", "Python")} == {"ok"}
    assert found["versions"]["Migration"].isdecimal()
    assert len(found["workers"]) == 1
    assert found["disk"]["checkpoints"] == 0
    admin.post("/queue/pause")
    page = admin.get("/admin/system").text
    assert "is paused; 0 runs wait" in page
    assert "histograms and texts" in page


@pytest.mark.parametrize("path", ["/admin/tokens", "/admin/audit", "/admin/system", "/admin/people/ada/remove"])
def test_members_see_none_of_it(parts: Parts, client: TestClient, path: str) -> None:
    client.cookies.update(session(parts, MEMBER))
    assert client.get(path).status_code == 403
