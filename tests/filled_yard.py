"""A yard that has one of everything: runs of every kind, a sweep, a dataset, models, a program, notifications, people.

Every text that somebody chose is what ``say`` gives for it, so that tests can put payloads into all of them.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
from fastapi import FastAPI
from safetensors.numpy import save_file

from app.actions.account import create_token, start_session
from app.contract.dataset_import import Choices, ClassCount, ImportRequest, ImportState, Occurrence, SkippedFile
from app.contract.events import Checkpoint, DeviceInfo, Heartbeat, LogLine
from app.contract.model_jobs import RobustnessResult
from app.contract.own_datasets import DESCRIPTION, ITEMS, TARGET, TENSORS, OwnDataset, version_folder
from app.services.job_results import EFFECTS
from app.store import lease, model_job, notification
from app.store.database import next_commit, reading, writing
from app.store.lineage import save_capture, save_checkpoint
from app.store.log import add_lines
from app.store.metric import Curve, add_points
from app.store.user import find_user
from app.store.worker import record_heartbeat
from app.web.caller import LOCAL_KEY
from app.web.dependencies import Parts
from tests.app.own_dataset import describe_own_dataset, report
from tests.app.predicted import keep, predictions_of
from tests.conftest import Runs
from tests.people import NAMES, people
from tests.signed_program import FIELDS, signed

Say = Callable[[str], str]
"""What to write into a field, by its name in words."""
MLFLOW = "/api/2.0/mlflow"
SIDE = 28
"""Pixels of an image of the own dataset."""
BEGAN = 1_700_000_000.0
NOW_MS = 1_700_000_000_000


@dataclass
class FilledYard:
    """What a yard has, by kind: IDs and names as addresses use them. ``tokens``: secrets of API tokens, by scope."""

    parts: Parts
    client: httpx2.Client
    runs: Runs
    say: Say
    ids: dict[str, list[str]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def note(self, kind: str, *found: str) -> str:
        """Remember that these exist; returns the first."""
        self.ids.setdefault(kind, []).extend(found)
        return found[0]

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Send a request that must succeed; returns its answer."""
        answer = self.client.request(method, path, json=body, **more)
        assert answer.status_code < 300, (method, path, answer.status_code, answer.text[:500])
        return answer.json() if answer.content.startswith(b"{") else {}


def fill(server: FastAPI, client: httpx2.Client, say: Say = str, with_people: bool = True) -> FilledYard:
    """Fill the yard of a running server; from then on everyone signs in, unless there shall be no people."""
    parts: Parts = server.state.parts
    yard = FilledYard(parts, client, Runs(parts.engine), say)
    _add_worker(yard)
    _add_runs(yard)
    _add_script_runs(yard)
    _add_models(yard)
    _add_dataset(yard)
    _add_programs(yard)
    _add_the_rest(yard)
    if with_people:
        _add_people(server, yard)
    return yard


def without(text: str, signs: str = "") -> str:
    """A text without these signs and without what cannot be printed."""
    return "".join(each for each in text if each.isprintable() and each not in signs)


def _add_worker(yard: FilledYard) -> None:
    say = yard.say
    device = DeviceInfo(kind="cpu", name=say("device"), memory_bytes=8 * 2**30, cores=8)
    beat = Heartbeat(
        worker="w1",
        beat=1,
        host=say("host"),
        pid=7,
        slots=1,
        device=device,
        versions={"torch": say("version")},
        runs=[],
    )
    with writing(yard.parts.engine) as connection:
        record_heartbeat(connection, beat, time.time())


