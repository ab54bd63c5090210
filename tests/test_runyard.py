"""The Python client against a real server: what it launches, follows, reads and refuses."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import math
import os
import pydoc
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any, assert_type

import numpy as np
import pytest
from fastapi import FastAPI
from redis import Redis

import runyard
from app.contract.events import Log
from app.contract.events import LogLine as SentLine
from app.services import signals
from app.services.recorder import Recorder
from app.store.run import TERMINAL
from runyard import AsyncRun, AsyncRunyard, FieldProblem, Point, Run, Runyard, RunyardError
from tests.conftest import Runs, Trainer, Worker
from tests.served import breaking, hang_up, odd_server, say, serving

FILE = Path(runyard.__file__)


@pytest.fixture
def url(server: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the test's server."""
    monkeypatch.setattr(runyard, "PAUSE_SECONDS", 0.01)
    with serving(server) as address:
        yield address


@pytest.fixture
def yard(url: str) -> Iterator[Runyard]:
    """The client of the test's server."""
    with Runyard(url) as client:
        yield client


@pytest.fixture
def trainer(url: str, recorder: Recorder, worker: Worker, yard: Runyard) -> Trainer:
    """Who trains the only run, and has begun."""
    yard.launch(family="vit", size="tiny")
    return worker.train(recorder)


def follow(items: Callable[[], Iterator[Any]]) -> tuple[Queue[Any], threading.Thread]:
    """What is told by and by, and the thread in which it is."""
    told: Queue[Any] = Queue()

    def listen() -> None:
        for item in items():
            told.put(item)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    return told, thread


def end(run: str, runs: Runs, redis: Redis, outcome: str = "succeeded") -> None:
    """The run ends, and those who watch it hear of it."""
    runs.finish(run, outcome)
    signals.announce(redis, runs.commit(), run, "status")


def send(trainer: Trainer, recorder: Recorder, redis: Redis, **curves: list[tuple[int, float]]) -> None:
    """Points, written and announced."""
    trainer.points(**curves)
    recorder.step()


# One module that stands alone ----------------------------------------------------------------------------------------


def test_it_imports_httpx_and_nothing_of_ours() -> None:
    tree = ast.parse(FILE.read_text())
    found = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert found - set(sys.stdlib_module_names) - {"__future__"} == {"httpx", "numpy", "pandas", "_runyard"}
    optional = [node for node in tree.body if isinstance(node, ast.Import) and node.names[0].name != "httpx"]
    assert {each.names[0].name for each in optional} <= set(sys.stdlib_module_names)


def test_it_can_be_imported_wherever_runyard_is_installed(tmp_path: Path) -> None:
    code = "import runyard; print(runyard.__file__); from runyard import Runyard, AsyncRunyard"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).samefile(FILE)


def test_a_copy_of_the_file_alone_says_that_it_has_no_commands(tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path)
    # Not isolated from installed packages, so _runyard is hidden: an import of None raises ModuleNotFoundError.
    code = "import sys; sys.modules['_runyard'] = None; import runyard; print(runyard.__file__); runyard.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=_bare())
    assert Path(done.stdout.strip()).samefile(tmp_path / "runyard.py")
    assert done.returncode == 1
    assert done.stderr.startswith("runyard: this is a copy of the Python client. Install Runyard")
    assert done.stderr.count("\n") == 1


def _bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    for plain, later in ((Runyard, AsyncRunyard), (runyard.Run, runyard.AsyncRun), (runyard.Sweep, runyard.AsyncSweep)):
        names = {name for name in dir(plain) if not name.startswith("_")}
        assert names == {name for name in dir(later) if not name.startswith("_")}
        for name in names:
            one, other = getattr(plain, name), getattr(later, name)
            if callable(one):
                assert list(inspect.signature(one).parameters) == list(inspect.signature(other).parameters), name


