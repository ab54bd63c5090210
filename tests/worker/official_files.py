"""Small files in the datasets' formats, the checksums torchvision needs to accept them, and a server for them."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchvision.datasets  # type: ignore[import-untyped, unused-ignore]

from app.contract.datasets import dataset
from worker.data.datasets import PARTS, Data

Bytes = npt.NDArray[np.uint8]
Files = dict[str, bytes]

MNISTS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
CIFARS = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
TRAINING, TEST = 240, 40


def images_and_labels(n: int, shape: tuple[int, ...], classes: int, seed: int) -> tuple[Bytes, Bytes]:
    """Noise without duplicate images, with all classes equally frequent."""
    rng = np.random.RandomState(seed)
    return rng.randint(0, 256, (n, *shape)).astype(np.uint8), (rng.permutation(n) % classes).astype(np.uint8)


# MNIST's format


def idx(array: Bytes) -> bytes:
    """The format of MNIST's files: 0, 0, 8 for uint8, the number of dimensions, each one's size, then the bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_files(training: Bytes | None = None, test: Bytes | None = None) -> Files:
    """MNIST's four files, unpacked; noise unless images [N, 28, 28] are given."""
    files = {}
    for stem, given, number, seed in (("train", training, TRAINING, 1), ("t10k", test, TEST, 2)):
        n = number if given is None else len(given)
        images, labels = images_and_labels(n, (28, 28), 10, seed)
        files[f"{stem}-images-idx3-ubyte"] = idx(images if given is None else given)
        files[f"{stem}-labels-idx1-ubyte"] = idx(labels)
    return files


# CIFAR's format


def old_pickle(content: dict[str, Any]) -> bytes:
    """A pickle as the numpy of 2009 wrote it, with an array type's two flags as 0 and 1."""
    return pickle.dumps(content, protocol=2).replace(b"\x89\x88", b"K\x00K\x01", 1)


def cifar_files(name: str) -> Files:
    """The files in the archive of CIFAR-10 or CIFAR-100, filled with noise."""
    facts = dataset(name)
    names = list(facts.targets[0].labels)
    if name == "cifar10":
        files = {"batches.meta": old_pickle({"label_names": names})}
        parts = [(f"data_batch_{i}", TRAINING // 5, i) for i in range(1, 6)] + [("test_batch", TEST, 6)]
    else:
        files = {"meta": old_pickle({"fine_label_names": names, "coarse_label_names": list(facts.targets[1].labels)})}
        parts = [("train", TRAINING, 1), ("test", TEST, 2)]
    for part, n, seed in parts:
        images, labels = images_and_labels(n, (3 * 32 * 32,), facts.targets[0].classes, seed)
        content: dict[str, Any] = {"data": images}
        if name == "cifar10":
            content["labels"] = labels.tolist()
        else:
            content |= {"fine_labels": labels.tolist(), "coarse_labels": coarse(labels).tolist()}
        files[part] = old_pickle(content)
    return files


def coarse(fine: Bytes) -> Bytes:
    """Any mapping works, as long as no arithmetic on the fine label would be expected to produce it."""
    result: Bytes = ((fine.astype(np.int64) * 7 + 3) % 20).astype(np.uint8)
    return result


def tar_of(base: str, files: Files) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{base}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


# torchvision


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def kind_of(name: str) -> Any:
    """torchvision's class for the dataset."""
    return getattr(torchvision.datasets, (MNISTS | CIFARS)[name])


def know(name: str, monkeypatch: pytest.MonkeyPatch, files: Files | None = None) -> Files:
    """Register the checksums of small files in torchvision's class; returns the files that its server would have."""
    kind = kind_of(name)
    if name in MNISTS:
        packed = {f"{stem}.gz": gzip.compress(content) for stem, content in (files or mnist_files()).items()}
        monkeypatch.setattr(kind, "resources", [(stem, md5(packed[stem])) for stem, _ in kind.resources])
        return packed
    files = files or cifar_files(name)
    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(kind, listed, [[file, md5(files[file])] for file, _ in getattr(kind, listed)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(files[kind.meta["filename"]])})
    archive = tar_of(kind.base_folder, files)
    monkeypatch.setattr(kind, "tgz_md5", md5(archive))
    return {kind.filename: archive}


def put(name: str, folder: Path, served: Files) -> Path:
    """Put the fetched files where a user would copy them by hand."""
    place = folder / MNISTS[name] / "raw" if name in MNISTS else folder
    place.mkdir(parents=True, exist_ok=True)
    for file, content in served.items():
        (place / file).write_bytes(content)
    return place


def point(name: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torchvision's class fetch its files from the address."""
    kind = kind_of(name)
    if name in MNISTS:
        monkeypatch.setattr(kind, "mirrors", [address])
    else:
        monkeypatch.setattr(kind, "url", address + kind.filename)


class Mirror:
    """Serves files on the loopback address, none before `go` is set.

    wrong: for each file, how its next answers are to fail.
    """

    def __init__(self) -> None:
        self.files: Files = {}
        self.wrong: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.go = threading.Event()
        self.go.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name)
                outer.go.wait(30)
                wrong = outer.wrong.get(name, [])
                how = wrong.pop(0) if wrong else "whole"
                content = outer.files.get(name)
                if content is None or how == "missing":
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if how == "cut":
                    content = content[: len(content) // 2]
                self.wfile.write(bytes(len(content)) if how == "damaged" else content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}/"

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


# What a load says and brings


def never(sentence: str) -> None:
    """A log function that must not be called."""
    raise AssertionError(f"said {sentence!r}")


def same(a: Data, b: Data) -> bool:
    """Whether two loads returned the same images and targets."""
    return all(
        torch.equal(a.split(part).images, b.split(part).images)
        and a.split(part).targets.keys() == b.split(part).targets.keys()
        and all(torch.equal(values, b.split(part).targets[name]) for name, values in a.split(part).targets.items())
        for part in PARTS
    )
