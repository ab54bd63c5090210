"""Requests that schemathesis makes of the document that describes the API: valid ones, and such as nearly are."""

from __future__ import annotations

from typing import Any

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from starlette.testclient import TestClient

from tests.conftest import ADDRESS
from tests.filled_yard import fill

EXAMPLES = 2
"""Requests for each operation and mode."""
NOT_ASKED = ("/events", "/predict")
"""The ends of addresses whose answers do not end, or start a process."""
HONEST = {501, 503, 507}


def test_no_request_of_the_document_is_answered_with_a_fault(server: FastAPI, client: TestClient) -> None:
    fill(server, client, with_people=False)
    document = server.openapi()
    asked: dict[str, int] = {}
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
        for result in schemathesis.openapi.from_dict(document).get_all_operations():
            operation: Any = result.ok()  # type: ignore[union-attr]  # an error of the document fails the test
            if operation.path.endswith(NOT_ASKED):
                continue
            try:
                strategy = operation.as_strategy(generation_mode=mode)
                _ask(client, strategy, asked)
            except (schemathesis.errors.SchemathesisError, Unsatisfiable):
                # Nothing is invalid for an operation without parameters.
                assert mode == schemathesis.GenerationMode.NEGATIVE
    assert len(asked) > 100
    assert sum(asked.values()) > 300


def _ask(client: TestClient, strategy: st.SearchStrategy[Any], asked: dict[str, int]) -> None:
    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: Any) -> None:
        request = case.as_transport_kwargs(base_url=ADDRESS)
        known = {name: value for name, value in request.items() if name in ("params", "json", "data", "headers")}
        if isinstance(known.get("data"), bytes | str):
            known["content"] = known.pop("data")
        answer = client.request(request["method"], request["url"], follow_redirects=False, **known)
        asked[case.operation.label] = asked.get(case.operation.label, 0) + 1
        assert answer.status_code < 500 or answer.status_code in HONEST, (case.operation.label, answer.text[:300])

    ask()
