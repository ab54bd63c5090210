"""`runyard program`: what a file becomes, what is refused before anything is sent, and what is launched."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from app.contract.command_key import ensure_key, is_program_signed, read_key
from app.contract.program import Program
from app.contract.settings import Settings
from runyard import Runyard
from tests.app.cli.conftest import Command
from tests.conftest import Runs

TUNE = """
about = "Tunes the encoder"
command = ["python3", "train.py", "--lr={lr}", "{data}", "{fast}", "--seed={seed}"]
experiment = "scans"
restarts = 2

[env]
WANDB_MODE = "offline"

[fields.lr]
type = "float"
default = 1e-3
min = 0
help = "peak learning rate"

[fields.data]
type = "path"
within = "../data"

[fields.fast]
type = "bool"
default = false
if_true = "--fast"
if_false = ""

[fields.seed]
type = "int"
default = 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A program's file, in a folder beside that of its data."""
    folder = tmp_path / "my jobs"
    folder.mkdir()
    found = folder / "tune.toml"
    found.write_text(TUNE)
    return found


def stored(runs: Runs) -> Program:
    ((content,),) = runs.sql("SELECT content FROM program")
    return Program.model_validate_json(content)


def test_a_file_becomes_a_signed_program(
    url: str, runyard: Command, runs: Runs, file: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLD", "here")
    monkeypatch.setenv("RUNYARD_TOKEN", "abc")
    done = runyard("program", "add", str(file), "--env", "TOLD")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"tune added: lr 0.001, data (required), fast false, seed 0  {url}/programs/tune\n"
    program = stored(runs)
    assert is_program_signed(read_key(ensure_key(settings.data_dir)), program)
    assert (program.folder, program.url) == (str(file.parent), url)
    assert (program.worker, program.restarts, program.experiment) == (f"{socket.gethostname()}-", 2, "scans")
    names = ("WANDB_MODE", "TOLD", "MLFLOW_TRACKING_TOKEN")
    assert {name: program.environment[name] for name in names} == {
        "WANDB_MODE": "offline",
        "TOLD": "here",
        "MLFLOW_TRACKING_TOKEN": "abc",
    }
    assert "PATH" in program.environment
    assert program.by_name["data"].within == str(file.parent.parent / "data")
    again = runyard("program", "add", str(file), "--env", "TOLD")
    assert (again.exit_code, again.stdout.split(":")[0]) == (0, "tune unchanged")


def test_another_program_of_the_name_is_replaced_only_on_request(
    url: str, runyard: Command, runs: Runs, file: Path
) -> None:
    assert runyard("program", "add", str(file)).exit_code == 0
    file.write_text(TUNE.replace("Tunes", "Trains"))
    refused = runyard("program", "add", str(file))
    assert (refused.exit_code, "runyard program add --replace" in refused.stderr) == (2, True)
    assert stored(runs).about == "Tunes the encoder"
    assert runyard("program", "add", "--replace", str(file)).stdout.startswith("tune replaced: ")
    assert stored(runs).about == "Trains the encoder"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("about =", "abut =", "unknown key 'abut'; keys: name, about, command, folder"),
        ("[fields.lr]", "[fields.lr", "is not valid TOML: "),
        ('"python3"', '"no-such-program"', "cannot find the program 'no-such-program'"),
        ('"python3"', '"./train"', "cannot find the program './train'"),
        ('"python3", "train.py"', '"python3", "-c"', "reads as code or as the script to run"),
        ("{lr}", "{rate}", "command has {rate}, but there is no field of that name; fields: lr, data, fast, seed"),
        ('type = "float"', 'type = "number"', "field 'lr': type must be one of int, float"),
        ("min = 0", "min = 1", "the default of field 'lr' does not fit: lr must be at least 1, not 0.001"),
        ("min = 0", "minimum = 0", "field 'lr': unknown field 'minimum'"),
        ("min = 0", "choices = [1]", "field 'lr': only choice can have choices"),
        ("restarts = 2", 'folder = "gone"', "there is no folder"),
        ("restarts = 2", "folder = 3", "folder must be text"),
        ("restarts = 2", "fields = 3", "is not valid TOML"),
        ("restarts = 2", "restarts = -1", "restarts must be at least 0"),
        ('WANDB_MODE = "offline"', "WANDB_MODE = 1", "environment.WANDB_MODE must be text"),
        (
            'WANDB_MODE = "offline"',
            f'A = "{"x" * 90_000}"\nB = "{"x" * 90_000}"\nC = "{"x" * 90_000}"',
            "at most 262,144",
        ),
    ],
)
def test_a_file_that_makes_no_program_is_refused_in_a_sentence(
    url: str, runyard: Command, runs: Runs, file: Path, old: str, new: str, sentence: str
) -> None:
    assert old in TUNE
    file.write_text(TUNE.replace(old, new, 1))
    done = runyard("program", "add", str(file))
    assert (done.exit_code, sentence in done.stderr) == (2, True), done.stderr
    assert runs.sql("SELECT count(*) FROM program") == [(0,)]


