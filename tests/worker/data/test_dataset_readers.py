"""Reading files in the official formats as images and labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import worker.data.datasets
from app.contract.datasets import dataset
from tests.worker.official_files import (
    CIFARS,
    MNISTS,
    TEST,
    TRAINING,
    Bytes,
    Mirror,
    cifar_files,
    coarse,
    idx,
    images_and_labels,
    know,
    mnist_files,
    never,
    point,
    put,
    same,
)
from worker.data.datasets import PARTS, DatasetError, load

pytestmark = pytest.mark.usefixtures("loopback_only")


# MNIST's format


@pytest.mark.parametrize("name", MNISTS)
@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
@pytest.mark.usefixtures("nowhere")
def test_files_in_mnists_format_are_read_without_a_network(
    name: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = dataset(name).targets[0].name
    put(name, tmp_path, know(name, monkeypatch) if packed else mnist_files())
    data = load(name, [target], tmp_path, never)
    assert [len(data.split(part)) for part in PARTS] == [220, 20, 40]
    images, labels = images_and_labels(TEST, (28, 28), 10, 2)
    assert torch.equal(data.test.images, torch.from_numpy(images)[:, None])
    assert data.test.targets[target].tolist() == labels.tolist()
    images, labels = images_and_labels(TRAINING, (28, 28), 10, 1)
    label_of = {image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)}
    for split in (data.train, data.validation):
        assert split.images.dtype == torch.uint8
        for image, label in zip(split.images.numpy(), split.targets[target].tolist(), strict=True):
            assert label_of.pop(image.tobytes()) == label
    assert not label_of
    assert data.validation.targets[target].bincount().tolist() == [2] * 10


def test_a_training_set_of_the_official_size_gives_up_exactly_the_official_validation_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small in bytes, not in number: images of one pixel, which the facts are told to expect.
    facts = dataset("mnist")
    tiny = type(facts)(**{**vars(facts), "side": 1})
    monkeypatch.setattr(worker.data.datasets, "dataset", lambda name: tiny)
    files = mnist_files()
    images, labels = images_and_labels(60_000, (1, 1), 10, 1)
    files |= {"train-images-idx3-ubyte": idx(images), "train-labels-idx1-ubyte": idx(labels)}
    files["t10k-images-idx3-ubyte"] = idx(np.zeros((TEST, 1, 1), dtype=np.uint8))
    put("mnist", tmp_path, files)
    data = load("mnist", ["digit"], tmp_path, never)
    assert [len(data.split(part)) for part in PARTS] == [55_000, 5_000, TEST]
    assert data.validation.targets["digit"].bincount().tolist() == [500] * 10


# CIFAR's format


@pytest.mark.parametrize("name", CIFARS)
@pytest.mark.parametrize("packed", [True, False], ids=["tar", "folder"])
@pytest.mark.usefixtures("nowhere")
def test_files_in_cifars_format_are_read_without_a_network(
    name: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = know(name, monkeypatch)
    put(name, tmp_path, served)
    if not packed:
        (archive,) = (tmp_path / file for file in served)
        shutil.unpack_archive(archive, tmp_path, filter="data")
        archive.unlink()
    targets = [target.name for target in dataset(name).targets]
    data = load(name, targets, tmp_path, never)
    assert [len(data.split(part)) for part in PARTS] == [220, 20, 40]
    images, labels = images_and_labels(
        TEST, (3, 32, 32), dataset(name).targets[0].classes, 6 if name == "cifar10" else 2
    )
    assert torch.equal(data.test.images, torch.from_numpy(images))
    assert data.test.targets[targets[0]].tolist() == labels.tolist()
    assert list(data.train.targets) == targets


@pytest.mark.usefixtures("nowhere")
def test_cifar100s_coarse_labels_are_those_in_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("cifar100", tmp_path, know("cifar100", monkeypatch))
    data = load("cifar100", ["coarse", "fine"], tmp_path, never)
    for part in PARTS:
        targets = data.split(part).targets
        assert targets["coarse"].tolist() == coarse(targets["fine"].numpy().astype(np.uint8)).tolist()
        assert not torch.equal(targets["coarse"], targets["fine"] // 5)


@pytest.mark.usefixtures("nowhere")
def test_cifar10s_extra_targets_follow_from_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("cifar10", tmp_path, know("cifar10", monkeypatch))
    data = load("cifar10", ["class", "domain", "mobility", "size"], tmp_path, never)
    names = dataset("cifar10").targets[0].labels
    by_class = {
        names[c]: (d, m, s) for c, d, m, s in zip(*(v.tolist() for v in data.train.targets.values()), strict=True)
    }
    assert by_class["bird"] == (1, 2, 0)
    assert by_class["dog"] == (1, 1, 1)
    assert by_class["truck"] == (0, 0, 2)
    assert len(by_class) == 10


@pytest.mark.usefixtures("nowhere")
def test_a_corrupt_file_of_names_is_unpacked_again(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("cifar10", tmp_path, know("cifar10", monkeypatch))
    first = load("cifar10", ["class"], tmp_path, never)
    shutil.rmtree(tmp_path / "prepared")
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(b"?")
    assert same(load("cifar10", ["class"], tmp_path, said.append), first)
    assert said == ["batches.meta is damaged; downloading it again"]


# Files of the wrong content


def wrong_mnist(**changed: Bytes) -> dict[str, bytes]:
    return mnist_files() | {name.replace("_", "-"): idx(array) for name, array in changed.items()}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            wrong_mnist(train_labels_idx1_ubyte=np.zeros(239, dtype=np.uint8)),
            "expected 240 labels for 240 images, found 239",
        ),
        (wrong_mnist(train_labels_idx1_ubyte=np.full(240, 10, dtype=np.uint8)), "labels out of range for target digit"),
        (wrong_mnist(t10k_images_idx3_ubyte=np.zeros((40, 8, 8), dtype=np.uint8)), r"unexpected images: \(1, 8, 8\)"),
        (wrong_mnist(t10k_images_idx3_ubyte=np.zeros((40, 784), dtype=np.uint8)), "should have 3 dimension"),
    ],
)
def test_whole_files_of_the_wrong_content_are_fetched_again_and_given_up(
    files: dict[str, bytes],
    reason: str,
    mirror: Mirror,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirror.files = know("mnist", monkeypatch, files)
    point("mnist", mirror.address, monkeypatch)
    with pytest.raises(DatasetError, match=rf"^could not download mnist \(its files cannot be read: .*{reason}"):
        load("mnist", ["digit"], tmp_path, said.append)
    assert len(mirror.asked) == 4 * 3


def test_a_pickle_that_cannot_be_read_is_fetched_again_and_given_up(
    mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = cifar_files("cifar100")
    mirror.files = know("cifar100", monkeypatch, files | {"train": files["train"][:5_000]})
    point("cifar100", mirror.address, monkeypatch)
    with pytest.raises(DatasetError, match=r"^could not download cifar100 \(its files cannot be read: "):
        load("cifar100", ["fine"], tmp_path, said.append)
    assert mirror.asked == ["cifar-100-python.tar.gz"] * 3
