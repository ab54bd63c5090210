"""Names and example bodies of API operations on sweeps."""

from __future__ import annotations

from typing import Any

from app.web.openapi_operation import Operation

RUN_ID, OTHER_ID, SWEEP_ID = "r_1kf3t8v0a2mzq4c", "r_1kf3t8v0b7xw9ne", "s_1kf3t8v09h5d2pr"
CREATED = "2026-11-20T09:30:00Z"

SWEEP_SPEC: dict[str, Any] = {
    "base": {"dataset": "digits", "epochs": 3},
    "grid": {"family": ["simple_cnn", "vit"], "size": ["tiny", "small"]},
    "seeds": 3,
}
COMMAND_SWEEP_REQUEST: dict[str, Any] = {
    "command": {
        "argv": ["python", "train.py", "--lr", "{lr}"],
        "folder": "/home/ada/tune",
        "environment": {"PATH": "/home/ada/venv/bin:/usr/bin"},
        "url": "http://127.0.0.1:8000",
        "placeholders": {"lr": {"low": 1e-4, "high": 0.1, "log": True}},
        "signature": "3b8e07d15f9c42a6d0b7e1935ca84f2610fd3a9be57c8241d6a0e93f7b152c8d",
    },
    "name": "tune",
    "restarts": 1,
    "sweep": {"method": "tpe", "draws": 20, "metric": "val_accuracy", "direction": "maximize", "pruning": "median"},
}
SWEEP_FACTS: dict[str, Any] = {
    "id": SWEEP_ID,
    "number": 4,
    "url": f"/sweeps/{SWEEP_ID}",
    "name": "",
    "title": "family × size × 3 seeds",
    "status": "running",
    "reason": "",
    "method": "grid",
    "metric": "val/acc",
    "direction": "maximize",
    "pruning": None,
    "planned": 12,
    "counts": {"succeeded": 1, "running": 1, "queued": 10},
    "pruned": 0,
    "created": CREATED,
    "ended": None,
}
VALUES: dict[str, Any] = {"family": "simple_cnn", "size": "tiny", "seed": 1}
SWEEP: dict[str, Any] = SWEEP_FACTS | {
    "spec": SWEEP_SPEC,
    "command": None,
    "compare_url": f"/compare?runs={RUN_ID},{OTHER_ID}&by=variant",
    "best": {"run": RUN_ID, "number": 12, "value": 0.9444, "values": VALUES},
    "importances": {},
    "importance_method": "share of variance explained by each parameter alone (one-way ANOVA, ε²)",
    "configurations": [{"values": VALUES, "runs": [RUN_ID], "n": 1, "mean": 0.9444, "half": None}],
    "left_out": [],
    "unmeasured": "",
    "seconds_left": 55.0,
    "ahead": 0,
    "runs": [RUN_ID, OTHER_ID],
}
SWEPT_COMMAND: dict[str, Any] = SWEEP | {
    **{"name": "tune", "title": "tune", "method": "tpe", "metric": "val_accuracy", "pruning": "median", "planned": 20},
    "spec": COMMAND_SWEEP_REQUEST["sweep"] | {"space": COMMAND_SWEEP_REQUEST["command"]["placeholders"]},
    "command": {
        "argv": ["python", "train.py", "--lr", "{lr}"],
        "folder": "/home/ada/tune",
        "restarts": 1,
        "seeded": False,
        "program": "",
    },
    "counts": {"queued": 2},
    "best": None,
    "configurations": [],
}
PROGRAM_SWEEP_REQUEST: dict[str, Any] = {
    "values": {},
    "sweep": {
        "space": {"lr": {"low": 1e-4, "high": 0.1, "log": True}},
        **{"method": "tpe", "draws": 8, "seeds": 2, "metric": "val_accuracy", "direction": "maximize"},
    },
}
SWEPT_PROGRAM: dict[str, Any] = SWEPT_COMMAND | {
    **{"name": "", "title": "tune · lr", "pruning": None, "planned": 16},
    "spec": PROGRAM_SWEEP_REQUEST["sweep"],
    "command": {
        "argv": ["python", "train.py", "--lr={lr}", "--seed={seed}"],
        **{"folder": "/home/ada/tune", "restarts": 0, "seeded": True, "program": "tune"},
    },
    "counts": {"queued": 4},
}
SWEEP_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/sweeps"): Operation("launch_sweep", SWEEP_SPEC, SWEEP),
    ("GET", "/sweeps"): Operation("list_sweeps", None, {"sweeps": [SWEEP_FACTS], "next": None}),
    ("POST", "/sweeps/preview"): Operation(
        "preview_sweep",
        SWEEP_SPEC,
        {
            "runs": 12,
            "seconds": 58.0,
            "unknown": 0,
            "slots": 1,
            "examples": ["simple_cnn, tiny, seed 1", "simple_cnn, small, seed 1"],
            "left_out": [],
            "errors": [],
        },
    ),
    ("POST", "/commands/sweeps"): Operation("launch_command_sweep", COMMAND_SWEEP_REQUEST, SWEPT_COMMAND),
    ("GET", "/sweeps/{sweep_id}"): Operation("read_sweep", None, SWEEP),
    ("POST", "/sweeps/{sweep_id}/stop"): Operation("stop_sweep", None, SWEEP | {"status": "stopped"}),
    ("POST", "/sweeps/{sweep_id}/extend"): Operation("extend_sweep", {"seeds": 5}, SWEEP | {"planned": 20}),
}
