"""A program logs its own run: each point arrives once, whatever happens to the server, the program or its values."""

from __future__ import annotations

import errno
import io
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import runyard
from app.contract.run_files import stepped_image
from app.contract.settings import Settings
from runyard import LoggedRun, Runyard, RunyardError
from tests.conftest import until
from tests.served import breaking, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what was not sent yet."""
    monkeypatch.setenv("RUNYARD_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setattr(runyard, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(runyard, "LONGEST_PAUSE_SECONDS", 0.05)
    return tmp_path / "spool"


def curve_of(yard: Runyard, run: str, name: str) -> tuple[list[int], list[float]]:
    curve = yard.run(run).curves([name])[name]
    return [int(step) for step in curve.step], [float(value) for value in curve.value]


def test_a_run_is_logged_from_start_to_end(yard: Runyard, folder: Path) -> None:
    with yard.start("first", experiment="mine", parameters={"lr": 0.1}, tags=["paper"]) as run:
        assert run.url == f"{yard.url}/runs/{run.id}"
        run.log({"loss": 2, "acc": 0.5})
        run.log({"loss": 1.5})
        run.log({"loss": math.nan, "acc": 0.75}, step=10)
        run.log_parameters({"depth": 3, "lr": 0.1})
    found = yard.run(run.id)
    assert (found.status, found.title, found.tags) == ("succeeded", "first", ["paper"])
    assert curve_of(yard, run.id, "acc") == ([0, 10], [0.5, 0.75])
    steps, values = curve_of(yard, run.id, "loss")
    assert steps == [0, 1, 10]
    assert values[:2] == [2, 1.5]
    assert math.isnan(values[2])
    assert found.data["parameters"] == {"lr": "0.1", "depth": "3"}
    assert list(folder.iterdir()) == []


def test_files_and_images_are_kept_as_they_were(yard: Runyard, folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_bytes(bytes(range(256)) * 20_000)
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with yard.start("files") as run:
        run.log_file(model)
        run.log({"a": 1.0}, step=7)
        run.log_image("samples/first", pixels)
        run.log_image("samples/first", pixels, step=-2)
        model.write_bytes(b"later")
        run.log_file(str(model), "checkpoints/last.pt")
        with pytest.raises(FileNotFoundError):
            run.log_file(tmp_path / "none")
        with pytest.raises(TypeError, match="an image must be"):
            run.log_image("samples", 3)
    found = {each["path"]: each["bytes"] for each in yard.run(run.id).files() if each["source"] == "script"}
    assert (found.pop("model.pt"), found.pop("checkpoints/last.pt")) == (5_120_000, 5)
    assert yard.run(run.id).download("model.pt", tmp_path / "back").read_bytes() == bytes(range(256)) * 20_000
    stepped = [stepped_image(path) for path in found]
    assert sorted((each.key, each.step) for each in stepped if each) == [("samples/first", -2), ("samples/first", 7)]
    image = yard.run(run.id).download(next(iter(found)), tmp_path / "image.png")
    assert np.array_equal(np.asarray(Image.open(image)), pixels)
    assert list(folder.iterdir()) == []


def test_a_file_that_the_server_refuses_is_left_out(
    yard: Runyard, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("a")
    with yard.start("files") as run:
        for name in ("../out", "/etc/out", "a//b", "."):
            with pytest.raises(ValueError, match="cannot be the path of a file"):
                run.log_file(tmp_path / "a", name)
        run.log_file(tmp_path / "a", "x" * 300)
        run.log_file(tmp_path / "a", "in")
    assert "x is not kept with the run: each name in a path can have at most 255 bytes" in capsys.readouterr().err
    assert [each["path"] for each in yard.run(run.id).files() if each["source"] == "script"] == ["in"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("x"), "failed"), (KeyboardInterrupt(), "cancelled"), (SystemExit(0), "succeeded")],
)
def test_how_the_block_ends_is_how_the_run_ends(yard: Runyard, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), yard.start("a") as run:
        raise error
    assert yard.run(run.id).status == status


def test_values_that_are_no_numbers_are_refused_and_nothing_is_logged(yard: Runyard) -> None:
    with yard.start("a") as run:
        with pytest.raises(TypeError, match="the value of 'b' must be one number"):
            run.log({"a": 1.0, "b": [1, 2]})
        with pytest.raises(ValueError, match="1 to 250 characters"):
            run.log({"": 1.0})
        with pytest.raises(TypeError):
            run.log({"a": 1.0}, step=0.5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="64 bits"):
            run.log({"a": 1.0}, step=2**63)
        run.log_parameters({"x": 1})
        with pytest.raises(ValueError, match="is already '1'"):
            run.log_parameters({"x": 2})
    assert yard.run(run.id).curves() == {}
    with pytest.raises(RuntimeError, match="has finished"):
        run.log({"a": 1.0})


def test_a_run_that_the_server_refuses_is_not_started(yard: Runyard, folder: Path) -> None:
    with pytest.raises(RunyardError, match="experiment"):
        yard.start("a", experiment=" ")
    assert list(folder.iterdir()) == []


def test_a_server_that_is_away_for_a_while_gets_each_point_once(
    server: FastAPI, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(server) as address:
        port = int(address.rpartition(":")[2])
    # Nobody answers here now.
    run = Runyard(address).start("patient")
    for step in range(100):
        run.log({"a": step, "b": -step})
    assert (run.id, run.url) == ("", "")
    assert "does not respond; metrics are kept in" in capsys.readouterr().err
    with serving(server, port):
        until(lambda: run.id, what="the server has the run")
        run.log({"a": 100.0}, step=100)
        run.finish()
        with Runyard(address) as yard:
            assert curve_of(yard, run.id, "a") == (list(range(101)), [float(step) for step in range(101)])
            assert curve_of(yard, run.id, "b")[1] == [float(-step) for step in range(100)]
            assert yard.run(run.id).status == "succeeded"
    assert list(folder.iterdir()) == []


class Gone(io.StringIO):
    """A standard error that nobody reads any more; ``tried``: whether something was said."""

    tried = False

    def write(self, text: str) -> int:
        self.tried = True
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_program_whose_standard_error_nobody_reads_logs_on(server: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(server) as address:
        port = int(address.rpartition(":")[2])
        run = Runyard(address).start("unheard")
    gone = Gone()
    monkeypatch.setattr(sys, "stderr", gone)
    run.log({"a": 0.0}, step=0)
    until(lambda: gone.tried, what="it says that the server is away")
    run.log({"a": 1.0}, step=1)
    with serving(server, port):
        run.finish()
        with Runyard(address) as yard:
            assert curve_of(yard, run.id, "a") == ([0, 1], [0.0, 1.0])
            assert yard.run(run.id).status == "succeeded"


def test_what_a_program_leaves_when_the_server_stays_away_is_sent_later(
    server: FastAPI, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(server) as address:
        port = int(address.rpartition(":")[2])
    run = Runyard(address).start("left")
    run.log({"a": 1.0})
    run.log_image("b", np.zeros((2, 2), np.uint8))
    run.finish(timeout=0.1)
    assert "`runyard sync` sends it" in capsys.readouterr().err
    (left,) = folder.glob("*.jsonl")
    with serving(server, port), Runyard(address) as yard:
        # A line that was cut off by a crash does not count.
        left.write_bytes(left.read_bytes() + b'{"curves": {"a"')
        assert list(yard.sync()) == [("left", "")]
        (found,) = yard.runs()
        assert (found.title, found.status) == ("left", "succeeded")
        assert curve_of(yard, found.id, "a") == ([0], [1.0])
        assert [each["path"][:8] for each in found.files() if each["source"] == "script"] == ["images/b"]
    assert list(folder.iterdir()) == []


def test_files_of_other_servers_running_programs_and_nonsense_are_left_alone(yard: Runyard, folder: Path) -> None:
    run = yard.start("still running")
    (folder / "odd.jsonl").write_text("no JSON\n")
    (folder / "other.jsonl").write_text(json.dumps({"url": "http://127.0.0.1:1", "head": {"name": "other"}}) + "\n")
    problems = dict(yard.sync())
    assert problems.keys() == {"odd", "other"}
    assert "cannot be read" in problems["odd"]
    assert problems["other"] == "it was logged to http://127.0.0.1:1; set RUNYARD_URL to send it there"
    run.finish()
    assert {path.name for path in folder.iterdir()} == {"odd.jsonl", "other.jsonl"}


def test_a_broken_connection_neither_loses_nor_doubles_points(url: str) -> None:
    with breaking(url, *range(40, 400, 40)) as (address, _):
        run = Runyard(address).start("broken")
        for step in range(200):
            run.log({"a": step * 0.5})
        run.finish()
    with Runyard(url) as yard:
        assert curve_of(yard, run.id, "a") == (list(range(200)), [step * 0.5 for step in range(200)])
        assert len(list(yard.runs())) == 1


def test_a_run_that_is_stopped_on_its_page_takes_no_more(
    yard: Runyard, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = yard.start("stopped")
    yard.run(run.id).cancel()
    run.log({"a": 1.0})
    until(lambda: run.stopped, what="the program knows")
    run.finish()
    assert "the server accepts no more data of this run: run" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 1


def test_an_emptied_file_goes_on(yard: Runyard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runyard, "LONG_FILE_BYTES", 500)
    with yard.start("long") as run:
        for step in range(300):
            run.log({"a": step})
            if step % 50 == 0:
                until(lambda: not run._pending and run._sender.all_sent, what="all was sent")
        assert run._spool.path.stat().st_size < 5_000
    assert curve_of(yard, run.id, "a")[0] == list(range(300))


# Lightning's own.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")
def test_what_a_lightning_module_logs_is_logged(yard: Runyard, tmp_path: Path) -> None:
    import lightning
    import torch

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1, "optimizer": {"name": "sgd", "betas": [0.9, 0.99]}})
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any) -> Any:
            loss = self.layer(batch[0]).square().mean()
            self.log("loss", loss)
            return loss

        def test_step(self, batch: Any) -> None:
            self.log("test_loss", self.layer(batch[0]).square().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(12, 4)), batch_size=2)
    logger = runyard.RunyardLogger("lit", url=yard.url, tags=["a"])
    trainer = lightning.Trainer(
        max_epochs=2,
        logger=logger,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    module = Module()
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    logger.finish()
    found = yard.run(logger.version)
    assert (found.title, found.status, found.tags) == ("lit", "succeeded", ["a"])
    assert found.data["parameters"] == {"lr": "0.1", "optimizer/name": "sgd", "optimizer/betas": "[0.9, 0.99]"}
    assert curve_of(yard, found.id, "loss")[0] == list(range(12))
    assert len(curve_of(yard, found.id, "test_loss")[0]) == 1


def _log_in_child(run: LoggedRun, found: Any) -> None:
    try:
        run.log({"a": 1.0})
    except RuntimeError as error:
        found.put(str(error))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_does_not_log(yard: Runyard) -> None:
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    with yard.start("a") as run:
        child = context.Process(target=_log_in_child, args=(run, found))
        child.start()
        assert "not in one forked from it" in found.get(timeout=30)
        child.join()


PROGRAM = """
import sys
import time
from runyard import Runyard
run = Runyard(sys.argv[1]).start("program")
for step in range(50):
    run.log({"a": step})
