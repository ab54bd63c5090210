"""A queue of 1,000 runs against one of ten, its page, its API and `/`; then all cancelled at once, and none starts."""

from __future__ import annotations

import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.contract.events import DeviceInfo, Heartbeat
from app.contract.spec import RunConfig
from app.routes.queue import PAGE_ROWS
from app.store.database import writing
from app.store.run import insert_run
from app.store.worker import forget, hear
from bench.filling import CONFIG, FAMILIES, fill
from bench.record import Row, keep, ratios, row
from bench.served import Served

FEW, PAGE, MANY = 10, PAGE_ROWS, 1_000
FINISHED = 2_000
ROUNDS = 40
CANCELS = 5
# As many rows for both, and as many as a page holds.
PATHS = {
    "GET /queue": "/queue",
    "GET /api/v1/queue": "/api/v1/queue",
    "GET /api/v1/queue?limit=10": "/api/v1/queue?limit=10",
    "GET /": "/",
}
WATCHED_SECONDS = 10.0
WORKER, DEVICE = "yard-1", DeviceInfo(kind="cuda", name="made up", memory_bytes=2**36, cores=8)
WORKER_SECONDS = 120.0


@dataclass(frozen=True)
class Took:
    """Milliseconds of a request: at the client, and of CPU in the server's process."""

    wall: float
    cpu: float


def main() -> None:
    """Read two queues in turn; then cancel the long one, and see that a worker finds nothing to do."""
    with ExitStack() as stack:
        yards: dict[int, Served] = {}
        for many in (FEW, PAGE, MANY):
            served = Served()
            fill(served.engine, FINISHED)
            _clear(served)
            _queue(served, many)
            yards[many] = stack.enter_context(served)
        took = _measure(yards)
        deep = _deep(yards[MANY])
        with writing(yards[MANY].engine) as connection:
            forget(connection, WORKER)
        seconds, started = _cancel(yards[MANY])
    rows = list(_rows(took))
    rows.append(row(f"{MANY:,} queued: last page / first page of /queue, CPU", deep, "<= 2"))
    rows.append(row(f"POST /api/v1/runs/cancel of {MANY:,} that wait, s", seconds, "< 2", "max"))
    note = (
        f"a real worker connected for {WATCHED_SECONDS:.0f} s after the last cancel, and then trained the run that came"
    )
    rows.append(row("of these, started by a worker afterwards", [float(started)], "<= 0", "max", note))
    keep("queue", rows, medians=_medians(took))


# The queues ----------------------------------------------------------------------------------------------------------


def _clear(served: Served) -> None:
    """No run of the filled ones waits, and a worker that is only said to be there has trained those that finished."""
    with writing(served.engine) as connection:
        connection.exec_driver_sql(
            "UPDATE run SET status = 'cancelled', attempt = 1, ended_at = created_at WHERE status NOT IN"
            " ('succeeded', 'failed', 'cancelled')"
        )
        connection.exec_driver_sql("UPDATE run SET device = ? WHERE status = 'succeeded'", (DEVICE.name,))
        beat = Heartbeat(
            worker=WORKER, beat=1, host="yard-1", pid=1, slots=2, device=DEVICE, versions={"torch": "2"}, runs=[]
        )
        hear(connection, beat, time.time() + 3600)


def _queue(served: Served, many: int) -> None:
    with writing(served.engine) as connection:
        for i in range(many):
            said = {"family": FAMILIES[i % len(FAMILIES)], "size": "tiny", "dataset": "mnist", "seed": i}
            config = RunConfig.model_validate(CONFIG | said | {"targets": ["digit"], "recipe": "default"})
            insert_run(connection, config, said, 1000, time.time())


# Reading -------------------------------------------------------------------------------------------------------------

Taken = dict[int, dict[str, list[Took]]]


def _measure(yards: dict[int, Served]) -> Taken:
    took: Taken = {many: defaultdict(list) for many in yards}
    for turn in range(-2, ROUNDS):
        for name, path in PATHS.items():
            for many in sorted(yards, reverse=bool(turn % 2)):
                found = _timed(yards[many], name, path, many)
                if turn >= 0:
                    took[many][name].append(found)
    return took


def _timed(served: Served, name: str, path: str, many: int) -> Took:
    cpu, wall = served.cpu_seconds(), time.perf_counter()
    body = served.get(path)
    wall = time.perf_counter() - wall
    cpu = served.cpu_seconds() - cpu
    _check(name, body.decode(), many)
    return Took(1e3 * wall, 1e3 * cpu)


def _check(name: str, words: str, many: int) -> None:
    """The answer holds as many runs as it should, and counts them all."""
    match name:
        case "GET /queue":
            right = len(re.findall(r'<li id="wait-', words)) == min(many, PAGE) and f"{many:,} wait" in words
        case "GET /":
            right = len(re.findall(r'<li data-run="', words)) == 10 and f"{many:,} queued" in words
        case _:
            found = json.loads(words)
            rows = 10 if "limit" in name else min(many, PAGE)
            right = (len(found["runs"]), found["total"]) == (rows, many)
    if not right:
        raise RuntimeError(f"{name} with {many} queued runs does not show what it should")


