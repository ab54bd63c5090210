"""Programs of a whole Runyard: added on its machine, launched by anybody, and started as they were signed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.store.database import open_database, writing
from tests.system.running_yard import OFFLINE, ROOT
from tests.system.test_commands import ended, said_by

SHOW = """
import os
import sys

print(sys.argv[1:])
print(os.getcwd(), os.environ["MODE"], os.environ["RUNYARD_RUN_ID"])
"""
PROGRAM = f"""
command = [
  "{sys.executable}", "show.py", "--note={{note}}", "--lr", "{{lr}}", "{{data}}", "{{fast}}", "--seed={{seed}}",
]

[env]
MODE = "a b"

[fields]
note = {{type = "text", default = ""}}
lr = {{type = "float", default = 0.1, min = 0}}
data = {{type = "path", default = "train.csv"}}
fast = {{type = "bool", default = false, if_true = "--fast", if_false = ""}}
seed = {{type = "int", default = 0}}
"""


def cli(yard: Any, *words: str) -> subprocess.CompletedProcess[str]:
    """`runyard program …` on the machine of a yard."""
    environment = {**os.environ, **OFFLINE, "RUNYARD_URL": yard.address, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "app.cli", "program", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def add(yard: Any, folder: Path, script: str = SHOW, program: str = PROGRAM, name: str = "show") -> None:
    """Add a program whose script is beside it."""
    (folder / "show.py").write_text(textwrap.dedent(script))
    (folder / f"{name}.toml").write_text(program)
    done = cli(yard, "add", "--replace", str(folder / f"{name}.toml"))
    assert done.returncode == 0, done.stderr


def launch(yard: Any, name: str = "show", **values: Any) -> str:
    """The id of a run of a program, as the API launches it."""
    return str(yard.call(f"/programs/{name}/runs", {"values": values})["runs"][0]["id"])


def refusal(yard: Any, path: str, body: Any, method: str = "POST") -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as refused:
        yard.call(path, body, method)
    return refused.value.code, json.loads(refused.value.read())["detail"]


def test_whatever_others_write_is_one_argument_and_starts_nothing(yard: Any, tmp_path: Path) -> None:
    add(yard, tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    notes = [
        "; touch x",
        "$(touch x)",
        "`touch x`",
        "--config=/etc/passwd",
        "' \" \\",
        "{lr} {{}}",
        "*",
        "a | tee x",
        "",
    ]
    runs = [launch(yard, note=note) for note in notes]
    for run, note in zip(runs, notes, strict=True):
        assert ended(yard, run)["status"] == "succeeded"
        assert said_by(yard, run) == [
            str([f"--note={note}", "--lr", "0.1", str(tmp_path / "train.csv"), "--seed=0"]),
            f"{tmp_path} a b {run}",
        ]
    for values, field in (
        ({"note": "a\nb"}, "note"),
        ({"note": "a\0"}, "note"),
        ({"lr": "1; id"}, "lr"),
        ({"data": "/etc/passwd"}, "data"),
        ({"data": "../../etc/passwd"}, "data"),
        ({"fast": "--config=/etc/passwd"}, "fast"),
        ({"seed": "$(id)"}, "seed"),
    ):
        status, detail = refusal(yard, "/programs/show/runs", {"values": values})
        assert (status, detail.split()[0]) == (422, field)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_nobody_without_the_key_adds_changes_or_removes_a_program(yard: Any, tmp_path: Path) -> None:
    add(yard, tmp_path)
    marker = tmp_path / "started"
    body = {"name": "evil", "command": ["touch", str(marker)], "folder": str(tmp_path), "url": yard.address}
    for name, signature in (("evil", ""), ("evil", "0" * 64), ("show", "0" * 64)):
        sent = body | {"name": name, "signature": signature}
        status, detail = refusal(yard, f"/programs/{name}?replace=true", sent, "PUT")
        assert (status, "runyard program add" in detail) == (403, True)
    assert refusal(yard, "/programs/show?signature=0", None, "DELETE")[0] == 403
    assert [each["name"] for each in yard.call("/programs")["programs"]] == ["show"]
    assert not marker.exists()


def test_the_worker_starts_nothing_that_was_forged_in_the_database(own_yard: Any, tmp_path: Path) -> None:
    yard = own_yard()
    yard.wait_for_worker()
    add(yard, tmp_path)
    yard.call("/queue/pause", {})
    script = '"show.py"'
    forgeries = {
        script: '"started.py"',
        '"MODE":"a b"': '"MODE":"c"',
        '"lr":0.1': '"lr":"; touch x"',
        '"note":""': r'"note":"a\nb"',
        '"data":"train.csv"': '"data":"../../etc/passwd"',
    }
    (tmp_path / "started.py").write_text("open('started', 'w')")
    runs = {old: launch(yard) for old in forgeries}
    engine = open_database(yard.database)
    with writing(engine) as connection:
        for old, run in runs.items():
            content = connection.execute(_READ, {"run": run}).scalar_one()
            # The values come last, after the defaults of the fields.
            head, found, tail = content.rpartition(old)
            assert found, old
            connection.execute(_WRITE, {"content": head + forgeries[old] + tail, "run": run})
    engine.dispose()
    yard.call("/queue/resume", {})
    reasons = {old: ended(yard, run)["reason"] for old, run in runs.items()}
    assert all(reason.startswith("this worker does not start program 'show'") for reason in reasons.values()), reasons
    for old in (script, '"MODE":"a b"'):
        assert "it is not signed with the key" in reasons[old]
    assert "lr must be a number" in reasons['"lr":0.1']
    assert "note must be one line" in reasons['"note":""']
    assert "data must be a path within" in reasons['"data":"train.csv"']
    assert not (tmp_path / "started").exists()


_READ = text("SELECT content FROM run_command WHERE run = :run")
_WRITE = text("UPDATE run_command SET content = :content WHERE run = :run")


def test_a_program_is_launched_and_awaited_on_the_command_line(yard: Any, tmp_path: Path) -> None:
    add(yard, tmp_path)
    done = cli(yard, "launch", "show", "note=it's", "fast=true", "--seeds", "2", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)["runs"]
    assert [run["status"] for run in runs] == ["succeeded", "succeeded"]
    assert said_by(yard, runs[1]["id"])[0] == str(
        ["--note=it's", "--lr", "0.1", str(tmp_path / "train.csv"), "--fast", "--seed=1"]
    )
    again = yard.call(f"/runs/{runs[1]['id']}/retry", {})
    assert ended(yard, again["id"])["command"]["argv"] == runs[1]["command"]["argv"]
    assert cli(yard, "rm", "--yes", "show").returncode == 0
    assert yard.call("/programs")["programs"] == []
    # What was signed before can be started again, as any command.
    assert ended(yard, yard.call(f"/runs/{runs[0]['id']}/retry", {})["id"])["status"] == "succeeded"
