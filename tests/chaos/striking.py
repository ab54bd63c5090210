"""Lets faults strike a yard, and sees whether they did: a fault that nobody saw fire does not count."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psutil

from tests.chaos.fault import Fault
from tests.chaos.history import History
from tests.chaos.yard import Yard, spools_of, wait_until

Seen = tuple[bool, str]
"""Whether a fault fired, and what shows it."""

PATIENCE_SECONDS = 12.0
"""How long a part that is down may take to be there again, before a fault is given up that is to strike it."""


@dataclass
class Lasting:
    """A fault that has begun. ``end`` ends it and says whether it was seen."""

    fault: Fault
    until: float
    end: Callable[[], Seen]


class Striker:
    """Begins and ends faults; ``fired`` counts those that were seen, by kind and target."""

    def __init__(self, yard: Yard, history: History) -> None:
        self.yard = yard
        self.history = history
        self.fired: dict[str, int] = {}
        self._lasting: list[Lasting] = []

    def strike(self, fault: Fault) -> None:
        """Begin a fault. A lasting one ends by itself in ``rest``, and before another one strikes the same target."""
        for earlier in [each for each in self._lasting if each.fault.target == fault.target]:
            self._end(earlier)
        begin: dict[str, Callable[[Fault], Seen | Callable[[], Seen]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "cut link": self._cut_link,
            "halt link": self._halt_link,
            "full disk": self._fill_disk,
            "torn spool": self._tear_spool,
            "wiped": self._wipe_redis,
            "clock apart": self._set_clock,
        }
        found = begin[fault.kind](fault)
        if callable(found):
            self._lasting.append(Lasting(fault, time.monotonic() + fault.seconds, found))
        else:
            self._note(fault, found)

    def rest(self, seconds: float) -> None:
        """Wait, and end the faults whose time is over."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for each in [each for each in self._lasting if each.until <= now]:
                self._end(each)
            if now >= until:
                return
            time.sleep(min([until - now, *(max(0.0, each.until - now) for each in self._lasting)]))

    def end_all(self) -> None:
        """End every fault when its time is over."""
        while self._lasting:
            self.rest(max(0.0, min(each.until for each in self._lasting) - time.monotonic()))

    def _end(self, lasting: Lasting) -> None:
        self._lasting.remove(lasting)
        self._note(lasting.fault, lasting.end())

    def _note(self, fault: Fault, seen: Seen) -> None:
        self.history.fault(str(fault), *seen)
        if seen[0]:
            name = f"{fault.kind} {fault.target}"
            self.fired[name] = self.fired.get(name, 0) + 1

    def _find(self, target: str) -> list[psutil.Process]:
        """The processes of a target, as soon as it runs."""
        if target == "postgresql":
            return self.yard.postgresql_processes()
        found: list[psutil.Process] = []

        def runs() -> bool:
            process = self.yard.find(target)
            if process is not None:
                found.append(process)
            self.rest(0)
            return bool(found)

        wait_until(runs, PATIENCE_SECONDS)
        return found

    def _start_redis(self) -> None:
        """Start Redis; on a disk that is full now, as soon as it no longer is."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.yard.start_redis()
                return
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                self.rest(0.2)

    # Kinds -----------------------------------------------------------------------------------------------------------

    def _kill(self, fault: Fault) -> Seen:
        if fault.target == "redis":
            status = self.yard.kill_redis()
            self._start_redis()
            return status == -9, f"exit status {status}"
        if fault.target == "postgresql":
            assert self.yard.postgresql is not None
            killed = self.yard.kill_postgresql()
            self.yard.postgresql.start()
            return killed > 0, f"{killed} processes"
        for process in self._find(fault.target):
            process.kill()
            gone = wait_until(partial(_is_gone, process), 5)
            return gone, f"process {process.pid} {'is gone' if gone else 'lives on'}"
        return False, "was not running"

    def _freeze(self, fault: Fault) -> Seen | Callable[[], Seen]:
        processes = self._find(fault.target)
        if not processes:
            return False, "was not running"
        try:
            for process in processes:
                process.suspend()
            stopped = wait_until(lambda: processes[0].status() == psutil.STATUS_STOPPED, 2)
        except psutil.NoSuchProcess:
            stopped = False

        def thaw() -> Seen:
            for process in processes:
                if not _is_gone(process):
                    process.resume()
            return stopped, f"process {processes[0].pid} {'stood still' if stopped else 'did not stop'}"

        return thaw

    def _cut_link(self, fault: Fault) -> Callable[[], Seen]:
        return self._break_link(fault, "cut")

    def _halt_link(self, fault: Fault) -> Callable[[], Seen]:
        return self._break_link(fault, "halt")

    def _break_link(self, fault: Fault, how: str) -> Callable[[], Seen]:
        party, _, other = fault.target.partition(" to ")
        link = self.yard.links[other]
        before = link.struck.get(party, 0)
        (link.cut if how == "cut" else link.halt)(party)

        def mend() -> Seen:
            struck = link.struck.get(party, 0) - before
            link.mend(party)
            return struck > 0, f"{struck} connections"

        return mend

    def _fill_disk(self, fault: Fault) -> Callable[[], Seen]:
        filler = self.yard.data / "filler"
        full = False
        with open(filler, "ab", buffering=0) as file:
            for size in (2**20, 2**12):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError as error:
                    full = error.errno == errno.ENOSPC

        def empty() -> Seen:
            filler.unlink()
            return full, "no space left on device" if full else "the disk did not fill"

        return empty

    def _tear_spool(self, fault: Fault) -> Seen:
        """Kill a trainer, with the beginning of a record in its spool, as if it had died while it wrote that."""
        found, worker = self._find("trainer"), self.yard.find("worker")
        if not found or worker is None:
            return False, "was not running"
        trainer = found[0]
        try:
            # Its worker reads the spool as soon as it is dead.
            worker.suspend()
            trainer.suspend()
            newest = max(spools_of(trainer), key=lambda path: path.stat().st_mtime_ns, default=None)
            trainer.kill()
            if newest is None:
                return False, "had no spool"
            record = struct.pack("<QBI", 2**32, 6, 1000) + b"points" + bytes(1000)
            with open(newest, "ab") as file:
                file.write(record[: fault.amount])
            return True, f"{newest.name} ends with {fault.amount} bytes of {len(record)}"
        except (psutil.NoSuchProcess, OSError) as error:
            return False, f"had ended, or no byte was written ({error})"
        finally:
            if not _is_gone(worker):
                worker.resume()

    def _wipe_redis(self, fault: Fault) -> Seen:
        status = self.yard.kill_redis()
        files = [path for path in self.yard.redis_folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        shutil.rmtree(self.yard.redis_folder)
        os.mkdir(self.yard.redis_folder)
        self._start_redis()
        return status == -9 and size > 0, f"{size:,} bytes in {len(files)} files"

    def _set_clock(self, fault: Fault) -> Callable[[], Seen]:
        clocks = self.yard.clocks
        assert clocks is not None
        before = clocks.reads(fault.target)
        clocks.set(fault.target, fault.amount)

        def right() -> Seen:
            clocks.set(fault.target, 0)
            reads = clocks.reads(fault.target) - before
            return reads > 0, f"read {reads} times"

        return right


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
