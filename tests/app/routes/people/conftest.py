"""People of each role, an administrator's browser, and a provider for the tests of signing in there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.web.dependencies import Parts
from tests.openid import Provider, provider
from tests.people import ADMINISTRATOR, people, session


@pytest.fixture
def parts(server: FastAPI) -> Parts:
    """The parts of a server with one person of each role."""
    return people(server)


@pytest.fixture
def admin(parts: Parts, client: TestClient) -> TestClient:
    """A browser in which an administrator has signed in."""
    client.cookies.update(session(parts, ADMINISTRATOR))
    return client


@pytest.fixture
def idp() -> Iterator[Provider]:
    """A provider on a port of its own."""
    with provider() as found:
        yield found
