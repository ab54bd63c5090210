"""Tells of what happened: looks for runs that ended and rules that hold, and calls the webhooks.

A thread of the recorder's process. What it has noted and what is on its way stands in the database, so that a restart
loses nothing and tells nothing twice; a webhook may still hear of a notice twice, where its answer was lost, and knows
it by its id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from threading import Event
from typing import Any

from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app.contract.timestamps import iso
from app.services import signals
from app.store import notification
from app.store.database import next_commit, reading, writing

logger = logging.getLogger("runyard.notifier")

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 10.0
FORGET_SECONDS = 3600.0
SIGNATURE = "x-runyard-signature"


class Notifier:
    """Looks once a second; ``step`` is one look."""

    def __init__(self, engine: Engine, redis: Redis, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self.redis = redis
        self.clock = clock
        self._since: float | None = None
        self._next_forget = 0.0
        # A redirect could lead a signed body to another server.
        self._opener = urllib.request.build_opener(_NoRedirects)

    def run(self, stop: Event) -> None:
        """Notify until ``stop`` is set."""
        while not stop.wait(LOOK_SECONDS):
            try:
                self.step()
            except OperationalError as error:
                logger.warning("the database does not answer (%s); nothing is lost, trying again", error.orig)

    def step(self) -> None:
        """Note what has happened since the last look, then make the calls that are due."""
        now = self.clock()
        if self._since is None:
            # What ended before the first start of a Runyard that notifies is no news.
            with reading(self.engine) as connection:
                self._since = notification.newest(connection) or now
        with reading(self.engine) as connection:
            happened = notification.anything_new(connection, self._since - notification.MARGIN_SECONDS, now)
        if happened:
            with writing(self.engine) as connection:
                commit = next_commit(connection)
                noted = notification.note_ends(connection, self._since - notification.MARGIN_SECONDS, now)
                noted += notification.note_rules(connection, now)
            signals.tell(self.redis, commit, {run_id: {"notice"} for run_id in noted})
        self._since = now
        if now >= self._next_forget:
            self._next_forget = now + FORGET_SECONDS
            with writing(self.engine) as connection:
                notification.forget_old(connection, now)
        with reading(self.engine) as connection:
            waiting = notification.due(connection, now)
        for each in waiting:
            arrived, answer = self._call(each)
            with writing(self.engine) as connection:
                notification.tried(connection, each.id, each.tries + 1, arrived, answer, self.clock())

    def _call(self, each: notification.Due) -> tuple[bool, str]:
        """Whether it arrived, and what was answered in a few words."""
        said = body_of(each.notice)
        request = urllib.request.Request(
            each.url,
            said,
            {
                "content-type": "application/json",
                "user-agent": "Runyard",
                SIGNATURE: signature(each.secret, int(self.clock()), said),
            },
        )
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
                return True, f"HTTP {answer.status}"
        except urllib.error.HTTPError as error:
            with error:
                return False, f"HTTP {error.code} {error.reason}".strip()
        except (OSError, HTTPException, ValueError) as error:
            why = error.reason if isinstance(error, urllib.error.URLError) else error
            return False, f"no answer: {why}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def body_of(said: dict[str, Any]) -> bytes:
    """What is posted: the notice as JSON, with the time in ISO 8601, UTC."""
    run = {"id": said["run"], "number": said["number"], "status": said["status"], "url": f"/runs/{said['run']}"}
    body = {
        "id": said["id"],
        "kind": said["kind"],
        "sentence": said["sentence"],
        "rule": said["rule"] or None,
        "created": iso(said["created_at"]),
        "run": run if said["run"] else None,
    }
    return json.dumps(body, ensure_ascii=False).encode()


def signature(secret: str, now: int, body: bytes) -> str:
    """``t=SECONDS,v1=HEX``: HMAC-SHA256 with the webhook's secret over the seconds, a dot, and the body."""
    return f"t={now},v1={hmac.new(secret.encode(), f'{now}.'.encode() + body, hashlib.sha256).hexdigest()}"
