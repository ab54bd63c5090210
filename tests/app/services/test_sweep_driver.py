"""The sweep driver resumes searches, prunes bad runs with a reason, and finishes sweeps."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from app.contract.command import Command
from app.contract.command_key import ensure_key, read_key, sign
from app.contract.events import Result, Started
from app.contract.settings import Settings
from app.services.recorder import Recorder
from app.services.sweep_driver import Driver
from app.store.database import reading, writing
from app.store.sweep import load_sweep
from app.store.user import UserRecord, insert_user
from tests.conftest import Runs, until
from tests.fake_worker import Trainer, Worker

pytestmark = pytest.mark.both_databases

SPACE = {"lr": {"low": 1e-4, "high": 1e-1, "log": True}, "optimizer": {"choice": ["adam", "sgd"]}}
SEARCH = {"base": {"family": "simple_mlp", "epochs": 9}, "method": "tpe", "space": SPACE}


@pytest.fixture
def driving(settings: Settings, engine: Engine, redis: Redis) -> Iterator[Callable[[], Driver]]:
    """Creates drivers, each as fresh as after a restart."""
    made: list[Driver] = []

    def make() -> Driver:
        made.append(Driver(settings, engine, redis))
        return made[-1]

    yield make
    for each in made:
        each.celery.close()


def launched(client: Any, **said: Any) -> str:
    answer = client.post("/api/v1/sweeps", json=said)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def values(runs: Runs) -> list[dict[str, Any]]:
    return [json.loads(said) for (said,) in runs.sql("SELECT sweep_values FROM run ORDER BY number")]


def train_all(recorder: Recorder, worker: Worker, runs: Runs, reach: Callable[[dict[str, Any]], float]) -> int:
    """Train every queued run to its end; returns their number."""
    trained = 0
    while runs.sql("SELECT 1 FROM run WHERE status = 'queued'"):
        trainer = worker.train(recorder)
        said = json.loads(runs.sql("SELECT sweep_values FROM run WHERE id = :run", run=trainer.run)[0][0])
        trainer.points(val__acc=[(1, reach(said))])
        trainer.say("result", Result(outcome="succeeded"))
        recorder.step()
        trained += 1
    return trained


def test_a_search_proposes_as_runs_end_and_survives_a_restart_after_each(
    client: Any, runs: Runs, recorder: Recorder, worker: Worker, driving: Callable[[], Driver]
) -> None:
    sweep = launched(client, **SEARCH, draws=8)
    for _ in range(20):
        driving().step()
        if not train_all(recorder, worker, runs, lambda said: 0.9 if said["optimizer"] == "adam" else 0.2):
            break
    found = client.get(f"/api/v1/sweeps/{sweep}").json()
    assert (found["status"], found["counts"], found["planned"]) == ("finished", {"succeeded": 8}, 8)
    assert len({json.dumps(each, sort_keys=True) for each in values(runs)}) == 8
    assert found["best"]["values"]["optimizer"] == "adam"
    assert found["ended"]


def test_a_restarted_search_proposes_what_it_would_have_proposed(
    client: Any, runs: Runs, recorder: Recorder, worker: Worker, driving: Callable[[], Driver]
) -> None:
    made = []
    for restarts in (False, True):
        launched(client, **SEARCH, draws=6)
        kept = driving()
        before = len(values(runs))
        for _ in range(10):
            (driving() if restarts else kept).step()
            if not train_all(recorder, worker, runs, lambda said: said["lr"]):
                break
        made.append(values(runs)[before:])
    assert made[0] == made[1]
    assert len(made[0]) == 6


def test_a_search_waits_while_its_person_has_no_room_in_the_queue(
    client: Any, runs: Runs, recorder: Recorder, worker: Worker, driving: Callable[[], Driver]
) -> None:
    sweep = launched(client, **SEARCH, draws=3)
    other = runs.add()
    with writing(runs.engine) as connection:
        insert_user(connection, UserRecord("p_ada", "ada", "member", "", 1.0, None, most_queued=1))
        connection.execute(text("UPDATE sweep SET created_by = 'ada'"))
        connection.execute(text("UPDATE run SET created_by = 'ada' WHERE id = :run"), {"run": other})
    driving().step()
    assert client.get(f"/api/v1/sweeps/{sweep}").json()["counts"] == {}
    runs.finish(other)
    driving().step()
    assert client.get(f"/api/v1/sweeps/{sweep}").json()["counts"] == {"queued": 1}
    assert runs.sql("SELECT created_by FROM run WHERE status = 'queued'") == [("ada",)]


def test_each_proposal_is_trained_with_every_seed_and_told_their_mean(
    client: Any, runs: Runs, recorder: Recorder, worker: Worker, driving: Callable[[], Driver]
) -> None:
    launched(client, **SEARCH, draws=2, seeds=3)
    driving().step()
    first = values(runs)
    assert [each["seed"] for each in first] == [1, 2, 3]
    assert len({each["lr"] for each in first}) == 1
    train_all(recorder, worker, runs, lambda said: said["seed"] / 10)
    driving().step()
    assert len(values(runs)) == 6


def test_a_small_space_ends_when_all_of_it_was_tried(
    client: Any, runs: Runs, recorder: Recorder, worker: Worker, driving: Callable[[], Driver]
) -> None:
    space = {"optimizer": {"choice": ["adam", "adamw", "sgd"]}}
    sweep = launched(client, base={"family": "vit"}, method="tpe", space=space, draws=20)
    driver = driving()
    for _ in range(8):
        driver.step()
        train_all(recorder, worker, runs, lambda said: 0.5)
    found = client.get(f"/api/v1/sweeps/{sweep}").json()
    assert (found["status"], found["counts"]) == ("finished", {"succeeded": 3})
    assert found["reason"] == "every possible configuration has been tried"


def test_a_stopped_search_proposes_nothing_more(client: Any, runs: Runs, driving: Callable[[], Driver]) -> None:
    sweep = launched(client, **SEARCH, draws=5)
    driving().step()
    client.post(f"/api/v1/sweeps/{sweep}/stop")
    driving().step()
    assert {status for (status,) in runs.sql("SELECT status FROM run")} == {"cancelled"}
    more = client.post(f"/api/v1/sweeps/{sweep}/extend", json={"draws": 6}).json()
    assert more["status"] == "running"
    driving().step()
    assert runs.sql("SELECT count(*) FROM run WHERE status = 'queued'") != [(0,)]


def test_a_grid_ends_with_its_last_run(
    client: Any, runs: Runs, recorder: Recorder, worker: Worker, driving: Callable[[], Driver]
) -> None:
    sweep = launched(client, base={"family": "simple_mlp"}, grid={"lr": [0.1, 0.01]})
    driver = driving()
    driver.step()
    assert client.get(f"/api/v1/sweeps/{sweep}").json()["status"] == "running"
    train_all(recorder, worker, runs, lambda said: said["lr"])
    driver.step()
    assert client.get(f"/api/v1/sweeps/{sweep}").json()["status"] == "finished"


def begun(recorder: Recorder, redis: Redis, name: str) -> Trainer:
    return Worker(redis, name).train(recorder)


def test_a_run_below_the_median_is_stopped_and_says_so(
    client: Any, runs: Runs, recorder: Recorder, redis: Redis, driving: Callable[[], Driver]
) -> None:
    said = {"base": {"family": "simple_mlp", "epochs": 9}, "grid": {"lr": [0.1, 0.2, 0.3, 0.4, 99]}}
    sweep = launched(client, **said, pruning="median", prune_after_epochs=2)
    trainers = [begun(recorder, redis, f"w{i}") for i in range(5)]
    driver = driving()
    for level, trainer in zip((0.53, 0.53, 0.53, 0.6, 0.1), trainers, strict=True):
        trainer.points(val__acc=[(1, level)])
    recorder.step()
    driver.step()
    assert runs.status(trainers[-1].run) == "running"
    for level, trainer in zip((0.53, 0.53, 0.53, 0.6, 0.312), trainers, strict=True):
        trainer.points(val__acc=[(2, level)])
    recorder.step()
    driver.step()
    reason = "pruned at epoch 2: val/acc 31.2% is below the median (53.0%) of 4 other runs"
    assert (runs.status(trainers[-1].run), runs.get(trainers[-1].run).reason) == ("cancelling", reason)
    assert {runs.status(each.run) for each in trainers[:-1]} == {"running"}
    trainers[-1].say("result", Result(outcome="cancelled", reason="stopped at step 2"))
    recorder.step()
    found = runs.get(trainers[-1].run)
    assert (found.status, found.reason) == ("cancelled", reason)
    told = client.get(f"/api/v1/sweeps/{sweep}").json()
    assert (told["counts"], told["pruned"]) == ({"running": 4, "cancelled": 1}, 1)


def test_a_search_is_told_of_what_was_pruned(
    client: Any, runs: Runs, recorder: Recorder, worker: Worker, driving: Callable[[], Driver]
) -> None:
    launched(client, **SEARCH, draws=3, pruning="median")
    driving().step()
    trainer = worker.train(recorder)
    trainer.points(val__acc=[(1, 0.1)])
    runs.set(trainer.run, status="cancelled", stop_reason="pruned at epoch 1: …", ended_at=2.0)
    recorder.step()
    driving().step()
    assert len(values(runs)) > 1


def test_a_sweep_that_cannot_be_read_holds_up_no_other(
    client: Any, engine: Engine, runs: Runs, driving: Callable[[], Driver]
) -> None:
    broken, sound = launched(client, **SEARCH, draws=3), launched(client, **SEARCH, draws=3)
    with writing(engine) as connection:
        old, new = '"family": "simple_mlp"', '"family": "gone"'
        statement = text("UPDATE sweep SET spec = replace(spec, :old, :new) WHERE id = :sweep")
        connection.execute(statement, {"old": old, "new": new, "sweep": broken})
    driving().step()
    with reading(engine) as connection:
        found = load_sweep(connection, broken)
    assert found is not None
    assert (found.status, found.reason.startswith("cannot continue: ")) == ("stopped", True)
    assert runs.sql("SELECT DISTINCT sweep FROM run") == [(sound,)]


# Commands -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def exec_sweep(client: Any, settings: Settings) -> Callable[..., str]:
    """Launch a sweep over a command with a placeholder lr; gives its id."""

    def launch(allowed: dict[str, Any], worker: str = "", **sweep: Any) -> str:
        fields = {"argv": ["train", "{lr}"], "folder": "/", "url": "http://localhost", "placeholders": {"lr": allowed}}
        command = Command.model_validate(fields)
        signature = sign(read_key(ensure_key(settings.data_dir)), command)
        body = {"command": command.model_dump() | {"signature": signature}, "worker": worker, "sweep": sweep}
        answer = client.post("/api/v1/commands/sweeps", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    return launch


def start_command(recorder: Recorder, worker: Worker) -> Trainer:
    """Claim the next run, whose command is about to start."""
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert isinstance(grant.command, Command)
    assert len(grant.command.filled()) == 2
    trainer = Trainer(worker.redis, grant.run, grant.fence)
    trainer.say("started", Started(step=0, epoch=0, params=None, environment={}, keeps=True))
    recorder.step()
    return trainer


def log(client: Any, run: str, *points: tuple[int, float], name: str = "val_score") -> None:
    """Log points as MLflow's client does."""
    metrics = [{"key": name, "value": value, "step": step, "timestamp": step} for step, value in points]
    answer = client.post("/api/2.0/mlflow/runs/log-batch", json={"run_id": run, "metrics": metrics})
    assert answer.status_code == 200, answer.text


