"""Each response names its request, and a fault can be found by that name in the server's log."""

from __future__ import annotations

import json
import logging
import re

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.contract.logs import formatter
from app.main import build_app
from tests.conftest import ADDRESS


def test_each_request_has_an_id_of_its_own(client: TestClient) -> None:
    ids = [client.get(path).headers["x-request-id"] for path in ("/", "/", "/nothing", "/static/icon.svg", "/healthz")]
    assert len(set(ids)) == 5
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in ids)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("from-the-proxy.1", True), ("", False), ("x" * 65, False), ("a b", False), ('{"level":"info"}', False)],
)
def test_the_id_of_a_proxy_is_kept_if_it_is_plain(client: TestClient, sent: str, kept: bool) -> None:
    answer = client.get("/healthz", headers={"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) is kept


def test_a_fault_is_logged_and_shown_with_the_id_of_its_request(
    server: FastAPI, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("of zero")

    app = build_app()
    app.state.parts = server.state.parts
    app.add_api_route("/api/fail", fail)
    app.add_api_route("/fail", fail)
    handler = logging.StreamHandler()
    handler.setFormatter(formatter("json"))
    logger = logging.getLogger("runyard.server")
    logger.addHandler(handler)
    try:
        client = TestClient(app, base_url=ADDRESS, raise_server_exceptions=False)
        for path in ("/api/fail", "/fail"):
            answer = client.get(path)
            request_id = answer.headers["x-request-id"]
            assert answer.status_code == 500
            assert f"look for request {request_id} in the server's log" in answer.text.replace("&#39;", "'")
            line = json.loads(capsys.readouterr().err.splitlines()[-1])
            assert (line["request"], line["level"], line["message"]) == (request_id, "error", f"GET {path} failed")
            assert line["exception"].endswith("ZeroDivisionError: of zero")
    finally:
        logger.removeHandler(handler)
