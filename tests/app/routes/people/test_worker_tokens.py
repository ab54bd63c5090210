"""Tokens with which other machines join as workers: by API and on the page of administrators."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from _runyard import __version__
from app.contract.command_key import architecture_key, key_path, read_key
from app.contract.joining import read_token
from app.contract.protocol import PROTOCOL
from app.contract.settings import Settings
from app.web.dependencies import Parts
from tests.people import ADMINISTRATOR, NAMES, bearer, people, session

REDIS = "rediss://:secret@10.0.0.1:6379/0"


@pytest.fixture
def parts(server: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """The parts of a server whose stores other machines can reach."""
    found = people(server)
    authority = tmp_path / "ca.pem"
    authority.write_text("PEM")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    reachable(found, redis_url=f"{REDIS}?ssl_ca_certs={authority}&health_check_interval=5")
    return found


def reachable(parts: Parts, **changes: Any) -> None:
    given = {"redis_url": REDIS, "artifact_url": "s3://yard/runyard", "lease_seconds": 20.0} | changes
    before = parts.settings.model_dump(include=parts.settings.model_fields_set)
    parts.settings = Settings(**before | given)


def add(parts: Parts, client: TestClient, **body: Any) -> Any:
    body = {"url": "https://yard.example.org/"} | body
    return client.post("/api/v1/worker-tokens", json=body, headers=bearer(parts, ADMINISTRATOR))


def join(client: TestClient, token: str, host: str = "gpu-box", protocol: int = PROTOCOL) -> Any:
    """What `runyard join` sends; without any credential."""
    _, secret = read_token(token)
    body = {"secret": secret, "host": host, "version": __version__, "protocol": protocol}
    return client.post("/api/v1/join", json=body)


def test_a_machine_gets_what_it_needs_once(parts: Parts, client: TestClient) -> None:
    created = add(parts, client).json()
    token = created["secret"]
    assert created["command"] == f"runyard join {token}"
    assert read_token(token)[0] == "https://yard.example.org"
    answer = join(client, token).json()
    assert answer["version"] == __version__
    assert answer["environment"] == {
        "RUNYARD_REDIS_URL": f"{REDIS}?health_check_interval=5",
        "RUNYARD_ARTIFACT_URL": "s3://yard/runyard",
        "RUNYARD_LEASE_SECONDS": "20.0",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
    }
    assert answer["redis_certificate"] == "PEM"
    # The key of commands itself never leaves the data folder.
    key = read_key(key_path(parts.settings.data_dir))
    assert answer["architecture_key"] == architecture_key(key).hex()
    assert key.hex() not in str(answer)
    again = join(client, token, "another")
    assert (again.status_code, again.json()["detail"]) == (
        403,
        "this token was used up by gpu-box; ask an administrator for another",
    )
    headers = bearer(parts, ADMINISTRATOR)
    (listed,) = client.get("/api/v1/worker-tokens", headers=headers).json()["tokens"]
    assert (listed["host"], listed["uses_left"], listed["created_by"]) == ("gpu-box", 0, ADMINISTRATOR)
    events = client.get("/api/v1/audit", headers=headers).json()["events"]
    assert [(each["who"], each["action"], each["target"]) for each in events if "worker" in each["action"]] == [
        ("gpu-box", "worker.join", "gpu-box"),
        (ADMINISTRATOR, "worker-token.add", created["token"]["id"]),
    ]
    assert token.rpartition(".")[2] not in str(events)


def test_a_token_that_expired_was_deleted_or_is_made_up_is_refused(
    parts: Parts, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, deleted = (add(parts, client, uses=None).json() for _ in range(2))
    headers = bearer(parts, ADMINISTRATOR)
    assert client.delete(f"/api/v1/worker-tokens/{deleted['token']['id']}", headers=headers).status_code == 204
    assert client.delete(f"/api/v1/worker-tokens/{deleted['token']['id']}", headers=headers).status_code == 404
    for unknown in (deleted["secret"], token["secret"] + "x"):
        refused = join(client, unknown)
        assert refused.status_code == 403
        assert "this token is unknown here" in refused.json()["detail"]
    assert [join(client, token["secret"]).status_code for _ in range(3)] == [200] * 3
    now = time.time()
    monkeypatch.setattr("app.actions.worker_tokens.time.time", lambda: now + 3601)
    assert "this token has expired" in join(client, token["secret"]).json()["detail"]


def test_a_machine_with_another_protocol_is_told_what_to_do_and_uses_nothing(parts: Parts, client: TestClient) -> None:
    token = add(parts, client).json()["secret"]
    refused = join(client, token, protocol=PROTOCOL + 1)
    assert refused.status_code == 409
    assert refused.json()["detail"].endswith(f"install version {__version__} for the server")
    assert join(client, token).status_code == 200


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"redis_url": None}, "other machines cannot reach the Redis that Runyard starts"),
        ({"redis_url": "unix:///tmp/redis.sock"}, "other machines cannot reach the Redis that Runyard starts"),
        ({"redis_url": "redis://127.0.0.1:6379"}, "RUNYARD_REDIS_URL names 127.0.0.1, which on another machine means"),
        ({"redis_url": f"{REDIS}?ssl_certfile=/c.pem"}, "RUNYARD_REDIS_URL has certificate or key files"),
        ({"artifact_url": None}, "other machines cannot read a folder of this one"),
        ({"artifact_url": "/srv/yard"}, "other machines cannot read a folder of this one"),
        ({"artifact_url": "file:///srv/yard"}, "other machines cannot read a folder of this one"),
    ],
)
def test_there_is_no_token_where_no_other_machine_could_work(
    changes: dict[str, Any], sentence: str, parts: Parts, client: TestClient
) -> None:
    token = add(parts, client).json()["secret"]
    reachable(parts, **changes)
    for refused in (add(parts, client), join(client, token)):
        assert refused.status_code == 409
        assert refused.json()["detail"].startswith(sentence)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"hours": 0}, "hours"),
        ({"hours": 10**6}, "hours"),
        ({"uses": 0}, "uses"),
        ({"url": "ftp://x"}, "url"),
        ({"url": ""}, "url"),
    ],
)
def test_a_bad_token_is_refused(body: dict[str, Any], field: str, parts: Parts, client: TestClient) -> None:
    refused = add(parts, client, **body)
    assert refused.status_code == 422
    assert field in refused.text
    assert client.get("/api/v1/worker-tokens", headers=bearer(parts, ADMINISTRATOR)).json() == {"tokens": []}


def test_only_administrators_make_tokens(parts: Parts, client: TestClient) -> None:
    for name in (NAMES["member"], NAMES["viewer"]):
        assert client.post("/api/v1/worker-tokens", json={}, headers=bearer(parts, name)).status_code == 403
        assert client.get("/api/v1/worker-tokens", headers=bearer(parts, name)).status_code == 403


def test_the_page_shows_the_command_once(parts: Parts, client: TestClient) -> None:
    client.cookies.update(session(parts, ADMINISTRATOR))
    page = client.post("/admin/worker-tokens", data={"hours": "24", "uses": "0", "url": "http://10.0.0.1:8000"})
    (token,) = re.findall(r"runyard join (ryj_[\w.-]+)", page.text)
    assert read_token(token)[0] == "http://10.0.0.1:8000"
    shown = client.get("/admin/tokens").text
    assert token not in shown
    assert ">any<" in shown
    (path,) = re.findall(r"/admin/worker-tokens/w_\w+/delete", shown)
    assert client.post(path).status_code == 200
    assert join(client, token).status_code == 403
    for hours, sentence in (("no", "Hours must be a whole number."), ("0", "Hours must be from 1 to 8,760.")):
        refused = client.post("/admin/worker-tokens", data={"hours": hours, "uses": "1", "url": ""})
        assert refused.status_code == 422
        assert sentence in refused.text
        assert f'value="{hours}"' in refused.text
