"""Programs as `runyard program add` signs them."""

from __future__ import annotations

from typing import Any

from app.contract.command_key import ensure_key, read_key, sign_program
from app.contract.program import Program
from app.contract.settings import Settings

FIELDS: list[dict[str, Any]] = [
    {"name": "lr", "type": "float", "default": 0.001, "min": 0, "max": 1, "help": "peak learning rate"},
    {"name": "epochs", "type": "int", "default": 10, "min": 1},
    {"name": "optimizer", "type": "choice", "choices": ["sgd", "adamw"], "default": "adamw"},
    {"name": "augment", "type": "bool", "default": False, "if_true": "--augment", "if_false": ""},
    {"name": "note", "type": "text", "default": ""},
    {"name": "data", "type": "path", "default": "data/train.csv"},
    {"name": "seed", "type": "int", "default": 0},
]
COMMAND = [
    "/venv/bin/python",
    "train.py",
    "--lr={lr}",
    "--epochs",
    "{epochs}",
    "--optimizer={optimizer}",
    "{augment}",
    "--note={note}",
    "{data}",
    "--seed={seed}",
]


def program(**changes: Any) -> Program:
    """A program without a signature."""
    given = {"name": "tune", "command": COMMAND, "fields": FIELDS, "folder": "/jobs", "url": "http://127.0.0.1:8000"}
    return Program.model_validate(given | changes)


def signed(settings: Settings, **changes: Any) -> dict[str, Any]:
    """A signed program, as the API takes it."""
    made = program(**changes)
    key = read_key(ensure_key(settings.data_dir))
    return made.model_dump(mode="json") | {"signature": sign_program(key, made)}