def _trained(yard: FilledYard, outcome: str | None, **fields: Any) -> str:
    """A run with curves, a log, its environment and a checkpoint, which has ended if an outcome is given."""
    say, engine = yard.say, yard.parts.engine
    run = yard.runs.add(BEGAN, name=say("run name"), tags=[say("tag")[:50]], notes=say("notes"), **fields)
    steps = np.arange(20, dtype=np.int64)
    times = BEGAN + steps.astype(np.float64)
    ends = np.array([10, 20], np.int64)
    device = say("device")
    yard.runs.set(run, status="running", fence=1, started_at=BEGAN, attempt=1, device=device, worker="w1")
    checkpoint = Checkpoint(path=f"{run}/1/best.safetensors", epoch=2, step=20, best=True)
    with writing(engine) as connection:
        commit = next_commit(connection)
        add_points(connection, run, "train/loss", Curve(steps, times * 0, times), commit)
        for name in ("val/acc", "val/loss", "test/acc"):
            add_points(
                connection, run, name, Curve(ends, np.array([0.5, 0.75]), (BEGAN + ends).astype(np.float64)), commit
            )
        add_lines(connection, run, 1, [LogLine(time=BEGAN, level="info", text=say("log line"))], commit)
        save_checkpoint(connection, run, checkpoint)
        save_capture(
            connection,
            run,
            {
                "freeze": [say("package")],
                "packages": {say("package"): say("version")},
                "machine": {"host": say("host"), "os": say("system")},
                "device": {"name": device},
                "dataset": {"name": say("source"), "sha256": say("digest")},
                "command": say("command line"),
            },
        )
    yard.runs.set(run, best_checkpoint=checkpoint.model_dump_json())
    if outcome is not None:
        with writing(engine) as connection:
            reason = say("error") if outcome == "failed" else ""
            assert lease.end(connection, run, 1, outcome, reason, next_commit(connection), BEGAN + 130)
    return yard.note("run", run)


def _add_runs(yard: FilledYard) -> None:
    settings, engine = yard.parts.settings, yard.parts.engine
    for _ in range(2):
        run = _trained(yard, "succeeded")
        keep(settings, engine, predictions_of(run))
        card = RobustnessResult(
            dataset="digits",
            images=360,
            seed=0,
            epoch=2,
            step=20,
            strengths=5,
            clean={"digit": 0.95},
            mean={"digit": 0.7},
            accuracy={"digit": {"jpeg": [0.9, 0.8, 0.7, 0.6, 0.5]}},
            parameters={"jpeg": [yard.say("parameter")] * 5},
        ).model_dump()
        with writing(engine) as connection:
            job = model_job.add_job(connection, run, "robustness", {"seed": 0}, time.time())
            model_job.begin_job(connection, job.id, time.time())
            model_job.end_job(connection, job.id, "succeeded", time.time(), result=card)
            EFFECTS["robustness"](connection, job, card, next_commit(connection), time.time())
        yard.note("job", job.id)
    _trained(yard, "failed")
    live = _trained(yard, None)
    yard.send("POST", f"/api/v1/runs/{live}/changes", {"kind": "note", "value": yard.say("note")[:200]})
    waiting = yard.note("run", yard.runs.add(name=yard.say("run name")))
    gone = yard.runs.add(name=yard.say("run name"))
    yard.runs.finish(gone)
    yard.send("DELETE", f"/api/v1/runs/{gone}")
    yard.note("deleted run", gone)
    yard.note("number", *(str(yard.runs.get(run).number) for run in (waiting, yard.ids["run"][0])))
    base = {"family": "simple_mlp", "size": "tiny", "name": yard.say("run name")}
    sweep = yard.send("POST", "/api/v1/sweeps", {"base": base, "grid": {"lr": [0.1, 0.01]}, "name": yard.say("sweep")})
    yard.note("sweep", sweep["id"])
    yard.note("run", *sweep["runs"])


