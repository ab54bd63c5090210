"""Names and example bodies of API operations by which programs log and import runs."""

from __future__ import annotations

from typing import Any

from app.web.openapi_operation import Operation

RUN_ID = "r_1kf3t8v0a2mzq4c"
CURVE: dict[str, Any] = {"offset": 0, "step": [0, 1], "value": [2.31, 1.87], "time": [1767225601.0, 1767225602.0]}
LOGGED: dict[str, Any] = {"id": RUN_ID, "number": 12, "url": f"/runs/{RUN_ID}", "warnings": []}

LOGGING_OPERATIONS: dict[tuple[str, str], Operation] = {
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
        },
        {"id": RUN_ID, "url": f"/runs/{RUN_ID}", "added": 2},
    ),
}
