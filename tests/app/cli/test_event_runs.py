"""Folders of event files as runs: images, histograms and texts, and files that are read in parts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.event_runs import EventFile, EventRun, Sent, find_event_files, run_name
from app.contract.histogram import checked_histogram
from app.formats.summary_values import EventMetadata, HistogramValue, ImageValue, Scalar, TextValue, Value
from app.formats.tfevents import read_values
from runyard import Runyard
from tests.app.cli.conftest import Command
from tests.app.cli.test_import_following import NAME, append, write
from tests.app.cli.test_run_imports import BEGAN, points
from tests.app.formats.test_summary_values import PNG, tensor
from tests.app.formats.test_tfevents import event, field, value

STEPS = (5, -(2**63), 2**63 - 1)
VALUES: list[Value] = [
    *points("loss", [3.0, 2.0]),
    *(ImageValue("val/samples", step, PNG + bytes([i]), "png", BEGAN) for i, step in enumerate(STEPS)),
    *(HistogramValue("fc/weight", step, checked_histogram([0, 1, 2], [3, 4]), BEGAN) for step in STEPS),
    *(TextValue("note", step, f"<b>{step}</b>", BEGAN) for step in STEPS),
]


def test_images_histograms_and_texts_are_imported_once(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    path = write(tmp_path / "run", VALUES)
    with path.open("ab") as file:
        file.write(event(value("sound", field(6, b"")) + value("pr", tensor(2, b""), "pr_curves")))
    done = runyard("import", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    assert "run  2 points, 3 images, 3 histograms, 3 texts  " in done.stdout
    assert "run: not imported: audio (1), pr curves (1)\n" in done.stderr
    assert "no new points" in runyard("import", str(tmp_path / "run")).stdout
    append(path, VALUES[-1:])
    (result,) = json.loads(runyard("import", str(tmp_path / "run"), "--json").stdout)["runs"]
    assert [result[name] for name in ("added", "images", "histograms", "texts")] == [0, 0, 0, 1]
    (run,) = yard.runs()
    names = [each["path"].split("+")[:3] for each in run.files("images")]
    assert sorted(names) == sorted(["images/val~samples", "step", str(step)] for step in STEPS)
    histograms = yard.ask("GET", f"/runs/{run.id}/histograms/fc/weight", most=0)["histograms"]
    assert [each["step"] for each in histograms] == sorted(STEPS)
    assert (histograms[0]["edges"], histograms[0]["counts"]) == ([0, 1, 2], [3, 4])
    texts = yard.ask("GET", f"/runs/{run.id}/texts/note")["texts"]
    assert [each["text"] for each in texts] == [f"<b>{step}</b>" for step in sorted([*STEPS, STEPS[-1]])]
    assert run.data["progress"]["not_kept"] == {"audio": 1, "pr curves": 1}


def test_everything_is_exported_and_imported_as_it_was(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    write(tmp_path / "run", VALUES)
    runyard("import", str(tmp_path / "run"))
    assert runyard("export", "1", "--format", "tfevents", "-o", str(tmp_path / "out")).exit_code == 0
    (exported,) = (tmp_path / "out").rglob("*tfevents*")
    with exported.open("rb") as file:
        found = list(read_values(file, EventMetadata()))
    assert sorted(found, key=repr) == sorted(VALUES, key=repr)
    assert "2 points, 3 images, 3 histograms, 3 texts" in runyard("import", str(tmp_path / "out")).stdout
    # Only the curves that were asked for.
    assert (
        runyard("export", "1", "--format", "tfevents", "--metric", "loss", "-o", str(tmp_path / "few")).exit_code == 0
    )
    (curves,) = (tmp_path / "few").rglob("*tfevents*")
    with curves.open("rb") as file:
        assert {type(each) for each in read_values(file, EventMetadata())} == {Scalar}


def test_a_run_that_an_earlier_version_imported_is_found_by_its_first_file(
    runyard: Command, yard: Runyard, tmp_path: Path
) -> None:
    # It began with a file without a value, shorter than what identifies a file otherwise.
    empty = write(tmp_path / "run", [], "0.tfevents")
    write(tmp_path / "run", points("loss", [3.0, 2.0]), "1.tfevents")
    key = hashlib.sha256(empty.name.encode() + empty.read_bytes()[:64]).hexdigest()
    curve = {"offset": 0, "step": [0], "value": [3.0], "time": [BEGAN]}
    yard.import_run(key=key, experiment="run", name="run", started=BEGAN, ended=BEGAN, curves={"loss": curve})
    assert "run  1 point  " in runyard("import", str(tmp_path / "run")).stdout
    assert len(list(yard.runs())) == 1


def test_a_folder_without_anything_to_keep_is_skipped(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    path = write(tmp_path / "run", [])
    path.write_bytes(path.read_bytes() + event(value("sound", field(6, b""))) * 3)
    done = runyard("import", str(tmp_path / "run"))
    assert "run: not imported: audio (3)" in done.stderr
    assert "run: skipped because it has no scalars, images, histograms or texts" in done.stderr
    assert list(yard.runs()) == []


def test_an_import_of_an_image_alone_makes_a_run(runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    write(tmp_path / "run", [VALUES[2]])
    for words in ("1 image  ", "no new points  "):
        assert words in runyard("import", str(tmp_path / "run")).stdout
    (run,) = yard.runs()
    assert run.status == "succeeded"
    assert len(run.files()) == 1


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4), weight=st.integers(1, 40))
def test_parts_follow_one_another_without_a_gap(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], weight: int
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    for number, size in enumerate(sizes):
        write(folder, points("loss", map(float, range(size))), f"{number}.tfevents", BEGAN + number)
    sent: dict[str, list[float]] = {}

    class Recording(Runyard):
        def import_run(self, **fields: object) -> dict[str, object]:
            curve = fields["curves"].get("loss")  # type: ignore[attr-defined]
            if curve:
                known = sent.setdefault(str(fields["file"]), [])
                assert curve["offset"] == len(known)
                known += curve["value"]
            return {"id": "r_1", "url": "/runs/r_1", "status": "running", "added": 0, "histograms": 0, "texts": 0}

    with pytest.MonkeyPatch.context() as patch, Recording() as yard:
        patch.setattr("app.cli.event_runs.BATCH_WEIGHT", weight)
        run = EventRun(folder, "run", "logs")
        run.add_files(list(folder.iterdir()))
        while run.advance(yard):
            pass
    assert list(sent.values()) == [[float(value) for value in range(size)] for size in sizes]


def test_a_file_that_cannot_be_read_is_named_once_and_tried_again(
    yard: Runyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "run", points("loss", [1.0]))
    run = EventRun(tmp_path / "run", "run", "logs", growing=True)
    run.add_files([path])
    with monkeypatch.context() as patch:

        def refuse(_path: object, *_: object) -> object:
            raise PermissionError(13, "Permission denied")

        patch.setattr(Path, "open", refuse)
        assert not run.advance(yard)
        assert not run.advance(yard)
    assert run.warnings == [f"{path} cannot be read: Permission denied"]
    assert run.advance(yard)
    assert run.sent.points == 1


def test_files_are_found_by_folder_and_named_by_their_place(tmp_path: Path) -> None:
    for place in ("a/b", ".", "a"):
        write(tmp_path / "logs" / place, [])
    (tmp_path / "logs" / "a" / "other.txt").write_text("")
    (tmp_path / "logs" / "a" / "tfevents").mkdir()
    found = find_event_files(tmp_path / "logs")
    assert [run_name(tmp_path / "logs", folder) for folder in found] == ["logs", "a", "a/b"]
    assert {file.name for files in found.values() for file in files} == {NAME}


def test_a_file_looks_new_only_when_it_has_changed_enough(tmp_path: Path) -> None:
    path = write(tmp_path, points("loss", [1.0]))
    file = EventFile(path, EventMetadata())
    assert file.looks_new()
    assert not file.looks_new()
    file.reader.reading.position, file.reader.reading.needed = 10, 10_000
    append(path, points("loss", [2.0], 1))
    assert not file.looks_new()
    file.reader.reading.needed = path.stat().st_size
    assert file.looks_new()


def test_what_was_sent_is_said_in_words() -> None:
    assert str(Sent(points=1, texts=2000)) == "1 point, 2,000 texts"
    assert str(Sent()) == "no new points"
