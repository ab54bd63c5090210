"""Sends the request of a webhook, only to addresses that a webhook may reach.

The name is resolved once, every address is checked, and the connection goes to a checked one. So a name that resolves
to another address a moment later (DNS rebinding) changes nothing. Redirects are not followed, and proxies of the
environment are not used: a proxy resolves the name by itself.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
SETTING: Final = "RUNYARD_WEBHOOK_PRIVATE"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TargetRefused(OSError):
    """A webhook's name resolves to an address that it may not reach."""


def is_public(address: str) -> bool:
    """Tell whether an address is one of the public internet, also if an IPv4 address is written within IPv6."""
    parsed: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if parsed in NAT64 or int(parsed) >> 32 == 0:
            inner.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        found = [each for each in inner if each is not None]
        if found:
            return all(_is_public(each) for each in found) and not parsed.is_loopback and not parsed.is_unspecified
    return _is_public(parsed)


def _is_public(address: Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def check_literal(url: str) -> None:
    """Raise TargetRefused if a URL names an address itself, or this machine, that a webhook may not reach."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    try:
        public = is_public(host)
    except ValueError:
        public = host != "localhost" and not host.endswith(".localhost")
    if not public:
        raise _refused(host, host)


def resolve(host: str, port: int, private: bool) -> list[str]:
    """Resolve a name to addresses that a webhook may reach. Raises OSError; TargetRefused if it may not reach one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # One that is not public refuses the whole name: which of several is taken would be chance.
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not private and not is_public(address):
            raise _refused(host, address)
    return addresses


def _refused(host: str, address: str) -> TargetRefused:
    which = f"{host} is" if host == address else f"{host} resolves to {address},"
    return TargetRefused(f"{which} not an address of the public internet; {SETTING}=true allows such webhooks")


class _Connection(http.client.HTTPConnection):
    """A connection to addresses that were checked, whatever the name resolves to now."""

    def __init__(self, host: str, port: int, addresses: list[str], secure: bool, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._addresses = addresses
        self._context = ssl.create_default_context() if secure else None
        self._until = time.monotonic() + timeout

    def connect(self) -> None:
        """Connect to the first address that answers."""
        for i, address in enumerate(self._addresses):
            try:
                left = max(0.1, self._until - time.monotonic())
                self.sock = socket.create_connection((address, self.port), left)
                break
            except OSError:
                if i == len(self._addresses) - 1:
                    raise
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float, private: bool) -> tuple[int, str]:
    """Send a POST request; returns the status and its reason. Raises OSError, HTTPException and ValueError."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    connection = _Connection(host, port, resolve(host, port, private), secure, timeout)
    try:
        default = parts.port in (None, 443 if secure else 80)
        shown = f"[{host}]" if ":" in host else host
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {"host": shown if default else f"{shown}:{port}", **headers})
        response = connection.getresponse()
        return response.status, response.reason
    finally:
        connection.close()