def test_every_request_of_the_client_is_one_of_the_api(server: FastAPI) -> None:
    paths = server.openapi()["paths"]
    known = {(method.upper(), re.sub(r"{\w+}", "{}", path)) for path, methods in paths.items() for method in methods}
    sent = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        match node:
            case ast.Call(func=ast.Name("_Call"), args=[ast.Constant(method), path, *_]):
                sent.add((method, f"/api/v1{re.sub(r'{[^}]*}', '{}', ast.unparse(path).strip('f' + chr(39)))}"))
    assert len(sent) >= 30
    assert sent <= known


def test_help_shows_each_method_with_its_arguments() -> None:
    said = pydoc.plain(pydoc.render_doc(Runyard))
    assert re.search(
        r"launch\(self, /, \*, idempotency_key: .*\n[ |]+Queue a run; the fields are those of the form", said
    )
    assert "wait(self, timeout: " in pydoc.plain(pydoc.render_doc(Run))


def test_what_has_ended_is_every_terminal_state() -> None:
    assert set(runyard.ENDED) == set(TERMINAL)


# Launching -----------------------------------------------------------------------------------------------------------


def test_a_run_is_launched_with_its_fields_and_can_be_found_again(yard: Runyard, runs: Runs) -> None:
    # The type is checked by mypy.
    run = assert_type(yard.launch(family="simple_cnn", size="tiny", lr=0.01, tags=["a"], seed=3), Run)
    assert (run.status, run.number, run.ended, run.tags) == ("queued", 1, False, ["a"])
    assert run.spec["lr"] == 0.01
    assert run.url == f"{yard.url}/runs/{run.id}"
    assert runs.get(run.id).asked_spec == {
        "family": "simple_cnn",
        "size": "tiny",
        "lr": 0.01,
        "tags": ["a"],
        "seed": 3,
    }
    assert yard.run(run.id).data == run.data
    assert repr(run) == "<Run #1 'simple_cnn tiny · digits' queued>"


def test_a_refusal_names_each_field_that_is_wrong_in_the_servers_words(yard: Runyard) -> None:
    with pytest.raises(RunyardError) as refusal:
        yard.launch(family="vit", epochs=0, lr="fast")
    assert refusal.value.status == 422
    assert refusal.value.detail == str(refusal.value)
    assert refusal.value.errors == [
        FieldProblem("epochs", "epochs must be at least 1"),
        FieldProblem("lr", "lr must be a number"),
    ]
    with pytest.raises(RunyardError, match="no run 'r_none'") as refusal:
        yard.run("r_none")
    assert (refusal.value.status, refusal.value.errors) == (404, [])


def test_a_connection_that_breaks_after_the_launch_launches_once(url: str, runs: Runs) -> None:
    with breaking(url, 0, 40) as (way, passed), Runyard(way) as yard:
        run = yard.launch(family="vit", size="tiny")
        assert len(passed) == 3
    assert runs.sql("SELECT id FROM run") == [(run.id,)]


def test_a_key_of_ones_own_gives_back_the_same_run(yard: Runyard) -> None:
    first = yard.launch(family="vit", idempotency_key="mine")
    assert yard.launch(family="vit", idempotency_key="mine").id == first.id
    assert yard.launch(family="vit").id != first.id
    with pytest.raises(RunyardError, match="already launched a different run"):
        yard.launch(family="simple_cnn", idempotency_key="mine")


def test_what_has_no_key_is_sent_once_and_what_only_reads_again() -> None:
    with odd_server() as (address, answers, heard), Runyard(address) as yard:
        answers += [hang_up] * 10
        with pytest.raises(RunyardError, match="no Runyard answers"):
            yard.preview(family="vit")
        assert len(heard) == 1
        with pytest.raises(RunyardError, match="no Runyard answers"):
            yard.datasets()
        assert len(heard) == 1 + runyard.ATTEMPTS
        with pytest.raises(RunyardError, match="no Runyard answers"):
            yard.launch(family="vit")
        assert len({each["idempotency-key"] for each in heard[-runyard.ATTEMPTS :]}) == 1
        answers[:] = [say(b'{"detail": "taken"}', 409)]
        with pytest.raises(RunyardError, match=r"^taken$"):
            yard.launch(family="vit")
        assert answers == []


