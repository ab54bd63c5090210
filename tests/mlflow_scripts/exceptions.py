"""What may differ between MLflow's own store and Runyard, or between two runs of a script; each with its reason."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

LARGEST = 1.7976931348623157e308
SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Allowed:
    """A difference that is none. ``address`` and ``script`` have wildcards; ``change`` makes both values equal."""

    address: str
    reason: str
    change: Callable[[Any], Any]
    script: str = "*"

    def applies(self, script: str, address: str) -> bool:
        """Tell whether it is about a fact."""
        return fnmatchcase(script, self.script) and fnmatchcase(address, self.address)


def blanked(*patterns: str) -> Callable[[Any], Any]:
    """Replace what these patterns find in a text."""

    def change(value: Any) -> Any:
        for pattern in patterns:
            value = re.sub(pattern, "…", value, flags=re.MULTILINE) if isinstance(value, str) else value
        return value

    return change


def only_that_it_exists(_: Any) -> str:
    """Compare only that there is a value."""
    return "a value"


def left_out(_: Any) -> None:
    """Compare nothing."""


def like_sql(value: Any) -> Any:
    """Return numbers as SQLite stores them."""
    if isinstance(value, list):
        return [like_sql(each) for each in value]
    if isinstance(value, float):
        return max(-LARGEST, min(LARGEST, value)) + 0.0 if value == value else value
    return value


def nothing(value: Any) -> Any:
    """Return a blank text for null."""
    return "" if value is None else value


def without_times(points: Any) -> Any:
    """Blank the values of a model's metrics that are times."""
    return sorted([name, "…" if name.endswith("_time") else value, *rest] for name, value, *rest in points)


def columns_without_times(value: Any) -> Any:
    """Leave out the columns of a table that are times."""
    rows = list(csv.reader(io.StringIO(value)))
    kept = [at for at, name in enumerate(rows[0]) if not name.endswith("_time")]
    return [[row[at] for at in kept] for row in rows]


def bytes_without(pattern: bytes) -> Callable[[Any], Any]:
    """Blank what a pattern finds in a binary file, or in the members of a zip archive, whose own times are left out."""

    def change(value: Any) -> Any:
        if not isinstance(value, bytes):
            return value
        if not zipfile.is_zipfile(io.BytesIO(value)):
            return re.sub(pattern, b"-", value)
        with zipfile.ZipFile(io.BytesIO(value)) as archive:
            names = archive.namelist()
            return b"\0".join(name.encode() + b"\0" + re.sub(pattern, b"-", archive.read(name)) for name in names)

    return change


def made_up_name(value: Any) -> Any:
    """Blank a name that MLflow made up, and that of an experiment, which is that of its script."""
    made_up = re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", value) or (SCRIPTS / f"{value}.py").exists()
    return "(made up)" if made_up else value