def _add_script_runs(yard: FilledYard) -> None:
    """Runs that scripts log, in both ways, and an imported one with histograms and texts."""
    say = yard.say
    experiment = yard.send("POST", f"{MLFLOW}/experiments/create", {"name": say("experiment")})["experiment_id"]
    yard.note("experiment", experiment, "0")
    tag = {"key": say("tag key"), "value": say("tag value")}
    yard.send("POST", f"{MLFLOW}/experiments/set-experiment-tag", {"experiment_id": experiment, **tag})
    begun = {"experiment_id": experiment, "run_name": say("run name"), "start_time": NOW_MS, "user_id": say("user")}
    run = yard.note("script run", yard.send("POST", f"{MLFLOW}/runs/create", begun)["run"]["info"]["run_id"])
    yard.note("run", run)
    metric, parameter = say("metric"), {"key": say("parameter key"), "value": say("parameter value")}
    points = [{"key": metric, "value": 0.5 + i / 9, "step": i, "timestamp": NOW_MS + i} for i in range(3)]
    tags = [
        tag,
        {"key": "mlflow.note.content", "value": say("description")},
        {"key": "mlflow.source.name", "value": say("source")},
    ]
    yard.send(
        "POST", f"{MLFLOW}/runs/log-batch", {"run_id": run, "metrics": points, "params": [parameter], "tags": tags}
    )
    yard.note("metric", metric, "val/acc")
    dataset = {
        name: say(f"dataset {name}") for name in ("name", "digest", "source", "source_type", "schema", "profile")
    }
    inputs = [{"dataset": dataset, "tags": [tag]}]
    yard.send("POST", f"{MLFLOW}/runs/log-inputs", {"run_id": run, "datasets": inputs})
    texts: dict[str, bytes] = {without(say("file name"), "/\\") + ".txt": say("file content").encode()}
    texts |= {
        "table.csv": f"{say('cell')},b\n1,2\n".encode(),
        "conf.json": b'{"a": 1}',
        "page.html": say("file content").encode(),
    }
    texts["model/MLmodel"] = b"flavors: {}"
    for path, content in texts.items():
        if all(each.isprintable() for each in path) and len(path.encode()) < 200:
            yard.send("PUT", f"/api/v1/runs/{run}/files/{quote(path)}", content=content)
            yard.note("file", path)
    part = {"offset": 0, "step": [0, 1], "value": [0.5, 0.75], "time": [BEGAN, BEGAN + 1]}
    head: dict[str, Any] = {"experiment": say("experiment")[:200], "name": say("run name")[:200], "started": BEGAN}
    head |= {"parameters": {parameter["key"][:250]: parameter["value"]}}
    records: dict[str, Any] = {"offset": 0, "step": [0], "time": [BEGAN]}
    histogram, text = yard.note("histogram", say("histogram")[:250]), yard.note("text", say("text tag")[:250])
    histograms = {histogram: records | {"edges": [[0, 1, 2]], "counts": [[3, 4]]}}
    imported: dict[str, Any] = {"histograms": histograms, "texts": {text: records | {"text": [say("text")]}}}
    imported |= {"curves": {metric[:250]: part}, "ended": BEGAN + 9, "key": "imported-run-1"}
    yard.note("run", yard.note("imported run", yard.send("POST", "/api/v1/import", head | imported)["id"]))
    logged = {"curves": {metric[:250]: part}, "key": "logged-run-12", "tags": [say("tag").replace(",", ";")[:50]]}
    yard.note(
        "run", yard.send("POST", "/api/v1/log", head | logged | {"source": say("source"), "user": say("user")})["id"]
    )


def _add_models(yard: FilledYard) -> None:
    say, run = yard.say, yard.ids["script run"][0]
    tag = {"key": say("tag key")[:250], "value": say("tag value")}
    name = without(say("model"), "/:.%\"'\\@") or "model"
    made = {
        "experiment_id": "0",
        "name": name,
        "source_run_id": run,
        "tags": [tag],
        "params": [tag],
        "model_type": say("type"),
    }
    model = yard.send("POST", f"{MLFLOW}/logged-models", made)["model"]["info"]["model_id"]
    yard.note("logged model", model)
    yard.send("PATCH", f"{MLFLOW}/logged-models/{model}", {"model_id": model, "status": 2})
    registered = yard.note("registered model", name)
    yard.send(
        "POST",
        f"{MLFLOW}/registered-models/create",
        {"name": registered, "description": say("description"), "tags": [tag]},
    )
    version = {"name": registered, "source": f"runs:/{run}/model", "run_id": run, "description": say("description")}
    yard.send("POST", f"{MLFLOW}/model-versions/create", version | {"tags": [tag]})
    yard.send("POST", f"{MLFLOW}/registered-models/alias", {"name": registered, "alias": "champion", "version": "1"})
    alias = yard.note("alias", "digits-best")
    yard.send("PUT", f"/api/v1/models/{alias}", {"run": yard.ids["run"][0], "by": say("who")[:80]})


