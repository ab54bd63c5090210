"""Webhooks and rules are made and removed by the API and on the page, and what is wrong is said beside its field."""

from __future__ import annotations

import re
from typing import Any

import pytest

HOOK = {"url": "https://hooks.example.org/a", "kinds": ["failed"]}


def test_a_webhook_is_made_listed_tried_and_removed(client: Any) -> None:
    made = client.post("/api/v1/webhooks", json=HOOK)
    assert made.status_code == 201
    assert len(made.json()["secret"]) > 20
    address = f"/api/v1/webhooks/{made.json()['id']}"
    # The secret is shown once.
    assert client.get("/api/v1/webhooks").json()["webhooks"] == [made.json() | {"secret": None}]
    assert client.post(f"{address}/test").status_code == 202
    assert client.get("/api/v1/notices").json()["notices"][0]["kind"] == "test"
    assert client.delete(address).status_code == 204
    assert client.delete(address).status_code == 404
    assert client.get("/api/v1/webhooks").json()["webhooks"] == []


PRIVATE = [
    *(
        "http://127.0.0.1/x",
        "http://localhost:9/x",
        "http://a.localhost/",
        "http://169.254.169.254/latest",
        "http://0.0.0.0/",
    ),
    *("http://10.0.0.8/x", "http://192.168.1.1/", "http://[::1]/", "http://[fe80::1]/", "http://[::ffff:127.0.0.1]/"),
    *("http://224.0.0.1/", "http://localhost./", "https://172.16.0.1:8443/x"),
]


@pytest.mark.parametrize("url", PRIVATE)
def test_a_webhook_to_this_machine_or_its_network_needs_a_setting(client: Any, url: str) -> None:
    refused = client.post("/api/v1/webhooks", json={"url": url})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "url")
    assert "RUNYARD_WEBHOOK_PRIVATE=true" in refused.json()["detail"]
    parts = client.app.state.parts
    parts.settings = parts.settings.model_copy(update={"webhook_private": True})
    assert client.post("/api/v1/webhooks", json={"url": url}).status_code == 201


@pytest.mark.parametrize("url", ["ftp://a/b", "example.org", "http://", "http://a b/", "https://[::1", "http://ä/"])
def test_what_is_no_address_is_refused_and_nothing_is_kept(client: Any, url: str) -> None:
    refused = client.post("/api/v1/webhooks", json={"url": url})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "url")
    assert client.get("/api/v1/webhooks").json()["webhooks"] == []


def test_a_rule_is_made_listed_and_removed(client: Any, runs: Any) -> None:
    run = runs.add()
    said = {"comparison": "above", "metric": "val/acc", "value": 0.98, "run": run}
    made = client.post("/api/v1/rules", json=said)
    assert made.status_code == 201
    assert client.get("/api/v1/rules").json()["rules"][0]["run"] == run
    assert client.delete(f"/api/v1/rules/{made.json()['id']}").status_code == 204
    assert client.get("/api/v1/rules").json()["rules"] == []


def test_a_rule_takes_any_name_that_a_script_may_log(client: Any) -> None:
    rule = {"comparison": "below", "metric": " loss ", "value": 0.1}
    assert client.post("/api/v1/rules", json=rule).status_code == 201
    assert client.get("/api/v1/rules").json()["rules"][0]["metric"] == "loss"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"comparison": "above", "value": 1}, "metric"),
        ({"comparison": "above", "metric": "  ", "value": 1}, "metric"),
        ({"comparison": "silent", "metric": "val/acc", "value": 1}, "metric"),
        ({"comparison": "silent", "value": 0}, "value"),
        ({"comparison": "near", "metric": "val/acc", "value": 1}, "comparison"),
        ({"comparison": "below", "metric": "val/acc", "value": 1, "run": "r_nothing"}, "run"),
    ],
)
def test_a_rule_that_could_never_hold_is_refused_by_its_field(client: Any, said: dict[str, Any], field: str) -> None:
    refused = client.post("/api/v1/rules", json=said)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
    assert client.get("/api/v1/rules").json()["rules"] == []


def test_the_page_works_without_a_script(client: Any, look: Any) -> None:
    page = look(client.get("/notifications"))
    assert "No notifications yet." in page.html
    added = client.post("/notifications/webhooks", data={"url": HOOK["url"], "kinds": ["failed", "rule"]})
    page = look(added, 201)
    assert "https://hooks.example.org/a" in page.html
    (secret,) = re.findall(r'<code class="secret">([\w-]{32})</code>', page.html)
    assert added.headers["cache-control"] == "no-store"
    assert secret not in client.get("/notifications").text
    assert "a run fails, a run matches a rule" in page.html
    page = look(client.post("/notifications/rules", data={"comparison": "silent", "value": "5", "metric": "x/y"}))
    assert "no new data for 5 min" in page.html
    rule = client.get("/api/v1/rules").json()["rules"][0]["id"]
    hook = client.get("/api/v1/webhooks").json()["webhooks"][0]["id"]
    client.post(f"/notifications/webhooks/{hook}/test")
    client.post(f"/notifications/rules/{rule}/delete")
    page = look(client.post(f"/notifications/webhooks/{hook}/delete"))
    assert "no new data for 5 min" not in page.html
    assert "hooks.example.org/a" not in page.html
    assert "This is a test notification" in page.html


def test_what_is_wrong_is_said_in_the_form_with_what_was_typed(client: Any, look: Any) -> None:
    answer = client.post("/notifications/webhooks", data={"url": "nowhere", "kinds": ["failed"]})
    page = look(answer, 422)
    assert "Specify an http or https URL, e.g. https://example.org/path." in page.html
    assert page.one("input", name="url")["value"] == "nowhere"
    answer = client.post("/notifications/rules", data={"comparison": "above", "metric": "val/acc", "value": "much"})
    assert "Value must be a number" in look(answer, 422).html


def test_notices_are_read_on_from_the_last_one_that_was_heard(client: Any) -> None:
    made = client.post("/api/v1/webhooks", json=HOOK).json()["id"]
    first, second = (client.post(f"/api/v1/webhooks/{made}/test").json()["notice"] for _ in range(2))
    assert [each["id"] for each in client.get("/api/v1/notices").json()["notices"]] == [second, first]
    assert [each["id"] for each in client.get(f"/api/v1/notices?after={first}").json()["notices"]] == [second]