def test_a_search_over_a_command_learns_from_the_metric_that_its_script_logs(
    client: Any, runs: Runs, recorder: Recorder, worker: Worker, driving: Callable[[], Driver], exec_sweep: Any
) -> None:
    space = {"low": 1e-4, "high": 0.1, "log": True}
    sweep = exec_sweep(space, method="tpe", draws=8, metric="val_score", direction="maximize")
    for _ in range(20):
        driving().step()
        while runs.sql("SELECT 1 FROM run WHERE status = 'queued'"):
            trainer = start_command(recorder, worker)
            lr = values(runs)[-1]["lr"]
            log(client, trainer.run, (0, 0.5 - lr), (1, 1 - lr), (2, 0.2))
            trainer.say("result", Result(outcome="succeeded", exit_status=0))
            recorder.step()
    found = client.get(f"/api/v1/sweeps/{sweep}").json()
    assert (found["status"], found["counts"], found["planned"]) == ("finished", {"succeeded": 8}, 8)
    tried = [each["lr"] for each in values(runs)]
    assert len(set(tried)) == 8
    assert found["best"]["values"] == {"lr": min(tried)}
    assert found["best"]["value"] == 1 - min(tried)
    assert all(1e-4 <= lr <= 0.1 for lr in tried)


def test_a_search_over_a_command_waits_for_the_slots_of_its_own_machine(
    client: Any, runs: Runs, redis: Redis, recorder: Recorder, driving: Callable[[], Driver], exec_sweep: Any
) -> None:
    Worker(redis, "there-1", slots=8).beat()
    Worker(redis, "here-1", slots=2).beat()
    recorder.step()
    exec_sweep({"low": 0.0, "high": 1.0}, worker="here-", method="tpe", draws=20)
    driving().step()
    assert runs.sql("SELECT count(*) FROM run") == [(3,)]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_command_that_lags_behind_is_stopped_after_as_many_values(
    direction: str,
    client: Any,
    runs: Runs,
    recorder: Recorder,
    redis: Redis,
    driving: Callable[[], Driver],
    exec_sweep: Any,
) -> None:
    sign = 1 if direction == "maximize" else -1
    said = {"metric": "val_score", "direction": direction, "pruning": "median", "prune_after_runs": 2}
    sweep = exec_sweep({"choice": [1, 2, 3]}, prune_after_epochs=2, **said)
    trainers = [start_command(recorder, Worker(redis, f"w{i}")) for i in range(3)]
    driver = driving()
    for level, trainer in zip((3.0, 4.0, 1.0), trainers, strict=True):
        # Each script logs at steps of its own, and another metric.
        log(client, trainer.run, (10 * int(level), sign * level))
        log(client, trainer.run, (0, -99.0), (1, 99.0), name="other")
    driver.step()
    assert {runs.status(each.run) for each in trainers} == {"running"}
    for level, trainer in zip((3.0, 4.0, 1.5), trainers, strict=True):
        log(client, trainer.run, (1000, sign * level))
    driver.step()
    hopeless = trainers[-1].run
    side = "below" if direction == "maximize" else "above"
    reason = f"pruned after 2 values: val_score {sign * 1.5:g} is {side} the median ({sign * 3.5:g}) of 2 other runs"
    assert (runs.status(hopeless), runs.get(hopeless).reason) == ("cancelling", reason)
    assert {runs.status(each.run) for each in trainers[:-1]} == {"running"}
    trainers[-1].say("result", Result(outcome="cancelled", reason="stopped; killed by signal 15", exit_status=-15))
    recorder.step()
    assert (runs.status(hopeless), runs.get(hopeless).reason) == ("cancelled", reason)
    told = client.get(f"/api/v1/sweeps/{sweep}").json()
    assert (told["counts"], told["pruned"]) == ({"running": 2, "cancelled": 1}, 1)
    driver.step()
    assert {runs.status(each.run) for each in trainers[:-1]} == {"running"}


def test_a_search_whose_stored_command_has_lost_its_placeholders_stops_with_a_sentence(
    client: Any, engine: Engine, driving: Callable[[], Driver], exec_sweep: Any
) -> None:
    sweep = exec_sweep({"low": 0.0, "high": 1.0}, method="tpe", draws=3)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE sweep SET spec = replace(spec, '{lr}', '{rate}')")
    driving().step()
    found = client.get(f"/api/v1/sweeps/{sweep}").json()
    assert (found["status"], found["runs"]) == ("stopped", [])
    assert "the command has '{rate}', but there are no values for it" in found["reason"]


def test_the_driver_is_woken_by_commits_and_ends_when_it_is_told(
    client: Any, runs: Runs, driving: Callable[[], Driver]
) -> None:
    driver, stop = driving(), threading.Event()
    thread = threading.Thread(target=driver.run, args=(stop,))
    thread.start()
    try:
        launched(client, **SEARCH, draws=3)
        until(lambda: runs.sql("SELECT 1 FROM run"), 60, "the driver makes a run")
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
