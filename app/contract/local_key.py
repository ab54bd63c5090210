"""Requests signed with the key in the data folder: how `runyard` on the server's machine needs no sign-in.

The signature is HMAC-SHA256 over method, host, path with query, time and a random number. So the key is never sent, a
signature is good for one request to one server, and the server takes it once, within ``VALID_SECONDS``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

SCHEME: Final = "Runyard-Key"
VALID_SECONDS: Final = 60.0
_FORM: Final = re.compile(rf"{SCHEME} t=(\d{{1,15}}),n=([0-9a-f]{{32}}),v1=([0-9a-f]{{64}})")
MOST_REMEMBERED: Final = 100_000


def _signature(key: bytes, method: str, host: str, target: str, at: str, number: str) -> str:
    content = "\n".join(("runyard request", method.upper(), host.lower(), target, at, number))
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()


def authorization(key: bytes, method: str, host: str, target: str, now: float | None = None) -> str:
    """The Authorization header of one request; ``host`` as in the Host header, ``target``: path and query."""
    at, number = str(int(1000 * (time.time() if now is None else now))), secrets.token_hex(16)
    return f"{SCHEME} t={at},n={number},v1={_signature(key, method, host, target, at, number)}"


class Verifier:
    """Checks signatures, each of which is good once."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        # Signatures that an earlier process may have taken are refused: what it had seen is not known.
        self._since = clock()
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_valid(self, key: bytes, header: str, method: str, host: str, target: str) -> bool:
        """Tell whether a header is valid for this request, and was not used before."""
        match = _FORM.fullmatch(header)
        if match is None:
            return False
        at, number, signature = match.groups()
        if not hmac.compare_digest(signature, _signature(key, method, host, target, at, number)):
            return False
        now, then = self.clock(), int(at) / 1000
        if then < self._since or abs(now - then) > VALID_SECONDS:
            return False
        with self._lock:
            if number in self._seen:
                return False
            if len(self._seen) >= MOST_REMEMBERED:
                self._seen = {each: at for each, at in self._seen.items() if at > now - 2 * VALID_SECONDS}
            if len(self._seen) >= MOST_REMEMBERED:
                return False
            self._seen[number] = then
        return True
