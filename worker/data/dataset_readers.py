"""Reads a dataset's official files into images and labels, as the published training and test sets.

Files are stored where torchvision expects them, so a folder that torchvision filled is used as it is. torchvision
provides their addresses and checksums and reads them.
"""

import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.contract.builtin_datasets import CIFAR10_VALUES
from app.contract.dataset import Dataset
from worker.data.fetch import ATTEMPTS, Archive, NotFetched, complete
from worker.reporting.error_text import reason
from worker.reporting.progress import ProgressReporter


class Unavailable(Exception):
    """The files are not available. The message is one sentence for the user: what, why, what to do."""


@dataclass(frozen=True, eq=False)
class Labeled:
    """Images uint8 [N, C, H, W] and all targets stored with them, int64 [N], the default one first."""

    images: Tensor
    targets: dict[str, Tensor]

    def select(self, indices: npt.NDArray[np.int64]) -> "Labeled":
        """The images and targets at the indices, int64 [n], in that order."""
        where = torch.from_numpy(indices)
        return Labeled(self.images[where], {name: values[where] for name, values in self.targets.items()})


def digits() -> Labeled:
    """UCI's digits, which ship with scikit-learn, upscaled bilinearly; they have no official test set."""
    # Imported here, like torchvision below: it takes a second or more, which only the first run with a dataset should
    # pay.
    from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]

    bunch = load_digits()
    gray = torch.from_numpy(np.asarray(bunch.images, dtype=np.float64))[:, None] * (255 / 16)
    images = torch.nn.functional.interpolate(gray, size=(28, 28), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    return Labeled(images.round().to(torch.uint8), {"digit": labels})


_TORCHVISION: Final = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}

_UNREADABLE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
"""Exceptions that torchvision, numpy and pickle are known to raise on files with invalid content."""


def training_and_test(info: Dataset, folder: Path, reporter: ProgressReporter) -> tuple[Labeled, Labeled]:
    """The official training and test sets, downloaded into the folder first if files are missing or incomplete.

    Raises Unavailable, or OSError from the disk.
    """
    import torchvision.datasets  # type: ignore[import-untyped, unused-ignore]

    kind: Any = getattr(torchvision.datasets, _TORCHVISION[info.name])
    archives = _cifar_archives(kind, folder) if hasattr(kind, "tgz_md5") else _mnist_archives(kind, folder)
    problem = ""
    for _ in range(ATTEMPTS):
        try:
            for archive in archives:
                complete(archive, reporter)
        except NotFetched as error:
            raise _unavailable(info, archives, str(error)) from error
        try:
            return _read(kind, info, folder, train=True), _read(kind, info, folder, train=False)
        except _UNREADABLE as error:
            problem = f"its files cannot be read: {reason(error)}"
            reporter.log(f"the files of {info.name} cannot be read ({reason(error)}); downloading them again")
            for archive in archives:
                archive.remove()
    raise _unavailable(info, archives, problem)


def _unavailable(info: Dataset, archives: Sequence[Archive], why: str) -> Unavailable:
    files = "its files" if len(archives) > 1 else archives[0].path.name
    return Unavailable(
        f"could not download {info.name} ({why}); check the network connection, or put {files} in "
        f"{archives[0].path.parent}, then retry the run"
    )


def _mnist_archives(kind: Any, folder: Path) -> list[Archive]:
    raw = folder / kind.__name__ / "raw"
    return [
        Archive(raw / name, tuple(mirror + name for mirror in kind.mirrors), md5, ((raw / Path(name).stem, ""),))
        for name, md5 in kind.resources
    ]


def _cifar_archives(kind: Any, folder: Path) -> list[Archive]:
    listed = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
    files = tuple((folder / kind.base_folder / name, md5) for name, md5 in listed)
    return [Archive(folder / kind.filename, (kind.url,), kind.tgz_md5, files)]


def _read(kind: Any, info: Dataset, folder: Path, *, train: bool) -> Labeled:
    """Raises one of _UNREADABLE."""
    with warnings.catch_warnings():
        # numpy 2.4 warns about how the numpy of 2009 wrote its types into CIFAR's files.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        source = kind(folder, train=train)
        coarse = _coarse(kind, folder, train=train) if info.name == "cifar100" else None
    pixels = torch.as_tensor(source.data)
    images = (pixels[:, None] if info.channels == 1 else pixels.permute(0, 3, 1, 2)).contiguous()
    labels = torch.as_tensor(source.targets, dtype=torch.int64)
    targets = {info.targets[0].name: labels}
    if coarse is not None:
        targets["coarse"] = torch.as_tensor(coarse, dtype=torch.int64)
    if info.name == "cifar10":
        targets |= {name: torch.tensor(values)[labels] for name, values in CIFAR10_VALUES.items()}
    if images.shape[1:] != (info.channels, info.side, info.side) or images.dtype != torch.uint8:
        raise ValueError(f"unexpected images: {tuple(images.shape[1:])} {images.dtype}")
    for name, values in targets.items():
        if values.shape != images.shape[:1]:
            raise ValueError(f"expected {len(images):,} labels for {len(images):,} images, found {len(values):,}")
        if len(values) == 0 or int(values.min()) < 0 or int(values.max()) >= info.target(name).classes:
            raise ValueError(f"labels out of range for target {name}")
    return Labeled(images, targets)


def _coarse(kind: Any, folder: Path, *, train: bool) -> list[int]:
    """CIFAR-100's coarse labels, which torchvision ignores, from the files that it has just checked and read."""
    labels: list[int] = []
    for name, _ in kind.train_list if train else kind.test_list:
        with (folder / kind.base_folder / name).open("rb") as file:
            labels.extend(pickle.load(file, encoding="latin1")["coarse_labels"])
    return labels
