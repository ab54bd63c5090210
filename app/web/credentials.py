"""Proof of who sends a request: sessions, API tokens, passwords, and the key in the data folder."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from sqlalchemy import Engine

from app.contract.command_key import RUN_TOKEN, KeyFileError, ensure_key, read_key, run_of_token
from app.contract.errors import Forbidden, TooManyAttempts, Unauthorized, printable
from app.contract.local_key import SCHEME, Verifier
from app.contract.people import NAME, ROLE_PERMISSIONS, SCOPE_PERMISSIONS
from app.contract.settings import Settings
from app.services.passwords import Passwords
from app.store import api_token, sign_in_failure, sign_in_session
from app.store.api_token import PREFIX
from app.store.database import reading, writing
from app.store.run import ACTIVE, load_run
from app.store.sign_in_session import ROTATE_SECONDS, SEEN_SECONDS, Kind
from app.store.user import UserRecord, any_user, find_user, load_user, set_password_hash
from app.web.caller import LOCAL_KEY, Caller

logger = logging.getLogger("runyard.server")

PEOPLE_SECONDS: Final = 5.0
"""How long a server takes to notice that the first person was added by another one."""
SESSION_PREFIX: Final = "rys_"
"""Of the secret of a command line's session, as it is sent."""
WRONG: Final = "name or password is wrong"


