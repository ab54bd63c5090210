from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.contract.shared_files import SharedFolder, describe_contents
from tests.conftest import until
from worker.data import shared_files
from worker.data.shared_files import NotFetched, fetch_folder, wait_for
from worker.reporting.progress import ProgressReporter

CONTENTS = {"a.py": b"first", "b.py": b"second file"}


class Shelf:
    """An artifact store whose answers a test chooses; ``read_paths``: what was asked for."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.shared = describe_contents(contents)
        self.files = {each.path: contents[each.name] for each in self.shared.files}
        self.read_paths: list[str] = []
        self.errors: list[Exception] = []

    def read(self, path: str) -> bytes:
        return b"".join(self.chunks(path))

    def chunks(self, path: str) -> Iterator[bytes]:
        self.read_paths.append(path)
        if self.errors:
            raise self.errors.pop(0)
        if path not in self.files:
            raise FileNotFoundError(path)
        content = self.files[path]
        yield content[:3]
        yield content[3:]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_files, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(shared_files, "POLL_SECONDS", 0.001)


def reporter(sentences: list[str] | None = None) -> ProgressReporter:
    return ProgressReporter(list[str]().append if sentences is None else sentences.append)


def test_a_folder_is_fetched_once(tmp_path: Path) -> None:
    shelf = Shelf(CONTENTS)
    for _ in range(2):
        fetch_folder(shelf, shelf.shared, tmp_path / "nets" / "v1", reporter())
    assert {path.name: path.read_bytes() for path in (tmp_path / "nets" / "v1").iterdir()} == CONTENTS
    assert len(shelf.read_paths) == 2


def test_two_runs_that_need_the_same_folder_fetch_it_once(tmp_path: Path) -> None:
    shelf = Shelf(CONTENTS)
    threads = [
        threading.Thread(target=fetch_folder, args=(shelf, shelf.shared, tmp_path / "v1", reporter())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(shelf.read_paths) == 2


def test_what_arrives_damaged_is_fetched_again_and_in_the_end_refused(tmp_path: Path) -> None:
    shelf = Shelf(CONTENTS)
    path = shelf.shared.files[0].path
    shelf.files[path] = b"forged"
    with pytest.raises(NotFetched, match=r"a\.py .* has another SHA-256 than it should have"):
        fetch_folder(shelf, shelf.shared, tmp_path / "v1", reporter())
    assert shelf.read_paths == [path] * shared_files.ATTEMPTS
    assert not (tmp_path / "v1").exists()
    # What was left of it does no harm to the next attempt.
    shelf.files[path] = CONTENTS["a.py"]
    fetch_folder(shelf, shelf.shared, tmp_path / "v1", reporter())
    assert (tmp_path / "v1" / "a.py").read_bytes() == CONTENTS["a.py"]


def test_a_store_that_fails_a_few_times_delays_a_run_only(tmp_path: Path) -> None:
    shelf = Shelf(CONTENTS)
    shelf.errors = [OSError(5, "Input/output error"), RuntimeError("Could not connect to the endpoint URL")]
    fetch_folder(shelf, shelf.shared, tmp_path / "v1", reporter())
    shelf.errors = [RuntimeError("Could not connect to the endpoint URL")] * shared_files.ATTEMPTS
    with pytest.raises(NotFetched, match=r"could not fetch a\.py from the artifact store \(Could not connect"):
        fetch_folder(shelf, shelf.shared, tmp_path / "v2", reporter())


def test_a_run_waits_for_a_file_that_the_server_is_still_copying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(CONTENTS)
    path = shelf.shared.files[1].path
    content = shelf.files.pop(path)
    thread = threading.Thread(target=fetch_folder, args=(shelf, shelf.shared, tmp_path / "v1", reporter()))
    thread.start()
    until(lambda: shelf.read_paths.count(path) > 2, what="the file is asked for")
    shelf.files[path] = content
    thread.join(20)
    assert (tmp_path / "v1" / "b.py").read_bytes() == content
    monkeypatch.setattr(shared_files, "WAIT_SECONDS", 0.02)
    with pytest.raises(NotFetched, match="the server has not put it into the artifact store within 0 minutes"):
        wait_for(lambda: shelf.read("none"), reporter(), "it")


def test_a_run_that_is_stopped_stops_fetching(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(task: str, share: float) -> None:
        raise Stopped

    shelf = Shelf(CONTENTS)
    with pytest.raises(Stopped):
        fetch_folder(shelf, shelf.shared, tmp_path / "v1", ProgressReporter(list[str]().append, stop))
    fetch_folder(shelf, shelf.shared, tmp_path / "v1", reporter())


def test_an_empty_folder_is_one_too(tmp_path: Path) -> None:
    fetch_folder(Shelf({}), SharedFolder(files=[]), tmp_path / "v1", reporter())
    assert list((tmp_path / "v1").iterdir()) == []