print(run.id, flush=True)
"""


def program(url: str, more: str) -> Iterator[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM + more, url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        yield str(process.pid)
        process.communicate(timeout=60)


@pytest.mark.parametrize(("more", "status"), [("", "succeeded"), ("raise ValueError", "failed")])
def test_a_program_that_does_not_end_its_run_ends_it_all_the_same(yard: Runyard, more: str, status: str) -> None:
    run, _ = program(yard.url, more)
    assert yard.run(run).status == status
    assert curve_of(yard, run, "a")[0] == list(range(50))


def test_a_program_that_is_killed_leaves_what_it_wrote(yard: Runyard, folder: Path) -> None:
    running = program(yard.url, "sys.stdin.read()")
    run = next(running)
    until(lambda: yard.run(run).curves(), what="the points are there")
    os.kill(int(next(running)), signal.SIGKILL)
    assert list(running) == []
    assert len(list(folder.glob("*.jsonl"))) == 1
    assert list(yard.sync()) == [("program", "")]
    assert curve_of(yard, run, "a")[0] == list(range(50))
    assert list(folder.iterdir()) == []


FULL = """
import resource
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (run._spool.path.stat().st_size + 60, limits[1]))
for step in range(50, 1000):
    run.log({"a": step})
while not run._in_trouble:
    time.sleep(0.01)
