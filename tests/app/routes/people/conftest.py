"""A provider for the tests of signing in there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.openid import Provider, provider


@pytest.fixture
def idp() -> Iterator[Provider]:
    """A provider on a port of its own."""
    with provider() as found:
        yield found
