"""Hosts of a network on this machine: each has an address, a name, processes and a folder of its own.

A host is a network, mount, process and UTS namespace. Where its neighbors keep their files, it sees an empty folder, so
nothing but the network can bring anything from one host to another.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tests.conftest import until

PREFIX = "ry"
# The first process of a host: it adopts what loses its parent, and all others end with it.
INIT = """
import signal, subprocess, sys
subprocess.run(["hostname", sys.argv[1]], check=True)
for folder in sys.argv[2:]:
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""
UNSHARE = ("unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def why_no_hosts() -> str:
    """Why there can be no hosts here; "" if there can."""
    if os.getuid() != 0 or any(
        shutil.which(name) is None for name in ("ip", "unshare", "nsenter", "setpriv", "hostname")
    ):
        return "hosts of their own need root, iproute2 and util-linux"
    needed = "mount -t tmpfs none /mnt; ip link add ry0 type bridge; ip link add ry1 type veth"
    words = [*UNSHARE, "--net", "sh", "-ec", needed]
    tried = subprocess.run(words, capture_output=True, text=True, check=False)
    return f"this machine has no namespaces: {tried.stderr.strip()}" if tried.returncode else ""


class Host:
    """One host. ``folder``: where its processes write."""

    def __init__(self, name: str, network: Network, number: int) -> None:
        self.name = name
        self.address = f"{network.subnet}.{number}"
        self.folder = network.folder / name
        self._network = network
        self._namespace = f"{network.bridge}{number}"
        self._outer = f"{self._namespace}o"
        self._init: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    # The machine ------------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start its first process; those that it had before must be gone."""
        assert self._init is None
        hidden = [str(each.folder) for each in self._network.hosts.values() if each is not self]
        # Tests that are killed leave no host behind.
        line = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self._namespace, *UNSHARE]
        self._init = subprocess.Popen(
            [*line, sys.executable, "-c", INIT, self.name, *hidden],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == "up\n"

    def die(self) -> None:
        """Kill every process of the host at once, as a power cut does; its files stay."""
        assert self._init is not None
        for pid in self._pids():
            if int(_status(pid)["NSpid"].split()[-1]) == 1:
                os.kill(pid, signal.SIGKILL)
        self._init.wait(20)
        for each in self._started:
            each.wait(20)
        self._started.clear()
        assert self._init.stdout is not None
        self._init.stdout.close()
        self._init = None

    def freeze(self) -> None:
        """Stop every process but the first, as a virtual machine that is paused."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue every process."""
        self._signal(signal.SIGCONT)
        # What started them from outside stops with them, and would never hear of their end.
        for each in self._started:
            if each.poll() is None:
                each.send_signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for pid in self._pids():
            if int(_status(pid)["NSpid"].split()[-1]) != 1:
                # It may have ended meanwhile.
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _pids(self) -> list[int]:
        """Its processes, as this machine numbers them."""
        assert self._init is not None
        # The only child of `unshare` is the host's first process.
        child = until(lambda: _children(self._init.pid) if self._init else None, what=f"{self.name} is up")[0]
        here = os.readlink(f"/proc/{child}/ns/pid")
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _namespace_of(pid) == here]

    # Its link ---------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Unplug its cable at the other end: packets vanish, and nobody learns why."""
        _ip("link", "set", self._outer, "nomaster")

    def mend(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self._outer, "master", self._network.bridge)

    def connect(self) -> None:
        """Create its interface and link."""
        _ip("netns", "add", self._namespace)
        _ip("link", "add", self._outer, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        _ip("link", "set", self._outer, "master", self._network.bridge, "up")
        inside = ("-n", self._namespace)
        _ip(*inside, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")

    def remove(self) -> None:
        """End it with all its processes."""
        if self._init is not None:
            self.thaw()
            self.die()
        for what in (("link", self._outer), ("netns", self._namespace)):
            subprocess.run(["ip", what[0], "del", what[1]], stderr=subprocess.DEVNULL, check=False)

    # Its programs -----------------------------------------------------------------------------------------------------

    def command(self, *words: str) -> list[str]:
        """The command line that runs a command on this host."""
        init = _children(self._init.pid)[0] if self._init else 0
        return ["nsenter", "--target", str(init), "--net", "--uts", "--mount", "--pid", *words]

    def start(
        self, *words: str, output: IO[bytes] | int, env: Mapping[str, str], cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program that goes on; it ends with its host."""
        started = subprocess.Popen(
            self.command(*words), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(env), cwd=cwd
        )
        self._started.append(started)
        return started

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, text: str = "", seconds: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            self.command(*words), env=env, input=text, capture_output=True, text=True, timeout=seconds, check=False
        )


class Network:
    """A bridge with hosts. This machine has the address ``subnet``.254 in it."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        number = os.getpid()
        # Another run of the tests on this machine has a network of its own.
        self.bridge = f"{PREFIX}{number:x}"
        self.subnet = f"10.{200 + number // 250 % 50}.{number % 250}"
        self.hosts = {name: Host(name, self, index) for index, name in enumerate(names, 1)}

    def up(self) -> None:
        """Create it and boot its hosts."""
        _remove_leftovers()
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("addr", "add", f"{self.subnet}.254/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        for host in self.hosts.values():
            host.folder.mkdir()
            host.connect()
        for host in self.hosts.values():
            host.boot()

    def down(self) -> None:
        """Remove it with everything on it."""
        for host in self.hosts.values():
            host.remove()
        subprocess.run(["ip", "link", "del", self.bridge], stderr=subprocess.DEVNULL, check=False)


@contextmanager
def network(*names: str) -> Iterator[Network]:
    """A network of hosts with these names."""
    # Not below pytest's folder: paths of Unix sockets are short.
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    found = Network(folder, names)
    try:
        found.up()
        yield found
    finally:
        found.down()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove networks of tests that were killed."""
    for line in subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout.splitlines():
        if (found := re.match(rf"{PREFIX}([0-9a-f]+)\s", line)) and not Path(f"/proc/{int(found[1], 16)}").exists():
            for path in Path("/run/netns").glob(f"{PREFIX}{found[1]}[0-9]"):
                subprocess.run(["ip", "netns", "del", path.name], check=False)
            subprocess.run(["ip", "link", "del", f"{PREFIX}{found[1]}"], check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        return []


def _namespace_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:  # it has just ended
        return ""


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return {"NSpid": "0"}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
