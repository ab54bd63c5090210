"""Loading the user's own datasets: found by version, mapped rather than read, and refused when damaged."""

import json
import resource
import struct
from pathlib import Path

import psutil
import pytest
import torch

from app.contract.datasets import DATASETS
from app.contract.own_datasets import TENSORS, version_folder
from tests.worker.own_dataset import COUNTS, make_own_dataset
from worker.data.datasets import PARTS, DatasetError, is_prepared, load
from worker.data.mapped_tensors import InvalidFile, map_tensors

VERSION = "0123456789ab"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of datasets that the registry includes."""
    monkeypatch.setattr(DATASETS, "_own", None)
    DATASETS.open(tmp_path)
    return tmp_path


def never(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize("key", ["flowers", f"flowers@{VERSION}"])
def test_a_dataset_is_loaded_by_its_name_or_version_without_a_word(folder: Path, key: str) -> None:
    tensors = make_own_dataset(folder)
    data = load(key, ["class"], folder, never)
    assert data.dataset.key == f"flowers@{VERSION}"
    assert is_prepared(key, folder)
    for part in PARTS:
        assert torch.equal(data.split(part).images, tensors[f"{part}.images"])
        assert torch.equal(data.split(part).targets["class"], tensors[f"{part}.class"])
        assert len(data.split(part)) == COUNTS[part]
    assert [each.name for each in folder.iterdir()] == ["own"]


def test_each_version_of_a_name_has_its_own_images_and_the_newest_is_the_default(folder: Path) -> None:
    first = make_own_dataset(folder)
    second = make_own_dataset(folder, version="ba9876543210", seed=1)
    for key, tensors in ((f"flowers@{VERSION}", first), ("flowers@ba9876543210", second), ("flowers", second)):
        assert torch.equal(load(key, ["class"], folder, never).train.images, tensors["train.images"])


def test_a_missing_file_is_said_with_the_dataset_and_what_to_do(folder: Path) -> None:
    make_own_dataset(folder)
    path = version_folder(folder, "flowers", VERSION) / TENSORS
    path.unlink()
    with pytest.raises(DatasetError) as error:
        load("flowers", ["class"], folder, never)
    said = f"the images of flowers@{VERSION} are missing: there is no {path}; import the dataset again"
    assert str(error.value) == said


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_a_truncated_file_is_said_with_the_dataset_and_what_to_do(folder: Path, left: int) -> None:
    make_own_dataset(folder)
    path = version_folder(folder, "flowers", VERSION) / TENSORS
    content = path.read_bytes()
    path.write_bytes(content[:left])
    with pytest.raises(DatasetError) as error:
        load("flowers", ["class"], folder, never)
    problem = "is truncated or not a safetensors file"
    if left == -1:
        problem = f"has {len(content) - 1:,} bytes instead of {len(content):,}"
    said = f"the images of flowers@{VERSION} are unusable: {path} {problem}; import the dataset again"
    assert str(error.value) == said


def write(path: Path, header: object, values: int) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(values))
    return path


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ([], "has an invalid header"),
        ({"x": 1}, "has an invalid header"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "has an invalid header"),
        ({"x": {"dtype": "U8", "shape": [5], "data_offsets": [0, 4]}}, "has an invalid header"),
        ({"x": {"dtype": "U8", "shape": [4], "data_offsets": [-4, 0]}}, "has an invalid header"),
        ({"x": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, "has x of shape [4] instead of [2, 2]"),
        ({"y": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, "has no x"),
    ],
)
def test_a_file_with_other_contents_is_refused(tmp_path: Path, header: object, problem: str) -> None:
    with pytest.raises(InvalidFile) as error:
        map_tensors(write(tmp_path / "x", header, 4), {"x": (2, 2)})
    assert str(error.value) == problem


def test_labels_at_any_place_in_the_file_are_read_and_a_split_may_be_empty(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"any": "thing"},
        "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "b": {"dtype": "I64", "shape": [2], "data_offsets": [3, 19]},
        "c": {"dtype": "U8", "shape": [0, 4], "data_offsets": [19, 19]},
    }
    path = write(tmp_path / "x", header, 19)
    content = bytearray(path.read_bytes())
    content[-19:] = bytes([1, 2, 3]) + struct.pack("<qq", -5, 2**40)
    path.write_bytes(content)
    found = map_tensors(path, {"a": (3,), "b": (2,), "c": (0, 4)})
    assert found["a"].tolist() == [1, 2, 3]
    assert found["b"].tolist() == [-5, 2**40]
    assert found["c"].shape == (0, 4)


def test_a_file_larger_than_the_memory_of_the_machine_is_mapped_without_reading_it(tmp_path: Path) -> None:
    count = 2 * psutil.virtual_memory().total // (3 * 224 * 224)
    size = count * 3 * 224 * 224
    header = {"x": {"dtype": "U8", "shape": [count, 3, 224, 224], "data_offsets": [0, size]}}
    path = write(tmp_path / "x", header, 0)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)  # a hole, which takes no space on disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    images = map_tensors(path, {"x": (count, 3, 224, 224)})["x"]
    assert images[[0, count // 2, count - 1]].sum() == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
