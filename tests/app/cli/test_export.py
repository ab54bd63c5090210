"""`runyard export`: a folder for each run's event file, and the choice of the format by suffix."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from app.cli.export import SUFFIXES, folder_name
from runyard import Runyard
from tests.app.cli.conftest import Command


@pytest.fixture
def two(yard: Runyard) -> list[str]:
    """Two logged runs that started in the same second, each with one curve."""
    for name, values in (("vit / tiny", [3.0, 2.0]), ("vit / tiny, again", [5.0, 4.0, 1.0])):
        curve = {"offset": 0, "step": list(range(len(values))), "value": values, "time": [1.0 + v for v in values]}
        key = f"0123456789.{len(values)}"
        yard.import_run(key=key, experiment="old", name=name, started=1.0, ended=9.0, curves={"loss": curve})
    return [run.title for run in yard.runs(sort="number")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, separate from the server's data."""
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.mark.parametrize("together", [True, False])
def test_runs_that_are_exported_into_one_folder_are_imported_as_so_many_runs(
    two: list[str], runyard: Command, yard: Runyard, folder: Path, together: bool
) -> None:
    logs = str(folder / "logs")
    for words in (("1", "2"),) if together else (("1",), ("2",)):
        done = runyard("export", *words, "--format", "tfevents", "-o", logs)
        assert done.exit_code == 0, done.output
    files = sorted(path.relative_to(logs) for path in Path(logs).rglob("*") if path.is_file())
    assert [str(path) for path in files] == [
        "1-vit-tiny/events.out.tfevents.1.runyard-1",
        "2-vit-tiny-again/events.out.tfevents.1.runyard-2",
    ]
    output = json.loads(runyard("import", logs, "--json").stdout)
    assert [(run["name"], run["added"]) for run in output["runs"]] == [("1-vit-tiny", 2), ("2-vit-tiny-again", 3)]
    assert [list(run.curves()["loss"].value) for run in yard.runs(family="logs", sort="number")] == [
        [3.0, 2.0],
        [5.0, 4.0, 1.0],
    ]


def test_a_run_that_is_exported_again_is_written_over_itself_and_its_file_is_named(
    two: list[str], runyard: Command, folder: Path
) -> None:
    for _ in range(2):
        done = runyard("export", "1", "--format", "tfevents", "-o", str(folder))
        (file,) = (path for path in folder.rglob("*") if path.is_file())
        assert done.stdout == f"{file}\n"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("simple_cnn tiny · digits", "12-simple_cnn-tiny-digits"),
        ("../../etc/passwd", "12-etc-passwd"),
        ("v1.5 größer", "12-v1.5-größer"),
        ("a\\b:c*\n", "12-a-b-c"),
        ("…", "12"),
        ("x" * 200, "12-" + "x" * 50),
    ],
)
def test_a_runs_folder_has_its_number_and_what_of_its_title_is_safe(title: str, name: str) -> None:
    assert folder_name(12, title) == name


def test_the_curves_of_several_runs_are_no_one_table(two: list[str], runyard: Command, folder: Path) -> None:
    for words, sentence in ((("1", "2"), "csv can export the curves of only one run"), ((",",), "specify a run")):
        done = runyard("export", *words, "-o", str(folder / "curves.csv"))
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert sentence in done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("run", [(), ("1",)])
def test_without_a_format_the_suffix_says_it(
    two: list[str], runyard: Command, folder: Path, run: tuple[str, ...]
) -> None:
    files = [folder / name for name in ("a.csv", "a.JSON", "a")]
    for file in files:
        assert runyard("export", *run, "-o", str(file)).exit_code == 0
    assert json.loads(files[1].read_text())
    assert files[0].read_text() == files[2].read_text()
    assert len(list(csv.reader(files[0].read_text().splitlines()))) == 3
    # With --format, the suffix does not matter.
    assert runyard("export", *run, "--format", "json", "-o", str(folder / "a.txt")).exit_code == 0
    assert (folder / "a.txt").read_text() == files[1].read_text()


def test_a_file_that_is_to_be_parquet_is_parquet_or_not_written(
    two: list[str], runyard: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path | None] = []
    monkeypatch.setattr("app.cli.export._save_parquet", lambda _, output, where: written.append(output))
    file = folder / "runs.parquet"
    assert runyard("export", "-o", str(file)).exit_code == 0
    assert written == [file]
    done = runyard("export", "1", "-o", str(file))
    assert (done.exit_code, file.exists()) == (2, False)
    assert "only available for the run table" in done.stderr


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("runs.parquet", ("--format", "csv"), "runs.parquet means parquet, but the requested format is csv"),
        ("runs.csv", ("--json",), "runs.csv means csv, but the requested format is json"),
        ("runs.json", ("1", "--format", "tfevents"), "runs.json means json, but the requested format is tfevents"),
        ("runs.xlsx", (), f"unknown file suffix .xlsx; suffixes: {', '.join(SUFFIXES)} (tfevents needs a folder"),
        ("runs.csv.gz", ("1",), "unknown file suffix .gz; suffixes: "),
    ],
)
def test_a_suffix_that_is_unknown_or_says_otherwise_is_refused_and_nothing_written(
    two: list[str], runyard: Command, folder: Path, name: str, words: tuple[str, ...], sentence: str
) -> None:
    done = runyard("export", *words, "-o", str(folder / name))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert sentence in done.stderr
    assert list(folder.iterdir()) == []


def test_a_folder_for_event_files_may_have_a_point_in_its_name(two: list[str], runyard: Command, folder: Path) -> None:
    assert runyard("export", "1", "--format", "tfevents", "-o", str(folder / "logs.2026")).exit_code == 0
    assert (folder / "logs.2026" / "1-vit-tiny").is_dir()