def test_the_server_and_the_token_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNYARD_URL", "RUNYARD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert Runyard().url == "http://127.0.0.1:8000"
    with odd_server() as (address, answers, heard):
        monkeypatch.setenv("RUNYARD_URL", f"{address}/")
        monkeypatch.setenv("RUNYARD_TOKEN", "secret")
        answers += [say(b'{"datasets": []}')] * 3
        with Runyard() as yard:
            assert (yard.url, yard.datasets()) == (address, [])
        with Runyard(address, token="other") as yard:
            yard.datasets()
        monkeypatch.delenv("RUNYARD_TOKEN")
        with Runyard(address) as yard:
            yard.datasets()
    assert [each.get("authorization") for each in heard] == ["Bearer secret", "Bearer other", None]


def test_a_proxy_is_not_asked_for_a_server_of_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Runyard(url) as yard:
        assert yard.workers() == []


def test_a_server_that_is_not_there_is_said_with_how_to_start_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RunyardError) as refusal, Runyard(f"http://127.0.0.1:{port}") as yard:
        yard.workers()
    assert refusal.value.status == 0
    assert str(refusal.value) == (
        f"no Runyard answers at http://127.0.0.1:{port}; start one with `runyard up`, or name another in RUNYARD_URL"
    )


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1", "http://a:0", "http://a:99999"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(RunyardError, match="is not the address of a server; it looks like http://"):
        Runyard(address)


@pytest.mark.parametrize(("body", "status"), [(b"<html>", 200), (b"<html>", 404), (b"[]", 500), (b"{}", 502)])
def test_another_program_at_the_address_is_not_taken_for_runyard(body: bytes, status: int) -> None:
    with odd_server() as (address, answers, _), Runyard(address) as yard:
        answers.append(say(body, status))
        with pytest.raises(RunyardError, match=f"what answers at {address} is not Runyard"):
            yard.workers()


# Listing -------------------------------------------------------------------------------------------------------------


