"""Webhooks are called once, signed, again if there is no response, and also after a restart."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
from redis import Redis
from sqlalchemy import Engine, text

from app.services.notifier import SIGNATURE, Notifier, signature
from app.store import notification
from app.store.database import next_commit, reading, writing
from app.store.metric import Curve, add_points
from tests.conftest import Runs

NOW = 1_800_000_000.0


@dataclass
class Listener:
    """A webhook receiver: what it was sent, and what it responds."""

    address: str
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    status: int = 200
    location: str = ""


@pytest.fixture
def listener() -> Iterator[Listener]:
    found: list[Listener] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found[0].heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(found[0].status)
            if found[0].location:
                self.send_header("location", found[0].location)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found.append(Listener(f"http://127.0.0.1:{server.server_port}/hook"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield found[0]
    server.shutdown()
    server.server_close()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notifier(engine: Engine, redis: Redis, clock: Clock) -> Notifier:
    found = Notifier(engine, redis, clock, private=True)
    found.step()
    return found


def add_webhook(engine: Engine, address: str, kinds: tuple[str, ...] = ("succeeded", "failed", "rule")) -> None:
    with writing(engine) as connection:
        connection.execute(
            text("INSERT INTO webhook (id, url, secret, kinds, created_at) VALUES ('w', :url, 's3cret', :kinds, 0)"),
            {"url": address, "kinds": json.dumps(kinds)},
        )


def add_rule(engine: Engine, comparison: str, value: float, metric: str = "", run: str | None = None) -> None:
    with writing(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO rule (id, run, metric, comparison, value, created_at)"
                " VALUES ('u', :run, :metric, :comparison, :value, 0)"
            ),
            {"run": run, "metric": metric, "comparison": comparison, "value": value},
        )


def sentences(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return [row["sentence"] for row in reversed(notification.list_notices(connection, 0, 100))]


def give(engine: Engine, run: str, value: float, at: float = NOW) -> None:
    with writing(engine) as connection:
        curve = Curve(np.array([1], "<u4"), np.array([value]), np.array([at]))
        add_points(connection, run, "val/acc", curve, next_commit(connection))


def end(runs: Runs, run: str, status: str = "succeeded", at: float = NOW, reason: str = "") -> None:
    runs.set(run, status="running")
    runs.set(run, status=status, ended_at=at, reason=reason)


def test_a_run_that_ends_is_told_of_once_and_signed(
    notifier: Notifier, listener: Listener, engine: Engine, runs: Runs
) -> None:
    add_webhook(engine, listener.address)
    run = runs.add()
    end(runs, run, "failed", reason="the loss became NaN")
    for _ in range(3):
        notifier.step()
    [(headers, body)] = listener.heard
    said = json.loads(body)
    assert said["kind"] == "failed"
    assert said["sentence"] == "#1 simple_mlp base · digits failed: the loss became NaN"
    assert said["run"] == {"id": run, "number": 1, "status": "failed", "url": f"/runs/{run}"}
    moment, _, digest = headers[SIGNATURE].partition(",v1=")
    wanted = hmac.new(b"s3cret", moment.removeprefix("t=").encode() + b"." + body, hashlib.sha256).hexdigest()
    assert digest == wanted
    assert signature("another", int(NOW), body) != headers[SIGNATURE]


def test_what_ended_while_nobody_looked_is_told_after_a_restart(
    notifier: Notifier, engine: Engine, redis: Redis, clock: Clock, runs: Runs
) -> None:
    first, second = runs.add(), runs.add(seed=2)
    end(runs, first)
    notifier.step()
    clock.now = NOW + 5000
    end(runs, second, at=NOW + 4000)
    Notifier(engine, redis, clock, private=True).step()
    assert [said.split()[0] for said in sentences(engine)] == ["#1", "#2"]


def test_what_ended_before_the_first_start_is_no_news(engine: Engine, redis: Redis, clock: Clock, runs: Runs) -> None:
    end(runs, runs.add(), at=NOW - 3600)
    Notifier(engine, redis, clock, private=True).step()
    assert sentences(engine) == []


def test_a_webhook_hears_only_of_the_kinds_it_asked_for(
    notifier: Notifier, listener: Listener, engine: Engine, runs: Runs
) -> None:
    add_webhook(engine, listener.address, ("failed",))
    end(runs, runs.add(), "succeeded")
    notifier.step()
    assert listener.heard == []
    assert sentences(engine) == ["#1 simple_mlp base · digits succeeded"]


def test_an_address_that_does_not_answer_is_tried_again_later_and_then_given_up(
    notifier: Notifier, listener: Listener, engine: Engine, clock: Clock, runs: Runs
) -> None:
    add_webhook(engine, listener.address)
    listener.status = 500
    end(runs, runs.add())
    notifier.step()
    notifier.step()
    assert len(listener.heard) == 1
    for pause in notification.RETRY_SECONDS:
        clock.now += pause
        notifier.step()
    assert len(listener.heard) == 1 + len(notification.RETRY_SECONDS)
    clock.now += 100_000
    notifier.step()
    assert len(listener.heard) == 1 + len(notification.RETRY_SECONDS)
    with reading(engine) as connection:
        assert notification.list_webhooks(connection)[0]["answer"].startswith("HTTP 500")


def test_a_webhook_that_comes_back_hears_what_it_missed(
    notifier: Notifier, listener: Listener, engine: Engine, clock: Clock, runs: Runs
) -> None:
    add_webhook(engine, listener.address)
    listener.status = 503
    end(runs, runs.add())
    notifier.step()
    listener.status = 204
    clock.now += notification.RETRY_SECONDS[0]
    notifier.step()
    assert [json.loads(body)["id"] for _, body in listener.heard] == [1, 1]
    with reading(engine) as connection:
        assert notification.list_webhooks(connection)[0]["delivered_at"] == clock.now


def test_a_signed_body_follows_no_redirect(notifier: Notifier, listener: Listener, engine: Engine, runs: Runs) -> None:
    add_webhook(engine, listener.address)
    listener.status, listener.location = 307, listener.address + "/elsewhere"
    end(runs, runs.add())
    notifier.step()
    assert len(listener.heard) == 1
    with reading(engine) as connection:
        assert notification.list_webhooks(connection)[0]["delivered_at"] is None


def test_without_the_setting_nothing_is_sent_to_this_machine(
    engine: Engine, redis: Redis, clock: Clock, listener: Listener, runs: Runs
) -> None:
    add_webhook(engine, listener.address)
    notifier = Notifier(engine, redis, clock)
    notifier.step()
    end(runs, runs.add())
    notifier.step()
    assert listener.heard == []
    with reading(engine) as connection:
        answer = notification.list_webhooks(connection)[0]["answer"]
    assert answer.startswith("not sent: 127.0.0.1 is not an address of the public internet")


def test_an_address_where_nobody_is_ends_nothing(notifier: Notifier, engine: Engine, runs: Runs) -> None:
    add_webhook(engine, "http://127.0.0.1:1/hook")
    end(runs, runs.add())
    notifier.step()
    with reading(engine) as connection:
        assert notification.list_webhooks(connection)[0]["answer"].startswith("no response:")


@pytest.mark.parametrize(
    ("comparison", "value", "holds"),
    [("above", 0.9, True), ("above", 0.95, False), ("below", 0.95, True), ("below", 0.9, False)],
)
def test_a_rule_tells_once_when_a_live_run_s_metric_is_beyond_it(
    notifier: Notifier, engine: Engine, runs: Runs, comparison: str, value: float, holds: bool
) -> None:
    run = runs.add()
    runs.set(run, status="running", started_at=NOW)
    add_rule(engine, comparison, value, "val/acc")
    give(engine, run, 0.93)
    notifier.step()
    notifier.step()
    wanted = f"#1 simple_mlp base · digits: val/acc is 0.93, {comparison} {value:g}"
    assert sentences(engine) == ([wanted] if holds else [])


def test_a_rule_of_one_run_says_nothing_of_others(notifier: Notifier, engine: Engine, runs: Runs) -> None:
    mine, other = runs.add(), runs.add(seed=2)
    for run in (mine, other):
        runs.set(run, status="running", started_at=NOW)
        give(engine, run, 0.99)
    add_rule(engine, "above", 0.5, "val/acc", other)
    notifier.step()
    assert [said.split()[0] for said in sentences(engine)] == ["#2"]


def test_a_run_that_makes_no_progress_is_told_of(notifier: Notifier, engine: Engine, clock: Clock, runs: Runs) -> None:
    run = runs.add()
    runs.set(run, status="running", started_at=NOW)
    give(engine, run, 0.5, NOW + 30)
    add_rule(engine, "silent", 2)
    clock.now = NOW + 149
    notifier.step()
    assert sentences(engine) == []
    clock.now = NOW + 151
    notifier.step()
    assert sentences(engine) == ["#1 simple_mlp base · digits: no new data for 2 min"]


def test_viewers_hear_of_a_notice(notifier: Notifier, redis: Redis, runs: Runs) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe("runyard:commits")
        heard.get_message(timeout=1)
        run = runs.add()
        end(runs, run)
        notifier.step()
        message = heard.get_message(timeout=2)
    assert json.loads(message["data"])["runs"] == {run: ["notice"]}
