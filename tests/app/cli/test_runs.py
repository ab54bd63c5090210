"""Commands that list, show, compare, export and watch runs, as text and as JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from app.cli.output import duration, local_time, to_text
from app.contract.disk_space import DiskSpace
from app.contract.events import Log, LogLine
from app.contract.presets import PRESETS
from app.services import pubsub
from app.services.recorder import Recorder
from runyard import Runyard
from tests.app.cli.conftest import Command
from tests.conftest import Runs
from tests.fake_worker import Worker


@pytest.fixture
def three(yard: Runyard, runs: Runs, recorder: Recorder, worker: Worker) -> list[str]:
    """Two succeeded runs of one variant, with points and a log, and a queued run."""
    ids = []
    for seed, accuracy in ((1, 0.5), (2, 0.75)):
        run = yard.launch(family="vit", size="tiny", seed=seed, tags=["a"], name="=1+1" if seed == 2 else "")
        trainer = worker.train(recorder)
        trainer.points(
            val__acc=[(1, accuracy), (2, accuracy - 0.1)], test__acc=[(2, accuracy)], train__loss=[(1, float("nan"))]
        )
        trainer.say("log", Log(lines=[LogLine(time=1.0, level="info", text=f"seed {seed}")]))
        recorder.step()
        runs.finish(run.id)
        ids.append(run.id)
    return [*ids, yard.launch(family="simple_cnn", size="tiny", dataset="mnist", notes="a note").id]


def test_runs_are_listed_filtered_and_sorted(three: list[str], runyard: Command) -> None:
    lines = runyard("ls").stdout.splitlines()
    assert lines[0].split()[:3] == ["#", "status", "run"]
    assert [line.split()[0] for line in lines[2:]] == ["3", "2", "1"]
    assert " 75.00% " in lines[3]
    assert lines[3].rstrip().endswith(three[1])

    def listed(*output: str) -> list[str]:
        done = runyard("ls", "--json", *output)
        assert done.exit_code == 0, done.output
        return [run["id"] for run in json.loads(done.stdout)["runs"]]

    assert listed("--sort", "test/acc", "--limit", "2") == three[:2]
    assert listed("--status", "queued,running") == [three[2]]
    assert listed("--family", "vit", "--tag", "a", "--size", "tiny") == [three[1], three[0]]
    assert listed("--dataset", "mnist", "--dataset", "digits", "-n", "1") == [three[2]]
    assert listed("-q", "a note") == [three[2]]
    assert runyard("ls", "--dataset", "cifar10").stdout == "no runs\n"


@pytest.mark.parametrize("name", ["3", "#3", "{id}", "{prefix}"])
def test_a_run_is_named_by_its_number_its_id_or_the_beginning_of_its_id(
    url: str, runyard: Command, runs: Runs, name: str
) -> None:
    for i in range(3):
        runs.add(now=1_700_000_000.0 + 86_400 * i)
    ((run_id,),) = runs.sql("SELECT id FROM run WHERE number = 3")
    done = runyard("show", name.format(id=run_id, prefix=run_id[:7]), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["id"] == run_id


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("7", "no run 7; list runs with `runyard ls`"),
        ("r_zz", "no run whose id starts with 'r_zz'; list runs with `runyard ls`"),
        (" ", "no run whose id starts with ''; list runs with `runyard ls`"),
        ("r_", "2 runs have ids that start with 'r_': #2 r_"),
        ("9" * 22, f"no run {'9' * 22}; list runs with `runyard ls`"),
        ("9" * 5000, f"no run {'9' * 40}; list runs with `runyard ls`"),
    ],
)
def test_what_names_no_run_or_several_is_said_in_one_sentence(
    url: str, runyard: Command, runs: Runs, name: str, sentence: str
) -> None:
    for _ in range(2):
        runs.add()
    done = runyard("show", name)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
    assert "…" not in done.stderr, "both runs are named"


def test_a_run_is_shown_with_its_settings_and_figures(three: list[str], runyard: Command, url: str) -> None:
    output = runyard("show", three[1]).stdout
    fields = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in output.splitlines() if "  " in line)
    assert fields["url"] == f"{url}/runs/{three[1]}"
    assert fields["status"] == "succeeded"
    assert "optimizer" in output
    row = next(line for line in output.splitlines() if line.startswith("val/acc"))
    assert row.split()[1:] == ["0.65", "0.75", "1", "2"]
    assert runyard("show", "3").stdout.rstrip().endswith("a note")


def test_the_log_is_printed_and_followed_to_the_end_of_the_run(three: list[str], runyard: Command) -> None:
    assert runyard("logs", three[0]).stdout.rstrip().endswith("seed 1")
    (line,) = runyard("logs", "-f", "2", "--json").stdout.splitlines()
    assert json.loads(line) == {"id": 2, "time": 1.0, "level": "info", "text": "seed 2", "attempt": 1}


def test_runs_are_compared_with_intervals_and_a_link(three: list[str], runyard: Command, url: str) -> None:
    done = runyard("compare", "1,2", "#3")
    assert done.exit_code == 0, done.output
    assert "62.50 ± 158.83%" in done.stdout
    assert done.stdout.rstrip().endswith(f"{url}/compare?runs={','.join(three)}&by=variant")
    output = json.loads(runyard("compare", "1", "2", "--json").stdout)
    (group,) = output["groups"]
    assert group["figures"]["test/acc"]["mean"] == 0.625
    assert runyard("compare", "1", "2", "--by", "color").stderr.startswith("runyard: cannot group by 'color'")
    done = runyard("compare")
    assert (done.exit_code, done.stderr) == (2, "runyard: specify the runs to compare, or use --sweep\n")


def test_runs_are_exported_as_a_table_and_as_json(three: list[str], runyard: Command, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(runyard("export", "--sort", "number").stdout)))
    assert [row["id"] for row in rows] == three
    assert (rows[0]["test/acc"], rows[0]["val/acc"], rows[0]["lr"], rows[0]["tags"]) == ("0.5", "0.5", "0.002", "a")
    # A spreadsheet would read it as a formula.
    assert rows[1]["title"] == "'=1+1"
    file = tmp_path / "runs.json"
    assert runyard("export", "--json", "--status", "queued", "-o", str(file)).stdout == ""
    assert [run["id"] for run in json.loads(file.read_text())["runs"]] == [three[2]]
    done = runyard("export", "-o", str(tmp_path / "no" / "folder"))
    assert done.exit_code == 1
    assert done.stderr.startswith("runyard: [Errno 2] No such file or directory")


def test_curves_are_exported_point_by_point(three: list[str], runyard: Command) -> None:
    rows = list(csv.DictReader(io.StringIO(runyard("export", "1").stdout)))
    found = [(row["metric"], row["step"], row["value"]) for row in rows]
    assert ("val/acc", "2", "0.4") in found
    assert ("train/loss", "1", "") in found
    output = json.loads(runyard("export", "1", "--metric", "val/acc", "--format", "json").stdout)
    assert list(output) == ["val/acc"]
    assert output["val/acc"]["value"] == [0.5, 0.4]


def test_watching_what_has_ended_in_a_terminal_draws_it_once_and_says_how_it_ended(
    three: list[str], runyard: Command, runs: Runs, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("app.cli.watch.sys", terminal)
    done = runyard("watch", "1")
    assert done.exit_code == 0, done.output
    assert "#1  succeeded  vit tiny" in done.stdout
    assert "val/acc" in done.stdout
    assert any("⠀" < letter <= "⣿" for letter in done.stdout)
    runs.finish(three[2], "failed")
    pubsub.announce(redis, runs.commit(), three[2], "status")
    done = runyard("watch", "1", "2", "3")
    assert done.exit_code == 1
    assert "validation accuracy" in done.stdout
    assert "— #1" in done.stdout
    assert "runyard: #3 simple_cnn tiny · mnist failed: " in done.stderr


def test_watching_without_a_terminal_says_in_a_line_each_how_a_run_ended(
    three: list[str], runyard: Command, runs: Runs, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Output to a file is not wrapped, and FORCE_COLOR does not make it a terminal.
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    runs.finish(three[2], "failed")
    done = runyard("watch", "3", "1")
    assert (done.exit_code, done.stderr) == (1, "")
    failed, succeeded = done.stdout.splitlines()
    assert failed.startswith("failed     simple_cnn tiny · mnist  ")
    assert succeeded.startswith("succeeded  vit tiny · digits  test/acc 50.00%  ")
    assert [line.rpartition("  ")[2] for line in (failed, succeeded)] == [f"{url}/runs/{three[i]}" for i in (2, 0)]
    done = runyard("watch", "3", "1", "--json")
    assert [run["id"] for run in json.loads(done.stdout)["runs"]] == [three[2], three[0]]


def test_what_is_there_to_train_and_who_trains_is_listed(
    url: str, runyard: Command, worker: Worker, recorder: Recorder
) -> None:
    assert runyard("workers").stdout == "no worker is connected; start one with `runyard worker`\n"
    worker.beat()
    recorder.step()
    assert "here (process 1)" in runyard("workers").stdout
    assert json.loads(runyard("workers", "--json").stdout)["workers"][0]["device"] == "made-up cpu"
    output = runyard("datasets").stdout
    assert "digit 10, thickness 5, smoothness 3" in output
    assert len(json.loads(runyard("datasets", "--json").stdout)["datasets"]) == 5


def test_presets_are_listed_with_their_parameters(url: str, runyard: Command) -> None:
    lines = {line.split()[0]: line.split() for line in runyard("presets").stdout.splitlines()}
    assert set(lines) >= set(PRESETS)
    assert lines["mnist_cnn_421k"] == ["mnist_cnn_421k", "simple_cnn", "base", "mnist", "default", "421,834"]
    assert lines["speedrun_mnist_994"][-3:-1] == ["crop_padding", "1"]
    # Its heads are not those that the catalog counts, but those of the server's preview.
    assert lines["multihead_cnn_mnist"][5:] == ["targets", "digit,", "thickness,", "smoothness", "422,866"]
    listed = {each["name"]: each for each in json.loads(runyard("presets", "--json").stdout)["presets"]}
    assert listed["mnist_vit_38k"] == {
        "name": "mnist_vit_38k",
        "family": "vit",
        "size": "tiny",
        "dataset": "mnist",
        "recipe": "default",
        "params": 37_770,
    }
    assert listed["multihead_cnn_mnist"]["params"] == 422_866


def test_who_reads_only_the_beginning_is_not_told_of_an_error(url: str, runs: Runs) -> None:
    for _ in range(3):
        runs.add()
    command = f"{shlex.quote(sys.executable)} -m app.cli export --json | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{", "")


@pytest.mark.parametrize(
    ("seconds", "output"),
    [(None, "–"), (0.0, "0.0 s"), (9.94, "9.9 s"), (48.4, "48 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_a_length_of_time_in_words(seconds: float | None, output: str) -> None:
    assert duration(seconds) == output


@pytest.mark.parametrize(
    ("value", "output"),
    [(None, "–"), (True, "yes"), (12345, "12,345"), (0.00031, "0.00031"), (["a", 1], "a, 1"), ({"x": 0.5}, "x 0.5")],
)
def test_a_value_in_words(value: Any, output: str) -> None:
    assert to_text(value) == output
    assert local_time(None) == "–"


def test_a_disk_with_little_room_is_told_on_standard_error_and_never_in_the_output(
    three: list[str], runyard: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = DiskSpace(host="lab", folder="/srv", free=2**30, total=2**40, needed=2**31, state="low")
    for state, said in (
        ("low", "disk space on lab is low (1.0 GiB free in /srv)"),
        (
            "full",
            "the disk of lab is full (1.0 GiB free in /srv); no run starts and active runs wait until 2.0 GiB are",
        ),
    ):
        told = space.model_copy(update={"state": state})
        monkeypatch.setattr("app.services.disk_warnings.measure", lambda settings, told=told: told)
        for command in (("ls",), ("queue",)):
            done = runyard(*command)
            assert said in done.stderr
            assert said not in done.stdout
        assert json.loads(runyard("ls", "--json").stdout)["runs"]
    monkeypatch.setattr("app.services.disk_warnings.measure", lambda settings: None)
    assert runyard("ls").stderr == ""
