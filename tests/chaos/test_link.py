"""A link that is cut or halted for one party, while others get through."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.link import Link
from tests.conftest import until


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, for Unix sockets."""
    found = Path(tempfile.mkdtemp(prefix="ryl", dir="/tmp"))
    yield found
    shutil.rmtree(found)


@pytest.fixture
def link(folder: Path) -> Iterator[Link]:
    """A link to a server that says what it hears. The file ``party`` says to which party this process belongs."""
    (folder / "party").write_text("worker")

    def echo(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    def party_of(process: int) -> str:
        assert process == os.getpid()
        return (folder / "party").read_text()

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "target"))
        listening.listen()
        serving = threading.Thread(target=serve)
        serving.start()
        found = Link(folder / "link", folder / "target", party_of)
        yield found
        found.close()
        listening.shutdown(socket.SHUT_RDWR)
        serving.join(10)


@pytest.fixture
def party(folder: Path) -> Iterator[dict[str, socket.socket]]:
    """A connection of each party that has proved to get through."""
    opened: dict[str, socket.socket] = {}
    yield opened
    for each in opened.values():
        each.close()


def connect(folder: Path, name: str) -> socket.socket:
    (folder / "party").write_text(name)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(folder / "link"))
    return connection


def echoed(connection: socket.socket, said: bytes) -> bytes:
    """What comes back; b"" if the connection breaks."""
    try:
        connection.sendall(said)
        return connection.recv(100)
    except (BrokenPipeError, ConnectionResetError):
        return b""


def test_a_cut_breaks_the_connections_of_one_party_until_it_is_mended(
    folder: Path, link: Link, party: dict[str, socket.socket]
) -> None:
    for name in ("server", "worker"):
        party[name] = connect(folder, name)
        assert echoed(party[name], b"1") == b"1"
    link.cut("worker")
    assert echoed(party["worker"], b"2") == b""
    assert echoed(party["server"], b"2") == b"2"
    with connect(folder, "worker") as again:
        assert echoed(again, b"3") == b""
    assert link.struck == {"worker": 2}
    link.mend("worker")
    with connect(folder, "worker") as again:
        assert echoed(again, b"4") == b"4"


def test_a_halt_holds_what_one_party_says_and_then_lets_all_of_it_through(
    folder: Path, link: Link, party: dict[str, socket.socket]
) -> None:
    for name in ("server", "worker"):
        party[name] = connect(folder, name)
        assert echoed(party[name], b"1") == b"1"
    link.halt("worker")
    party["worker"].sendall(b"2")
    until(lambda: link.struck.get("worker"))
    assert echoed(party["server"], b"2") == b"2"
    party["worker"].setblocking(False)
    with pytest.raises(BlockingIOError):
        party["worker"].recv(100)
    party["worker"].settimeout(10)
    link.mend("worker")
    assert party["worker"].recv(100) == b"2"
    assert "server" not in link.struck
