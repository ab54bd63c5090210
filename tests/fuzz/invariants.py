"""What holds for every request, whatever it is: no fault, no more than the caller may, nothing changed by a refusal."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import Engine, event, text

from app.store.database import reading
from app.web.access_table import Table
from app.web.security import HEADERS
from tests.app.web.walk import address, leaves, matched
from tests.fuzz.callers import Sender
from tests.fuzz.exchange import Received, Sent

FAULTS: Final = frozenset({500, 502, 504})
"""501 says that MLflow can do more, 503 and 507 that something is down or full: all three are documented."""
DENIALS: Final = frozenset({303, 400, 401, 403, 404, 413, 421, 429})
COUNTED: Final = frozenset({"sign_in_failure", "sign_in_session", "api_token"})
"""Tables in which a refused request may note that it came."""
INVALID: Final = b"Invalid HTTP request received."
"""What uvicorn answers before an application sees the request."""
COUNTER: Final = "commit_counter"
"""Numbers of commits, of which some may have changed nothing."""
_WRITES: Final = re.compile(
    r'\s*(?:INSERT(?: OR \w+)? INTO|UPDATE(?: OR \w+)?|DELETE FROM|REPLACE INTO)\s+"?(\w+)', re.I
)
_MARKUP: Final = re.compile(rb"<script>x|<img src=x|onerror=x>")
"""What values.TEXTS would do to a page that does not escape them."""
_SECRET_SHAPES: Final = re.compile(rb"\bry[s]?_[0-9A-Za-z_-]{40,}|\$argon2id\$")


class Writes:
    """The tables in which transactions of this process have changed rows."""

    def __init__(self, engine: Engine) -> None:
        self._pending: dict[int, tuple[int, set[str]]] = {}
        self._committed: set[str] = set()
        self._engine = engine
        event.listen(engine, "before_cursor_execute", self._execute)
        event.listen(engine, "commit", self._commit)
        event.listen(engine, "rollback", self._rollback)

    def _execute(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if (found := _WRITES.match(statement)) and found[1].lower() != COUNTER:
            raw = connection.connection.dbapi_connection
            self._pending.setdefault(id(raw), (raw.total_changes, set()))[1].add(found[1].lower())

    def _commit(self, connection: Any) -> None:
        raw = connection.connection.dbapi_connection
        before, tables = self._pending.pop(id(raw), (raw.total_changes, set()))
        # Threads that work by themselves are no part of a request.
        if raw.total_changes > before and threading.current_thread().name.startswith(("AnyIO", "fuzz")):
            self._committed |= tables

    def _rollback(self, connection: Any) -> None:
        self._pending.pop(id(connection.connection.dbapi_connection), None)

    def taken(self) -> set[str]:
        """The tables changed since the last call."""
        found = set(self._committed)
        self._committed.clear()
        return found

    def close(self) -> None:
        """Stop watching."""
        event.remove(self._engine, "before_cursor_execute", self._execute)
        event.remove(self._engine, "commit", self._commit)
        event.remove(self._engine, "rollback", self._rollback)


class Errors(logging.Handler):
    """What is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message with its exception."""
        exception = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        self.seen.append(f"{record.name}: {record.getMessage()[:500]} {exception[-1500:]}")

    def taken(self) -> list[str]:
        """The messages since the last call."""
        found, self.seen = self.seen, []
        return found


class Invariants:
    """Checks answers. ``secrets``: what nobody but administrators may ever read."""

    def __init__(self, app: Any, engine: Engine, secrets: Iterable[str]) -> None:
        self._routes = list(leaves(app))
        self._table = Table()
        self._engine = engine
        self._given = [each.encode() for each in secrets]
        self.writes = Writes(engine)
        self.errors = Errors()
        self._pattern: re.Pattern[bytes] | None = None
        logging.getLogger().addHandler(self.errors)
        self.refresh()

    def close(self) -> None:
        """Stop watching."""
        logging.getLogger().removeHandler(self.errors)
        self.writes.close()

    def refresh(self, more: Iterable[str] = ()) -> None:
        """Read the secrets that the database has by now; ``more``: those that it has not."""
        self._given += [each.encode() for each in more]
        found = set(self._given)
        with reading(self._engine) as connection:
            for query in (
                "SELECT password_hash FROM user_account",
                "SELECT hash FROM api_token",
                "SELECT hash FROM sign_in_session",
                "SELECT previous_hash FROM sign_in_session",
                "SELECT secret FROM webhook",
                "SELECT hash FROM welcome_code",
            ):
                found |= {str(value).encode() for value in connection.execute(text(query)).scalars() if value}
        self._pattern = re.compile(b"|".join(sorted(re.escape(each) for each in found if len(each) > 8)))

    def route_of(self, sent: Sent) -> Any:
        """The route that the router takes; None without one."""
        return matched(self._routes, "GET" if sent.method == "HEAD" else sent.method, sent.path)

    def may(self, sender: Sender, sent: Sent, route: Any) -> bool:
        """Whether the access table lets this sender reach the route that the router takes."""
        if route is None:
            return True
        method = "GET" if sent.method == "HEAD" else sent.method
        entry = self._table.find(method, address(route))
        return entry is not None and (entry.need == "open" or entry.need in sender.permissions)

    def broken(self, sender: Sender, sent: Sent, received: Received, route: Any) -> list[str]:
        """What an answer breaks, in words."""
        found = []
        written, errors = self.writes.taken(), self.errors.taken()
        if received.status in FAULTS or not received.status or received.error:
            found.append(f"status {received.status} {received.error[-1500:]}")
        elif errors:
            found += [f"logged: {each}" for each in errors]
        if not self.may(sender, sent, route) and not is_denial(received):
            found.append(f"the access table denies this, but the answer is {received.status}")
        if is_refusal(received) and written - COUNTED:
            found.append(f"refused with {received.status}, but wrote {sorted(written - COUNTED)}")
        found += faults_of_headers(received)
        if received.header("content-type").startswith("text/html") and (markup := _MARKUP.search(received.body)):
            found.append(f"shows the markup of a request: {markup[0]!r}")
        if not sender.trusted:
            found += self._secrets_in(sent, received)
        return found

    def _secrets_in(self, sent: Sent, received: Received) -> list[str]:
        assert self._pattern is not None
        own = b"\n".join(value.encode("latin-1") for _, value in (*sent.headers, *sent.credential)) + sent.body
        texts = [received.body, *(value for name, value in received.headers if name != b"set-cookie")]
        found = []
        for content in texts:
            shown = [*self._pattern.finditer(content), *_SECRET_SHAPES.finditer(content)]
            found += [
                f"shows a secret: {each[0][:12]!r}…"
                for each in shown
                if each[0] not in own and self._is_new(each[0], sent)
            ]
        return found

    def _is_new(self, secret: bytes, sent: Sent) -> bool:
        # Whoever creates a token or signs in is shown its secret, once.
        shows = sent.method == "POST" and re.search(r"/tokens$|/sign-in$", sent.path) and secret.startswith(b"ry")
        return not shows


def is_refusal(received: Received) -> bool:
    """Whether an answer says that nothing was done: an error, or a redirect that carries its sentence."""
    query = dict(parse_qsl(urlsplit(received.header("location")).query))
    return received.status >= 400 or (received.status in (302, 303) and "refused" in query and "act" not in query)


def is_denial(received: Received) -> bool:
    """Whether an answer gives nothing away: an error, or the way to the sign-in form."""
    if received.status == 303:
        return received.header("location").partition("?")[0] == "/sign-in"
    return received.status in DENIALS


def faults_of_headers(received: Received) -> list[str]:
    """What is wrong with the headers of an answer."""
    found: list[str] = []
    if received.body == INVALID or received.status == 408:
        return found
    for name, value in received.headers:
        if re.search(rb"[\r\n\0]", name + value):
            found.append(f"a line break in the header {name!r}")
    location = received.header("location")
    if location and not re.match(r"/(?![/\\])|http://127\.0\.0\.1:8000/", location):
        found.append(f"leads to another site: {location[:200]}")
    if received.status and received.status < 500:
        found += [f"without {name}" for name in HEADERS if not received.header(name)]
    length = received.header("content-length")
    if length and received.body and int(length) != len(received.body):
        found.append(f"content-length {length}, but {len(received.body)} bytes")
    return found
