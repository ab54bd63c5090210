"""Real ports for tests: servers that answer as a test says, and a connection that breaks where a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn
from fastapi import FastAPI

from tests.conftest import until

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(server: FastAPI, port: int = 0) -> Iterator[str]:
    """The address of the application on this port; 0: a free one."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        running = uvicorn.Server(uvicorn.Config(server, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            until(lambda: running.started, what="the server has started")
            yield address
        finally:
            running.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the server has not stopped"


@contextmanager
def odd_server() -> Iterator[tuple[str, list[Answer], list[dict[str, str]]]]:
    """Address of a server that answers as the test says, one answer a request; and the headers that it was sent."""
    answers: list[Answer] = []
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            heard.append({name.lower(): value for name, value in self.headers.items()})
            answers.pop(0)(self)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", answers, heard
        finally:
            server.shutdown()
            thread.join(10)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """No answer: the connection ends."""
    handler.rfile.read(int(handler.headers.get("content-length", 0)))
    handler.close_connection = True


def say(body: bytes, status: int = 200) -> Answer:
    """This answer."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("content-length", 0)))
        handler.send_response(status)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def breaking(address: str, *cuts: int) -> Iterator[tuple[str, list[int]]]:
    """The address of a way to a server on which each connection breaks after so many bytes of what the server says.

    After the last of ``cuts`` connections hold. Also the number of bytes that each connection has let through so far.
    """
    host, _, port = address.removeprefix("http://").partition(":")
    left = list(cuts)
    passed: list[int] = []
    threads: list[threading.Thread] = []
    stopped = threading.Event()

    def pass_on(source: socket.socket, target: socket.socket, limit: int | None, at: int | None) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if limit is not None:
                    data = data[: max(0, limit - passed[at or 0])]
                if at is not None:
                    passed[at] += len(data)
                if data:
                    target.sendall(data)
                if limit is not None and passed[at or 0] >= limit:
                    break
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            if stopped.is_set():
                client.close()
                return
            server = socket.create_connection((host, int(port)))
            passed.append(0)
            limit = left.pop(0) if left else None
            pair = [(client, server, None, None), (server, client, limit, len(passed) - 1)]
            for arguments in pair:
                thread = threading.Thread(target=pass_on, args=arguments)
                thread.start()
                threads.append(thread)
            open_sockets.extend((client, server))

    open_sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        own = listening.getsockname()
        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{own[1]}", passed
        finally:
            stopped.set()
            # accept() wakes for a last visitor.
            with suppress(OSError):
                socket.create_connection(own).close()
            accepting.join(10)
            for each in open_sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)
            for each in open_sockets:
                each.close()
