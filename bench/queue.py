"""A queue of 1,000 runs compared with one of ten: its page, its API and `/`; then cancelling all runs at once."""

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
from app.store.worker import forget, record_heartbeat
from bench.report import Row, ratios, row, save
from bench.server_process import ServerProcess
from bench.synthetic_runs import CONFIG, FAMILIES, fill

FEW, PAGE, MANY = 10, PAGE_ROWS, 1_000
FINISHED = 2_000
ROUNDS = 40
CANCELS = 5
# With limit=10 both queues return equally many rows; without it, as many as fit on a page.
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
class Timing:
    """Milliseconds of a request: wall time at the client, and CPU time of the server."""

    wall: float
    cpu: float


def main() -> None:
    """Read the queues in turn; then cancel the long one and check that a worker starts none of its runs."""
    with ExitStack() as stack:
        servers: dict[int, ServerProcess] = {}
        for count in (FEW, PAGE, MANY):
            server = ServerProcess()
            fill(server.engine, FINISHED)
            _clear_queue(server)
            _fill_queue(server, count)
            servers[count] = stack.enter_context(server)
        timings = _measure(servers)
        deep = _deep(servers[MANY])
        with writing(servers[MANY].engine) as connection:
            forget(connection, WORKER)
        seconds, started = _cancel(servers[MANY])
    rows = list(_rows(timings))
    rows.append(row(f"{MANY:,} queued: last page / first page of /queue, CPU", deep, "<= 2"))
    rows.append(row(f"POST /api/v1/runs/cancel of {MANY:,} queued runs, s", seconds, "< 2", "max"))
    note = (
        f"a real worker stayed connected for {WATCHED_SECONDS:.0f} s after the last cancel, then trained the next run"
    )
    rows.append(row("of these, started by a worker afterward", [float(started)], "<= 0", "max", note))
    save("queue", rows, medians=_medians(timings))


# The queues ----------------------------------------------------------------------------------------------------------


def _clear_queue(server: ServerProcess) -> None:
    """Leave none of the synthetic runs in the queue, and add a fake worker that has trained the finished ones."""
    with writing(server.engine) as connection:
        connection.exec_driver_sql(
            "UPDATE run SET status = 'cancelled', attempt = 1, ended_at = created_at WHERE status NOT IN"
            " ('succeeded', 'failed', 'cancelled')"
        )
        connection.exec_driver_sql("UPDATE run SET device = ? WHERE status = 'succeeded'", (DEVICE.name,))
        beat = Heartbeat(
            worker=WORKER, beat=1, host="yard-1", pid=1, slots=2, device=DEVICE, versions={"torch": "2"}, runs=[]
        )
        record_heartbeat(connection, beat, time.time() + 3600)


def _fill_queue(server: ServerProcess, count: int) -> None:
    with writing(server.engine) as connection:
        for i in range(count):
            answer = {"family": FAMILIES[i % len(FAMILIES)], "size": "tiny", "dataset": "mnist", "seed": i}
            config = RunConfig.model_validate(CONFIG | answer | {"targets": ["digit"], "recipe": "default"})
            insert_run(connection, config, answer, 1000, time.time())


# Reading -------------------------------------------------------------------------------------------------------------

Timings = dict[int, dict[str, list[Timing]]]


def _measure(servers: dict[int, ServerProcess]) -> Timings:
    timings: Timings = {count: defaultdict(list) for count in servers}
    for turn in range(-2, ROUNDS):
        for name, path in PATHS.items():
            for count in sorted(servers, reverse=bool(turn % 2)):
                timing = _timed(servers[count], name, path, count)
                if turn >= 0:
                    timings[count][name].append(timing)
    return timings


def _timed(server: ServerProcess, name: str, path: str, count: int) -> Timing:
    cpu, wall = server.cpu_seconds(), time.perf_counter()
    body = server.get(path)
    wall = time.perf_counter() - wall
    cpu = server.cpu_seconds() - cpu
    _check(name, body.decode(), count)
    return Timing(1e3 * wall, 1e3 * cpu)


def _check(name: str, body: str, count: int) -> None:
    """Raise RuntimeError unless the answer has the right number of runs and the right total."""
    match name:
        case "GET /queue":
            is_right = len(re.findall(r'<li id="wait-', body)) == min(count, PAGE) and f"{count:,} wait" in body
        case "GET /":
            is_right = len(re.findall(r'<li data-run="', body)) == 10 and f"{count:,} queued" in body
        case _:
            timing = json.loads(body)
            rows = 10 if "limit" in name else min(count, PAGE)
            is_right = (len(timing["runs"]), timing["total"]) == (rows, count)
    if not is_right:
        raise RuntimeError(f"{name} with {count} queued runs does not show the right runs")