def _deep(served: Served) -> list[float]:
    """CPU of the last whole page of the queue over that of the first."""
    after = ""
    for _ in range(MANY // PAGE - 1):
        after = "?" + urlencode({"after": json.loads(served.get(f"/api/v1/queue{after}"))["next"]})
    found: dict[str, list[float]] = {"": [], after: []}
    for turn in range(-2, ROUNDS):
        for place, times in found.items():
            cpu = served.cpu_seconds()
            body = served.get(f"/queue{place}").decode()
            cpu = served.cpu_seconds() - cpu
            if len(re.findall(r'<li id="wait-', body)) != PAGE or "in " not in body:
                raise RuntimeError(f"a page of {MANY} queued runs does not show what it should")
            if turn >= 0:
                times.append(cpu)
    return ratios(found[after], found[""])


# Cancelling ----------------------------------------------------------------------------------------------------------


def _cancel(served: Served) -> tuple[list[float], int]:
    """Seconds of each cancel of all that waits, brought back in between; and how many were started afterwards."""
    seconds = []
    for turn in range(CANCELS):
        began = time.perf_counter()
        done = _post(served, "/api/v1/runs/cancel", {"queued": True})
        seconds.append(time.perf_counter() - began)
        if (len(done["cancelled"]), done["stopping"]) != (MANY, []):
            raise RuntimeError("not all that waited was cancelled")
        if turn < CANCELS - 1:
            _post(served, "/api/v1/runs/restore-queued", {"runs": done["cancelled"]})
    with _worker(served):
        _until(lambda: json.loads(served.get("/api/v1/workers"))["workers"], "the worker")
        time.sleep(WATCHED_SECONDS)
        # That it would have started them: it starts what comes now.
        body = {"family": "simple_mlp", "epochs": 1}
        run = _post(served, "/api/v1/runs", body)["id"]
        _until(lambda: json.loads(served.get(f"/api/v1/runs/{run}"))["status"] == "succeeded", "the last run")
    with served.engine.connect() as connection:
        cancelled = tuple(done["cancelled"])
        places = ", ".join("?" * len(cancelled))
        query = f"SELECT count(*) FROM run WHERE id IN ({places}) AND (attempt > 0 OR status != 'cancelled')"
        return seconds, int(connection.exec_driver_sql(query, cancelled).scalar_one())


def _post(served: Served, path: str, body: dict[str, Any]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    if answer.status not in (200, 201):
        raise RuntimeError(f"{path} was answered with {answer.status}: {said}")
    return said


@contextmanager
def _worker(served: Served) -> Iterator[None]:
    """A recorder and a worker with two slots."""
    environment = os.environ | {
        "RUNYARD_REDIS_URL": served.settings.redis,
        "RUNYARD_DATA_DIR": str(served.folder),
        "RUNYARD_SLOTS": "2",
        "RUNYARD_DEVICE": "cpu",
    }
    words = [[sys.executable, "-m", "app.cli", "recorder"], [sys.executable, "-m", "worker"]]
    processes = [subprocess.Popen(each, env=environment, stderr=subprocess.DEVNULL) for each in words]
    try:
        yield
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(40)


def _until(ready: Any, what: str) -> None:
    until = time.monotonic() + WORKER_SECONDS
    while not ready():
        if time.monotonic() > until:
            raise RuntimeError(f"{what} did not come in time")
        time.sleep(0.1)


# Figures -------------------------------------------------------------------------------------------------------------


def _medians(took: Taken) -> dict[str, dict[str, float]]:
    return {
        f"{many:,} queued, {what} ms": {
            name: round(statistics.median(getattr(each, what) for each in of), 2) for name, of in by_name.items()
        }
        for many, by_name in took.items()
        for what in ("wall", "cpu")
    }


def _rows(took: Taken) -> Iterator[Row]:
    for many, by_name in took.items():
        for name, of in by_name.items():
            yield row(f"{many:,} queued: {name}, ms", [each.wall for each in of])
            yield row(f"{many:,} queued: {name}, CPU ms of the server", [each.cpu for each in of])
    for name in PATHS:
        for fewer in (FEW, PAGE):
            more = fewer == FEW and name in ("GET /queue", "GET /api/v1/queue")
            note = f"{PAGE} rows are shown of the one and {FEW} of the other" if more else ""
            for what in ("cpu", "wall"):
                short, long = ([getattr(each, what) for each in took[many][name]] for many in (fewer, MANY))
                words = f"{MANY:,} queued / {fewer} queued: {name}, {'CPU' if what == 'cpu' else 'wall time'}"
                yield row(words, ratios(long, short), "<= 2" if more else "<= 1.25", note=note)
