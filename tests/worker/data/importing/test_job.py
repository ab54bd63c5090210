"""An import goes from its request to a dataset, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contract.dataset_import import ImportState
from app.contract.own_datasets import OwnDatasets
from tests.worker.data.importing.making import Imported, Imports, packed, png, put, taped, two_classes
from worker.data.importing import drafting, version_folder
from worker.data.importing.import_folder import ImportFolder
from worker.data.importing.job import run_import

ROOT = Path(__file__).parents[4]


def command(imports: Imports) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker.data.importing", str(imports.datasets), imports.id],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )


def same(one: Imported, other: Imported) -> bool:
    """Whether two datasets are equal, up to when they were made."""
    described = [each.described.model_copy(update={"created_at": 0.0}) for each in (one, other)]
    tensors = (one.folder / "images.safetensors").read_bytes() == (other.folder / "images.safetensors").read_bytes()
    return described[0] == described[1] and tensors and one.items == other.items


def test_a_preview_waits_for_choices(imports: Imports, tmp_path: Path) -> None:
    imports.request(put(tmp_path / "pets", two_classes()), keep=False)
    state = imports.run()
    assert (state.status, state.shown) == ("preview", 0)
    assert imports.report().choices.side == 32
    assert not (imports.datasets / "own").exists()
    assert imports.run() == state  # nothing to do


def test_choices_make_a_new_report_without_reading_again(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{name}/{n}.png": png(20 * place + n) for place, name in enumerate("abcd") for n in range(20)}
    imports.request(put(tmp_path / "x", files), keep=False)
    imports.run()
    monkeypatch.setattr("worker.data.importing.job.read_draft", lambda *arguments: pytest.fail("read again"))
    imports.choose(1, classes={"b": "a", "c": " sea ", "d": ""}, test_share=0.5, seed=3)
    state = imports.run()
    assert (state.status, state.shown) == ("preview", 1)
    report = imports.report()
    assert [(each.name, each.found, each.total) for each in report.classes] == [
        ("a", ["a", "b"], 40),
        ("sea", ["c"], 20),
    ]
    assert sum(each.test for each in report.classes) == 30
    imports.choose(2, keep=True, color="gray", classes={"d": ""})
    assert imports.run().status == "ready"
    made = imports.made()
    assert made.described.classes == ("a", "b", "c")
    assert made.described.channels == 1
    assert not (imports.folder / "draft").exists()


def test_choices_of_which_no_dataset_can_be_made_leave_the_preview_as_it_was(imports: Imports, tmp_path: Path) -> None:
    imports.request(put(tmp_path / "pets", two_classes(2)), keep=False)
    assert imports.run().status == "preview"
    report = (imports.folder / "report.json").read_bytes()
    imports.choose(1, keep=True, classes={"dogs": ""})
    refused = imports.run()
    assert (refused.status, refused.shown) == ("preview", 1)
    assert refused.reason == "at least two classes are needed; found only 'cats'"
    assert (imports.folder / "report.json").read_bytes() == report
    # Nothing is tried again and again; other choices are.
    assert imports.run() == refused
    imports.choose(2, keep=True)
    assert imports.run().status == "ready"


def test_another_side_reads_the_source_again(imports: Imports, tmp_path: Path) -> None:
    imports.request(put(tmp_path / "pets", two_classes()), keep=False)
    imports.run()
    imports.choose(1, side=64)
    assert imports.run().shown == 1
    assert imports.report().choices.side == 64
    imports.choose(2, keep=True)
    imports.run()
    assert imports.made().described.side == 32


def test_the_rows_of_a_preview_find_its_images(imports: Imports, tmp_path: Path) -> None:
    imports.request(put(tmp_path / "pets", two_classes()), keep=False)
    imports.run()
    draft = imports.folder / "draft"
    rows = np.load(draft / "train.npy")
    images = np.fromfile(draft / "images.u8", np.uint8).reshape(20, 3, 32, 32)[rows]
    imports.choose(1, keep=True)
    imports.run()
    assert (images == imports.made().tensors["train.images"]).all()


def test_a_dataset_is_found_by_the_registry(imports: Imports, tmp_path: Path) -> None:
    made = imports.of(put(tmp_path / "pets", two_classes()))
    datasets = OwnDatasets(imports.datasets)
    assert datasets.names() == ["pets"]
    assert datasets.get("pets", made.described.version) == made.described
    assert (imports.datasets / "own" / "pets" / "newest").read_text() == made.described.version


def test_the_same_choice_makes_the_same_version_and_another_seed_another(imports: Imports, tmp_path: Path) -> None:
    source = put(tmp_path / "pets", two_classes())
    versions = [
        Imports(imports.datasets, id=str(number)).of(source, seed=seed).described.version
        for number, seed in enumerate((0, 1, 0))
    ]
    assert versions[0] == versions[2] != versions[1]
    assert len(OwnDatasets(imports.datasets).versions("pets")) == 2
    assert imports.made().described.version == versions[0]


@pytest.mark.parametrize(("end", "processes"), [("", 1), ("", 3), (".zip", 2), (".tar", 2)])
def test_the_number_of_processes_changes_nothing(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, processes: int
) -> None:
    files = two_classes(100) | {"cats/bad.png": b"bad", "dogs/copy.png": png(0)}
    pack: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {"": put, ".zip": packed, ".tar": taped}
    source = pack[end](tmp_path / f"pets{end}", files)
    with monkeypatch.context() as patch:
        patch.setattr(drafting, "_FEW", 1_000)
        alone = imports.of(source)
    monkeypatch.setattr(drafting, "_LITTLE", -1)
    other = Imports(tmp_path / "other")
    other.request(source)
    assert run_import(other.datasets, "one", processes=processes).status == "ready"
    assert same(other.made(), alone)


def test_choices_that_cannot_be_read_fail(imports: Imports, tmp_path: Path) -> None:
    imports.request(put(tmp_path / "pets", two_classes()), keep=False)
    imports.run()
    (imports.folder / "choices.json").write_text("{")
    assert imports.run().reason == "the choices made for this import cannot be read"


def test_an_image_that_ends_its_reader_is_skipped(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'worker.data.importing.reader_process' in sys.orig_argv:\n"
        "    import worker.data.importing.reader as reader\n"
        "    decode = reader.decode\n"
        "    def deadly(data, *arguments):\n"
        "        if data == b'deadly':\n"
        "            os._exit(1)\n"
        "        return decode(data, *arguments)\n"
        "    reader.decode = deadly\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(drafting, "_LITTLE", -1)
    made = imports.of(put(tmp_path / "pets", two_classes(4) | {"cats/bad.png": b"deadly"}))
    assert made.skipped() == {"cats/bad.png": "unreadable"}
    assert made.report.images == 8


def test_a_cancelled_import_leaves_nothing(imports: Imports, tmp_path: Path) -> None:
    imports.request(tmp_path / "pets", keep=False)
    put(imports.folder / "upload", two_classes())
    put(tmp_path / "pets", two_classes())
    imports.run()
    (imports.folder / "cancel").touch()
    assert imports.run().status == "cancelled"
    assert not [each for each in imports.folder.iterdir() if each.is_dir()]
    assert imports.run().status == "cancelled"


def test_an_import_is_cancelled_while_it_reads(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.data.importing.import_folder.REPORT_SECONDS", 0.0)
    tick = ImportFolder.tick

    def cancelling(self: ImportFolder, done: int | None = None) -> None:
        if done:
            (self.path / "cancel").touch()
        tick(self, done)

    monkeypatch.setattr(ImportFolder, "tick", cancelling)
    monkeypatch.setattr(drafting, "_LITTLE", -1)
    imports.request(put(tmp_path / "pets", two_classes(100)))
    assert imports.run().status == "cancelled"
    assert not (imports.folder / "draft").exists()
    assert not (imports.datasets / "own").exists()


def test_progress_is_reported(imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[ImportState] = []
    write = ImportFolder.write

    def recording(self: ImportFolder, state: ImportState) -> ImportState:
        states.append(state)
        return write(self, state)

    monkeypatch.setattr(ImportFolder, "write", recording)
    monkeypatch.setattr("worker.data.importing.import_folder.REPORT_SECONDS", 0.0)
    imports.of(put(tmp_path / "pets", two_classes()))
    assert [each.status for each in states if not each.done] == sorted(
        (each.status for each in states if not each.done), key=["reading", "keeping", "ready"].index
    )
    assert {(each.task, each.done, each.total) for each in states} >= {
        ("listing files", 0, 0),
        ("reading images", 20, 20),
        ("writing the dataset", 20, 20),
    }


def test_a_second_process_leaves_the_import_to_the_first(imports: Imports, tmp_path: Path) -> None:
    imports.request(put(tmp_path / "pets", two_classes()))
    with ImportFolder(imports.folder).locked() as mine:
        assert mine
        process = command(imports)
        assert process.wait() == 0
    assert not (imports.folder / "state.json").exists()
    assert imports.run().status == "ready"


def test_choices_made_while_the_preview_is_written_are_seen(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ImportFolder.write

    def choosing(self: ImportFolder, state: ImportState) -> ImportState:
        if state.status == "preview" and state.shown == 0:
            imports.choose(1, keep=True)
        return write(self, state)

    monkeypatch.setattr(ImportFolder, "write", choosing)
    imports.request(put(tmp_path / "pets", two_classes()), keep=False)
    assert imports.run().status == "ready"


def _no_space(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "place",
    [
        "worker.data.importing.reader.write_at",
        "worker.data.importing.drafting.open_files",
        "worker.data.importing.version_folder._write_items",
        "worker.data.importing.version_folder._flush",
    ],
)
def test_a_full_disk_is_said_to_be_full(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(place, _no_space)
    imports.request(put(tmp_path / "pets", two_classes()))
    put(imports.folder / "upload", {"x": b"x"})
    state = imports.run()
    assert (state.status, state.reason) == ("failed", "the disk is full; free some space and import again")
    assert not (imports.folder / "upload").exists()
    assert OwnDatasets(imports.datasets).names() == []
    assert not list((imports.datasets / "own").glob(".*"))


def test_a_reader_reports_a_full_disk(imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'worker.data.importing.reader_process' in sys.orig_argv:\n"
        "    import errno\n"
        "    def pwrite(*arguments):\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "    os.pwrite = pwrite\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(drafting, "_LITTLE", -1)
    assert "the disk is full" in imports.fails(put(tmp_path / "pets", two_classes(100)))


def _empty(path: Path) -> Path:
    path.mkdir()
    return path


FAILURES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no images": (
        lambda path: put(path, {"a/1.txt": b"x", "b/2.txt": b"x", "c.md": b"x"}),
        "no images found in x; it has 2 files with .txt, 1 file with .md",
    ),
    "empty": (_empty, "no images found in x; it is empty"),
    "nothing": (lambda path: put(path, {}), "does not exist"),
    "one class": (
        lambda path: put(path, {f"cats/{n}.png": png(n) for n in range(9)}),
        "at least two classes are needed; found only 'cats'",
    ),
    "no classes": (lambda path: put(path, {f"{n}.png": png(n) for n in range(9)}), "no classes found"),
    "unreadable": (
        lambda path: put(path, {f"{n % 2}/{n}.png": b"x" for n in range(9)}),
        "none of the 9 images can be read",
    ),
    "few": (lambda path: put(path, {f"{n}/{n}.png": png(n) for n in range(3)}), "too few images (3) for 3 classes"),
    "unknown": (lambda path: put(path, {"x.rar": b"Rar!"}) / "x.rar", "unsupported file type"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_source_that_makes_no_dataset_fails_with_a_sentence(imports: Imports, tmp_path: Path, case: str) -> None:
    make, sentence = FAILURES[case]
    assert sentence in imports.fails(make(tmp_path / "x"))


def test_a_class_to_rename_must_exist(imports: Imports, tmp_path: Path) -> None:
    reason = imports.fails(put(tmp_path / "pets", two_classes()), classes={"cat": "kitten"})
    assert reason == "no class 'cat' to rename; classes: cats, dogs"


def test_choices_that_leave_one_class_fail(imports: Imports, tmp_path: Path) -> None:
    reason = imports.fails(put(tmp_path / "pets", two_classes()), classes={"cats": ""})
    assert reason == "at least two classes are needed; found only 'dogs'"


@pytest.mark.parametrize("name", ["", "Pets", "../pets", "mnist", ".pets", "a" * 41])
def test_a_name_that_cannot_be_used_fails(imports: Imports, tmp_path: Path, name: str) -> None:
    imports.name = name
    assert "name" in imports.fails(put(tmp_path / "pets", two_classes()))


@pytest.mark.parametrize("import_id", ["", "..", "../x", "a/b", "."])
def test_an_id_cannot_lead_out_of_the_folder(tmp_path: Path, import_id: str) -> None:
    with pytest.raises(ValueError, match="not an import ID"):
        run_import(tmp_path, import_id)


def test_an_upload_that_was_broken_off_fails(imports: Imports) -> None:
    put(imports.folder / "upload", {"half": b"x"})
    assert imports.run().status == "failed"
    assert not (imports.folder / "upload").exists()


def test_an_unexpected_error_ends_the_import_too(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_folder, "_moments", lambda histogram: 1 / 0)
    assert imports.fails(put(tmp_path / "pets", two_classes())) == "ZeroDivisionError: division by zero"
    assert not list((imports.datasets / "own").iterdir())


def _children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()] + [
        int(each)
        for task in Path(f"/proc/{process}/task").iterdir()
        for each in (task / "children").read_text().split()
    ]


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_readers_die_with_the_import(imports: Imports, tmp_path: Path, number: signal.Signals) -> None:
    imports.request(put(tmp_path / "pets", two_classes(200)))
    process = command(imports)
    readers: list[int] = []
    while not readers:
        assert process.poll() is None
        readers = _children(process.pid)
    process.send_signal(number)
    assert process.wait() == (-number if number == signal.SIGKILL else 128 + number)
    _wait_for(lambda: not any(Path(f"/proc/{reader}/cwd").exists() for reader in readers))
    assert imports.run().status == "ready"


def test_an_import_that_is_killed_again_and_again_makes_one_whole_dataset(imports: Imports, tmp_path: Path) -> None:
    source = put(tmp_path / "pets", two_classes(100))
    undisturbed = Imports(tmp_path / "other")
    undisturbed.request(source)
    since = time.monotonic()
    assert command(undisturbed).wait() == 0
    seconds = time.monotonic() - since
    imports.request(source)
    random = np.random.RandomState(0)
    for _ in range(10):
        process = command(imports)
        try:
            process.wait(random.uniform(0.1, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    process = command(imports)
    assert process.wait() == 0
    assert [each.name for each in (imports.datasets / "own").iterdir()] == ["pets"]
    assert len(OwnDatasets(imports.datasets).versions("pets")) == 1
    assert same(imports.made(), undisturbed.made())
    assert not (imports.folder / "draft").exists()


@pytest.mark.parametrize("step", ["_move", "_flush", "_write_items", "write_atomically"])
def test_what_a_killed_import_left_is_replaced(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        """Not handled by anything, as if the process had been killed."""

    def kill(*arguments: Any) -> None:
        raise Killed

    imports.request(put(tmp_path / "pets", two_classes()))
    with monkeypatch.context() as patch:
        patch.setattr(version_folder, step, kill)
        patch.setattr(version_folder, "remove", lambda path: None)
        with pytest.raises(Killed):
            imports.run()
    assert (imports.datasets / "own" / ".importing-one").exists()
    assert OwnDatasets(imports.datasets).names() == []
    assert imports.run().status == "ready"
    assert [each.name for each in (imports.datasets / "own").iterdir()] == ["pets"]
    assert len(OwnDatasets(imports.datasets).versions("pets")) == 1
