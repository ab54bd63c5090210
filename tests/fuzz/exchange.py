"""One request to an ASGI application, without a server or a client in between that would refuse to send it."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

ANSWER_SECONDS: Final = 60.0
STREAM_SECONDS: Final = 0.2
"""How long an event stream is read before its reader leaves."""
PORT: Final = 8000


@dataclass(frozen=True)
class Sent:
    """A request as it would arrive: ``target`` percent-encoded, with its query; names of headers in lower case.

    ``credential``: headers that say who sends it, which reports leave out.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    credential: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        """The path as applications see it."""
        return unquote(self.target.partition("?")[0])

    def __str__(self) -> str:
        headers = "; ".join(f"{name}: {value[:200]}" for name, value in self.headers)
        return f"{self.method} {self.target[:600]} [{headers}] {self.body[:600]!r}"


@dataclass
class Received:
    """An answer; status 0 if there was none. ``error``: what the application raised, if it did."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    error: str = ""

    def header(self, name: str) -> str:
        """The first header of a name; blank without one."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name.encode()), "")

    @property
    def streams(self) -> bool:
        """Whether this is an event stream, which has no end."""
        return self.header("content-type").startswith("text/event-stream")


def scope_of(app: Any, sent: Sent) -> dict[str, Any]:
    """The scope that uvicorn makes of a request."""
    raw, _, query = sent.target.partition("?")
    headers = [*sent.headers, *sent.credential]
    if not any(name == "host" for name, _ in headers):
        headers.append(("host", f"127.0.0.1:{PORT}"))
    if sent.body and not any(name in ("content-length", "transfer-encoding") for name, _ in headers):
        headers.append(("content-length", str(len(sent.body))))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "server": ("127.0.0.1", PORT),
        "client": ("127.0.0.1", 50_000),
        "state": {},
        "app": app,
    }


async def exchange_by_port(port: int, sent: Sent) -> Received:
    """Send a request to a server on this port, byte by byte as it is, and read until it hangs up."""
    scope = scope_of(None, sent)
    query = scope["query_string"]
    lines = [b"%s %s HTTP/1.1" % (sent.method.encode(), scope["raw_path"] + (b"?" + query if query else b""))]
    lines += [b"%s: %s" % pair for pair in scope["headers"]]
    received = Received()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"\r\n".join([*lines, b"connection: close", b"", sent.body]))
        async with asyncio.timeout(ANSWER_SECONDS):
            status = 100
            while status < 200:
                # An interim answer says that the body is welcome; the answer follows.
                head = await reader.readuntil(b"\r\n\r\n")
                first, *rest = head[:-4].split(b"\r\n")
                status = int(first.split()[1])
            received.status = status
            received.headers = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in rest)]
            # Of an event stream, and after a length that was a lie, there is no end.
            async with asyncio.timeout(STREAM_SECONDS if received.streams else ANSWER_SECONDS):
                received.body = await reader.read()
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        if not received.status and _asks_for_more(sent):
            # It waits for the rest of a body, of which there is none.
            received.status = 408
        elif not received.streams:
            received.error = repr(error)
    finally:
        writer.close()
    return received


def _asks_for_more(sent: Sent) -> bool:
    return any(name in ("content-length", "transfer-encoding", "expect") for name, _ in sent.headers)


async def exchange(app: Any, sent: Sent) -> Received:
    """Send a request and read the whole answer; of an event stream only its beginning."""
    received = Received()
    left = asyncio.Event()
    pieces = [sent.body[:7], sent.body[7:]] if len(sent.body) > 7 else [sent.body]

    async def receive() -> dict[str, Any]:
        if pieces:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            received.status, received.headers = message["status"], list(message["headers"])
            if received.streams:
                asyncio.get_running_loop().call_later(STREAM_SECONDS, left.set)
        elif message["type"] == "http.response.body":
            received.body += message.get("body", b"")
            if not message.get("more_body"):
                left.set()

    try:
        await asyncio.wait_for(app(scope_of(app, sent), receive, send), ANSWER_SECONDS)
    except TimeoutError:
        received.error = f"no end within {ANSWER_SECONDS:.0f} s"
    except Exception:
        received.error = traceback.format_exc()
    return received
