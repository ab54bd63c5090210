"""Names and example bodies of the API operations on runs that scripts log, or that were recorded elsewhere."""

from __future__ import annotations

from typing import Any

from app.web.openapi_operation import Operation

RUN_ID = "r_1kf3t8v0a2mzq4c"

HISTOGRAMS: dict[str, Any] = {
    "name": "fc/weight",
    "total": 1,
    "histograms": [
        {
            "number": 0,
            "step": 50,
            "time": "2025-11-20T09:30:09.500Z",
            "edges": [-0.5, 0.0, 0.5],
            "counts": [310.0, 330.0],
        }
    ],
}
TEXTS: dict[str, Any] = {
    "name": "sample",
    "total": 1,
    "texts": [{"number": 0, "step": 50, "time": "2025-11-20T09:30:09.500Z", "text": "an owl"}],
}


CURVE: dict[str, Any] = {"offset": 0, "step": [0, 1], "value": [2.31, 1.87], "time": [1767225601.0, 1767225602.0]}
LOGGED: dict[str, Any] = {"id": RUN_ID, "number": 12, "url": f"/runs/{RUN_ID}", "warnings": []}


def _series(kind: str, name: str) -> dict[str, Any]:
    url = f"/api/v1/runs/{RUN_ID}/{kind}/{name}"
    return {kind: [{"name": name, "count": 1, "first_step": 50, "last_step": 50, "url": url}]}


SCRIPT_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/log"): Operation(
        "log_run_part",
        {
            "key": "5f2c7a1e9b3d4c60",
            "experiment": "Scripts",
            "name": "baseline",
            "started": 1767225600.0,
            "parameters": {"lr": "0.1"},
            "curves": {"train/loss": CURVE},
        },
        LOGGED,
    ),
    ("POST", "/log/{run_id}"): Operation(
        "log_command_part",
        {"key": "8d20b7f31c6a4e95", "curves": {"train/loss": CURVE}},
        LOGGED,
    ),
    ("POST", "/import"): Operation(
        "import_run",
        {
            "key": "3f1c9a52d0e84b76",
            "experiment": "lightning_logs",
            "name": "version_0",
            "started": 1763631000.0,
            "ended": 1763631600.0,
            "outcome": "",
            "parameters": {"lr": "0.001"},
            "curves": {
                "train/loss": {
                    "offset": 0,
                    "step": [0, 50],
                    "value": [2.31, 0.94],
                    "time": [1763631001.0, 1763631009.5],
                }
            },
            "histograms": {
                "fc/weight": {
                    "offset": 0,
                    "step": [50],
                    "time": [1763631009.5],
                    "edges": [[-0.5, 0.0, 0.5]],
                    "counts": [[310.0, 330.0]],
                }
            },
            "texts": {"sample": {"offset": 0, "step": [50], "time": [1763631009.5], "text": ["an owl"]}},
        },
        {"id": RUN_ID, "url": f"/runs/{RUN_ID}", "status": "succeeded", "added": 2, "histograms": 1, "texts": 1},
    ),
    ("GET", "/runs/{run_id}/histograms"): Operation("list_histograms", None, _series("histograms", "fc/weight")),
    ("GET", "/runs/{run_id}/histograms/{name}"): Operation("read_histograms", None, HISTOGRAMS),
    ("GET", "/runs/{run_id}/texts"): Operation("list_texts", None, _series("texts", "sample")),
    ("GET", "/runs/{run_id}/texts/{name}"): Operation("read_texts", None, TEXTS),
}
