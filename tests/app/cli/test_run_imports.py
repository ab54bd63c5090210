"""`runyard import`: event folders become runs, and a second import adds only new points."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest

from app.formats.event_encoding import record
from app.formats.summary_values import EventMetadata, Scalar
from app.formats.tfevents import read_scalars, write_events
from runyard import Runyard
from tests.app.cli.conftest import Command
from tests.app.formats.test_tfevents import event, field, value

BEGAN = 1_700_000_000.0


def write(folder: Path, points: Iterable[Scalar], name: str = "events.out.tfevents.1700000000.here") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"".join(write_events(points, BEGAN)))
    return folder / name


def points(tag: str, values: Iterable[float], first: int = 0) -> list[Scalar]:
    return [Scalar(tag, step, value, BEGAN + step) for step, value in enumerate(values, first)]


def test_each_folder_with_event_files_becomes_a_run(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "version_0", points("val/acc", [0.25, 0.5]) + points("loss", [2.0, math.nan, math.inf]))
    other = "events.out.tfevents.1700000000.here.77.1"
    write(tmp_path / "logs" / "version_1" / "deep", points("val/acc", [0.75]), other)
    done = runyard("import", str(tmp_path / "logs"))
    assert done.exit_code == 0, done.output
    assert "version_0  5 points" in done.output
    runs = {run.title: run for run in yard.runs()}
    assert set(runs) == {"version_0", "version_1/deep"}
    run = runs["version_0"]
    assert (run.status, run.data["origin"]) == ("succeeded", "tensorboard")
    assert "do not record the outcome" in run.reason
    assert run.data["started"].startswith("2023-11-14T22:13:20")
    assert run.data["seconds"] == 2
    assert run.summary["loss"]["not_finite"] == 2
    steps, values, times = run.curves()["val/acc"]
    assert (list(steps), list(values), list(times)) == ([0, 1], [0.25, 0.5], [BEGAN, BEGAN + 1])
    assert runs["version_0"].data["parameters"] == {}


def test_a_second_import_adds_only_what_is_new(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write(folder, points("loss", [3.0, 2.0]))
    runyard("import", str(folder))
    assert "no new points" in runyard("import", str(folder)).output
    write(folder, points("loss", [3.0, 2.0, 1.0, 0.5]) + points("acc", [0.1]))
    # A resumed training starts a new file, whose points continue those of the previous one.
    write(folder, points("loss", [0.25], first=4), "events.out.tfevents.1700000009.here")
    done = runyard("import", str(folder), "--json")
    assert json.loads(done.output)["runs"][0]["added"] == 4
    (run,) = yard.runs()
    assert list(run.curves()["loss"].value) == [3.0, 2.0, 1.0, 0.5, 0.25]
    shutil.move(folder, tmp_path / "elsewhere")
    assert "no new points" in runyard("import", str(tmp_path / "elsewhere")).output
    assert len(list(yard.runs())) == 1


def test_a_long_curve_is_sent_in_pieces(
    runyard: Command, yard: Runyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.event_runs.BATCH_WEIGHT", 7)
    names = ("a", "b", "c")
    write(tmp_path / "run", [each for name in names for each in points(name, range(20))])
    assert "60 points" in runyard("import", str(tmp_path / "run")).output
    (run,) = yard.runs()
    assert {name: list(run.curves()[name].value) for name in names} == {name: list(range(20)) for name in names}


def test_hyperparameters_are_the_runs_parameters(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    file = write(tmp_path / "logs" / "one", points("loss", [1.0]))
    entry = field(1, field(1, b"opt") + field(2, field(3, b"lion")))
    begun = event(value("_hparams_/session_start_info", b"", "hparams", field(3, entry)))
    ended = event(value("_hparams_/session_end_info", b"", "hparams", field(4, b"\x08\x02")))
    file.write_bytes(file.read_bytes() + begun + ended)
    runyard("import", str(tmp_path / "logs"), "--experiment", "old ones")
    (run,) = yard.runs(family="old ones")
    assert run.data["parameters"] == {"opt": "lion"}
    assert run.status == "failed"


def test_damaged_records_are_skipped_and_counted_by_the_command_and_on_the_page(
    runyard: Command, yard: Runyard, url: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "run", [])
    version, first, second, *others = write_events([*points("loss", [1.0, 2.0, 3.0]), *points("x" * 251, [1.0])], BEGAN)
    damaged = second[:20] + bytes([second[20] ^ 1]) + second[21:]
    file.write_bytes(b"".join([version, first, damaged, *others, record(b"\xff\xff")]))
    done = runyard("import", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    assert "run: skipped damaged records at 2 places\n" in done.stderr
    assert "run  2 points  " in done.stdout
    (run,) = yard.runs()
    assert list(run.curves()["loss"].value) == [1.0, 3.0]
    assert run.data["progress"] == {"step": 2, "damaged": 2, "left_out": 1}
    page = httpx.get(f"{url}/runs/{run.id}").text
    assert "damaged records at 2 places of the event files and 1 point with an invalid step, tag or time" in page


def test_a_file_that_grows_after_it_was_cut_off_goes_on(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    file = write(tmp_path / "run", points("loss", [1.0, 2.0, 3.0]))
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    done = runyard("import", str(tmp_path / "run"))
    assert "run  2 points  " in done.stdout
    assert "damaged" not in done.stderr
    file.write_bytes(whole)
    assert "run  1 point  " in runyard("import", str(tmp_path / "run")).stdout
    (run,) = yard.runs()
    assert list(run.curves()["loss"].value) == [1.0, 2.0, 3.0]


def test_a_file_that_is_none_of_events_is_named_and_the_others_are_imported(
    runyard: Command, yard: Runyard, tmp_path: Path
) -> None:
    write(tmp_path / "run", points("loss", [1.0]))
    (tmp_path / "run" / "notes about tfevents.txt").write_text("a text file, not one of events")
    done = runyard("import", str(tmp_path / "run"))
    assert "notes about tfevents.txt: not an event file" in done.stderr
    assert "run  1 point  " in done.stdout
    assert len(list(yard.runs())) == 1


def test_steps_of_64_bits_are_imported_and_exported_as_they_are(
    runyard: Command, yard: Runyard, tmp_path: Path
) -> None:
    steps = [1_764_000_000_000, -5, 0, 2**63 - 1, -(2**63), 2**53 + 1]
    write(tmp_path / "run", [Scalar("loss", step, float(i), BEGAN + i) for i, step in enumerate(steps)])
    assert "run  6 points  " in runyard("import", str(tmp_path / "run")).stdout
    (run,) = yard.runs()
    curve = run.curves()["loss"]
    assert list(curve.step) == sorted(steps)
    assert list(curve.value) == [4.0, 1.0, 2.0, 0.0, 5.0, 3.0]
    for format in ("csv", "tfevents"):
        out = tmp_path / format
        assert runyard("export", "1", "--format", format, "-o", str(out)).exit_code == 0
    (exported,) = (tmp_path / "tfevents").rglob("*tfevents*")
    with exported.open("rb") as file:
        assert [scalar.step for scalar in read_scalars(file, EventMetadata())] == sorted(steps)


def test_a_folder_without_event_files_and_one_that_is_not_there_are_refused(runyard: Command, tmp_path: Path) -> None:
    for path, words in ((tmp_path, "no TensorBoard event files"), (tmp_path / "none", "does not exist")):
        done = runyard("import", str(path))
        assert done.exit_code == 2
        assert words in done.output


def test_a_run_in_the_trash_is_not_imported_again(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    write(tmp_path / "run", points("loss", [1.0]))
    runyard("import", str(tmp_path / "run"))
    next(iter(yard.runs())).delete()
    done = runyard("import", str(tmp_path / "run"))
    assert done.exit_code == 1
    assert "in the trash" in done.output


def test_an_exported_run_is_imported_as_it_was(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    write(tmp_path / "run", points("loss", [3.0, 2.0, 1.0]))
    runyard("import", str(tmp_path / "run"))
    assert runyard("export", "1", "--format", "tfevents", "-o", str(tmp_path / "out")).exit_code == 0
    assert "3 points" in runyard("import", str(tmp_path / "out")).output
    first, second = (run.curves()["loss"] for run in yard.runs())
    assert list(first.value) == list(second.value)
    assert list(first.time) == list(second.time)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--format", "tfevents"), "tfevents exports curves; specify the runs"),
        (("--format", "parquet"), "specify an output file"),
        (("1", "--format", "tfevents"), "specify an output folder"),
        (("1", "--format", "parquet"), "only available for the run table"),
        (("--format", "parquet", "-o", "x", "-n", "3"), "--limit"),
    ],
)
def test_formats_that_do_not_fit_are_refused(
    words: tuple[str, ...], sentence: str, runyard: Command, yard: Runyard, tmp_path: Path
) -> None:
    write(tmp_path / "run", points("loss", [1.0]))
    runyard("import", str(tmp_path / "run"))
    done = runyard("export", *words)
    assert done.exit_code == 2
    assert sentence in done.output


def test_parquet_is_written_by_the_server_or_refused_in_its_words(
    runyard: Command, yard: Runyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = runyard("export", "--format", "parquet", "-o", str(tmp_path / "runs.parquet"))
    assert done.exit_code == 1
    assert 'pip install "runyard[parquet]"' in done.output
    assert not (tmp_path / "runs.parquet").exists()


def test_a_table_of_runs_has_the_parameters_of_those_that_were_logged(
    runyard: Command, yard: Runyard, tmp_path: Path
) -> None:
    yard.import_run(key="0123456789", experiment="old", name="one", started=1.0, ended=2.0, parameters={"opt": "lion"})
    (row,) = csv.DictReader(io.StringIO(runyard("export").output))
    assert row["param.opt"] == "lion"


def test_points_that_cannot_be_stored_are_counted_by_what_is_wrong(runyard: Command, url: str, tmp_path: Path) -> None:
    assert url
    write(tmp_path / "logs", points("loss", [2.0]) + points("x" * 251, [1.0]))
    done = runyard("import", str(tmp_path / "logs"))
    assert done.exit_code == 0, done.output
    assert "logs: skipped 1 point with an invalid step, tag or time\n" in done.stderr
    assert "logs  1 point  " in done.stdout