def test_a_file_that_cannot_be_read_is_refused(url: str, runyard: Command, tmp_path: Path) -> None:
    for path, content, sentence in (
        ("none.toml", None, "cannot read"),
        ("bytes.toml", b"\xff", "must be a TOML file in UTF-8"),
        ("a b.toml", b'command = ["true"]', "name"),
        ("env.toml", b'command = ["true"]\nenv = ["A"]', "env must be a table"),
        ("fields.toml", b'command = ["true"]\nfields = ["lr"]', "fields must be tables"),
    ):
        if content is not None:
            (tmp_path / path).write_bytes(content)
        done = runyard("program", "add", str(tmp_path / path))
        assert (done.exit_code, sentence in done.stderr) == (2, True), done.stderr


def test_who_cannot_read_the_key_can_neither_add_nor_remove(
    url: str, runyard: Command, runs: Runs, file: Path, settings: Settings
) -> None:
    assert runyard("program", "add", str(file)).exit_code == 0
    ensure_key(settings.data_dir).chmod(0o640)
    for words, done in ((["add", "--replace", str(file)], "added"), (["rm", "--yes", "tune"], "removed")):
        refused = runyard("program", *words)
        assert refused.exit_code == 2
        assert f"programs can only be {done} by the user who runs the server" in refused.stderr
    assert runs.sql("SELECT name FROM program") == [("tune",)]


def test_programs_are_listed_and_shown(url: str, runyard: Command, file: Path) -> None:
    assert "runyard program add FILE.toml" in runyard("program", "ls").stdout
    runyard("program", "add", str(file))
    listed = runyard("program", "ls").stdout
    assert "lr 0.001, data (required)" in listed
    shown = runyard("program", "show", "tune").stdout
    assert "python3 train.py '--lr={lr}' '{data}'" in shown
    assert "from 0" in shown
    assert "offline" not in shown
    assert json.loads(runyard("program", "show", "tune", "--json").stdout)["name"] == "tune"
    assert json.loads(runyard("program", "ls", "--json").stdout)["programs"][0]["name"] == "tune"
    missing = runyard("program", "show", "tun")
    assert (missing.exit_code, "no program 'tun'; programs: tune" in missing.stderr) == (1, True)


def test_a_program_is_removed_after_a_question(url: str, runyard: Command, runs: Runs, file: Path) -> None:
    runyard("program", "add", str(file))
    asked = runyard("program", "rm", "tune")
    assert (asked.exit_code, "write --yes" in asked.stderr) == (2, True)
    assert runs.sql("SELECT name FROM program") == [("tune",)]
    assert runyard("program", "rm", "tune", "--yes").stdout == "tune removed; its runs stay\n"
    assert runs.sql("SELECT name FROM program") == []


def test_a_program_is_launched_with_values(url: str, runyard: Command, runs: Runs, file: Path) -> None:
    runyard("program", "add", str(file))
    words = ["lr=0.5", "data=-a=b; id.csv", "fast=true", "--seeds", "2", "--tags", "a, b", "--notes", "why"]
    done = runyard("program", "launch", "tune", *words)
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "#1 tune · lr 0.5, data -a=b; id.csv, fast true",
        "#2 tune · lr 0.5, data -a=b; id.csv, fast true, seed 1",
    ]
    assert runs.sql("SELECT family, seed FROM run ORDER BY seed") == [("scans", 0), ("scans", 1)]
    done = runyard("program", "launch", "tune", "data=x", "--json", "--name", "mine")
    (run,) = json.loads(done.stdout)["runs"]
    assert (run["title"], run["command"]["argv"][3]) == ("mine", str(file.parent.parent / "data" / "x"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lr"], "values are written FIELD=VALUE, not 'lr'"),
        (["lrr=1", "data=x"], "program 'tune' has no field 'lrr'; fields: lr, data, fast, seed"),
        (["lr=fast", "data=x"], "lr must be a number, not 'fast'"),
        ([], "data is required"),
        (["data=../x"], "data must be a path within"),
    ],
)
def test_wrong_values_launch_nothing(
    url: str, runyard: Command, runs: Runs, file: Path, words: list[str], sentence: str
) -> None:
    runyard("program", "add", str(file))
    done = runyard("program", "launch", "tune", *words)
    assert (done.exit_code, sentence in done.stderr) == (2, True), done.stderr
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