class Credentials:
    """Checks credentials against the database. Its methods block, so routes call them in a thread."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        passwords: Passwords | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.passwords = passwords or Passwords()
        self.clock = clock
        self.proxies = settings.proxies
        self.always = settings.everyone_signs_in
        self._verifier = Verifier(clock)
        self._people = False
        self._people_until = float("-inf")

    # Whether anyone has to sign in ------------------------------------------------------------------------------------

    def required(self, listening: str | None) -> bool:
        """Tell whether a request needs a credential; ``listening``: the address at which it arrived.

        Rarely reads the database: what it says is kept for PEOPLE_SECONDS.
        """
        if self.always or (listening is not None and self._is_foreign(listening)):
            return True
        now = time.monotonic()
        if now >= self._people_until:
            with reading(self.engine) as connection:
                self._people = any_user(connection)
            self._people_until = now + PEOPLE_SECONDS
        return self._people

    def is_known(self, listening: str | None) -> bool:
        """Tell whether ``required`` would answer without reading the database."""
        return (
            self.always
            or time.monotonic() < self._people_until
            or (listening is not None and self._is_foreign(listening))
        )

    def people_changed(self) -> None:
        """Look again who there is."""
        self._people_until = float("-inf")

    def _is_foreign(self, address: str) -> bool:
        """Whether others can reach this address, whatever the settings say: an ASGI server may have its own."""
        return not self.settings.behind_loopback_publish and is_foreign(address)

    # Sessions ---------------------------------------------------------------------------------------------------------

    def from_session(self, secret: str, kind: Kind) -> tuple[Caller, str | None] | None:
        """Find who has a session; also a new secret if it is time to replace it. None if the session is not valid."""
        now = self.clock()
        with reading(self.engine) as connection:
            session = sign_in_session.find_session(connection, secret, kind, now)
            user = None if session is None else load_user(connection, session.user)
        if session is None or user is None or not user.enabled:
            return None
        replacement = None
        if kind == "browser" and not session.stale and now - session.rotated_at > ROTATE_SECONDS:
            with writing(self.engine) as connection:
                replacement = sign_in_session.rotate(connection, session, now)
        elif now - session.seen_at > SEEN_SECONDS:
            with writing(self.engine) as connection:
                sign_in_session.touch(connection, session.id, now)
        found = Caller(ROLE_PERMISSIONS[user.role], "session", user.name, user.id, user.role, session.id)
        return found, replacement

    # Headers ----------------------------------------------------------------------------------------------------------

    def from_proxy(self, names: list[str]) -> Caller:
        """Find the person whom a trusted proxy names. Raises Forbidden."""
        header = self.settings.proxy_user_header
        if len(names) > 1:
            # One of them may come from the client.
            raise Forbidden(f"{header} was sent more than once; the proxy must replace what clients send")
        name = names[0].strip().lower()
        with reading(self.engine) as connection:
            user = find_user(connection, name) if NAME.fullmatch(name) else None
        if user is None:
            raise Forbidden(f"the proxy calls you '{printable(name[:60])}', and nobody here is called that")
        if not user.enabled:
            raise Forbidden(f"the account '{user.name}' is disabled here")
        return Caller(ROLE_PERMISSIONS[user.role], "proxy", user.name, user.id, user.role)

    def from_header(self, header: str, method: str, host: str, target: str, address: str) -> Caller:
        """Find who sends an Authorization header. Raises Unauthorized and TooManyAttempts."""
        scheme, _, value = header.partition(" ")
        match scheme.lower():
            case "bearer":
                return self._from_bearer(value.strip())
            case "basic":
                name, password = _split_basic(value.strip())
                # MLflow's client may send a token as a password.
                if password.startswith(PREFIX):
                    found = self._from_bearer(password)
                    if found.name == name or name in ("", "token"):
                        return found
                    raise Unauthorized("the token belongs to another name")
                return self.from_password(name, password, address, again=True)
            case _ if scheme == SCHEME:
                if self._verifier.is_valid(self._key(), header, method, host, target):
                    return LOCAL_KEY
                raise Unauthorized("the request is not signed with the key in the data folder of this server")
        raise Unauthorized("the Authorization header must be 'Bearer TOKEN', or Basic with a name and a password")

    def _from_bearer(self, token: str) -> Caller:
        if token.startswith(SESSION_PREFIX):
            found = self.from_session(token.removeprefix(SESSION_PREFIX), "command")
            if found is None:
                raise Unauthorized("the sign-in has ended; run `runyard login`")
            return found[0]
        if token.startswith(RUN_TOKEN):
            return self._from_run_token(token)
        now = self.clock()
        with reading(self.engine) as connection:
            record = api_token.find_token(connection, token, now) if token.startswith(PREFIX) else None
            user = None if record is None else load_user(connection, record.user)
        if record is None or user is None or not user.enabled:
            raise Unauthorized("the token is not valid: it was deleted, has expired or never existed")
        if record.used_at is None or now - record.used_at > api_token.USED_SECONDS:
            with writing(self.engine) as connection:
                api_token.note_use(connection, record.id, now)
        permissions = SCOPE_PERMISSIONS[record.scope] & ROLE_PERMISSIONS[user.role]
        return Caller(permissions, f"token {record.name}", user.name, user.id, user.role)

    def _from_run_token(self, token: str) -> Caller:
        """Find the run whose command sends a token; it may log until its attempt has ended."""
        run_id = run_of_token(self._key(), token)
        with reading(self.engine) as connection:
            run = None if run_id is None else load_run(connection, run_id)
        if run is None or run.status not in ACTIVE:
            raise Unauthorized("the token of the command is not valid, or its run has ended")
        return Caller(SCOPE_PERMISSIONS["log"], f"command of run {run.number}", run.created_by)

    def _key(self) -> bytes:
        """Read the key in the data folder. Raises Unauthorized."""
        try:
            return read_key(ensure_key(self.settings.data_dir))
        except KeyFileError as error:
            logger.warning("credentials made with the key are refused: %s", error)
            raise Unauthorized(f"this server cannot use the key in its data folder: {error}") from error

    # Passwords --------------------------------------------------------------------------------------------------------

    def from_password(self, name: str, password: str, address: str, again: bool = False) -> Caller:
        """Find who has a name and a password; ``again``: a client that sends them with every request.

        Answers take as long, and say the same, whether the name or the password is wrong. Raises Unauthorized and
        TooManyAttempts.
        """
        user = self.check_password(name, password, address, again)
        return Caller(ROLE_PERMISSIONS[user.role], "password", user.name, user.id, user.role)

    def check_password(self, name: str, password: str, address: str, again: bool = False) -> UserRecord:
        """Check a name and a password, and return the person. Raises Unauthorized and TooManyAttempts."""
        name, now = name.strip().lower()[:200], self.clock()
        with reading(self.engine) as connection:
            # Other names are nobody's, and may contain what a database cannot store.
            user = find_user(connection, name) if NAME.fullmatch(name) else None
            usable = user is not None and user.enabled and bool(user.password_hash)
            if again and user is not None and usable and self.passwords.verify_again(user.password_hash, password):
                return user
            wait = sign_in_failure.seconds_to_wait(connection, name, address, now)
        if wait > 0:
            raise TooManyAttempts(wait)
        known = user.password_hash if user is not None and usable else None
        if not self.passwords.verify(known, password[:1000]) or user is None:
            with writing(self.engine) as connection:
                sign_in_failure.record_failure(connection, name, address, self.clock())
            logger.warning("sign-in of '%s' from %s failed", name[:60], address)
            raise Unauthorized(WRONG)
        with writing(self.engine) as connection:
            sign_in_failure.forget_failures(connection, name, address)
            if self.passwords.is_outdated(user.password_hash):
                set_password_hash(connection, user.id, self.passwords.hash(password))
        if again:
            self.passwords.remember(user.password_hash, password)
        return user


def _split_basic(value: str) -> tuple[str, str]:
    try:
        decoded = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unauthorized("the Authorization header is not valid Basic authentication") from error
    name, _, password = decoded.partition(":")
    return name, password


@lru_cache(1000)
def is_foreign(address: str) -> bool:
    """Tell whether this is an address that other machines can reach."""
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        # A Unix socket, or a name in tests.
        return False
