"""Real MNIST and CIFAR-10 for benchmarks, from files that were put into the datasets folder beforehand."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from app.contract.builtin_datasets import CIFAR10_VALUES
from app.contract.datasets import dataset
from worker.data.dataset_readers import Labeled
from worker.data.datasets import save_prepared

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR10_PICTURES = "cifar10-images.zip"


def available(folder: Path) -> dict[str, str]:
    """The real datasets in ``folder``, and how their images are stored if not in the official files.

    mnist: the official files, uncompressed, in ``MNIST/raw``. cifar10: ``cifar10-images.zip`` with
    ``cifar10/{train,test}/CLASS/*.jpg``.
    """
    found = {}
    if all((folder / "MNIST" / "raw" / name).exists() for name in MNIST_FILES):
        found["mnist"] = ""
    if (folder / CIFAR10_PICTURES).exists():
        found["cifar10"] = "images stored as JPEG"
    return found


def provide(name: str, source: Path, folder: Path) -> None:
    """Make a dataset of ``source`` available in the datasets folder of an instance."""
    if name == "mnist":
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "MNIST").symlink_to(source / "MNIST")
        return
    with zipfile.ZipFile(source / CIFAR10_PICTURES) as pictures:
        training, test = (_labeled(pictures, part) for part in ("train", "test"))
    save_prepared(dataset("cifar10"), folder, training, test)


def _labeled(pictures: zipfile.ZipFile, part: str) -> Labeled:
    images, numbers = [], []
    classes = dataset("cifar10").target("class").labels
    for name in sorted(pictures.namelist()):
        folders = name.split("/")
        if len(folders) == 4 and folders[1] == part and name.endswith(".jpg"):
            images.append(np.asarray(Image.open(io.BytesIO(pictures.read(name))).convert("RGB")))
            numbers.append(classes.index(folders[2]))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(numbers, dtype=torch.int64)
    others = {name: torch.tensor(values)[labels] for name, values in CIFAR10_VALUES.items()}
    return Labeled(pixels, {"class": labels} | others)