def test_several_values_make_a_sweep(url: str, runyard: Command, runs: Runs, file: Path, yard: Runyard) -> None:
    runyard("program", "add", str(file))
    words = ["lr=1e-4..1e-1:log", "fast=true,false", "data=a,b..c", "--trials", "8", "--seeds", "2", "--tags", "a"]
    words += ["--metric", "loss", "--goal", "min", "--prune", "median", "--prune-after", "3", "--name", "find"]
    done = runyard("program", "launch", "tune", *words)
    assert done.exit_code == 0, done.output
    (sweep,) = yard.sweeps()
    assert done.stdout == f"#1 find: 16 runs  {url}/sweeps/{sweep.id}\n"
    found = sweep.refresh().data
    # A comma in a path is part of it.
    assert found["command"]["argv"][3] == str(file.parent.parent / "data" / "a,b..c")
    assert found["spec"]["grid"] == {"fast": ["true", "false"]}
    assert found["spec"]["space"]["lr"] == {"low": 1e-4, "high": 0.1, "log": True, "step": None, "whole": False}
    told = {"method": "tpe", "draws": 8, "seeds": 2, "metric": "loss", "direction": "minimize", "pruning": "median"}
    assert told.items() <= found["spec"].items()
    assert found["spec"]["prune_after_epochs"] == 3
    grid = json.loads(runyard("program", "launch", "tune", "lr=0.1,0.5,0.10", "data=x", "--json").stdout)
    assert (grid["method"], grid["counts"]) == ("grid", {"queued": 2})
    assert runyard("sweep", "extend", str(grid["number"]), "--set", "lr=0.7").exit_code == 0
    assert yard.find_sweep(grid["id"]).counts == {"queued": 3}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lr=0.1,-1"], "lr must be at least 0, not -1.0"),
        (["lr=0.1..x"], "'x' is not a number in the value lr=0.1..x"),
        (["fast=true,maybe"], "fast must be true or false, not 'maybe'"),
        (["seed=1,2"], "set seeds to the number of runs"),
        (["lr=0.1,0.5", "--trials", "2", "--method", "grid"], "--trials needs several values and --method"),
        (["lr=0.1,0.5", "--goal", "up"], "--goal must be max or min, not 'up'"),
        (["--trials", "3"], "--trials needs a field with several values: NAME=LOW..HIGH"),
        (["lr=0.1,", "--metric", "loss"], "--metric needs a field with several values"),
    ],
)
def test_what_is_not_a_sweep_is_refused(
    url: str, runyard: Command, runs: Runs, file: Path, words: list[str], sentence: str
) -> None:
    runyard("program", "add", str(file))
    done = runyard("program", "launch", "tune", "data=x", *words)
    assert (done.exit_code, sentence in done.stderr) == (2, True), done.output
    assert runs.sql("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM sweep)") == [(0,)]


def test_the_example_of_the_documentation_is_a_program(url: str, runyard: Command, runs: Runs, tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "your-own-scripts.md"
    (example,) = re.findall(r"```toml\n(.*?)```", page.read_text(), re.S)
    file = tmp_path / "tune.toml"
    file.write_text(example.replace('"python"', '"python3"'))
    assert runyard("program", "add", str(file)).exit_code == 0
    done = runyard("program", "launch", "tune", "data=ward-3", "lr=3e-4", "--seeds", "3")
    assert done.exit_code == 0, done.output
    argv = Program.model_validate_json(runs.sql("SELECT content FROM program")[0][0]).command
    assert "{frozen}" in argv
    ((shown,),) = runs.sql("SELECT json_extract(config, '$.argv') FROM run WHERE seed = 2")
    assert json.loads(shown)[2:] == ["--lr=0.0003", "--data=/data/x-rays/ward-3", "--optimizer=adamw", "--seed=2"]
