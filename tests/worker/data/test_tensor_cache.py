"""The tensor cache: verified, repaired, made by one run at a time."""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import worker.data.datasets
from tests.worker.official_files import TEST, mnist_files, never, put, same
from worker.data import tensor_cache
from worker.data.datasets import load

pytestmark = pytest.mark.usefixtures("loopback_only")


def test_the_second_run_reads_the_prepared_copy_without_the_files_or_their_libraries(
    datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put("mnist", tmp_path, mnist_files())
    first = load("mnist", ["digit"], tmp_path, never)
    shutil.rmtree(place)
    for library in ("sklearn.datasets", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, library, None)
    assert same(load("mnist", ["digit"], tmp_path, never), first)
    assert len(load("digits", ["digit"], datasets, never).test) == 360


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_last_bit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def flip_middle_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 128
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, empty, flip_last_bit, flip_middle_bit])
def test_a_corrupt_prepared_copy_is_prepared_again_and_said_so(
    damage: Callable[[Path], None], said: list[str], tmp_path: Path
) -> None:
    put("mnist", tmp_path, mnist_files())
    first = load("mnist", ["digit"], tmp_path, never)
    damage(tmp_path / "prepared" / "mnist.safetensors")
    assert same(load("mnist", ["digit"], tmp_path, said.append), first)
    assert said == ["the prepared copy of mnist is damaged; preparing it again"]
    assert same(load("mnist", ["digit"], tmp_path, never), first)


def test_a_prepared_copy_of_another_version_is_prepared_again(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("mnist", tmp_path, mnist_files())
    first = load("mnist", ["digit"], tmp_path, never)
    monkeypatch.setattr(worker.data.datasets, "_PREPARED_VERSION", "0")
    assert same(load("mnist", ["digit"], tmp_path, said.append), first)
    assert said == ["the prepared copy of mnist was made by another version of Runyard; preparing it again"]


def test_preparing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        put("mnist", folder, mnist_files())
    a, b = (load("mnist", ["digit"], folder, never) for folder in (tmp_path / "a", tmp_path / "b"))
    assert same(a, b)


def test_a_copy_that_cannot_be_kept_does_not_stop_the_run(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    put("mnist", tmp_path, mnist_files())
    monkeypatch.setattr(tensor_cache, "save_file", full)
    assert len(load("mnist", ["digit"], tmp_path, said.append).test) == TEST
    assert said == ["could not save the prepared copy of mnist for the next run (No space left on device)"]
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["mnist.lock"]


def test_a_run_waits_while_another_prepares_the_same_dataset_and_then_takes_its_copy(
    said: list[str], tmp_path: Path
) -> None:
    place = put("mnist", tmp_path / "other", mnist_files())
    first = load("mnist", ["digit"], tmp_path / "other", never)
    (tmp_path / "prepared").mkdir()
    lock = (tmp_path / "prepared" / "mnist.lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def the_other_run_ends(sentence: str) -> None:
        said.append(sentence)
        shutil.copy(place.parents[1] / "prepared" / "mnist.safetensors", tmp_path / "prepared")
        lock.close()

    assert same(load("mnist", ["digit"], tmp_path, the_other_run_ends), first)
    assert said == ["waiting for another run to download mnist"]
    assert not (tmp_path / "MNIST").exists()
