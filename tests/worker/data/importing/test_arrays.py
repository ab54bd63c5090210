"""Arrays of numbers are read: NumPy's, and MNIST's files."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.worker.data.importing.making import Imports, put

LABELS = np.arange(40) % 3


def gray(n: int = 40, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.RandomState(seed).randint(0, 256, (n, 28, 28)).astype(np.uint8)


def idx(values: npt.NDArray[np.uint8]) -> bytes:
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def mnist(end: str = "") -> dict[str, bytes]:
    files = {
        "train-images-idx3-ubyte": idx(gray()),
        "train-labels-idx1-ubyte": idx(LABELS.astype(np.uint8)),
        "t10k-images-idx3-ubyte": idx(gray(6, 1)),
        "t10k-labels-idx1-ubyte": idx(np.array([0, 2, 1, 0, 2, 1], np.uint8)),
    }
    return {f"{name}{end}": gzip.compress(data) if end else data for name, data in files.items()}


def check_mnist(imports: Imports, source: Path) -> None:
    made = imports.of(source)
    assert (made.described.channels, made.described.side) == (1, 28)
    assert made.described.images == {"train": 36, "validation": 4, "test": 6}
    assert made.described.classes == ("0", "1", "2")
    assert (made.tensors["test.images"][:, 0] == gray(6, 1)).all()
    assert made.tensors["test.class"].tolist() == [0, 2, 1, 0, 2, 1]


@pytest.mark.parametrize("end", ["", ".gz"])
def test_the_files_of_mnist_are_read(imports: Imports, tmp_path: Path, end: str) -> None:
    check_mnist(imports, put(tmp_path / "mnist", mnist(end)))


def test_the_files_of_mnist_are_read_from_an_archive(imports: Imports, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mnist.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in mnist(".gz").items():
            archive.writestr(f"MNIST/raw/{name}", data)
    check_mnist(imports, tmp_path / "mnist.zip")


def test_the_arrays_of_medmnist_are_read(imports: Imports, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {}
    for seed, (part, n) in enumerate((("train", 40), ("val", 12), ("test", 9))):
        arrays[f"{part}_images"] = np.random.RandomState(seed).randint(0, 256, (n, 28, 28, 3)).astype(np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 3)[:, None]
    np.savez_compressed(tmp_path / "medmnist.npz", **arrays)
    made = imports.of(tmp_path / "medmnist.npz")
    assert made.described.images == {"train": 40, "validation": 12, "test": 9}
    assert (made.tensors["validation.images"] == arrays["val_images"].transpose(0, 3, 1, 2)).all()
    assert made.tensors["test.class"].tolist() == (np.arange(9) % 3).tolist()


@pytest.mark.parametrize("names", [("images", "labels"), ("x_train", "y_train")])
@pytest.mark.parametrize("scale", [1 / 255, 1.0, 257.0])
def test_arrays_without_splits_and_of_other_numbers_are_read(
    imports: Imports, tmp_path: Path, names: tuple[str, str], scale: float
) -> None:
    images = gray()
    kind = np.float32 if scale < 1 else np.int64 if scale == 1 else np.uint16
    labels = np.array(["cat", "dog", "emu"])[LABELS]
    np.savez(tmp_path / "x.npz", **{names[0]: (images * scale).astype(kind), names[1]: labels})  # type: ignore[arg-type]
    made = imports.of(tmp_path / "x.npz")
    assert made.described.classes == ("cat", "dog", "emu")
    place = int(made.items[0]["path"].rpartition("#")[2])
    assert (made.tensors["train.images"][0, 0] == images[place]).all()


def test_an_array_of_objects_is_never_unpickled(imports: Imports, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "evil",))

    labels = np.array([Evil()] * 40, object)
    np.savez(tmp_path / "x.npz", images=gray(), labels=labels)
    assert "labels" in imports.fails(tmp_path / "x.npz")
    assert not (tmp_path / "evil").exists()


def test_arrays_with_other_names_fail_with_these_names(imports: Imports, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", pictures=gray(), kinds=LABELS)
    assert "kinds, pictures" in imports.fails(tmp_path / "x.npz")


@pytest.mark.parametrize(("images", "labels"), [((40, 28), (40,)), ((40, 28, 28, 2), (40,)), ((40, 28, 28), (39,))])
def test_arrays_of_other_shapes_fail(
    imports: Imports, tmp_path: Path, images: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros(images, np.uint8), labels=np.zeros(labels, np.int64))
    assert "shape" in imports.fails(tmp_path / "x.npz")


def test_a_gray_dataset_may_be_made_colored(imports: Imports, tmp_path: Path) -> None:
    made = imports.of(put(tmp_path / "mnist", mnist()), color="rgb", side=32)
    assert made.tensors["test.images"].shape == (6, 3, 32, 32)


def test_an_idx_file_that_is_cut_off_fails(imports: Imports, tmp_path: Path) -> None:
    files = mnist()
    files["train-images-idx3-ubyte"] = files["train-images-idx3-ubyte"][:-5]
    assert imports.fails(put(tmp_path / "mnist", files)) == "train-images-idx3-ubyte is truncated"
