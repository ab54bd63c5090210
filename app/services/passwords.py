"""Passwords, hashed by argon2id. Names that do not exist take as long as those that do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE: Final = 2
"""A hash takes 64 MiB: a flood of guesses must not take all memory."""
REMEMBER_SECONDS: Final = 300.0
MOST_REMEMBERED: Final = 1000


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, hasher: PasswordHasher | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._hasher = hasher or PasswordHasher()
        self._clock = clock
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._dummy = ""
        self._secret = secrets.token_bytes(32)
        self._remembered: dict[bytes, float] = {}

    def hash(self, password: str) -> str:
        """Hash a password."""
        with self._free:
            return self._hasher.hash(_bytes(password))

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Verify a password; None, for a name that does not exist, takes as long and is always wrong."""
        # Made before the first of either kind, so that neither takes longer.
        dummy = self._any_hash()
        known = password_hash or dummy
        with self._free:
            try:
                matches: bool = self._hasher.verify(known, _bytes(password))
            except (VerificationError, InvalidHashError):
                matches = False
        return matches and bool(password_hash)

    def verify_again(self, password_hash: str, password: str) -> bool:
        """Tell whether exactly this was right within the last minutes: for clients that send it with every request."""
        key = self._key(password_hash, password)
        with self._lock:
            return self._remembered.get(key, float("-inf")) > self._clock() - REMEMBER_SECONDS

    def remember(self, password_hash: str, password: str) -> None:
        """Remember that a password was right; what is kept says nothing about it."""
        now = self._clock()
        with self._lock:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered = {key: at for key, at in self._remembered.items() if at > now - REMEMBER_SECONDS}
            if len(self._remembered) < MOST_REMEMBERED:
                self._remembered[self._key(password_hash, password)] = now

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def _key(self, password_hash: str, password: str) -> bytes:
        return hmac.digest(self._secret, password_hash.encode() + b"\n" + _bytes(password), hashlib.sha256)

    def _any_hash(self) -> str:
        with self._lock:
            if not self._dummy:
                self._dummy = self._hasher.hash(secrets.token_bytes(16))
            return self._dummy


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
