"""Example runs of every kind and the pages that show them, for screenshots and for tests of every page."""

from __future__ import annotations

import io
import math
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw

from app.contract.command_key import read_key, sign_program, sign_removal
from app.contract.program import Program, ProgramField
from runyard import Run, Runyard

SETTLING = ".htmx-request, figure[aria-busy=true], #swagger .without-js, #swagger .loading-container"
"""Selects what a page shows while parts of it are still loading."""
SHAPES = "shapes"
"""Name of the gallery's own dataset."""
PROGRAM = "tune"
"""Name of its program."""
TINY = {"dataset": "digits", "family": "simple_mlp", "size": "tiny"}
LIVE: dict[str, Any] = {"dataset": "digits", "family": "simple_cnn", "size": "base", "epochs": 400}


@dataclass(frozen=True)
class Gallery:
    """Paths of pages by name; `close` stops the ``waiting`` and ``running`` runs and deletes what else was made.

    ``preview``: id of an import that shows its preview.
    """

    pages: Mapping[str, str]
    running: list[Run]
    waiting: list[Run]
    rule: str
    preview: str


def fill(yard: Runyard, epochs: int, draws: int, live_steps: int) -> Gallery:
    """Launch variants with seeds, a search and a failed run, and wait for them; then a live run with a queue behind it.

    ``epochs`` is the length of the runs that finish, ``draws`` the number of configurations in the search; the live run
    has made at least ``live_steps`` steps.
    """
    variants = yard.sweep(
        {"dataset": "digits", "size": "tiny", "epochs": epochs, "name": "first look"},
        {"family": ["simple_cnn", "vit"]},
        seeds=3,
    )
    search = yard.sweep(
        TINY | {"epochs": epochs},
        space={"lr": {"low": 1e-4, "high": 1e-1, "log": True}, "batch_size": {"choice": [32, 64, 128]}},
        method="random",
        draws=draws,
    )
    heads = yard.launch(**TINY, epochs=epochs, targets=["digit", "thickness"], tags=["two heads"], robustness=True)
    diverged = yard.launch(**TINY, epochs=epochs, lr=1000, optimizer="sgd", schedule="constant")
    for launched in (variants.wait(), search.wait(), heads.wait(), diverged.wait()):
        assert launched.ended
    again = heads.fork(max(1, epochs // 2), lr=3e-4).wait()
    yard.set_model("digits-production", heads, "ada")
    yard.set_model("digits-production", again, "ada")
    rule = yard.ask("POST", "/rules", {"metric": "val/acc", "comparison": "above", "value": 0.97})
    live = yard.launch(**LIVE, tags=["paper"])
    deadline = time.monotonic() + 180
    while live.refresh().progress.get("step", 0) < live_steps:
        assert time.monotonic() < deadline, f"{live.id} makes no steps"
        time.sleep(0.1)
    live.change(note="screenshot taken here")
    # Every other slot gets a run too, so that those behind them wait.
    slots = sum(worker["slots"] for worker in yard.ask("GET", "/workers")["workers"])
    others = [yard.launch(**LIVE, seed=seed) for seed in range(2, slots + 1)]
    waiting = [yard.launch(**TINY, epochs=20, name=f"queued example {number}") for number in (1, 2, 3)]
    preview = import_shapes(yard)
    add_program(yard)
    logged, imported = log_files(yard), import_events(yard)
    # It has run since the end of the run, beside all this.
    wait_for_job(yard, heads, "robustness")
    runs = ",".join(variants.runs)
    return Gallery(
        {
            "now": "/",
            "launch": "/launch?family=vit&size=tiny&dataset=digits&lr=1e-3, 3e-4&seeds=3",
            "launch-augmented": "/launch?family=simple_cnn&dataset=digits&rotation=15&crop_padding=2&mixup=0.2",
            "launch-wrong": "/launch?family=vit&size=hug&epochs=-3",
            "programs": "/programs",
            "program": f"/programs/{PROGRAM}?v-lr=0.01&v-encoder=vit-small&seeds=3",
            "program-wrong": f"/programs/{PROGRAM}?v-lr=fast&v-epochs=0&v-data=/etc/passwd",
            "queue": "/queue",
            "runs": "/runs",
            "runs-grouped": "/runs?group=family,size",
            "runs-none": "/runs?q=family:vit status:failed",
            "run-live": f"/runs/{live.id}",
            "run-finished": f"/runs/{heads.id}?with={again.id}",
            "run-forked": f"/runs/{again.id}",
            "run-failed": f"/runs/{diverged.id}",
            "model-card": f"/runs/{heads.id}/card",
            "predictions": f"/runs/{again.id}/predictions?part=validation",
            "predictions-none": f"/runs/{diverged.id}/predictions",
            "prediction-pictures": f"/runs/{again.id}/predictions/pictures?part=validation",
            "robustness": f"/runs/{heads.id}/robustness",
            "robustness-none": f"/runs/{again.id}/robustness",
            "files": f"/runs/{logged}/files",
            "files-trained": f"/runs/{heads.id}/files",
            "histograms": f"/runs/{imported}/histograms",
            "texts": f"/runs/{imported}/texts",
            "sweeps": "/sweeps",
            "sweep": f"/sweeps/{search.id}",
            "compare": f"/compare?runs={runs}&by=variant",
            "compare-runs": f"/compare?runs={runs}&by=none",
            "compare-pick": "/compare",
            "leaderboard": "/leaderboard",
            "playground": f"/playground?runs={heads.number},{again.number}&picture=digits:test:3&why=1&sweep=rotation",
            "models": "/models",
            "architectures": "/architectures",
            "datasets": "/datasets",
            "dataset": f"/datasets/{SHAPES}",
            "dataset-import": f"/datasets/imports/{preview}",
            "notifications": "/notifications",
            "admin": "/admin",
            "admin-tokens": "/admin/tokens",
            "admin-audit": "/admin/audit",
            "admin-system": "/admin/system",
            "nowhere": "/nowhere",
            "docs": "/docs",
        },
        [live, *others],
        waiting,
        rule["id"],
        preview,
    )


def wait_for_job(yard: Runyard, run: Run, kind: str) -> None:
    """Wait until the newest job of a kind has succeeded on a run."""
    deadline = time.monotonic() + 120
    while (job := _newest_job(yard, run, kind))["status"] != "succeeded":
        assert job["status"] in ("queued", "running"), job["reason"]
        assert time.monotonic() < deadline, f"{job['id']} does not end"
        time.sleep(0.1)


def _newest_job(yard: Runyard, run: Run, kind: str) -> Any:
    return next(each for each in yard.ask("GET", f"/runs/{run.id}/jobs")["jobs"] if each["kind"] == kind)


def import_shapes(yard: Runyard) -> str:
    """Import drawn shapes as a dataset, with a leak and a damaged file; then again, up to the preview: its id."""
    with tempfile.TemporaryDirectory() as folder:
        draw_shapes(Path(folder) / SHAPES)
        kept = yard.add_dataset(SHAPES, Path(folder) / SHAPES, side=48)
        preview = yard.add_dataset(SHAPES, Path(folder) / SHAPES, keep=False)
    kept.wait(timeout=180)
    return preview.wait(timeout=180).id


def add_program(yard: Runyard) -> None:
    """Add a program with a field of every type, signed as its owner does; no run of it is launched."""
    fields: list[dict[str, Any]] = [
        {"name": "lr", "type": "float", "default": 0.001, "min": 0, "help": "peak learning rate"},
        {"name": "epochs", "type": "int", "default": 20, "min": 1},
        {"name": "encoder", "type": "choice", "choices": ["resnet-50", "vit-small"], "default": "resnet-50"},
        {"name": "frozen", "type": "bool", "default": True, "help": "train only the head"},
        {"name": "data", "type": "path", "help": "folder of a ward"},
        {"name": "note", "type": "text", "default": ""},
        {"name": "seed", "type": "int", "default": 0},
    ]
    program = Program(
        name=PROGRAM,
        about="Fine-tunes an encoder on X-rays",
        command=["python", "tune.py", *(f"--{field['name']}={{{field['name']}}}" for field in fields)],
        fields=[ProgramField.model_validate(field) for field in fields],
        folder="/home/ada/x-rays",
        url=yard.url,
        restarts=2,
    )
    body = program.model_dump(mode="json") | {"signature": sign_program(_key(yard), program)}
    yard.ask("PUT", f"/programs/{PROGRAM}", body)


def _key(yard: Runyard) -> bytes:
    return read_key(Path(yard.ask("GET", "/commands/key")["file"]))


def log_files(yard: Runyard) -> str:
    """Log a run with MLflow's protocol: metrics, files, images by step, a registered model; returns its id."""
    api = f"{yard.url}/api/2.0"
    with httpx.Client() as http:

        def call(path: str, **said: Any) -> Any:
            return http.post(f"{api}/mlflow{path}", json=said).raise_for_status().json()

        info = call("/runs/create", experiment_id="0", run_name="night shift")["run"]["info"]
        steps = range(0, 60, 5)
        points = [
            {"key": "val/acc", "value": 1 - 0.8 ** (1 + step / 5), "step": step, "timestamp": 1} for step in steps
        ]
        call("/runs/log-batch", run_id=info["run_id"], metrics=points)
        table = "epoch,loss\n" + "".join(f"{epoch},{1 / epoch:.4f}\n" for epoch in range(1, 40))
        files = {
            "notes.md": b"# Night shift\n\nSmaller steps after epoch 30.\n",
            "conf/settings.json": b'{"lr": 0.001, "layers": [64, 32]}\n',
            "tables/loss.csv": table.encode(),
            "report.html": b"<h1>Report</h1>\n",
            "model/MLmodel": b"flavors: {}\n",
        }
        for step in steps:
            files[f"images/samples+step+{step}+timestamp+{1000 * step}+{step:032x}.png"] = draw_waves(step)
        for path, content in files.items():
            address = f"{api}/mlflow-artifacts/artifacts/0/{info['run_id']}/artifacts/{path}"
            http.put(address, content=content).raise_for_status()
        call("/runs/update", run_id=info["run_id"], status="FINISHED")
        call("/registered-models/create", name="night-watch", description="Chosen by the night shift")
        for _ in range(2):
            call("/model-versions/create", name="night-watch", source=f"runs:/{info['run_id']}/model")
        call("/registered-models/alias", name="night-watch", alias="champion", version="2")
    return str(info["run_id"])


def import_events(yard: Runyard) -> str:
    """Import a run with a curve, histograms that become wider and move, and texts; returns its id."""
    steps = list(range(0, 1500, 50))
    times = [1_790_000_000.0 + step for step in steps]
    edges = [i / 20 - 2 for i in range(101)]
    shapes = [(0.25 + step / 3000, step / 1500) for step in steps]
    counts = [
        [round(1e4 * math.exp(-(((edge + 0.025 - middle) / width) ** 2) / 2)) for edge in edges[:-1]]
        for width, middle in shapes
    ]
    texts = [f"# Step {step}\n\nThe owl said: {'hoo ' * (1 + step // 300)}" for step in steps]
    records = {"offset": 0, "step": steps, "time": times}
    imported = yard.import_run(
        key="gallery-of-event-files",
        experiment="logs",
        name="owl",
        started=times[0],
        ended=times[-1],
        curves={"val/loss": records | {"value": [2 / (1 + step / 200) for step in steps]}},
        histograms={
            "encoder/weight": records | {"edges": [edges] * len(steps), "counts": counts},
            "decoder/weight": records | {"edges": [edges] * len(steps), "counts": counts[::-1]},
        },
        texts={"sample": records | {"text": texts}},
    )
    return str(imported["id"])


def draw_waves(step: int) -> bytes:
    """A PNG of 64 × 64 waves, closer together with each step."""
    image = Image.new("L", (64, 64))
    image.putdata([round(127 + 127 * math.sin((i % 64 + i // 64) * (step + 5) / 90)) for i in range(64 * 64)])
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def draw_shapes(folder: Path) -> None:
    """Draw circles, squares and triangles, in folders for training and test."""
    chance = random.Random(0)
    for part, images in (("train", 30), ("test", 8)):
        for name, corners in (("circle", 60), ("square", 4), ("triangle", 3)):
            (folder / part / name).mkdir(parents=True)
            for number in range(images):
                image = Image.new("RGB", (96, 72), tuple(chance.randrange(200, 256) for _ in range(3)))
                middle = (chance.randrange(32, 64), chance.randrange(28, 44), chance.randrange(14, 26))
                color = tuple(chance.randrange(0, 150) for _ in range(3))
                ImageDraw.Draw(image).regular_polygon(middle, corners, chance.randrange(360), color)
                image.save(folder / part / name / f"{number}.png")
    shutil.copy(folder / "train" / "circle" / "0.png", folder / "test" / "circle" / "again.png")
    (folder / "train" / "square" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def close(yard: Runyard, gallery: Gallery) -> None:
    """Stop the running and queued runs, and delete the rule, the dataset and the program."""
    changed = yard.ask("GET", f"/programs/{PROGRAM}")["changed"]
    yard.ask("DELETE", f"/programs/{PROGRAM}", signature=sign_removal(_key(yard), PROGRAM, changed))
    yard.ask("DELETE", f"/rules/{gallery.rule}")
    yard.ask("DELETE", f"/datasets/{SHAPES}")
    yard.ask("DELETE", f"/dataset-imports/{gallery.preview}")
    for run in (*gallery.waiting, *gallery.running):
        run.cancel()
