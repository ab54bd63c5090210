"""Every viewer of a run receives every change exactly once, whenever it connects, leaves and reconnects."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis
from sqlalchemy import Engine

from app.contract.events import Checkpoint, Log, LogLine, Progress, Result
from app.routes.runs.api import run_status
from app.services import live, pubsub
from app.services.live import Cursor, Hub
from app.services.recorder import Recorder
from tests.app.services.viewers import (
    Looks,
    Viewer,
    Yard,
    events_after,
    events_of,
    eventually,
    points_of,
)
from tests.conftest import Clock, Runs, run_apart
from tests.fake_worker import Trainer, Worker

pytestmark = pytest.mark.both_databases


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BATCH_SECONDS", 0.005)
    # Only notices make the hub look, unless a test says otherwise.
    monkeypatch.setattr(live, "LOOK_SECONDS", 60.0)


@pytest.fixture
def trainer(runs: Runs, recorder: Recorder, worker: Worker) -> Trainer:
    runs.add()
    return worker.train(recorder)


@pytest.fixture
def yard(engine: Engine, redis: Redis, redis_server: str, recorder: Recorder, trainer: Trainer, hasty: None) -> Yard:
    return Yard(engine, redis, redis_server, recorder, trainer)


def test_viewers_who_come_at_different_moments_are_told_of_every_point_once(yard: Yard) -> None:
    async def act(hub: Hub) -> None:
        viewers = []
        for _ in range(6):
            viewers.append(Viewer(hub, yard.trainer.run))
            for _ in range(5):
                await yard.record(2)
            await asyncio.sleep(random.uniform(0, 0.02))
        await yard.finish()
        for viewer in viewers:
            events = await viewer.until_end()
            assert points_of(events) == list(range(60))
            assert [event for event, _, _ in events if event == "end"] == ["end"]
            assert [data["status"] for event, _, data in events if event == "status"][-1] == "succeeded"

    yard.play(act)


def test_viewers_with_pasts_of_their_own_are_told_of_what_came_after(yard: Yard) -> None:
    async def act(hub: Hub) -> None:
        known: list[tuple[int, int]] = []
        viewers: list[tuple[int, Viewer]] = []
        for _ in range(40):
            await yard.record()
            known.append((commit_of(yard), yard.step))
            if random.random() < 0.5:
                commit, told = random.choice(known)
                viewers.append((told, Viewer(hub, yard.trainer.run, commit)))
        await yard.finish()
        assert len(viewers) > 5
        for told, viewer in viewers:
            assert points_of(await viewer.until_end()) == list(range(told, 40))

    yard.play(act)


def commit_of(yard: Yard) -> int:
    return Runs(yard.engine).commit()


def test_however_many_watch_with_whatever_pasts_a_change_is_read_once(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(monkeypatch)

    async def act(hub: Hub) -> None:
        pasts = [commit_of(yard)]
        for _ in range(6):
            await yard.record()
            pasts.append(commit_of(yard))
        viewers = [Viewer(hub, yard.trainer.run, past) for past in pasts for _ in range(5)]
        await eventually(lambda: all(viewer.raw for viewer in viewers))
        for _ in range(10):
            before = looks.begun
            await yard.record()
            for viewer in viewers:
                await viewer.until_told(lambda events: points_of(events)[-1:] == [yard.step - 1])
            # One more if a viewer joined during the last one.
            assert looks.begun <= before + 2
        await yard.finish()
        for number, viewer in enumerate(viewers):
            assert points_of(await viewer.until_end()) == list(range(number // 5, 16))

    yard.play(act)


def test_who_comes_during_the_look_that_finds_the_end_is_told_whole(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(monkeypatch)

    async def act(hub: Hub) -> None:
        await yard.record(3)
        past = commit_of(yard)
        await yard.record(2)
        await yard.finish()
        with looks.held():
            first = Viewer(hub, yard.trainer.run)
            await eventually(lambda: looks.begun == 1)
            late = [Viewer(hub, yard.trainer.run), Viewer(hub, yard.trainer.run, past)]
            await eventually(lambda: len(hub._channels[yard.trainer.run].viewers) == 3)
        for viewer, steps in zip([first, *late], ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [3, 4]), strict=True):
            events = await viewer.until_end()
            assert points_of(events) == steps
            assert [event for event, _, _ in events].count("end") == 1
        assert looks.begun == 2

    yard.play(act)


def test_when_the_database_cannot_be_read_viewers_are_sent_away_and_come_back(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = Looks(monkeypatch)

    async def act(hub: Hub) -> None:
        viewers = [Viewer(hub, yard.trainer.run) for _ in range(2)]
        await eventually(lambda: all(viewer.raw for viewer in viewers))
        looks.failing = True
        await yard.record(3)
        for viewer in viewers:
            assert points_of(await viewer.until_end()) == []
        looks.failing = False
        again = [Viewer(hub, yard.trainer.run, viewer.last) for viewer in viewers]
        await yard.finish()
        for viewer in again:
            assert points_of(await viewer.until_end()) == [0, 1, 2]

    yard.play(act)
    assert "could not send updates" in caplog.text


def test_a_browser_that_comes_back_again_and_again_misses_nothing(yard: Yard) -> None:
    async def act(hub: Hub) -> None:
        steady = Viewer(hub, yard.trainer.run)
        seen: list[int] = []
        last = "0"
        for _ in range(12):
            viewer = Viewer(hub, yard.trainer.run, last)
            for _ in range(3):
                await yard.record()
                await asyncio.sleep(random.uniform(0, 0.01))
            last = await viewer.leave()
            seen += points_of(viewer.events)
            await yard.record()
        await yard.finish()
        seen += points_of(await Viewer(hub, yard.trainer.run, last).until_end())
        assert seen == list(range(48))
        assert points_of(await steady.until_end()) == seen

    yard.play(act)


def test_a_slow_reader_is_dropped_and_catches_up(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUEUE_LENGTH", 3)

    async def act(hub: Hub) -> None:
        quick = Viewer(hub, yard.trainer.run)
        stream = hub.watch(yard.trainer.run, Cursor.at(0))
        seen = events_of(await anext(stream))
        for _ in range(12):
            await yard.record()
            # Each of these is a separate batch.
            await quick.until_told(lambda events: len(points_of(events)) == yard.step)
        async with asyncio.timeout(30):
            async for frames in stream:
                seen += events_of(frames)
        missed = len(points_of(seen))
        assert missed < 12
        last = seen[-1][1]
        await yard.finish()
        seen += await Viewer(hub, yard.trainer.run, last).until_end()
        assert points_of(seen) == list(range(12))
        assert points_of(await quick.until_end()) == list(range(12))

    yard.play(act)


def test_a_run_that_has_ended_is_told_whole_and_the_stream_ends(yard: Yard) -> None:
    async def act(hub: Hub) -> None:
        await yard.record(5)
        await yard.finish()
        first = await Viewer(hub, yard.trainer.run).until_end()
        assert [event for event, _, _ in first] == ["metrics", "progress", "status", "end"]
        # Reconnecting after the end gives only the end event.
        again = await Viewer(hub, yard.trainer.run, first[-1][1]).until_end()
        assert [event for event, _, _ in again] == ["end"]

    yard.play(act)


def test_a_run_that_is_deleted_while_it_is_watched_is_gone(yard: Yard) -> None:
    async def act(hub: Hub) -> None:
        assert [event for event, _, _ in await Viewer(hub, "r_none").until_end()] == ["gone", "end"]

    yard.play(act)


def test_logs_progress_and_states_are_told_as_they_change(yard: Yard) -> None:
    async def act(hub: Hub) -> None:
        viewer = Viewer(hub, yard.trainer.run, commit_of(yard))
        await eventually(lambda: viewer.raw != b"")
        assert viewer.events == []
        yard.trainer.say("log", Log(lines=[LogLine(time=1, level="info", text="hello\nthere é\u2028")]))
        yard.trainer.say("progress", Progress(epoch=1, epochs=2, step=3, steps=9, eta_seconds=math.inf))
        await asyncio.to_thread(yard.recorder.step)
        await viewer.until_told(lambda events: len(events) == 2)
        (log, _, lines), (progress, _, how_far) = viewer.events
        assert (log, lines[0]["text"]) == ("log", "hello\nthere é\u2028")
        assert (progress, how_far["step"], how_far["eta_seconds"]) == ("progress", 3, None)
        await viewer.leave()

    yard.play(act)


def test_an_attempt_that_goes_on_from_a_checkpoint_has_the_curves_read_anew(
    yard: Yard, clock: Clock, worker: Worker
) -> None:
    async def act(hub: Hub) -> None:
        await yard.record(10)
        yard.trainer.say("checkpoint", Checkpoint(path="p", epoch=0, step=4))
        yard.trainer.say("result", Result(outcome="interrupted"))
        await asyncio.to_thread(yard.recorder.step)
        viewer = Viewer(hub, yard.trainer.run, commit_of(yard))
        await eventually(lambda: viewer.raw != b"")
        reply = worker.ask()
        await asyncio.to_thread(yard.recorder.step)
        grant = worker.answer(reply)
        assert grant is not None
        second = Trainer(yard.redis, grant.run, grant.fence)
        second.start(4)
        await asyncio.to_thread(yard.recorder.step)
        await viewer.until_told(lambda events: "reset" in [event for event, _, _ in events])
        second.points(train__loss=[(5, 50.0)])
        await asyncio.to_thread(yard.recorder.step)
        await viewer.until_told(lambda events: points_of(events) == [5])
        await viewer.leave()

    yard.play(act)


def test_a_stopping_server_ends_every_stream(yard: Yard) -> None:
    async def act(hub: Hub) -> None:
        viewer = Viewer(hub, yard.trainer.run)
        everything = asyncio.create_task(drain(hub.watch_all()))
        await eventually(lambda: viewer.raw != b"")
        await hub.stop()
        assert "end" not in [event for event, _, _ in await viewer.until_end()]
        async with asyncio.timeout(30):
            assert await everything == b"retry: 1000\n\n"
        # New viewers are not kept waiting.
        late = Viewer(hub, yard.trainer.run)
        await late.until_end()

    yard.play(act)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_stopping_server_waits_for_the_reads_that_are_running(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    looks = Looks(monkeypatch)

    async def act(hub: Hub) -> None:
        with looks.held():
            viewer = Viewer(hub, yard.trainer.run)
            await eventually(lambda: looks.begun == 1)
            if leaves:
                await viewer.leave()
            stopping = asyncio.create_task(hub.stop())
            await eventually(lambda: hub._channels == {})
            await asyncio.wait({stopping}, timeout=0.3)
            assert not stopping.done()
        async with asyncio.timeout(30):
            await stopping
        assert looks.ended == 1

    yard.play(act)


def test_a_server_that_stops_while_it_still_connects_comes_to_an_end(yard: Yard) -> None:
    async def act() -> None:
        for turns in range(40):
            hub = Hub(yard.engine, yard.url, run_status)
            await hub.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(30):
                await hub.stop()

    run_apart(act())


async def drain(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([frames async for frames in stream])


def test_a_page_of_many_runs_is_told_that_something_changed(yard: Yard, worker: Worker) -> None:
    async def act(hub: Hub) -> None:
        stream = hub.watch_all()
        assert await anext(stream) == b"retry: 1000\n\n"
        for cause in (yard.record, heartbeat):
            await cause()
            async with asyncio.timeout(30):
                assert events_of(await anext(stream)) == [("changed", "", {})]
        await cast(Any, stream).aclose()

    async def heartbeat() -> None:
        Worker(yard.redis, "w9").beat()
        await asyncio.to_thread(yard.recorder.step)

    yard.play(act)


def test_a_queued_job_is_heard_of_at_its_notice_and_after_each_silence(yard: Yard) -> None:
    heard: list[str] = []

    async def act(hub: Hub) -> None:
        hub.on_jobs = lambda: heard.append("job")
        pubsub.announce(yard.redis, 1, yard.trainer.run, "metrics")
        pubsub.announce(yard.redis, 2, yard.trainer.run, "job")
        await eventually(lambda: bool(heard))
        assert heard == ["job"]
        # A connection that was lost and is there again.
        for client in cast(Any, yard.redis).client_list("pubsub"):
            yard.redis.client_kill_filter(_id=client["id"])
        await eventually(lambda: len(heard) == 2)

    yard.play(act)


def test_without_redis_a_viewer_is_told_a_little_later(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.02)

    async def act() -> None:
        hub = Hub(yard.engine, f"unix://{tmp_path}/none", run_status)
        with caplog.at_level(logging.INFO):
            await hub.start()
            viewer = Viewer(hub, yard.trainer.run)
            everything = hub.watch_all()
            assert await anext(everything) == b"retry: 1000\n\n"
            # It reads for the first time.
            assert await anext(everything) == b": still here\n\n"
            await yard.record(3)
            await yard.finish()
            assert points_of(await viewer.until_end()) == [0, 1, 2]
            async with asyncio.timeout(30):
                assert events_of(await anext(everything)) == [("changed", "", {})]
            await cast(Any, everything).aclose()
        await hub.stop()
        assert "polling the database" in caplog.text

    run_apart(act())


def test_a_quiet_stream_says_that_it_is_still_there(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PING_SECONDS", 0.01)

    async def act(hub: Hub) -> None:
        viewer = Viewer(hub, yard.trainer.run)
        await eventually(lambda: viewer.raw.count(b": still here\n\n") > 2)
        await viewer.leave()
        everything = hub.watch_all()
        assert [await anext(everything) for _ in range(3)] == [b"retry: 1000\n\n", *2 * [b": still here\n\n"]]
        await cast(Any, everything).aclose()

    yard.play(act)


def test_who_leaves_is_forgotten(yard: Yard) -> None:
    async def act(hub: Hub) -> None:
        viewers = [Viewer(hub, yard.trainer.run) for _ in range(3)]
        await eventually(lambda: all(viewer.raw for viewer in viewers))
        assert list(hub._channels) == [yard.trainer.run]
        for viewer in viewers:
            await viewer.leave()
        assert hub._channels == {}

    yard.play(act)


def test_a_connection_that_breaks_between_the_events_of_one_commit_goes_on_with_the_rest(
    engine: Engine, recorder: Recorder, trainer: Trainer
) -> None:
    trainer.points(train__loss=[(1, 0.5)])
    trainer.say("log", Log(lines=[LogLine(time=1, level="info", text="once")]))
    trainer.say("progress", Progress(epoch=1, epochs=2, step=3, steps=9))
    recorder.step()
    whole = events_after(engine, trainer.run, Cursor.at(0))
    assert [event for event, _, _ in whole] == ["metrics", "log", "progress", "status"]
    for heard in range(1, 5):
        rest = [event for event, _, _ in events_after(engine, trainer.run, Cursor.parse(whole[heard - 1][1]))]
        # Progress and status are absolute, so receiving them twice is harmless.
        assert rest == [["log", "progress", "status"], ["progress", "status"], ["progress", "status"], []][heard - 1]


def test_values_that_json_has_no_word_for_are_sent_as_null(
    engine: Engine, runs: Runs, recorder: Recorder, trainer: Trainer
) -> None:
    trainer.points(train__loss=[(1, math.nan), (2, math.inf), (3, -math.inf), (4, 1.5)])
    recorder.step()
    told = {event: data for event, _, data in events_after(engine, trainer.run, Cursor.at(0))}
    assert told["metrics"]["train/loss"]["value"] == [None, None, None, 1.5]
    assert told["metrics"]["train/loss"]["step"] == [1, 2, 3, 4]
    assert events_after(engine, trainer.run, Cursor.at(runs.commit())) == []