SPEED = "How long it took."
RATES = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
TRAINED = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
PICKLED = "cloudpickle gives each class of a script a random ID, and torch adds a hash of the file."
REST = "MLflow's REST protocol has no null: its client returns a blank text."
EXCEPTIONS = (
    Allowed("run */latest/*", "SQLite has no infinity and no -0.0: MLflow stores the largest number and 0.", like_sql),
    Allowed("run */metrics/*", "The same.", like_sql),
    Allowed("model */metrics", "The same.", like_sql),
    Allowed("model */type", REST, nothing),
    Allowed("registered */description", REST, nothing),
    Allowed(
        "model */tags/mlflow.modelVersions",
        "Numbers of versions are text in MLflow's REST protocol.",
        blanked(r'(?<="version": )"?(?=\d)', r'(?<=\d)"?(?=})'),
    ),
    Allowed("* */files/*MLmodel", "The time at which the model was made.", blanked(r"(?<=utc_time_created: ).*")),
    Allowed(
        "run */files/with_images.json",
        "MLflow gives each image of a table a random name.",
        blanked(r"[0-9a-f]{8}-[0-9a-f-]{27}"),
        "logged_files",
    ),
    Allowed("* */sizes/*MLmodel", "The file contains the address of the model's files.", only_that_it_exists),
    Allowed(
        "model */sizes/registered_model_meta",
        "Loading a model from a local folder, MLflow writes this file into it.",
        left_out,
    ),
    Allowed("model */files/data/model.pth", PICKLED, bytes_without(rb"^\d{40}$|[0-9a-f]{32}")),
    Allowed("model */files/python_model.pkl", PICKLED, bytes_without(rb"[0-9a-f]{32}")),
    Allowed(
        "model */files/data/model.keras",
        "Keras writes the time, and the address of an object in memory.",
        bytes_without(rb'(?<="date_saved": ")[^"]*|(?<="shared_object_id": )\d+'),
    ),
    Allowed("run */metrics/system/*", "The machine is measured at other times.", only_that_it_exists, "system_metrics"),
    Allowed("run */latest/system/*", "The same.", only_that_it_exists, "system_metrics"),
    Allowed("run */metrics/*_time", SPEED, only_that_it_exists, "sklearn_autolog"),
    Allowed("run */latest/*_time", SPEED, only_that_it_exists, "sklearn_autolog"),
    Allowed("model */metrics", SPEED, without_times, "sklearn_autolog"),
    Allowed("run */files/cv_results.csv", SPEED, columns_without_times, "sklearn_autolog"),
    Allowed("run */sizes/cv_results.csv", SPEED, only_that_it_exists, "sklearn_autolog"),
    Allowed(
        "run */files/estimator.html",
        SPEED,
        blanked(r"array\([^)]*\)", r"refit_time_[\s\S]*?<td>0\.\d+"),
        "sklearn_autolog",
    ),
    Allowed(
        "model 2/files/model.pkl", "The grid's pickle has its times, as bytes.", only_that_it_exists, "sklearn_autolog"
    ),
    *(
        Allowed(f"run */{kind}/{name}", SPEED, only_that_it_exists, "transformers_trainer")
        for kind in ("metrics", "latest")
        for name in (*RATES, *TRAINED)
    ),
    Allowed(
        "model */files/*trainer_state.json",
        SPEED,
        blanked(*(rf'(?<="{name}": )[\d.]+' for name in RATES)),
        "transformers_trainer",
    ),
    Allowed("model */sizes/*trainer_state.json", SPEED, only_that_it_exists, "transformers_trainer"),
    Allowed(
        "model */files/MLmodel",
        "The size of the model, of which that file is a part.",
        blanked(r"(?<=model_size_bytes: )\d+"),
        "transformers_trainer",
    ),
    Allowed("run */name", "A run without a name gets one of random words, here that of its experiment.", made_up_name),
    Allowed("run */tags/mlflow.runName", "The same.", made_up_name),
)


def file_name(address: str) -> str:
    """Blank the time and the random part in names that `log_image` and `log_table` give to files of images."""
    address = re.sub(r"(?<=\+step\+)(\d+)\+timestamp\+\d+\+[0-9a-f-]{36}", r"\1", address)
    return re.sub(r"(?<=table_images/)([^/]+)/[0-9a-f-]{36}", r"\1/…", address)


def without_own_runs(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out the runs that Runyard makes for models that are logged outside of runs: MLflow has none for them."""
    own = {
        run["info"]["run_id"]
        for run in found["runs"]
        for model in found["models"]
        if model["info"]["source_run_id"] == run["info"]["run_id"]
        and run["tags"] == {"mlflow.runName": model["info"]["name"]}
        and not (run["params"] or run["metrics"] or run["files"] or run["datasets"])
    }
    models = [
        model | {"info": model["info"] | {"source_run_id": None}} if model["info"]["source_run_id"] in own else model
        for model in found["models"]
    ]
    return found | {"models": models, "runs": [run for run in found["runs"] if run["info"]["run_id"] not in own]}
