"""Other trackers in a training loop: cost of their log calls in this process, and bytes on disk.

``python log_calls.py NAME FOLDER`` answers ``{"calls": n, "names": [...], "tensors": false, "timed": false}`` with the
CPU and wall seconds of that many calls until everything is written; if timed, with the seconds of each call.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DISABLE_CODE": "true"}
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1", "TRACKIO_DIR": f"{sys.argv[2]}/trackio"}

# Logs the metrics of a step, by name.
Log = Callable[[dict[str, Any], int], object]


WRITTEN_SECONDS = 20.0


class Tracker:
    """One run of a tracker: ``log`` takes the metrics of a step, ``close`` returns when everything is written."""

    log: Log

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def close(self) -> None:
        """Write everything that is pending."""

    def kept(self) -> int:
        """Number of scalars that can be read back."""
        raise NotImplementedError


class TensorBoard(Tracker):
    """torch's SummaryWriter, one scalar per call."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        super().__init__(folder)
        self._writer: Any = SummaryWriter(str(folder))

    def log(self, metrics: dict[str, Any], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()

    def kept(self) -> int:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

        events = (event for file in self.folder.iterdir() for event in EventFileLoader(str(file)).Load())
        return sum(len(event.summary.value) for event in events if event.HasField("summary"))


class MLflow(Tracker):
    """MLflow with its SQLite store: log_metric, or log_metrics for steps with several metrics."""

    def __init__(self, folder: Path) -> None:
        import mlflow

        super().__init__(folder)
        folder.mkdir(parents=True)
        mlflow.set_tracking_uri(f"sqlite:///{folder.parent / 'mlflow.db'}")
        mlflow.set_experiment("bench")
        self._mlflow: Any = mlflow
        self._run = mlflow.start_run().info.run_id

    def log(self, metrics: dict[str, Any], step: int) -> None:
        if len(metrics) > 1:
            self._mlflow.log_metrics({name: float(value) for name, value in metrics.items()}, step)
            return
        for name, value in metrics.items():
            self._mlflow.log_metric(name, float(value), step)

    def close(self) -> None:
        self._mlflow.flush_async_logging()
        self._mlflow.end_run()

    def kept(self) -> int:
        client = self._mlflow.MlflowClient()
        names = client.get_run(self._run).data.metrics
        return sum(len(client.get_metric_history(self._run, name)) for name in names)


class Trackio(Tracker):
    """trackio with its local SQLite database."""

    def __init__(self, folder: Path) -> None:
        import trackio

        super().__init__(folder)
        self._run = trackio.init("bench", name=folder.name, embed=False, auto_log_gpu=False, auto_log_cpu=False)
        self._trackio = trackio

    def log(self, metrics: dict[str, Any], step: int) -> None:
        self._trackio.log({name: float(value) for name, value in metrics.items()}, step)

    def close(self) -> None:
        self._trackio.finish()

    def kept(self) -> int:
        from trackio.sqlite_storage import SQLiteStorage

        rows = SQLiteStorage.get_logs("bench", self._run.name, run_id=self._run.id)
        return sum(len(row.keys() - {"step", "timestamp"}) for row in rows)


class WandB(Tracker):
    """W&B offline; its service is a separate process, whose CPU does not count."""

    def __init__(self, folder: Path) -> None:
        import wandb

        super().__init__(folder)
        folder.mkdir(parents=True)
        settings = wandb.Settings(x_disable_stats=True, x_disable_meta=True, console="off", disable_git=True)
        self._run = wandb.init(project="bench", dir=str(folder), mode="offline", settings=settings)

    def log(self, metrics: dict[str, Any], step: int) -> None:
        self._run.log({name: float(value) for name, value in metrics.items()}, step=step)

    def close(self) -> None:
        self._run.finish()

    def kept(self) -> int:
        from wandb.proto import wandb_internal_pb2

        found = 0
        for data in (record for file in self.folder.rglob("*.wandb") for record in leveldb_records(file.read_bytes())):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("history"):
                keys = (item.key or "/".join(item.nested_key) for item in record.history.item)
                found += sum(not key.startswith("_") for key in keys)
        return found


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a log in LevelDB's format after the seven-byte header of W&B's files."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if at % 32768 > 32768 - 7:
            at += -at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # complete, or the last part
            yield parts
            parts = b""


class LightningCSV(Tracker):
    """Lightning's CSVLogger, which rewrites its file every 100 steps, its default."""

    def __init__(self, folder: Path) -> None:
        from lightning.pytorch.loggers import CSVLogger

        super().__init__(folder)
        self._logger = CSVLogger(str(folder), name="")

    def log(self, metrics: dict[str, Any], step: int) -> None:
        self._logger.log_metrics(metrics, step)

    def close(self) -> None:
        self._logger.finalize("success")

    def kept(self) -> int:
        lines = next(self.folder.rglob("metrics.csv")).read_text().splitlines()
        return (len(lines) - 1) * (len(lines[0].split(",")) - 1)


TRACKERS: dict[str, type[Tracker]] = {
    "TensorBoard": TensorBoard,
    "MLflow": MLflow,
    "trackio": Trackio,
    "W&B offline": WandB,
    "Lightning CSVLogger": LightningCSV,
}


def example_rows(names: Sequence[str], calls: int, tensors: bool) -> list[dict[str, Any]]:
    """Values to log: numbers, or 0-d tensors like a loss."""
    import torch

    pool: Sequence[Any] = torch.rand(4000).unbind() if tensors else torch.rand(4000).tolist()
    return [{name: pool[(call + place) % 4000] for place, name in enumerate(names)} for call in range(calls)]


def measure(tracker: Tracker, rows: list[dict[str, Any]], timed: bool) -> dict[str, Any]:
    """Seconds of one run's calls until its last scalar is written, and the number of missing scalars."""
    each: list[float] = []
    log, clock = tracker.log, time.perf_counter
    cpu, wall = time.process_time(), clock()
    if timed:
        for step, row in enumerate(rows):
            began = clock()
            log(row, step)
            each.append(clock() - began)
    else:
        for step, row in enumerate(rows):
            log(row, step)
    tracker.close()
    took = {"cpu": time.process_time() - cpu, "wall": clock() - wall, "each": each}
    wanted, until = sum(map(len, rows)), clock() + WRITTEN_SECONDS
    # A tracker with a separate process may still be writing its file after close has returned.
    while (kept := tracker.kept()) != wanted and clock() < until:
        time.sleep(0.1)
    return took | {"lost": wanted - kept}


def folder_size(folder: Path) -> int:
    """Total bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main(name: str, folder: Path) -> None:
    """Answer requests until the input ends."""
    for number, line in enumerate(sys.stdin):
        question = json.loads(line)
        rows = example_rows(question["names"], question["calls"], question["tensors"])
        before = folder_size(folder)
        answer = measure(TRACKERS[name](folder / f"run{number}"), rows, question["timed"])
        print("@" + json.dumps(answer | {"bytes": folder_size(folder) - before}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
