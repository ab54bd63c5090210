"""From a dataset's files to tensors: fetches what is missing, checks it, splits it, keeps it prepared for the next run.

Everything under the data folder lies where torchvision expects it, so a folder that torchvision filled is used as it
is. torchvision says where the files are, what their checksums are and how they are read. The fetching is done here,
because torchvision's waits for ever on a silent server, draws a progress bar on stderr and leaves cut-off files
behind.
"""

import fcntl
import gzip
import hashlib
import http.client
import math
import os
import pickle
import shutil
import ssl
import struct
import tarfile
import time
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from app.contract.datasets import CIFAR10_VALUES, Dataset, dataset

Say = Callable[[str], None]
Part = Literal["train", "validation", "test"]
PARTS: Final[tuple[Part, ...]] = ("train", "validation", "test")

SPLIT_SEED: Final = 0
FETCH_ATTEMPTS: Final = 3
SILENCE_SECONDS: Final = 30.0
PROGRESS_SECONDS: Final = 5.0
_CHUNK_BYTES: Final = 1 << 18
_IDX_UINT8: Final = 0x08

_PREPARED_VERSION: Final = "1"
"""Goes up whenever the same files would be prepared differently."""


class DatasetError(Exception):
    """A dataset cannot be had. The message is one sentence for the user: what, why, what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """images: uint8 [N, C, H, W]; targets: by name, int64 [N]."""

    images: Tensor
    targets: dict[str, Tensor]

    def __len__(self) -> int:
        return int(self.images.shape[0])


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset's facts and its three splits, on the CPU.

    The tensors may be mapped from the prepared copy, so that several runs on one machine hold its pages only once.
    """

    dataset: Dataset
    train: Split
    validation: Split
    test: Split

    def split(self, part: Part) -> Split:
        """The split of this name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]


def load(name: str, targets: Sequence[str], folder: Path, say: Say) -> Data:
    """Reads a dataset, fetching and preparing it first where that has not been done.

    targets: which of the dataset's targets to bring, at least one. folder: where datasets are kept; made if missing.
    say: told in a sentence of everything that takes time or went wrong and was mended.

    Raises UnknownDataset or UnknownTarget for a name that does not exist, DatasetError when the dataset cannot be had.
    """
    facts = dataset(name)
    if not targets:
        raise ValueError(f"no target was asked for; targets: {', '.join(t.name for t in facts.targets)}")
    for target in targets:
        facts.target(target)
    tensors = _prepared(facts, folder, say)
    train, validation, test = (
        Split(tensors[f"{part}.images"], {target: tensors[f"{part}.{target}"] for target in targets}) for part in PARTS
    )
    return Data(facts, train, validation, test)


def stratified_split(
    labels: npt.NDArray[np.int64], take: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Takes `take` of the N labels at random, from each class its share (to within one), and says which: (rest, taken).

    Both are ascending indices; together they are 0..N-1. A fixed function of its arguments: numpy has promised never to
    change the numbers that RandomState draws. Raises ValueError unless 0 <= take <= N.
    """
    n = len(labels)
    if not 0 <= take <= n:
        raise ValueError(f"cannot take {take} of {n}")
    order = np.random.RandomState(seed).permutation(n)
    order = order[np.argsort(labels[order], kind="stable")]
    # Every (n/take)-th of the shuffled items that stand class by class: any run of k items holds k·take/n of them,
    # give or take less than one.
    ticks = (np.arange(n + 1, dtype=np.int64) * take + n // 2) // max(n, 1)
    taken = np.diff(ticks) > 0
    return np.sort(order[~taken]), np.sort(order[taken])


# The prepared copy


def _prepared(facts: Dataset, folder: Path, say: Say) -> dict[str, Tensor]:
    path = folder / "prepared" / f"{facts.name}.safetensors"
    try:
        try:
            return _read_prepared(path, facts)
        except (FileNotFoundError, _Damaged):
            pass  # looked at again, and mended, once no other run can be at it
        with _one_at_a_time(path.with_suffix(".lock"), facts, say):
            try:
                return _read_prepared(path, facts)
            except FileNotFoundError:
                pass
            except _Damaged as damage:
                say(f"the prepared copy of {facts.name} {damage}: preparing it again")
            tensors = _prepare(facts, folder, say)
            _keep(tensors, path, facts, say)
            return tensors
    except OSError as error:
        raise DatasetError(
            f"{facts.name} could not be read or written under {folder} ({_reason(error)}); "
            "see to the folder's free space and permissions, then launch again"
        ) from error


class _Damaged(Exception):
    """A file is there but not as it should be; the message goes on from its name."""


def _names(facts: Dataset) -> set[str]:
    return {f"{part}.{column}" for part in PARTS for column in ("images", *(t.name for t in facts.targets))}


def _digest(tensors: dict[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.numpy().data)
    return content.hexdigest()


def _read_prepared(path: Path, facts: Dataset) -> dict[str, Tensor]:
    """Raises FileNotFoundError or _Damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("version") != _PREPARED_VERSION or set(file.keys()) != _names(facts):
                raise _Damaged("is from another version")
            tensors = {name: file.get_tensor(name) for name in _names(facts)}
    except SafetensorError as error:
        raise _Damaged("is damaged") from error
    if _digest(tensors) != about.get("sha256"):
        raise _Damaged("is damaged")
    return tensors


def _keep(tensors: dict[str, Tensor], path: Path, facts: Dataset, say: Say) -> None:
    unfinished = path.with_suffix(".tmp")
    about = {"version": _PREPARED_VERSION, "dataset": facts.name, "sha256": _digest(tensors)}
    try:
        save_file(tensors, unfinished, metadata=about)
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        # The run has what it needs; only the next one starts slower.
        unfinished.unlink(missing_ok=True)
        say(f"{facts.name} could not be kept prepared for the next run ({_reason(error)})")


@contextmanager
def _one_at_a_time(path: Path, facts: Dataset, say: Say) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:  # closing it gives the lock back, and so does the end of the process
        said_at = -math.inf
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # A blocking flock would neither tell the user anything nor let the run be stopped.
                if time.monotonic() - said_at >= PROGRESS_SECONDS:
                    said_at = time.monotonic()
                    say(f"waiting for another run to fetch {facts.name}")
                time.sleep(0.1)
        yield


# From official files to splits


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Images uint8 [N, C, H, W] and all their targets, int64 [N], the default one first."""

    images: Tensor
    targets: dict[str, Tensor]

    def at(self, indices: npt.NDArray[np.int64]) -> "_Labelled":
        where = torch.from_numpy(indices)
        return _Labelled(self.images[where], {name: values[where] for name, values in self.targets.items()})

    def without(self, take: int) -> tuple["_Labelled", "_Labelled"]:
        labels = next(iter(self.targets.values())).numpy()
        rest, taken = stratified_split(labels, take, SPLIT_SEED)
        return self.at(rest), self.at(taken)


def _prepare(facts: Dataset, folder: Path, say: Say) -> dict[str, Tensor]:
    if facts.name == "digits":
        training, test = _digits().without(facts.test)
    else:
        training, test = _official(facts, folder, say)
    n = len(training.images)
    # Fewer images than the official ones have: somebody's own small files in the same format.
    take = facts.validation if n >= facts.train + facts.validation else max(1, n // 12)
    train, validation = training.without(take)
    tensors = {}
    for part, labelled in zip(PARTS, (train, validation, test), strict=True):
        tensors[f"{part}.images"] = labelled.images.contiguous()
        tensors |= {f"{part}.{name}": values.contiguous() for name, values in labelled.targets.items()}
    return tensors


def _digits() -> _Labelled:
    # Imported here, as torchvision is below: a second or more that only the first run with a dataset has to pay.
    from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]

    bunch = load_digits()
    grey = torch.from_numpy(np.asarray(bunch.images, dtype=np.float64))[:, None] * (255 / 16)
    images = torch.nn.functional.interpolate(grey, size=(28, 28), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    return _Labelled(images.round().to(torch.uint8), {"digit": labels})


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
"""What torchvision, numpy and pickle are known to raise on files of the wrong content."""


def _official(facts: Dataset, folder: Path, say: Say) -> tuple[_Labelled, _Labelled]:
    import torchvision.datasets  # type: ignore[import-untyped, unused-ignore]

    kind: Any = getattr(torchvision.datasets, _TORCHVISION[facts.name])
    archives = _cifar_archives(kind, folder) if hasattr(kind, "tgz_md5") else _mnist_archives(kind, folder)
    trouble = ""
    for _ in range(FETCH_ATTEMPTS):
        try:
            for archive in archives:
                _complete(archive, say)
        except _NotFetched as error:
            raise _unavailable(facts, archives, str(error)) from error
        try:
            return _read(kind, facts, folder, train=True), _read(kind, facts, folder, train=False)
        except _UNREADABLE as error:
            trouble = f"its files cannot be read: {_reason(error)}"
            say(f"the files of {facts.name} cannot be read ({_reason(error)}): fetching them again")
            for archive in archives:
                archive.remove()
    raise _unavailable(facts, archives, trouble)


def _unavailable(facts: Dataset, archives: Sequence["_Archive"], why: str) -> DatasetError:
    files = "its files" if len(archives) > 1 else archives[0].path.name
    return DatasetError(
        f"{facts.name} could not be fetched ({why}); put {files} under {archives[0].path.parent} "
        "or check the network, then launch again"
    )


def _read(kind: Any, facts: Dataset, folder: Path, *, train: bool) -> _Labelled:
    """Raises one of _UNREADABLE."""
    with warnings.catch_warnings():
        # numpy 2.4 objects to how the numpy of 2009 wrote its types into CIFAR's files.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        source = kind(folder, train=train)
        coarse = _coarse(kind, folder, train=train) if facts.name == "cifar100" else None
    pixels = torch.as_tensor(source.data)
    images = (pixels[:, None] if facts.channels == 1 else pixels.permute(0, 3, 1, 2)).contiguous()
    labels = torch.as_tensor(source.targets, dtype=torch.int64)
    targets = {facts.targets[0].name: labels}
    if coarse is not None:
        targets["coarse"] = torch.as_tensor(coarse, dtype=torch.int64)
    if facts.name == "cifar10":
        targets |= {name: torch.tensor(values)[labels] for name, values in CIFAR10_VALUES.items()}
    if images.shape[1:] != (facts.channels, facts.side, facts.side) or images.dtype != torch.uint8:
        raise ValueError(f"images of {tuple(images.shape[1:])} {images.dtype}")
    for name, values in targets.items():
        if values.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} images but {len(values)} labels")
        if len(values) == 0 or int(values.min()) < 0 or int(values.max()) >= facts.target(name).classes:
            raise ValueError(f"labels that are not of {name}")
    return _Labelled(images, targets)


def _coarse(kind: Any, folder: Path, *, train: bool) -> list[int]:
    """CIFAR-100's coarse labels, which torchvision passes over, from the files that it has just checked and read."""
    labels: list[int] = []
    for name, _ in kind.train_list if train else kind.test_list:
        with (folder / kind.base_folder / name).open("rb") as file:
            labels.extend(pickle.load(file, encoding="latin1")["coarse_labels"])
    return labels


# From the network to official files


class _NotFetched(Exception):
    """A file could not be fetched; the message is the reason."""


class _CutOff(Exception):
    """A file came, but not whole; the message is the reason."""


@dataclass(frozen=True)
class _Archive:
    """One file to fetch, and the files unpacked from it.

    files: with their MD5; "" for an IDX file, which has none that is published, and whose header tells its length.
    """

    path: Path
    urls: tuple[str, ...]
    md5: str
    files: tuple[tuple[Path, str], ...]

    def remove(self) -> None:
        for path in (self.path, *(path for path, _ in self.files)):
            path.unlink(missing_ok=True)


def _mnist_archives(kind: Any, folder: Path) -> list[_Archive]:
    raw = folder / kind.__name__ / "raw"
    return [
        _Archive(raw / name, tuple(mirror + name for mirror in kind.mirrors), md5, ((raw / Path(name).stem, ""),))
        for name, md5 in kind.resources
    ]


def _cifar_archives(kind: Any, folder: Path) -> list[_Archive]:
    listed = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
    files = tuple((folder / kind.base_folder / name, md5) for name, md5 in listed)
    return [_Archive(folder / kind.filename, (kind.url,), kind.tgz_md5, files)]


def _complete(archive: _Archive, say: Say) -> None:
    """Sees to it that every file of the archive is there and whole. Raises _NotFetched, or OSError from the disk."""
    for _ in range(FETCH_ATTEMPTS):
        wrong = [path for path, md5 in archive.files if not _whole(path, md5)]
        if not wrong:
            return
        for path in wrong:
            if path.exists():
                say(f"{path.name} is damaged: getting it again")
                path.unlink()
        if not _has_md5(archive.path, archive.md5):
            _fetch(archive, say)
        try:
            _unpack(archive)
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            say(f"{archive.path.name} is damaged ({_reason(error)}): getting it again")
            archive.path.unlink()
    raise _NotFetched(f"{archive.path.name} is damaged, {FETCH_ATTEMPTS} times in a row")


def _has_md5(path: Path, md5: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
    except FileNotFoundError:
        return False


def _whole(path: Path, md5: str) -> bool:
    return _has_md5(path, md5) if md5 else _idx_is_whole(path)


def _idx_is_whole(path: Path) -> bool:
    """Whether the file is as long as its header says: 0, 0, type, dimensions, then each dimension in four bytes."""
    try:
        with path.open("rb") as file:
            zero, kind, dimensions = struct.unpack(">HBB", file.read(4))
            sides = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            length = file.tell() + math.prod(sides)
            return (zero, kind) == (0, _IDX_UINT8) and length == path.stat().st_size
    except (FileNotFoundError, struct.error):
        return False


def _unpack(archive: _Archive) -> None:
    if archive.path.name.endswith(".tar.gz"):
        with tarfile.open(archive.path) as tar:
            tar.extractall(archive.path.parent, filter="data")
        return
    ((path, _),) = archive.files
    unfinished = path.with_name(path.name + ".part")
    try:
        with gzip.open(archive.path) as packed, unfinished.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, _CHUNK_BYTES)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _fetch(archive: _Archive, say: Say) -> None:
    """Fetches the archive from the first mirror that gives it whole. Raises _NotFetched, or OSError from the disk.

    A file that came cut off or damaged is asked for again; a server that cannot be reached is not.
    """
    archive.path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.path.with_name(archive.path.name + ".part")
    reasons: list[str] = []
    try:
        for _ in range(FETCH_ATTEMPTS):
            arrived = False
            for url in archive.urls:
                try:
                    _fetch_once(url, unfinished, archive.md5, say)
                except _NotFetched as error:
                    reasons.append(str(error))
                except _CutOff as error:
                    arrived = True
                    reasons.append(f"{archive.path.name} {error}")
                    say(f"{archive.path.name} {error}")
                else:
                    os.replace(unfinished, archive.path)
                    return
            if not arrived:
                break
    finally:
        unfinished.unlink(missing_ok=True)
    # With several mirrors the first is the one that is kept up, so its reason is the telling one.
    raise _NotFetched(reasons[0])


def _fetch_once(url: str, path: Path, md5: str, say: Say) -> None:
    """Raises _NotFetched, _CutOff, or OSError from the disk."""
    name = url.rsplit("/", 1)[-1]
    request = urllib.request.Request(url, headers={"User-Agent": "runyard"})
    try:
        response = urllib.request.urlopen(request, timeout=SILENCE_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        raise _NotFetched(_reason(error)) from error
    content = hashlib.md5(usedforsecurity=False)
    size = int(response.headers.get("Content-Length") or 0)
    come = 0
    said_at = time.monotonic()
    say(f"fetching {name}" + (f" ({size / 1e6:.1f} MB)" if size else ""))
    with response, path.open("wb") as file:
        while True:
            try:
                chunk = response.read(_CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _CutOff(f"was cut off ({_reason(error)})") from error
            if not chunk:
                break
            file.write(chunk)
            content.update(chunk)
            come += len(chunk)
            if time.monotonic() - said_at >= PROGRESS_SECONDS:
                said_at = time.monotonic()
                say(f"fetching {name}: {come / 1e6:.0f} MB" + (f" of {size / 1e6:.0f}" if size else ""))
    if content.hexdigest() != md5:
        raise _CutOff("was cut off" if come < size else "arrived damaged")


def _reason(error: BaseException) -> str:
    """Why, in a few words on one line and without an error number."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}".strip()
    if isinstance(error, urllib.error.URLError):
        return _reason(error.reason if isinstance(error.reason, BaseException) else Exception(error.reason))
    # An SSLError's strerror is all of it, file and line of OpenSSL's source included, as is its text.
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        text = error.strerror or text
    return " ".join(text.split()) or type(error).__name__