def test_runs_come_page_by_page_and_as_many_as_are_wanted(
    yard: Runyard, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [runs.add(seed=i) for i in range(7)]
    monkeypatch.setattr(runyard, "PAGE_RUNS", 3)
    assert [run.id for run in yard.runs()] == ids[::-1]
    assert [run.id for run in yard.runs(limit=4)] == ids[:2:-1]
    assert [run.id for run in yard.runs(sort="number", limit=1)] == ids[:1]
    found, after = yard.page(limit=5, sort="number")
    assert [run.id for run in found] == ids[:5]
    rest, after = yard.page(after, sort="number")
    assert ([run.id for run in rest], after) == (ids[5:], None)


def test_runs_are_filtered_by_one_value_or_several(yard: Runyard, runs: Runs) -> None:
    one, two = runs.add(family="vit", tags=["a"]), runs.add(family="simple_cnn", tags=["a", "b"])
    runs.finish(two, "failed")
    assert [run.id for run in yard.runs(status=["failed", "cancelled"])] == [two]
    assert [run.id for run in yard.runs(family="vit")] == [one]
    assert [run.id for run in yard.runs(tag=["a", "b"])] == [two]
    assert [run.id for run in yard.runs(number=[1, 7])] == [one]
    with pytest.raises(RunyardError, match="no status 'done'; statuses: "):
        list(yard.runs(status="done"))


def test_the_catalog_is_told(yard: Runyard) -> None:
    assert {each["family"] for each in yard.architectures()} >= {"vit", "simple_cnn"}
    assert [each["name"] for each in yard.datasets()][:2] == ["digits", "mnist"]
    assert "default" in [each["name"] for each in yard.recipes()]
    assert yard.presets()["vit_mnist_995"]["family"] == "vit"
    assert yard.ask("GET", "/recipes", dataset="cifar10")["recipes"]


# Following -----------------------------------------------------------------------------------------------------------


def test_points_are_told_as_they_come_until_the_run_has_ended(
    yard: Runyard, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis
) -> None:
    send(trainer, recorder, redis, train__loss=[(1, 2.0), (2, 1.5)])
    run = yard.run(trainer.run)
    told, thread = follow(run.metrics)
    assert [told.get(timeout=10)[:3] for _ in range(2)] == [("train/loss", 1, 2.0), ("train/loss", 2, 1.5)]
    send(trainer, recorder, redis, train__loss=[(3, math.nan)], val__acc=[(2, 0.5)])
    found = {told.get(timeout=10) for _ in range(2)}
    assert {(each.metric, each.step) for each in found} == {("train/loss", 3), ("val/acc", 2)}
    assert math.isnan(next(each.value for each in found if each.metric == "train/loss"))
    assert thread.is_alive()
    end(trainer.run, runs, redis)
    thread.join(10)
    assert not thread.is_alive()
    assert told.empty()
    assert [point.metric for point in run.metrics(["val/acc"])] == ["val/acc"]


@pytest.mark.parametrize("cuts", [(1,), (350, 500, 900), (700, 701, 702, 2000)])
def test_a_stream_that_breaks_anywhere_goes_on_without_a_gap_and_without_a_double(
    url: str, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis, cuts: tuple[int, ...]
) -> None:
    expected = []
    with breaking(url, *cuts) as (way, passed), Runyard(way) as yard:
        # Not asked for: what follows is the first connection.
        run = Run(yard, {"id": trainer.run})
        told, thread = follow(run.metrics)
        for first in range(1, 41, 4):
            send(trainer, recorder, redis, train__loss=[(step, step / 8) for step in range(first, first + 4)])
            expected += [("train/loss", step, step / 8) for step in range(first, first + 4)]
            found = [told.get(timeout=10)[:3] for _ in range(4)]
            assert found == expected[-4:]
        end(trainer.run, runs, redis)
        thread.join(10)
        assert not thread.is_alive()
        assert told.empty()
        # The fault has happened: a stream was cut, and another one followed it.
        assert len(passed) > len(cuts)
        assert all(there == cut for there, cut in zip(passed, cuts, strict=False))


def test_when_curves_are_to_be_read_anew_no_point_comes_twice_and_none_is_left_out(
    yard: Runyard, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis
) -> None:
    send(trainer, recorder, redis, train__loss=[(1, 1.0), (2, 2.0)])
    told, thread = follow(yard.run(trainer.run).metrics)
    assert [told.get(timeout=10).step for _ in range(2)] == [1, 2]
    trainer.points(train__loss=[(3, 3.0)])
    recorder.step()
    assert told.get(timeout=10).step == 3
    runs.set(trainer.run, reset_commit=runs.commit() + 1)
    send(trainer, recorder, redis, train__loss=[(4, 4.0), (5, 5.0)])
    assert [told.get(timeout=10).step for _ in range(2)] == [4, 5]
    end(trainer.run, runs, redis)
    thread.join(10)
    assert told.empty()


def test_who_waits_gets_the_run_when_it_has_ended(yard: Runyard, runs: Runs, redis: Redis) -> None:
    run = yard.launch(family="vit")
    told, thread = follow(lambda: iter([run.wait()]))
    with pytest.raises(TimeoutError, match=rf"^run {run.id} has not ended within 0\.2 s$"):
        yard.run(run.id).wait(timeout=0.2)
    assert thread.is_alive()
    end(run.id, runs, redis, "failed")
    assert told.get(timeout=10) is run
    assert (run.status, run.ended) == ("failed", True)
    assert yard.run(run.id).wait(timeout=5).status == "failed"


def test_who_waits_for_a_run_that_is_deleted_is_told(yard: Runyard, runs: Runs) -> None:
    run = yard.launch(family="vit").cancel()
    assert run.status == "cancelled"
    run.delete()
    with pytest.raises(RunyardError, match="no run '") as refusal:
        run.wait()
    assert refusal.value.status == 404
    assert run.restore().wait().status == "cancelled"


def test_a_server_that_stays_away_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runyard, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(runyard, "PAUSE_SECONDS", 0.01)
    with odd_server() as (address, answers, heard), Runyard(address) as yard:
        answers += [hang_up] * 500
        run = Run(yard, {"id": "r_1"})
        with pytest.raises(RunyardError, match="no Runyard answers"):
            run.wait()
        assert len(heard) > 2


def test_a_server_that_begins_to_serve_again_is_waited_for_and_one_that_refuses_is_not() -> None:
    with odd_server() as (address, answers, heard), Runyard(address) as yard:
        run = Run(yard, {"id": "r_1"})
        problem = json.dumps({"detail": "not yet"}).encode()
        answers += [
            say(problem, 503),
            say(b"event: end\nid: 4\ndata: {}\n\n"),
            say(b'{"id": "r_1", "status": "failed"}'),
        ]
        assert run.wait().status == "failed"
        answers += [say(json.dumps({"detail": "no"}).encode(), 403)]
        with pytest.raises(RunyardError, match=r"^no$"):
            run.wait()
        assert answers == []
        assert len(heard) == 4


def test_the_log_is_told_and_followed_line_by_line(
    yard: Runyard, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis
) -> None:
    def write(*words: str) -> None:
        trainer.say("log", Log(lines=[SentLine(time=1.0, level="info", text=each) for each in words]))
        recorder.step()

    write("one", "two")
    run = yard.run(trainer.run)
    assert [line.text for line in run.logs()] == ["one", "two"]
    assert [line.text for line in run.logs(tail=1)] == ["two"]
    told, thread = follow(lambda: run.logs(follow=True))
    assert [told.get(timeout=10).text for _ in range(2)] == ["one", "two"]
    write("three")
    assert told.get(timeout=10)[1:] == (1.0, "info", "three", 1)
    end(trainer.run, runs, redis)
    thread.join(10)
    assert not thread.is_alive()
    assert told.empty()


def test_changes_are_told_until_nobody_listens(yard: Runyard, runs: Runs, redis: Redis) -> None:
    changes = yard.changes(timeout=30)
    next(changes)
    run = runs.add()
    signals.announce(redis, runs.commit(), run, "status")
    next(changes)
    with pytest.raises(TimeoutError, match="what was waited for has not ended within"):
        list(yard.changes(timeout=0.2))


# Reading -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(yard: Runyard, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis) -> Run:
    """A run that has ended, with points."""
    send(
        trainer,
        recorder,
        redis,
        train__loss=[(1, 1.0), (2, math.inf)],
        test__acc=[(2, 0.9)],
        val__acc=[(1, 0.8), (2, 0.7)],
    )
    end(trainer.run, runs, redis)
    return yard.run(trainer.run)


def test_curves_are_numpy_arrays(run: Run) -> None:
    curves = run.curves()
    assert set(curves) == {"train/loss", "test/acc", "val/acc"}
    step, value, moment = curves["train/loss"]
    assert (step.dtype, value.dtype, moment.dtype) == (np.int64, np.float64, np.float64)
    assert step.tolist() == [1, 2]
    assert np.array_equal(value, [1.0, np.nan], equal_nan=True)
    assert set(run.curves(["val/acc"], points=10)) == {"val/acc"}
    with pytest.raises(RunyardError, match="no metric 'val/loss' in this run; metrics: "):
        run.curves(["val/loss"])


def test_curves_are_lists_where_numpy_is_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    curves = run.curves(["train/loss"])
    assert curves["train/loss"].step == [1, 2]
    assert curves["train/loss"].value[0] == 1.0
    assert math.isnan(curves["train/loss"].value[1])


def test_a_frame_needs_pandas_and_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^a frame needs pandas, which is not installed here: pip install pandas$"):
        run.frame()


def test_a_frame_has_a_row_a_step_and_a_column_a_metric(run: Run) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is optional, and not installed here")
    frame = run.frame(["train/loss", "val/acc", "test/acc"])
    assert isinstance(frame, pandas.DataFrame)
    assert frame.index.tolist() == [1, 2]
    assert frame["val/acc"].tolist() == [0.8, 0.7]
    assert frame["test/acc"].isna().tolist() == [True, False]


def test_the_figure_of_a_run_is_the_best_of_validation_and_the_last_of_the_test(run: Run) -> None:
    assert (run.figure("val/acc"), run.figure("test/acc"), run.figure("none")) == (0.8, 0.9, None)


def test_runs_are_compared_as_means_over_their_seeds(
    yard: Runyard, runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    ids = []
    for i, (family, accuracy) in enumerate([("vit", 0.5), ("vit", 0.7), ("simple_cnn", 0.9)]):
        launched = yard.launch(family=family, size="tiny", seed=i)
        trainer = worker.train(recorder)
        trainer.points(test__acc=[(1, accuracy)])
        recorder.step()
        runs.finish(launched.id)
        ids.append(launched.id)
    found = yard.compare([yard.run(ids[0]), *ids[1:]])
    assert [(group.title, group.runs) for group in found.groups] == [
        ("vit tiny", ids[:2]),
        ("simple_cnn tiny", ids[2:]),
    ]
    figure = found.groups[0].figures["test/acc"]
    assert figure.mean == pytest.approx(0.6)
    assert figure.half == pytest.approx(12.7062 * math.sqrt(0.02) / math.sqrt(2), rel=1e-4)
    assert found.groups[1].figures["test/acc"].half is None
    assert found.url == f"{yard.url}/compare?runs={','.join(ids)}&by=variant"
    assert str(found).splitlines()[1].startswith("vit tiny                     2  60.00 ± 127.06 %  1,000 ")
    assert found.sentence in str(found)


# Awaited -------------------------------------------------------------------------------------------------------------


def test_everything_can_be_awaited_as_well(
    url: str, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis
) -> None:
    send(trainer, recorder, redis, train__loss=[(step, 1 / step) for step in range(1, 30)])

    async def all_of_it(way: str) -> list[Point]:
        async with AsyncRunyard(way) as yard:
            run = await yard.run(trainer.run)
            with pytest.raises(TimeoutError):
                await run.wait(timeout=0.1)
            assert [each.id async for each in yard.runs(status="running")] == [run.id]
            assert list(await run.curves()) == ["train/loss"]
            points: list[Point] = []
            async for point in run.metrics():
                points.append(point)
                if point.step == 29:
                    await asyncio.to_thread(end, run.id, runs, redis)
            assert (await run.wait()).status == "succeeded"
            assert [line async for line in run.logs(follow=True)] == []
            async for _ in yard.changes():
                break
            with pytest.raises(RunyardError, match="no family 'vitt'"):
                await yard.launch(family="vitt")
            other = assert_type(await yard.launch(family="vit"), AsyncRun)
            assert (await other.cancel()).status == "cancelled"
            assert len((await yard.compare([run.id])).groups) == 1
            return points

    with breaking(url, 10**9, 600) as (way, _):
        points = asyncio.run(all_of_it(way))
    assert [(each.metric, each.step) for each in points] == [("train/loss", step) for step in range(1, 30)]


def test_an_awaited_server_that_is_not_there_is_said() -> None:
    async def ask() -> None:
        async with AsyncRunyard("http://127.0.0.1:9") as yard:
            await yard.workers()

    with pytest.raises(RunyardError, match=r"^no Runyard answers at "):
        asyncio.run(ask())


def test_the_client_is_found_where_a_folder_of_the_same_name_lies_beside_the_script(tmp_path: Path) -> None:
    (tmp_path / "runyard").mkdir()
    script = tmp_path / "script.py"
    script.write_text("from runyard import Runyard\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
