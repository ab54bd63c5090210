"""What two stores hold of the same script, as facts that must be equal.

A fact has an address, such as "run 3/metrics/loss", and a value. IDs become the numbers of runs and models, in an order
that does not depend on the IDs, so that references are compared too. What cannot be equal is in exceptions.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.mlflow_scripts.exceptions import EXCEPTIONS, file_name, without_own_runs

Facts = dict[str, Any]


def facts(script: str, folder: Path) -> Facts:
    """Return the facts that read_back.py has written to a folder."""
    found = without_own_runs(json.loads((folder / "found.json").read_text()))
    blank = dict.fromkeys((each["info"]["run_id"] for each in found["runs"]), "RUN")
    blank |= dict.fromkeys((each["info"]["model_id"] for each in found["models"]), "MODEL")
    names = {each["id"]: each["name"] for each in found["experiments"]}

    def order(each: dict[str, Any], kind: str) -> tuple[int, str]:
        own = _of_run if kind == "runs" else _of_model
        told = _changed(script, f"{kind[:-1]} 0", own(each, names, folder / kind, _places(found) | blank))
        return each["created"], json.dumps(told, sort_keys=True)

    numbers: dict[str, str] = {}
    for kind, key in (("runs", "run_id"), ("models", "model_id")):
        for number, each in enumerate(sorted(found[kind], key=lambda each: order(each, kind)), 1):
            numbers[each["info"][key]] = f"{kind[:-1]} {number}"
    words = _places(found) | numbers
    told: Facts = {}
    for each in found["runs"]:
        at = numbers[each["info"]["run_id"]]
        told |= _changed(script, at, _of_run(each, names, folder / "runs", words))
    for each in found["models"]:
        at = numbers[each["info"]["model_id"]]
        told |= _changed(script, at, _of_model(each, names, folder / "models", words))
    for each in found["experiments"]:
        own = {"lifecycle": each["lifecycle"], "tags": each["tags"]}
        told |= _changed(script, f"experiment {each['name']}", _named(_flat(own), words))
    for name, each in found["registered"].items():
        told |= _changed(script, f"registered {name}", _named(_flat(each), words))
    return told


def differences(mlflow: Facts, runyard: Facts) -> list[str]:
    """Return a line for each fact that only one of them has, or that is different."""
    lines = []
    for address in sorted(mlflow.keys() | runyard.keys()):
        # As text: NaN equals itself, 1 is not 1.0, and what is missing is not null.
        first, second = (
            json.dumps(each[address], sort_keys=True, ensure_ascii=False) if address in each else "(missing)"
            for each in (mlflow, runyard)
        )
        if first != second:
            at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
            begin = max(0, at - 60)
            lines.append(f"{address}\n  MLflow:  {first[begin : at + 200]}\n  Runyard: {second[begin : at + 200]}")
    return lines


def _places(found: dict[str, Any]) -> dict[str, str]:
    """Return where files are -> a word for it."""
    every = [(each["info"], kind) for kind in ("models", "runs") for each in found[kind]]
    places: dict[str, str] = {}
    for info, kind in [*every, *((each, "experiment") for each in found["experiments"])]:
        id = info.get("model_id") or info.get("run_id") or ""
        place = str(info["artifact_uri"])
        places |= {f"file://{place}": f"FILES {kind}/{id}", place: f"FILES {kind}/{id}"}
    return places


def _of_run(run: dict[str, Any], names: Mapping[str, str], folder: Path, words: Mapping[str, str]) -> Facts:
    info = run["info"]
    own = {name: run[name] for name in ("params", "tags", "latest")}
    own |= {
        "name": info["run_name"],
        "experiment": names[info["experiment_id"]],
        "user": info["user_id"],
        "status": info["status"],
        "lifecycle": info["lifecycle_stage"],
        "times in order": None if info["end_time"] is None else info["start_time"] <= info["end_time"],
        "metrics": {key: [[step, value] for step, value, _ in points] for key, points in run["metrics"].items()},
        "datasets": sorted(run["datasets"], key=json.dumps),
        "sizes": dict(run["files"]),
        "files": _contents(folder / info["run_id"]),
    }
    told: Facts = _named(_flat(own), words)
    # Afterwards, since their order is that of what the IDs become.
    told["model inputs"] = sorted(_named(each, words) for each in run["model_inputs"])
    told["model outputs"] = sorted(
        # One that was deleted has no number.
        [re.sub(r"^m-[0-9a-f]{32}$", "a deleted model", _named(model, words)), step]
        for model, step in run["model_outputs"]
    )
    return told


def _of_model(model: dict[str, Any], names: Mapping[str, str], folder: Path, words: Mapping[str, str]) -> Facts:
    info = model["info"]
    own = {name: model[name] for name in ("params", "tags")}
    own |= {
        "name": info["name"],
        "experiment": names[info["experiment_id"]],
        "type": info["model_type"],
        "status": info["status"],
        "source run": info["source_run_id"],
        "metrics": sorted(model["metrics"], key=json.dumps),
        "sizes": dict(model["files"]),
        "files": _contents(folder / info["model_id"]),
    }
    told: Facts = _named(_flat(own), words)
    return told


def _contents(folder: Path) -> dict[str, str | bytes]:
    """Return all files by path, as text if they are."""
    contents: dict[str, str | bytes] = {}
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = file.read_bytes()
        try:
            contents[str(file.relative_to(folder))] = content.decode()
        except UnicodeDecodeError:
            contents[str(file.relative_to(folder))] = content
    return contents


def _flat(own: Mapping[str, Any]) -> Facts:
    """Return one fact for each entry of a mapping; an empty mapping is none."""
    told: Facts = {}
    for name, value in own.items():
        if isinstance(value, dict):
            told |= {f"{name}/{key}": entry for key, entry in _flat(value).items()}
        else:
            told[name] = value
    return told


def _named(value: Any, words: Mapping[str, str]) -> Any:
    """Replace IDs and places in all texts, the longest first."""
    if isinstance(value, dict):
        return {key: _named(each, words) for key, each in value.items()}
    if isinstance(value, list):
        return [_named(each, words) for each in value]
    if isinstance(value, str):
        for word in sorted(words, key=len, reverse=True):
            value = value.replace(word, words[word])
    return value


def _changed(script: str, at: str, own: Facts) -> Facts:
    """Return facts with their whole address, after what the exceptions do to them."""
    told = {}
    for name, value in own.items():
        address = f"{at}/{file_name(name)}"
        for each in EXCEPTIONS:
            if each.applies(script, address):
                value = each.change(value)
        if value is None and name in own and own[name] is not None:
            continue
        told[address] = hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value
    return told
