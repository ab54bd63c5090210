"""A small part of what `python -m tests.fuzz` sends, the same every time."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.fuzz.rounds import Round
from tests.fuzz.seeds import RouteSeeds, routes

REQUESTS = 1200


def test_requests_that_nobody_means_break_nothing(server: FastAPI, client: TestClient) -> None:
    known: list[RouteSeeds] = []
    result = Round(server, client, 7, 0, known).run(REQUESTS)
    assert result.requests == REQUESTS
    assert [str(fault) for fault in result.faults] == []
    # It reaches what it should: most routes, many of them with success, by everyone.
    assert len(result.routes) > 250
    assert len(result.answered) > 120
    assert len(result.senders) == 15
    assert sum(len(each.seeds) for each in known) > len(known) + 50


def test_every_route_has_a_request_that_it_is_made_from(built_app: FastAPI) -> None:
    found = list(routes(built_app))
    assert len(found) > 350
    assert all(each.seeds for each in found)
    assert sum(bool(each.fields) for each in found) > 80
