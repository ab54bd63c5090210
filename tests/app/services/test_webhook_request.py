"""A webhook reaches public addresses alone, by whichever name, and only the one that was checked."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services import webhook_request
from app.services.webhook_request import TargetRefused, check_literal, is_public, post, resolve

FORBIDDEN = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
    *("169.254.169.254", "100.64.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::"),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.63.255.255", "2606:4700:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_private_loopback_link_local_multicast_and_unspecified_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_public_within_ipv6(address: ipaddress.IPv4Address) -> None:
    public = is_public(str(address))
    assert public <= address.is_global
    for within in (
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::",
    ):
        assert is_public(within) == public, within


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let the resolver give these answers, one after another; returns the list of addresses that were connected to."""
    left = list(answers)
    reached: list[str] = []

    def resolver(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        reached.append(address[0])
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(webhook_request.socket, "getaddrinfo", resolver)  # type: ignore[attr-defined]
    monkeypatch.setattr(webhook_request.socket, "create_connection", connect)  # type: ignore[attr-defined]
    return reached


def test_a_name_with_a_single_address_that_is_not_public_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = names(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(TargetRefused, match=r"hooks.example.org resolves to 10\.0\.0\.1"):
        post("https://hooks.example.org/x", b"", {}, 1.0, private=False)
    assert reached == []


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    # The second answer of a rebinding resolver is never asked for.
    reached = names(monkeypatch, ["8.8.8.8", "8.8.4.4"], ["127.0.0.1"])
    with pytest.raises(ConnectionRefusedError):
        post("http://rebinding.example/x", b"", {}, 1.0, private=False)
    assert reached == ["8.8.8.8", "8.8.4.4"]


def test_with_the_setting_any_address_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["10.0.0.1", "10.0.0.1"])
    assert resolve("chat.local", 80, private=True) == ["10.0.0.1"]


@pytest.mark.parametrize(
    "url", ["http://localhost/", "http://LOCALHOST.:80/", "http://x.localhost/", "http://127.0.0.1/"]
)
def test_urls_that_name_this_machine_are_refused_at_once(url: str) -> None:
    with pytest.raises(TargetRefused, match="RUNYARD_WEBHOOK_PRIVATE=true"):
        check_literal(url)


def test_other_names_are_looked_up_when_something_is_sent() -> None:
    check_literal("https://hooks.example.org/x")
    check_literal("https://8.8.8.8/x")
