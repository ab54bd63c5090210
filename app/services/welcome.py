"""Where people reach a server that listens beyond loopback, and the line with the link for the first administrator."""

from __future__ import annotations

import socket

from app.contract.settings import Settings

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that mean all of this machine's, and the one under which this machine reaches itself."""


def local_url(host: str, port: int) -> str:
    """The URL under which programs of this machine reach a server that listens on ``host``."""
    return _url(ANY.get(host, host), port)


def public_url(settings: Settings, port: int) -> str:
    """The URL under which others most likely reach the server."""
    name = next(filter(None, map(str.strip, settings.allowed_hosts.split(","))), None)
    if name and settings.trusted_proxies:
        # The proxy has that name, and listens on a port of its own.
        return f"https://{name}"
    return _url(name or (own_address(settings.host) if settings.host in ANY else settings.host), port)


def own_address(listening: str) -> str:
    """The address of this machine that faces the network; the loopback address if there is none.

    Asks the routing table: connecting a datagram socket sends nothing.
    """
    family, target = (socket.AF_INET6, "2001:db8::1") if ":" in listening else (socket.AF_INET, "192.0.2.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ANY[listening]


def welcome_line(settings: Settings, port: int, path: str) -> str:
    """What is printed when nobody can sign in yet."""
    return f"Nobody can sign in yet. Create the first administrator within an hour: {public_url(settings, port)}{path}"


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
