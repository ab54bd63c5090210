"""Sends notifications: looks for ended runs and matching alert rules, and calls the webhooks.

Runs as a thread of the recorder's process. Notices and deliveries are stored in the database, so a restart loses and
repeats nothing. A webhook may still receive a notice twice if its response was lost; it can tell by the id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from http.client import HTTPException
from threading import Event
from typing import Any

from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app.contract.timestamps import iso
from app.services import pubsub
from app.services.webhook_request import TargetRefused, post
from app.store import notification
from app.store.database import next_commit, reading, writing

logger = logging.getLogger("runyard.notifier")

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 10.0
FORGET_SECONDS = 3600.0
SIGNATURE = "x-runyard-signature"


class Notifier:
    """Checks once a second; ``step`` is one check. ``private``: webhooks may reach addresses that are not public."""

    def __init__(
        self, engine: Engine, redis: Redis, clock: Callable[[], float] = time.time, private: bool = False
    ) -> None:
        self.private = private
        self.engine = engine
        self.redis = redis
        self.clock = clock
        self._since: float | None = None
        self._next_forget = 0.0

    def run(self, stop: Event) -> None:
        """Notify until ``stop`` is set."""
        while not stop.wait(LOOK_SECONDS):
            try:
                self.step()
            except OperationalError as error:
                logger.warning("could not access the database (%s); no data is lost; retrying", error.orig)

    def step(self) -> None:
        """Record what happened since the last check, then make the deliveries that are due."""
        now = self.clock()
        if self._since is None:
            # Runs that ended before notifications were first active are not news.
            with reading(self.engine) as connection:
                self._since = notification.newest(connection) or now
        with reading(self.engine) as connection:
            happened = notification.anything_new(connection, self._since - notification.MARGIN_SECONDS, now)
        if happened:
            with writing(self.engine) as connection:
                commit = next_commit(connection)
                noted = notification.record_ended_runs(connection, self._since - notification.MARGIN_SECONDS, now)
                noted += notification.record_rule_matches(connection, now)
            pubsub.notify_servers(self.redis, commit, {run_id: {"notice"} for run_id in noted})
        self._since = now
        if now >= self._next_forget:
            self._next_forget = now + FORGET_SECONDS
            with writing(self.engine) as connection:
                notification.forget_old(connection, now)
        with reading(self.engine) as connection:
            deliveries = notification.due(connection, now)
        for delivery in deliveries:
            arrived, answer = self._call(delivery)
            with writing(self.engine) as connection:
                notification.record_attempt(connection, delivery.id, delivery.tries + 1, arrived, answer, self.clock())

    def _call(self, delivery: notification.Due) -> tuple[bool, str]:
        """Deliver a notice; returns whether it arrived, and the response in a few words."""
        body = body_of(delivery.notice)
        headers = {
            "content-type": "application/json",
            "user-agent": "Runyard",
            SIGNATURE: signature(delivery.secret, int(self.clock()), body),
        }
        try:
            status, reason = post(delivery.url, body, headers, ANSWER_SECONDS, self.private)
        except TargetRefused as error:
            return False, f"not sent: {error}"
        except (OSError, HTTPException, ValueError) as error:
            return False, f"no response: {error}"
        # A redirect is not followed: it could send a signed body to another server.
        return (True, f"HTTP {status}") if 200 <= status < 300 else (False, f"HTTP {status} {reason}".strip())


def body_of(notice: dict[str, Any]) -> bytes:
    """The body of a request: the notice as JSON, with its time in ISO 8601, UTC."""
    run = {"id": notice["run"], "number": notice["number"], "status": notice["status"], "url": f"/runs/{notice['run']}"}
    body = {
        "id": notice["id"],
        "kind": notice["kind"],
        "sentence": notice["sentence"],
        "rule": notice["rule"] or None,
        "created": iso(notice["created_at"]),
        "run": run if notice["run"] else None,
    }
    return json.dumps(body, ensure_ascii=False).encode()


def signature(secret: str, now: int, body: bytes) -> str:
    """``t=SECONDS,v1=HEX``: HMAC-SHA256 with the webhook's secret over the seconds, a dot, and the body."""
    return f"t={now},v1={hmac.new(secret.encode(), f'{now}.'.encode() + body, hashlib.sha256).hexdigest()}"