def _add_dataset(yard: FilledYard) -> None:
    """An own dataset and an import in preview, as the worker leaves them, and a run that predicted its classes."""
    say, folder = yard.say, yard.parts.settings.datasets
    classes = (say("class"), f"{say('class')}2", "tulip")
    described = describe_own_dataset(folder, "flowers", train=40, side=SIDE)
    image = Occurrence(path=say("image file"), label=classes[0], index=0, part="train")
    found = report(
        classes=[ClassCount(name=name, found=[name], train=400, validation=40, test=40) for name in classes],
        duplicates=[{"images": [image, image], "count": 2, "across": True, "labels_differ": True}],
        outliers=[{"image": image, "distance": 9.5}],
        skipped=[SkippedFile(path=say("image file"), kind="not an image", reason=say("reason"))],
        leaks=[say("leak")],
        notes=[say("note")],
        near_empty=[classes[0]],
        layout=say("layout"),
        modes={say("mode"): 1_250},
    )
    own: OwnDataset = described.model_copy(update={"classes": classes, "source": say("source"), "report": found})
    version = version_folder(folder, "flowers", described.version)
    (version / DESCRIPTION).write_text(own.model_dump_json())
    with (version / ITEMS).open("w", newline="") as file:
        row = ("train", 0, classes[0], say("image file"))
        csv.writer(file, lineterminator="\n").writerows([("split", "index", "label", "path"), row])
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for part, count in own.images.items():
        tensors[f"{part}.images"] = np.arange(count * 3 * SIDE**2).astype(np.uint8).reshape(count, 3, SIDE, SIDE)
        tensors[f"{part}.{TARGET}"] = np.arange(count) % 3
    save_file(tensors, version / TENSORS)
    yard.note("dataset", "flowers")
    run = _trained(yard, "succeeded", dataset="flowers", targets=[TARGET])
    keep(yard.parts.settings, yard.parts.engine, predictions_of(run, "flowers", TARGET, classes, images=125))
    _add_import(yard.parts.imports.folder, own, say)
    yard.note("import", "i_1kf3t8v0a2mzq4c")


def _add_import(folder: Path, own: OwnDataset, say: Say) -> None:
    number = "i_1kf3t8v0a2mzq4c"
    place = folder / number
    place.mkdir(parents=True)
    choices = Choices(side=64, color="rgb")
    request = ImportRequest(
        id=number, name="petals", source="/nowhere", original=say("source"), keep=False, choices=choices, created_at=1.0
    )
    (place / "request.json").write_text(request.model_dump_json())
    (place / "state.json").write_text(ImportState(status="preview", shown=0, updated_at=time.time()).model_dump_json())
    (place / "report.json").write_text(own.report.model_dump_json())


def _add_programs(yard: FilledYard) -> None:
    say = yard.say
    fields = [dict(each) for each in FIELDS]
    fields[0]["help"] = say("help")[:200]
    fields[2]["choices"] = ["adamw", without(say("choice"))[:200].strip() or "sgd"]
    fields[4]["default"] = "a " + without(say("default"))[:200]
    body = signed(yard.parts.settings, fields=fields, about=say("about")[:500], folder="/jobs/" + say("folder"))
    yard.send("PUT", "/api/v1/programs/tune", body)
    yard.note("program", "tune")
    launched = yard.send("POST", "/api/v1/programs/tune/runs", {"values": {}, "name": say("run name")[:200]})
    yard.note("run", *(each["id"] for each in launched["runs"]))


def _add_the_rest(yard: FilledYard) -> None:
    say, run = yard.say, yard.ids["run"][0]
    view = yard.send("POST", "/api/v1/views", {"name": say("view")[:60], "question": f"q={quote(say('query'))}"})
    yard.note("view", view["id"])
    rule = yard.send("POST", "/api/v1/rules", {"comparison": "above", "metric": "val/acc", "value": 0.9, "run": run})
    yard.note("rule", rule["id"])
    url = f"https://hooks.example.org/{quote(say('webhook'))}?key={quote(say('webhook'))}"
    hook = yard.send("POST", "/api/v1/webhooks", {"url": url, "kinds": ["failed"]})
    yard.note("webhook", hook["id"])
    yard.note("secret", hook["secret"], url)
    with writing(yard.parts.engine) as connection:
        notification.add(connection, run, rule["id"], "rule", say("notice"), time.time())


def _add_people(server: FastAPI, yard: FilledYard) -> None:
    """One person of each role with sessions and tokens, whose names and browsers are payloads too."""
    parts = people(server)
    yard.note("person", *NAMES.values())
    for role, name in NAMES.items():
        with reading(parts.engine) as connection:
            user = find_user(connection, name)
        assert user is not None
        start_session(parts, user, "192.0.2.1", yard.say("user agent"), "browser")
        own = without(yard.say("token"))[:40] or "t"
        record, secret = create_token(parts, LOCAL_KEY, f"{own} {role}"[:60], "read", None, of=name)
        yard.note("token", record.id)
        yard.note("secret", secret)
    for scope in ("read", "log", "launch", "admin"):
        record, secret = create_token(parts, LOCAL_KEY, scope, scope, None, of=NAMES["administrator"])
        yard.note("token", record.id)
        yard.tokens[scope] = yard.note("secret", secret)
