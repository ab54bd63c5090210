"""People of each role."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from app.web.dependencies import Parts
from tests.people import people


@pytest.fixture
def parts(server: FastAPI) -> Parts:
    """The parts of a server with one person of each role."""
    return people(server)
