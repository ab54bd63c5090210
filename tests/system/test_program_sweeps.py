"""Sweeps over fields of a program in a whole Runyard: they find the best, and start nothing that was forged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.store.database import open_database, writing
from tests.system.test_command_sweeps import forge_value, runs_of
from tests.system.test_commands import said_by
from tests.system.test_programs import add, cli

TRAIN = """
    import sys

    from runyard import Runyard

    print(sys.argv[1:])
    with Runyard().start("rates") as run:
        for step in range(3):
            run.log({"score": (1 - abs(float(sys.argv[1]) - 0.3)) * (step + 1) / 3}, step=step)
    """
PROGRAM = f"""
command = ["{sys.executable}", "show.py", "{{lr}}", "{{fast}}", "--seed={{seed}}"]

[fields]
lr = {{type = "float", min = 0, max = 1}}
fast = {{type = "bool", default = false, if_true = "--fast", if_false = ""}}
seed = {{type = "int", default = 0}}
"""


def test_a_search_over_a_field_tries_different_values_within_its_range(yard: Any, tmp_path: Path) -> None:
    yard.wait_for_worker()
    add(yard, tmp_path, TRAIN, PROGRAM, "rates")
    words = ("lr=1e-3..1.0:log", "--trials", "4", "--metric", "score", "--goal", "max", "--wait", "--json")
    done = cli(yard, "launch", "rates", *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["method"], found["counts"]) == ("finished", "tpe", {"succeeded": 4})
    tried = {each["values"]["lr"]: each["mean"] for each in found["configurations"]}
    assert len(tried) == 4
    assert all(1e-3 <= lr <= 1 for lr in tried)
    best = min(tried, key=lambda lr: abs(lr - 0.3))
    assert found["best"]["values"] == {"lr": best, "seed": 0}
    # Each script was started with the values of its trial, whatever became of the program since.
    assert cli(yard, "rm", "--yes", "rates").returncode == 0
    for run in runs_of(yard, found["id"]):
        assert said_by(yard, run["id"])[0] == str([str(run["sweep_values"]["lr"]), "--seed=0"])
    more = yard.call(f"/sweeps/{found['id']}/extend", {"draws": 5})
    assert more["planned"] == 5
    ended = yard.until(lambda: (now := yard.call(f"/sweeps/{found['id']}"))["status"] == "finished" and now, 60)
    assert ended["counts"] == {"succeeded": 5}


def test_what_is_forged_in_the_database_starts_nothing(own_yard: Any, tmp_path: Path) -> None:
    yard = own_yard()
    yard.wait_for_worker()
    add(yard, tmp_path, TRAIN, PROGRAM, "rates")
    (tmp_path / "started.py").write_text("open('started', 'w')")
    yard.call("/queue/pause", {})
    asked = {"grid": {"lr": [0.1, 0.5, 0.7], "fast": [False]}, "metric": "score"}
    sweep = yard.call("/programs/rates/sweeps", {"sweep": asked})
    good, high, words = sweep["runs"]
    for run, value in ((high, 7.0), (words, "0.7; touch started")):
        forge_value(yard, run, "lr", value)
    # What the driver and an extension take their runs from.
    engine = open_database(yard.database)
    with writing(engine) as connection:
        connection.execute(text("UPDATE sweep SET spec = replace(spec, 'show.py', 'started.py')"))
    engine.dispose()
    more = yard.call(f"/sweeps/{sweep['id']}/extend", {"seeds": 2})
    assert len(more["runs"]) == 6
    yard.call("/queue/resume", {})
    ended = {run: yard.wait_for(run, "succeeded", "failed") for run in more["runs"]}
    assert {run for run, each in ended.items() if each["status"] == "succeeded"} == {good}
    assert "lr must be at most 1, not 7.0" in ended[high]["reason"]
    assert "lr must be a number, not '0.7; touch started'" in ended[words]["reason"]
    for run in more["runs"][3:]:
        assert "program 'rates': it is not signed with the key" in ended[run]["reason"]
    assert not (tmp_path / "started").exists()
