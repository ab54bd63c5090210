"""Rounds of requests: each has a yard of its own, filled anew, and the same requests for the same seed."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx2
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.testclient import TestClient

from tests.app.exported import export_without_torch
from tests.filled_yard import FilledYard, fill
from tests.fuzz.callers import NOBODY, Sender, renew, senders
from tests.fuzz.exchange import Received, Sent, exchange, exchange_by_port
from tests.fuzz.generator import Generator
from tests.fuzz.invariants import Invariants
from tests.fuzz.seeds import RouteSeeds, crawl, routes
from tests.people import NAMES, bearer

ROUND: Final = 2000
"""Requests of a round."""
REFRESH: Final = 100
"""Requests after which the secrets in the database are read again."""
SLOWEST: Final = 10


@dataclass
class Fault:
    """A request that broke an invariant."""

    sender: str
    sent: str
    broken: list[str]
    place: str

    def __str__(self) -> str:
        return f"{self.place} {self.sender}: {self.sent}\n    " + "\n    ".join(self.broken)


@dataclass
class Result:
    """What came of requests. ``slowest``: seconds and requests; ``unavailable``: what was answered with 503 or 507."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    senders: Counter[str] = field(default_factory=Counter)
    routes: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)

    def note(self, route: str, sender: Sender, sent: Sent, received: Received, seconds: float) -> None:
        """Count an answer."""
        self.requests += 1
        self.statuses[received.status] += 1
        self.senders[sender.name] += 1
        self.routes.add(route)
        if received.status in (503, 507):
            self.unavailable.append(f"{received.status} {str(sent)[:300]} {received.body[:300]!r}")
        if 200 <= received.status < 400:
            self.answered.add(route)
        self.slowest = sorted([*self.slowest, (seconds, str(sent)[:200])], reverse=True)[:SLOWEST]

    def add(self, other: Result) -> None:
        """Add what came of other requests."""
        self.requests += other.requests
        self.statuses += other.statuses
        self.senders += other.senders
        self.routes |= other.routes
        self.answered |= other.answered
        self.faults += other.faults
        self.unavailable += other.unavailable
        self.slowest = sorted([*self.slowest, *other.slowest], reverse=True)[:SLOWEST]


class Round:
    """One round on a server that runs: fills its yard, and sends requests in its event loop."""

    def __init__(self, server: FastAPI, client: httpx2.Client, seed: int, number: int, known: list[RouteSeeds]) -> None:
        self.server = server
        self.client = client
        self.name = f"seed {seed}, round {number}"
        self.chance = random.Random(f"{seed} {number}")
        self.yard: FilledYard = fill(server, client)
        parts = self.yard.parts
        export_without_torch(parts.jobs, parts.settings.data_dir)
        # The process that inspects networks is older than this yard and has a data folder of its own.
        own = parts.settings.datasets / "own"
        shutil.copytree(own, parts.inspector._folder / "datasets" / "own", dirs_exist_ok=True)
        self.send: Callable[[Sent], Awaitable[Received]] = partial(exchange, server)
        self.known = known
        if not known:
            known.extend(routes(server))
            crawl(client, server, known, self.yard.ids, bearer(parts, NAMES["administrator"]))
        self.generator = Generator(known, {k: v for k, v in self.yard.ids.items() if k != "secret"}, self.chance)

    def run(self, requests: int) -> Result:
        """Send requests one after the other: in the event loop of a test's client, or through the port of a server."""
        if isinstance(self.client, TestClient):
            assert self.client.portal is not None
            return self.client.portal.call(self._run, requests)
        self.send = partial(exchange_by_port, self.client.base_url.port or 80)
        return asyncio.run(self._run(requests))

    async def _run(self, requests: int) -> Result:
        threading.current_thread().name = "fuzz"
        parts = self.yard.parts
        key = (parts.settings.data_dir / "exec.key").read_text().strip()
        invariants = Invariants(self.server, parts.engine, [key, *self.yard.ids["secret"]])
        result = Result()
        try:
            callers = await self._renewed(invariants, first=True)
            for i in range(requests):
                callers = await self._one(result, invariants, callers, i)
        finally:
            invariants.close()
        return result

    async def _one(self, result: Result, invariants: Invariants, callers: list[Sender], i: int) -> list[Sender]:
        sender, sent = self.generator.request(callers)
        began = time.perf_counter()
        received = await self.send(sent)
        seconds = time.perf_counter() - began
        route = invariants.route_of(sent)
        result.note("none" if route is None else f"{sent.method} {route.path}", sender, sent, received, seconds)
        signed = sent.credential or sender.name == NOBODY
        claimed = sender if signed else Sender(f"{sender.name} with a made-up credential", frozenset(), sender.sign)
        if broken := invariants.broken(claimed, sent, received, route):
            result.faults.append(Fault(claimed.name, str(sent), broken, f"{self.name}, request {i}:"))
        if received.status in (401, 429) and sent.credential:
            return await self._renewed(invariants)
        if i % REFRESH == 0:
            await run_in_threadpool(invariants.refresh)
        return callers

    async def _renewed(self, invariants: Invariants, first: bool = False) -> list[Sender]:
        callers: list[Sender] = await run_in_threadpool(senders if first else renew, self.yard.parts)
        proofs = [_proof(each) for each in callers if each.name != "key of the machine"]
        await run_in_threadpool(invariants.refresh, [proof for proof in proofs if proof])
        invariants.writes.taken()
        return callers


def _proof(sender: Sender) -> str:
    """The secret in a sender's headers."""
    headers: Sequence[tuple[str, Any]] = sender.sign("GET", "/")
    return str(headers[0][1]).rpartition("=" if headers[0][0] == "cookie" else " ")[2] if headers else ""
