"""A way to a Unix socket that can be cut or halted for one party: for processes with one name, and nobody else."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class _Connection:
    """Two sockets, and whose process opened one of them."""

    def __init__(self, party: str, client: socket.socket, server: socket.socket) -> None:
        self.party = party
        self.sockets = (client, server)

    def cut(self) -> None:
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Link:
    """Passes on what comes to the socket ``path`` to the socket ``target``, and back.

    ``party_of``: the party to which a process belongs, by its ID. While a link is cut, its connections break, and new
    ones break at once. While it is halted, they hold, and nothing gets through.
    """

    def __init__(self, path: Path, target: Path, party_of: Callable[[int], str]) -> None:
        self._target = target
        self._party_of = party_of
        self._cut: set[str] = set()
        self._moving: dict[str, threading.Event] = {}
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.struck: dict[str, int] = {}
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        os.chmod(path, 0o777)
        self._listening.listen(200)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self, party: str) -> None:
        """Cut the link of a party."""
        with self._lock:
            self._cut.add(party)
            broken = [each for each in self._connections if each.party == party]
            self.struck[party] = self.struck.get(party, 0) + len(broken)
        for each in broken:
            each.cut()

    def halt(self, party: str) -> None:
        """Let nothing of a party through."""
        self._gate(party).clear()

    def mend(self, party: str) -> None:
        """End whatever is wrong with the link of a party."""
        with self._lock:
            self._cut.discard(party)
        self._gate(party).set()

    def close(self) -> None:
        """Break all connections and take no more."""
        self._closed.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            left, gates = list(self._connections), list(self._moving.values())
        for each in left:
            each.cut()
        for gate in gates:
            gate.set()
        for thread in list(self._threads):
            thread.join(10)

    def _gate(self, party: str) -> threading.Event:
        with self._lock:
            if party not in self._moving:
                self._moving[party] = threading.Event()
                self._moving[party].set()
            return self._moving[party]

    def _note(self, party: str) -> None:
        with self._lock:
            self.struck[party] = self.struck.get(party, 0) + 1

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            process = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            thread = threading.Thread(target=self._serve, args=(client, self._party_of(process)), daemon=True)
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()

    def _serve(self, client: socket.socket, party: str) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            if party in self._cut:
                self._note(party)
                return
            try:
                server.connect(str(self._target))
            except OSError:
                return
            connection = _Connection(party, client, server)
            with self._lock:
                self._connections.add(connection)
            try:
                self._pass_on(party, client, server)
            finally:
                with self._lock:
                    self._connections.discard(connection)

    def _pass_on(self, party: str, client: socket.socket, server: socket.socket) -> None:
        gate = self._gate(party)
        other = {client: server, server: client}
        while not self._closed.is_set() and party not in self._cut:
            for source in select.select([client, server], [], [])[0]:
                try:
                    data = source.recv(65536)
                    if not gate.is_set():
                        self._note(party)
                        gate.wait()
                    if not data:
                        return
                    other[source].sendall(data)
                except OSError:
                    return
