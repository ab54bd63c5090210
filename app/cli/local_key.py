"""Commands on the server's own machine sign their requests with the key in the data folder and need no sign-in."""

from __future__ import annotations

from collections.abc import Generator
from urllib.parse import urlsplit

import httpx

from app.contract.command_key import KeyFileError, key_path, read_key
from app.contract.local_key import authorization
from app.contract.settings import Settings, is_loopback


class LocalKeyAuth(httpx.Auth):
    """Signs each request with a key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request."""
        host, target = request.headers["host"], request.url.raw_path.decode("ascii")
        request.headers["authorization"] = authorization(self._key, request.method, host, target)
        yield request


def local_auth(url: str, settings: Settings) -> LocalKeyAuth | None:
    """Return what signs requests to a server of this machine; None for others, and for who cannot read the key.

    A signature is good for one request to one host, so a foreign server learns nothing that it could use; but it has
    no business with one.
    """
    host = urlsplit(url).hostname or ""
    if not is_loopback(host) and host != settings.host:
        return None
    try:
        return LocalKeyAuth(read_key(key_path(settings.data_dir)))
    except KeyFileError:
        # No key in this folder, or one of another user: the server will say that a sign-in is needed.
        return None
