"""The worker's part in imports: takes those that wait, one after the other, and gives up on one that keeps dying."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.contract.dataset_import import (
    CANCEL,
    CHOICES,
    REQUEST,
    STATE,
    Choices,
    ChoicesMade,
    ImportRequest,
    ImportState,
)
from tests.conftest import until
from worker import dataset_importer
from worker.dataset_importer import MAX_DEATHS, DatasetImporter
from worker.lock import try_lock

STANDS_IN = """
import os, sys, time
folder, number = sys.argv[-2:]
how = open(os.path.join(folder, "how")).read()
with open(os.path.join(folder, "asked"), "a") as asked:
    asked.write(f"{number} {os.getpid()}" + chr(10))
if how == "die":
    os.abort()
while how == "wait":
    time.sleep(0.05)
path = os.path.join(folder, "imports", number, "state.json")
with open(path + ".new", "w") as state:
    state.write('{"status": "' + how + '"}')
os.replace(path + ".new", path)
"""
"""Stands in for the process that reads images, which has tests of its own."""


COMMAND = (sys.executable, "-S", "-c", STANDS_IN)


class Yard:
    """An importer in a thread, and the folder that it looks at."""

    def __init__(self, datasets: Path) -> None:
        self.datasets = datasets
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=DatasetImporter(datasets, self.stopping, COMMAND).run)

    def request(self, number: str, created_at: float = 1.0) -> Path:
        """An import that waits."""
        folder = self.datasets / "imports" / number
        folder.mkdir(parents=True)
        request = ImportRequest(
            id=number,
            name="flowers",
            source="/1.zip",
            original="1.zip",
            keep=False,
            choices=Choices(),
            created_at=created_at,
        )
        (folder / REQUEST).write_text(request.model_dump_json())
        return folder

    def asked(self) -> list[tuple[str, int]]:
        """Id and process of each start so far."""
        try:
            lines = (self.datasets / "asked").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def does(self, how: str) -> None:
        """What the processes do from now on: "die", "wait", or end with this status."""
        fresh = self.datasets / "how.new"
        fresh.write_text(how)
        os.replace(fresh, self.datasets / "how")

    def state(self, folder: Path) -> ImportState:
        """As it is now."""
        try:
            return ImportState.model_validate_json((folder / STATE).read_text())
        except FileNotFoundError:
            return ImportState(status="waiting")


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    """An importer whose processes are stood in for."""
    monkeypatch.setattr(dataset_importer, "LOOK_SECONDS", 0.02)
    found = Yard(tmp_path)
    found.does("preview")
    yield found
    found.stopping.set()
    if found.thread.is_alive():
        found.thread.join(20)


def test_imports_are_taken_in_the_order_in_which_they_came(yard: Yard) -> None:
    yard.request("i_2", created_at=2.0)
    yard.request("i_1", created_at=1.0)
    (yard.datasets / "imports" / "i_0").mkdir()  # still being uploaded
    yard.thread.start()
    until(lambda: len(yard.asked()) == 2)
    assert [number for number, _ in yard.asked()] == ["i_1", "i_2"]


def test_a_preview_is_left_alone_until_something_else_is_chosen_or_it_is_cancelled(yard: Yard) -> None:
    folder = yard.request("i_1")
    yard.thread.start()
    until(lambda: yard.state(folder).status == "preview")
    other = yard.request("i_2", created_at=2.0)
    until(lambda: yard.state(other).status == "preview")
    assert [number for number, _ in yard.asked()] == ["i_1", "i_2"]
    (folder / CHOICES).write_text(ChoicesMade(number=1, choices=Choices(side=32)).model_dump_json())
    # The stand-in does not say that it has read them, and is asked again and again.
    until(lambda: len(yard.asked()) >= 3)
    assert yard.asked()[2][0] == "i_1"
    yard.does("cancelled")
    (other / CANCEL).touch()
    until(lambda: yard.state(other).status == "cancelled")


def test_an_import_that_another_worker_reads_is_left_to_it(yard: Yard) -> None:
    folder = yard.request("i_1")
    with (folder / "lock").open("a") as lock:
        assert try_lock(lock)
        yard.thread.start()
        other = yard.request("i_2", created_at=2.0)
        until(lambda: yard.state(other).status == "preview")
        assert [number for number, _ in yard.asked()] == ["i_2"]
    until(lambda: yard.state(folder).status == "preview")


def test_an_import_whose_process_keeps_dying_fails_and_says_so(yard: Yard) -> None:
    yard.does("die")
    folder = yard.request("i_1")
    yard.thread.start()
    until(lambda: yard.state(folder).status == "failed")
    assert len(yard.asked()) == MAX_DEATHS
    assert yard.state(folder).reason.startswith(f"reading the images failed {MAX_DEATHS} times (exit status -6)")


def test_one_death_is_forgiven(yard: Yard) -> None:
    yard.does("wait")
    folder = yard.request("i_1")
    yard.thread.start()
    until(lambda: yard.asked())
    yard.does("preview")
    os.kill(yard.asked()[0][1], signal.SIGKILL)
    until(lambda: yard.state(folder).status == "preview")
    assert len(yard.asked()) == 2


def test_a_worker_that_stops_ends_its_process(yard: Yard) -> None:
    yard.does("wait")
    yard.request("i_1")
    yard.thread.start()
    until(lambda: yard.asked())
    yard.stopping.set()
    yard.thread.join(10)
    assert not yard.thread.is_alive()
    with pytest.raises(ProcessLookupError):
        os.kill(yard.asked()[0][1], 0)