def _deep(server: ServerProcess) -> list[float]:
    """Ratios of the CPU times of the last full page of the queue and the first."""
    after = ""
    for _ in range(MANY // PAGE - 1):
        after = "?" + urlencode({"after": json.loads(server.get(f"/api/v1/queue{after}"))["next"]})
    timing: dict[str, list[float]] = {"": [], after: []}
    for turn in range(-2, ROUNDS):
        for place, times in timing.items():
            cpu = server.cpu_seconds()
            body = server.get(f"/queue{place}").decode()
            cpu = server.cpu_seconds() - cpu
            if len(re.findall(r'<li id="wait-', body)) != PAGE or "in " not in body:
                raise RuntimeError(f"a page of {MANY} queued runs does not show the right runs")
            if turn >= 0:
                times.append(cpu)
    return ratios(timing[after], timing[""])


# Cancelling ----------------------------------------------------------------------------------------------------------


def _cancel(server: ServerProcess) -> tuple[list[float], int]:
    """Seconds of each cancel of all queued runs, restored in between; and how many were started afterward."""
    seconds = []
    for turn in range(CANCELS):
        began = time.perf_counter()
        done = _post(server, "/api/v1/runs/cancel", {"queued": True})
        seconds.append(time.perf_counter() - began)
        if (len(done["cancelled"]), done["stopping"]) != (MANY, []):
            raise RuntimeError("not all queued runs were cancelled")
        if turn < CANCELS - 1:
            _post(server, "/api/v1/runs/restore-queued", {"runs": done["cancelled"]})
    with _worker(server):
        _wait_until(lambda: json.loads(server.get("/api/v1/workers"))["workers"], "the worker")
        time.sleep(WATCHED_SECONDS)
        # It would have started them: it starts a run that is queued now.
        body = {"family": "simple_mlp", "epochs": 1}
        run = _post(server, "/api/v1/runs", body)["id"]
        _wait_until(lambda: json.loads(server.get(f"/api/v1/runs/{run}"))["status"] == "succeeded", "the last run")
    with server.engine.connect() as connection:
        cancelled = tuple(done["cancelled"])
        places = ", ".join("?" * len(cancelled))
        query = f"SELECT count(*) FROM run WHERE id IN ({places}) AND (attempt > 0 OR status != 'cancelled')"
        return seconds, int(connection.exec_driver_sql(query, cancelled).scalar_one())


def _post(server: ServerProcess, path: str, body: dict[str, Any]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer = json.loads(answer.read())
    connection.close()
    if answer.status not in (200, 201):
        raise RuntimeError(f"{path} returned {answer.status}: {answer}")
    return answer


@contextmanager
def _worker(server: ServerProcess) -> Iterator[None]:
    """Start a recorder and a worker with two slots."""
    environment = os.environ | {
        "RUNYARD_REDIS_URL": server.settings.redis,
        "RUNYARD_DATA_DIR": str(server.folder),
        "RUNYARD_SLOTS": "2",
        "RUNYARD_DEVICE": "cpu",
    }
    body = [[sys.executable, "-m", "app.cli", "recorder"], [sys.executable, "-m", "worker"]]
    processes = [subprocess.Popen(each, env=environment, stderr=subprocess.DEVNULL) for each in body]
    try:
        yield
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(40)


def _wait_until(ready: Any, what: str) -> None:
    deadline = time.monotonic() + WORKER_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come in time")
        time.sleep(0.1)


# Figures -------------------------------------------------------------------------------------------------------------


def _medians(timings: Timings) -> dict[str, dict[str, float]]:
    return {
        f"{count:,} queued, {what} ms": {
            name: round(statistics.median(getattr(each, what) for each in of), 2) for name, of in by_name.items()
        }
        for count, by_name in timings.items()
        for what in ("wall", "cpu")
    }


def _rows(timings: Timings) -> Iterator[Row]:
    for count, by_name in timings.items():
        for name, of in by_name.items():
            yield row(f"{count:,} queued: {name}, ms", [each.wall for each in of])
            yield row(f"{count:,} queued: {name}, CPU ms of the server", [each.cpu for each in of])
    for name in PATHS:
        for short_count in (FEW, PAGE):
            differs = short_count == FEW and name in ("GET /queue", "GET /api/v1/queue")
            note = f"one shows {PAGE} rows, the other {FEW}" if differs else ""
            for what in ("cpu", "wall"):
                short, long = ([getattr(each, what) for each in timings[count][name]] for count in (short_count, MANY))
                body = f"{MANY:,} queued / {short_count} queued: {name}, {'CPU' if what == 'cpu' else 'wall time'}"
                yield row(body, ratios(long, short), "<= 2" if differs else "<= 1.25", note=note)
