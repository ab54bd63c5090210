"""Names and example bodies of the API operations on commands and programs."""

from __future__ import annotations

from typing import Any

from app.web.openapi_operation import Operation
from app.web.openapi_sweep_examples import PROGRAM_SWEEP_REQUEST, SWEPT_PROGRAM

_SIGNATURE = "9f2d51a7c3e80b46d1f7a2958c06e3b4d8a1f5079e2c6b3d40a7e1f8c5b2d963"
_PLACE: dict[str, Any] = {
    "folder": "/home/ada/tune",
    "environment": {"PATH": "/home/ada/venv/bin:/usr/bin"},
    "url": "http://127.0.0.1:8000",
}
_COMMAND_REQUEST: dict[str, Any] = {
    "command": _PLACE | {"argv": ["python", "train.py", "--lr", "0.1"], "signature": _SIGNATURE},
    "name": "tune",
    "restarts": 1,
}
_EXECUTED = {"folder": "/home/ada/tune", "variables": ["PATH"], "restarts": 1, "exit_status": None}

_TEMPLATE = ["python", "train.py", "--lr={lr}", "--seed={seed}"]
_FIELDS: list[dict[str, Any]] = [
    {"name": "lr", "type": "float", "default": 0.001, "min": 0, "help": "peak learning rate"},
    {"name": "seed", "type": "int", "default": 0},
]
_PROGRAM: dict[str, Any] = {"name": "tune", "command": _TEMPLATE, "fields": _FIELDS, **_PLACE, "signature": _SIGNATURE}
_FIELD_OUT: dict[str, Any] = {
    "required": False,
    "help": "",
    "min": None,
    "max": None,
    "choices": [],
    "max_length": 200,
    "if_true": "true",
    "if_false": "false",
    "within": "",
}
_PROGRAM_OUT: dict[str, Any] = {
    "name": "tune",
    "url": "/programs/tune",
    "about": "Fine-tunes the encoder on the ward's scans",
    "command": _TEMPLATE,
    "fields": [_FIELD_OUT | field for field in _FIELDS],
    "folder": "/home/ada/tune",
    "variables": ["PATH"],
    "experiment": "tune",
    "worker": "gpu1-",
    "restarts": 0,
    "added": "2026-11-20T09:00:00.000Z",
    "changed": "2026-11-20T09:00:00.000Z",
    "trouble": "",
}


def command_operations(queued: dict[str, Any]) -> dict[tuple[str, str], Operation]:
    """Return the operations by method and path; ``queued``: the example of a queued run."""
    unknown = queued | {"spec": None, "params": None, "origin": "command", "asked": {}}
    argv = _COMMAND_REQUEST["command"]["argv"]
    executed = unknown | {"title": "tune", "command": _EXECUTED | {"argv": argv}}
    launched = unknown | {
        "title": "tune · lr 0.01",
        "command": _EXECUTED
        | {
            "argv": ["python", "train.py", "--lr=0.01", "--seed=0"],
            "program": "tune",
            "values": {"lr": "0.01", "seed": "0"},
        },
        "parameters": {"lr": "0.01", "seed": "0"},
    }
    return {
        ("GET", "/commands/key"): Operation("read_command_key", None, {"file": "/srv/runyard/data/exec.key"}),
        ("POST", "/commands"): Operation("launch_command", _COMMAND_REQUEST, executed),
        ("GET", "/programs"): Operation("list_programs", None, {"programs": [_PROGRAM_OUT]}),
        ("GET", "/programs/{name}"): Operation("read_program", None, _PROGRAM_OUT),
        ("PUT", "/programs/{name}"): Operation("create_program", _PROGRAM, _PROGRAM_OUT | {"outcome": "added"}),
        ("DELETE", "/programs/{name}"): Operation("delete_program"),
        ("POST", "/programs/{name}/runs"): Operation("launch_program", {"values": {"lr": 0.01}}, {"runs": [launched]}),
        ("POST", "/programs/{name}/sweeps"): Operation("launch_program_sweep", PROGRAM_SWEEP_REQUEST, SWEPT_PROGRAM),
    }
