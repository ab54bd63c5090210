"""Fill a database with synthetic runs, as training would have left them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np
from sqlalchemy import Engine

from app.contract.spec import RunConfig
from app.store.database import next_commit, writing
from app.store.metric import Curve, add_points, larger_is_better, merge_chunks
from app.store.run import Run, new_id

BEGAN = 1_750_000_000.0
APART_SECONDS = 60.0
EPOCHS = 10
STEPS = 4690
METRICS = (
    "train/loss",
    "train/acc",
    "train/lr",
    "train/grad_norm",
    "system/samples_per_second",
    "system/peak_memory_mb",
    "val/loss",
    "val/acc",
    "test/loss",
    "test/acc",
)
FAMILIES = ("simple_mlp", "simple_cnn", "simple_dense_net", "convnext_v2", "vit", "efficient_net")
SIZES = ("tiny", "small", "base", "large")
DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
# Tags and their frequency per thousand runs.
TAGS = {"baseline": 100, "ablation": 20, "rare": 2}
IN_TURN = 10_000
LONG_CURVES = 20
LONG_POINTS = 10_000
ENVIRONMENT = {
    "python": "3.11.2",
    "torch": "2.15.0",
    "lightning": "2.6.6",
    "device": "NVIDIA A100-SXM4-80GB",
    "driver": "550.54",
    "host": "yard-1",
    "processor": "AMD EPYC 7763 64-Core Processor",
    "precision": "32",
    "threads": 8,
    "commit": "0123456789abcdef0123456789abcdef01234567",
}

CONFIG = RunConfig(
    **dict.fromkeys(("family", "size", "dataset", "recipe"), "default"),
    targets=["digit"],
    epochs=EPOCHS,
    batch_size=64,
    optimizer="adamw",
    lr=0.001,
    weight_decay=0.01,
    momentum=0.9,
    schedule="cosine",
    lr_min=0.0,
    label_smoothing=0.0,
    clip_norm=1.0,
    crop_padding=0,
    flip=False,
    precision="32",
    deterministic=False,
).model_dump()
_WORDS = dict.fromkeys(("id", "status", "family", "size", "dataset", "recipe", "config", "asked"), "")
_NUMBERS = dict.fromkeys(("number", "seed", "epochs", "batch_size", "lr", "created_at", "queued_at"), 0)
BLANK = Run.model_validate(_WORDS | _NUMBERS).model_dump(exclude={"trained_seconds"})

Row = dict[str, Any]


def fill(engine: Engine, runs: int, seed: int = 1) -> None:
    """Add ``runs`` runs with the summaries of ten metrics each, and the curve of val/acc with one chunk per epoch.

    Real finished runs have fewer chunks, because they are merged.

    Of a hundred runs, 88 succeeded, 6 failed and 6 were cancelled, two of these before they started. The newest twenty
    are queued. The newest LONG_CURVES successful runs also have train/loss, train/acc and val/loss.
    """
    random = np.random.default_rng(seed)
    raw = engine.raw_connection()
    try:
        database = raw.driver_connection
        assert isinstance(database, sqlite3.Connection)
        database.execute("PRAGMA synchronous=OFF")
        for start in range(0, runs, IN_TURN):
            database.execute("BEGIN IMMEDIATE")
            _add(database, random, start, min(IN_TURN, runs - start), runs)
            database.execute("COMMIT")
        database.execute("UPDATE commit_counter SET value = ?", (runs,))
        database.execute("PRAGMA synchronous=FULL")
    finally:
        raw.close()
    _add_long_curves(engine, random)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _add(database: sqlite3.Connection, random: np.random.Generator, start: int, count: int, runs: int) -> None:
    rows, tags = [], []
    for row, run_tags in _runs(random, start, count, runs):
        rows.append(row)
        tags += [{"run": row["id"], "tag": tag} for tag in run_tags]
    _insert(database, "run", rows)
    _insert(database, "run_tag", tags)
    series, chunks = _curves(random, [row for row in rows if row["started_at"] is not None], start * len(METRICS))
    _insert(database, "metric_series", series)
    _insert(database, "metric_chunk", chunks)


def _insert(database: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    if rows:
        places = ", ".join(f":{name}" for name in rows[0])
        database.executemany(f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES ({places})", rows)


def _runs(random: np.random.Generator, start: int, count: int, runs: int) -> Iterator[tuple[Row, list[str]]]:
    chances = random.random((count, 3))
    lengths = random.integers(30, 20_000, count)
    for i in range(count):
        number = start + i + 1
        created = BEGAN + APART_SECONDS * number
        settings = {
            "seed": number % 7,
            "name": f"trial {int(random.integers(1000))}" if number % 10 == 0 else "",
            "notes": "looks better with a longer warmup" if number % 20 == 0 else "",
            "family": FAMILIES[int(random.integers(len(FAMILIES)))],
            "size": SIZES[int(random.integers(len(SIZES)))],
            "dataset": DATASETS[int(random.integers(len(DATASETS)))],
            "recipe": ("default", "fast")[number % 2],
            "epochs": EPOCHS,
            "batch_size": 2 ** int(random.integers(5, 10)),
            "lr": round(float(10 ** random.uniform(-4, -1)), 6),
        }
        tags = [tag for tag, frequency in TAGS.items() if random.integers(1000) < frequency]
        status, started, ended = _outcome(chances[i], created, float(lengths[i]) / 10, runs - number)
        is_queued = started is None
        progress = {"epoch": EPOCHS, "epochs": EPOCHS, "step": STEPS, "steps": STEPS, "samples_per_second": 41_234.5}
        run = BLANK | dict(
            id=new_id(created),
            number=number,
            status=status,
            reason="loss is not finite" if status == "failed" else "",
            params=int(random.integers(10_000, 10_000_000)),
            config=json.dumps(CONFIG | settings | {"tags": tags}, separators=(",", ":")),
            asked=json.dumps({name: settings[name] for name in ("family", "size", "dataset")}),
            attempt=0 if is_queued else 1,
            created_at=created,
            queued_at=created,
            started_at=started,
            ended_at=ended,
            progress="{}" if is_queued else json.dumps(progress),
            environment="{}" if is_queued else json.dumps(ENVIRONMENT),
            status_commit=number,
            progress_commit=number,
            **settings,
        )
        yield run, tags


def _outcome(
    chances: np.ndarray, created: float, seconds: float, newer_runs: int
) -> tuple[str, float | None, float | None]:
    if newer_runs < 20:
        return "queued", None, None
    started = created + 1.5
    if chances[0] < 0.88:
        return "succeeded", started, started + seconds
    if chances[0] < 0.94:
        return "failed", started, started + seconds * chances[1]
    if chances[0] < 0.98:
        return "cancelled", started, started + seconds * chances[1]
    return "cancelled", None, created + 5.0


def _curves(random: np.random.Generator, rows: list[Row], first_id: int) -> tuple[list[Row], list[Row]]:
    series, chunks = [], []
    steps = np.arange(1, EPOCHS + 1, dtype="<u4") * (STEPS // EPOCHS)
    end = random.uniform(0.5, 0.99, (len(rows), len(METRICS)))
    noise = random.normal(0, 0.01, (len(rows), EPOCHS))
    number = first_id
    for i, row in enumerate(rows):
        for j, name in enumerate(METRICS):
            number += 1
            if name.startswith("test/") and row["status"] != "succeeded":
                continue
            # Accuracies are rounded, so that some runs are equally good.
            value = float(np.round(end[i, j], 4)) if name.endswith("acc") else float(1.5 - end[i, j])
            times = row["started_at"] + steps / STEPS
            points = EPOCHS if name.startswith("val/") else 1 if name.startswith("test/") else STEPS
            low, high = value, value
            if name == "val/acc":
                values = np.round(value * (1 - 0.5 ** np.arange(1, EPOCHS + 1)) + noise[i], 4)
                low, high, value = float(values.min()), float(values.max()), float(values[-1])
                chunks += _chunks(number, row["status_commit"], steps, values, times)
            series.append(_summary(number, row, name, points, low, high, value, float(times[-1])))
    return series, chunks


def _summary(
    number: int, run: Row, name: str, points: int, low: float, high: float, last: float, last_time: float
) -> Row:
    return {
        "id": number,
        "run": run["id"],
        "run_number": run["number"],
        "name": name,
        "points": points,
        "first_step": STEPS // EPOCHS,
        "last_step": STEPS,
        "last": last,
        "last_time": last_time,
        "low": low,
        "low_step": STEPS // EPOCHS,
        "high": high,
        "high_step": STEPS,
        "best": high if larger_is_better(name) else low,
        "best_step": STEPS,
        "not_finite": 0,
    }


def _chunks(series: int, commit: int, steps: Any, values: Any, times: Any) -> list[Row]:
    return [
        {
            "series": series,
            "tier": 0,
            "commit_number": commit,
            "first_step": int(steps[k]),
            "last_step": int(steps[k]),
            "points": 1,
            "steps": steps[k : k + 1].tobytes(),
            "point_values": values[k : k + 1].tobytes(),
            "times": times[k : k + 1].tobytes(),
            "level_steps": b"",
            "level_values": b"",
        }
        for k in range(EPOCHS)
    ]


def _add_long_curves(engine: Engine, random: np.random.Generator) -> None:
    with writing(engine) as connection:
        newest = connection.exec_driver_sql(
            "SELECT id, started_at FROM run WHERE status = 'succeeded' ORDER BY number DESC LIMIT ?", (LONG_CURVES,)
        ).all()
        for run, started in newest:
            for name, points in (("train/loss", LONG_POINTS), ("train/acc", LONG_POINTS), ("val/loss", 100)):
                connection.exec_driver_sql("DELETE FROM metric_series WHERE run = ? AND name = ?", (run, name))
                for part in np.array_split(np.arange(1, points + 1, dtype=np.int64), min(points, 64)):
                    values = 1 / np.sqrt(part) + random.normal(0, 0.01, len(part))
                    curve = Curve(part, values, started + part / 100)
                    add_points(connection, run, name, curve, next_commit(connection))
            while merge_chunks(connection, run, next_commit(connection), ended=True):
                pass