print("in trouble", flush=True)
run.log({"a": 1000})
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
run.finish()
"""


def test_a_disk_that_is_full_for_a_while_loses_nothing(yard: Runyard, folder: Path) -> None:
    run, _ = program(yard.url, FULL)
    assert curve_of(yard, run, "a")[0] == list(range(1001))
    assert yard.run(run).status == "succeeded"
    assert list(folder.iterdir()) == []


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"), st.lists(st.floats(allow_nan=False), min_size=1, max_size=4), max_size=3
        )
    )
)
def test_parts_that_are_sent_as_one_are_what_was_logged(parts: list[dict[str, list[float]]]) -> None:
    whole: dict[str, Any] = {}
    counts: dict[str, int] = {}
    points = 0
    for part in parts:
        curves = {}
        for name, values in part.items():
            steps = list(range(len(values)))
            curves[name] = {"offset": counts.get(name, 0), "step": steps, "value": values, "time": values}
            counts[name] = counts.get(name, 0) + len(values)
        points += runyard._add_part(whole, json.loads(json.dumps({"curves": curves})))
    expected: dict[str, list[float]] = {}
    for part in parts:
        for name, values in part.items():
            expected.setdefault(name, []).extend(values)
    assert {name: curve["value"] for name, curve in whole.get("curves", {}).items()} == expected
    assert all(curve["offset"] == 0 for curve in whole.get("curves", {}).values())
    assert points == sum(counts.values())
