"""The address that is printed for people is one at which the server, or the proxy in front of it, answers."""

from __future__ import annotations

from typing import Any

import pytest

from app.contract.settings import Settings
from app.services.welcome import local_url, public_url


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"allowed_hosts": " yard.example.org, other"}, "http://yard.example.org:8000"),
        ({"allowed_hosts": "yard.example.org", "trusted_proxies": "127.0.0.1"}, "https://yard.example.org"),
        ({"trusted_proxies": "127.0.0.1"}, "http://127.0.0.1:8000"),
    ],
)
def test_people_get_the_address_under_which_they_reach_the_server(settings: dict[str, Any], url: str) -> None:
    assert public_url(Settings(**settings), 8000) == url


def test_programs_of_this_machine_use_an_address_of_this_machine() -> None:
    assert (local_url("0.0.0.0", 1), local_url("::", 2)) == ("http://127.0.0.1:1", "http://[::1]:2")
