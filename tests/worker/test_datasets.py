import fcntl
import gzip
import hashlib
import io
import pickle
import shutil
import socket
import ssl
import struct
import sys
import tarfile
import threading
import urllib.error
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchvision.datasets  # type: ignore[import-untyped, unused-ignore]
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]

import worker.datasets
from app.contract.datasets import UnknownDataset, UnknownTarget, dataset
from worker.datasets import PARTS, Data, DatasetError, load, stratified_split

Bytes = npt.NDArray[np.uint8]

MNISTS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
CIFARS = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
TRAINING, TEST = 240, 40


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches the network, nor a proxy."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", f"a test wants to reach {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def said() -> list[str]:
    return []


def images_and_labels(n: int, shape: tuple[int, ...], classes: int, seed: int) -> tuple[Bytes, Bytes]:
    rng = np.random.RandomState(seed)
    return rng.randint(0, 256, (n, *shape)).astype(np.uint8), (rng.permutation(n) % classes).astype(np.uint8)


def idx(array: Bytes) -> bytes:
    """The format of MNIST's files: 0, 0, 8 for uint8, how many dimensions, each one's size, then the bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_files() -> dict[str, bytes]:
    files = {}
    for stem, n, seed in (("train", TRAINING, 1), ("t10k", TEST, 2)):
        images, labels = images_and_labels(n, (28, 28), 10, seed)
        files[f"{stem}-images-idx3-ubyte"] = idx(images)
        files[f"{stem}-labels-idx1-ubyte"] = idx(labels)
    return files


def old_pickle(content: dict[str, Any]) -> bytes:
    """A pickle as the numpy of 2009 wrote it, which spelled an array type's two flags as 0 and 1."""
    return pickle.dumps(content, protocol=2).replace(b"\x89\x88", b"K\x00K\x01", 1)


def cifar_files(name: str) -> dict[str, bytes]:
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
    """Any assignment will do, as long as no arithmetic on the fine label would be expected to give it."""
    result: Bytes = ((fine.astype(np.int64) * 7 + 3) % 20).astype(np.uint8)
    return result


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def tar_of(base: str, files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{base}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


Served = dict[str, bytes]


def know(name: str, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes] | None = None) -> Served:
    """Teaches torchvision's class the checksums of the tests' small files; gives what its server would hold."""
    if name in MNISTS:
        kind: Any = getattr(torchvision.datasets, MNISTS[name])
        packed = {f"{stem}.gz": gzip.compress(content) for stem, content in (files or mnist_files()).items()}
        monkeypatch.setattr(kind, "resources", [(stem, md5(packed[stem])) for stem, _ in kind.resources])
        return packed
    kind = getattr(torchvision.datasets, CIFARS[name])
    files = files or cifar_files(name)
    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(kind, listed, [[file, md5(files[file])] for file, _ in getattr(kind, listed)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(files[kind.meta["filename"]])})
    archive = tar_of(kind.base_folder, files)
    monkeypatch.setattr(kind, "tgz_md5", md5(archive))
    return {kind.filename: archive}


def put(name: str, folder: Path, served: Served) -> Path:
    """Puts the fetched files where a user would who brought them on a stick."""
    place = folder / MNISTS[name] / "raw" if name in MNISTS else folder
    place.mkdir(parents=True, exist_ok=True)
    for file, content in served.items():
        (place / file).write_bytes(content)
    return place


def point(name: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has torchvision's class look for its files at the address."""
    kind: Any = getattr(torchvision.datasets, (MNISTS | CIFARS)[name])
    if name in MNISTS:
        monkeypatch.setattr(kind, "mirrors", [address])
    else:
        monkeypatch.setattr(kind, "url", address + kind.filename)


class Server:
    """Serves files on the loopback address; `wrong` says for each how its next answers are to fail."""

    def __init__(self) -> None:
        self.files: Served = {}
        self.wrong: dict[str, list[str]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name)
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


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.stop()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every dataset look for its files at a port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    for name in MNISTS | CIFARS:
        point(name, address, monkeypatch)


def never(sentence: str) -> None:
    raise AssertionError(f"said {sentence!r}")


def same(a: Data, b: Data) -> bool:
    return all(
        torch.equal(a.split(part).images, b.split(part).images)
        and a.split(part).targets.keys() == b.split(part).targets.keys()
        and all(torch.equal(values, b.split(part).targets[name]) for name, values in a.split(part).targets.items())
        for part in PARTS
    )


# Splitting


@given(
    labels=st.lists(st.integers(0, 7), max_size=200),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_a_stratified_split_is_whole_exact_and_fair_to_every_class(labels: list[int], share: float, seed: int) -> None:
    array = np.array(labels, dtype=np.int64)
    take = int(share * len(labels))
    rest, taken = stratified_split(array, take, seed)
    assert len(taken) == take
    assert sorted([*rest.tolist(), *taken.tolist()]) == list(range(len(labels)))
    for part in (rest, taken):
        assert np.all(np.diff(part) > 0)
        for label in set(labels):
            fair = labels.count(label) * len(part) / len(labels)
            assert abs(int((array[part] == label).sum()) - fair) < 1


def test_a_stratified_split_is_a_fixed_function_of_labels_and_seed() -> None:
    labels = np.arange(30) % 3
    taken = stratified_split(labels, 9, 0)[1]
    assert taken.tolist() == [5, 7, 9, 13, 15, 16, 20, 26, 27]
    assert not np.array_equal(taken, stratified_split(labels, 9, 1)[1])


@pytest.mark.parametrize("take", [-1, 4])
def test_more_than_there_is_cannot_be_taken(take: int) -> None:
    with pytest.raises(ValueError, match=f"cannot take {take} of 3"):
        stratified_split(np.zeros(3, dtype=np.int64), take, 0)


# digits


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    load("digits", ["digit"], folder, never)
    return folder


def test_digits_come_in_the_splits_and_shape_that_the_facts_give(digits_folder: Path) -> None:
    data = load("digits", ["digit"], digits_folder, never)
    facts = dataset("digits")
    assert data.dataset is facts
    assert [len(data.split(part)) for part in PARTS] == [facts.train, facts.validation, facts.test]
    for part in PARTS:
        split = data.split(part)
        assert split.images.shape[1:] == (1, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.targets["digit"].dtype == torch.int64
        assert len(split.targets["digit"]) == len(split)
    assert int(data.train.images.max()) > 250


def test_the_facts_of_digits_hold_the_mean_and_deviation_of_its_training_images(digits_folder: Path) -> None:
    pixels = load("digits", ["digit"], digits_folder, never).train.images.double() / 255
    assert (round(float(pixels.mean()), 4),) == dataset("digits").mean
    assert (round(float(pixels.std(correction=0)), 4),) == dataset("digits").std


def test_every_digit_is_there_once_under_its_own_label_in_a_fair_share(digits_folder: Path) -> None:
    data = load("digits", ["digit"], digits_folder, never)
    original = load_digits()
    # Bilinear, written out: each new pixel's middle falls between the middles of two old ones.
    middles = (np.arange(28) + 0.5) * 8 / 28 - 0.5
    weights = np.stack([np.interp(middles, np.arange(8), row) for row in np.eye(8)], axis=1)
    scaled = torch.from_numpy(weights @ original.images @ weights.T * 255 / 16).flatten(1)
    labels = torch.from_numpy(original.target)
    found = []
    for part in PARTS:
        split = data.split(part)
        distance, nearest = torch.cdist(split.images.double().flatten(1), scaled, p=torch.inf).min(1)
        assert float(distance.max()) < 0.51
        assert torch.equal(labels[nearest], split.targets["digit"])
        found += nearest.tolist()
        fair = labels.bincount().double() * len(split) / len(labels)
        assert float((split.targets["digit"].bincount() - fair).abs().max()) < 1
    assert sorted(found) == list(range(1_797))


def test_the_split_of_digits_never_changes(digits_folder: Path) -> None:
    data = load("digits", ["digit"], digits_folder, never)
    labels = bytes(torch.cat([data.split(part).targets["digit"] for part in PARTS]).tolist())
    assert hashlib.sha256(labels).hexdigest()[:16] == "cb3f8f1bda17b989"


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
    monkeypatch.setattr(worker.datasets, "dataset", lambda name: tiny)
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
def test_a_damaged_file_of_names_is_unpacked_again(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("cifar10", tmp_path, know("cifar10", monkeypatch))
    first = load("cifar10", ["class"], tmp_path, never)
    shutil.rmtree(tmp_path / "prepared")
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(b"?")
    assert same(load("cifar10", ["class"], tmp_path, said.append), first)
    assert said == ["batches.meta is damaged: getting it again"]


# What is asked for


def test_only_the_targets_asked_for_are_brought_and_any_can_be_asked_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("cifar10", tmp_path, know("cifar10", monkeypatch))
    assert list(load("cifar10", ["size"], tmp_path, never).train.targets) == ["size"]
    assert list(load("cifar10", ["class", "domain"], tmp_path, never).train.targets) == ["class", "domain"]


def test_a_name_that_does_not_exist_touches_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with pytest.raises(UnknownDataset):
        load("minst", ["digit"], folder, never)
    with pytest.raises(UnknownTarget):
        load("mnist", ["fine"], folder, never)
    with pytest.raises(ValueError, match="no target was asked for; targets: digit"):
        load("mnist", [], folder, never)
    assert not folder.exists()


# Fetching


@pytest.mark.parametrize("name", MNISTS | CIFARS)
def test_a_dataset_is_fetched_once_and_said_so_without_a_progress_bar(
    name: str,
    server: Server,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.files = know(name, monkeypatch)
    point(name, server.address, monkeypatch)
    target = dataset(name).targets[0].name
    first = load(name, [target], tmp_path / "new" / "folder", said.append)
    assert same(load(name, [target], tmp_path / "new" / "folder", never), first)
    assert sorted(server.asked) == sorted(server.files)
    assert [sentence.split(" (")[0] for sentence in said] == [f"fetching {file}" for file in server.asked]
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("wrong", "sentence"), [("cut", "was cut off"), ("damaged", "arrived damaged")], ids=["cut off", "damaged"]
)
def test_a_file_that_arrives_broken_twice_is_fetched_a_third_time(
    wrong: str, sentence: str, server: Server, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = know("mnist", monkeypatch)
    broken = "train-images-idx3-ubyte.gz"
    server.wrong[broken] = [wrong, wrong]
    point("mnist", server.address, monkeypatch)
    assert len(load("mnist", ["digit"], tmp_path, said.append).test) == TEST
    assert server.asked.count(broken) == 3
    assert said.count(f"{broken} {sentence}") == 2


@pytest.mark.parametrize(
    ("name", "file"), [("mnist", "t10k-labels-idx1-ubyte.gz"), ("cifar100", "cifar-100-python.tar.gz")]
)
def test_a_file_that_arrives_broken_three_times_is_given_up_and_leaves_nothing_behind(
    name: str, file: str, server: Server, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = know(name, monkeypatch)
    server.wrong[file] = ["cut"] * 9
    point(name, server.address, monkeypatch)
    with pytest.raises(DatasetError) as caught:
        load(name, [dataset(name).targets[0].name], tmp_path, said.append)
    assert str(caught.value).startswith(f"{name} could not be fetched ({file} was cut off); put ")
    assert server.asked.count(file) == 3
    assert not list(tmp_path.rglob(f"{file}*"))


def test_a_server_that_does_not_have_the_file_is_asked_once_and_the_next_mirror_helps(
    server: Server, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = know("mnist", monkeypatch)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server.address + "gone/", server.address])
    load("mnist", ["digit"], tmp_path, said.append)
    assert len(server.asked) == 8
    server.files = {}
    with pytest.raises(DatasetError, match=r"could not be fetched \(HTTP 404 Not Found\)"):
        load("mnist", ["digit"], tmp_path / "other", said.append)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("mnist", "its files under {folder}/MNIST/raw"),
        ("fashion_mnist", "its files under {folder}/FashionMNIST/raw"),
        ("cifar10", "cifar-10-python.tar.gz under {folder}"),
        ("cifar100", "cifar-100-python.tar.gz under {folder}"),
    ],
)
@pytest.mark.usefixtures("nowhere")
def test_without_a_network_one_sentence_says_what_to_do(
    name: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetError) as caught:
        load(name, [dataset(name).targets[0].name], tmp_path, never)
    assert str(caught.value) == (
        f"{name} could not be fetched (Connection refused); put {missing.format(folder=tmp_path)} "
        "or check the network, then launch again"
    )


def test_a_name_that_cannot_be_resolved_is_said_in_the_systems_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unresolved(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    with pytest.raises(DatasetError, match=r"^mnist could not be fetched \(Name or service not known\); put its files"):
        load("mnist", ["digit"], tmp_path, never)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (urllib.error.URLError("no host\ngiven"), "no host given"),
        (
            urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate verify failed")),
            "certificate verify failed",
        ),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_reason_is_one_line_without_a_number(error: BaseException, reason: str) -> None:
    assert reason in worker.datasets._reason(error)
    assert "Errno" not in worker.datasets._reason(error)
    assert "\n" not in worker.datasets._reason(error)


def test_a_long_download_says_how_far_it_is(
    server: Server, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.datasets, "PROGRESS_SECONDS", 0.0)
    server.files = know("cifar100", monkeypatch)
    point("cifar100", server.address, monkeypatch)
    load("cifar100", ["fine"], tmp_path, said.append)
    assert said[0] == "fetching cifar-100-python.tar.gz (1.0 MB)"
    assert said[-1] == "fetching cifar-100-python.tar.gz: 1 MB of 1"


# Broken files


@pytest.mark.parametrize("cut", [0, 3, 10, 5_000])
def test_a_raw_file_that_is_cut_off_is_unpacked_again(
    cut: int, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put("mnist", tmp_path, know("mnist", monkeypatch) | mnist_files())
    broken = place / "train-images-idx3-ubyte"
    broken.write_bytes(broken.read_bytes()[:cut])
    load("mnist", ["digit"], tmp_path, said.append)
    assert said == ["train-images-idx3-ubyte is damaged: getting it again"]
    assert broken.read_bytes() == mnist_files()[broken.name]


def test_a_packed_file_that_is_cut_off_is_fetched_again(
    server: Server, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = know("mnist", monkeypatch)
    point("mnist", server.address, monkeypatch)
    place = put("mnist", tmp_path, server.files)
    broken = place / "t10k-images-idx3-ubyte.gz"
    broken.write_bytes(broken.read_bytes()[:100])
    load("mnist", ["digit"], tmp_path, said.append)
    assert server.asked == [broken.name]


@pytest.mark.parametrize("name", ["mnist", "cifar100"])
def test_an_archive_broken_at_its_source_is_fetched_three_times_and_given_up(
    name: str, server: Server, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = know(name, monkeypatch)
    file = "train-images-idx3-ubyte.gz" if name == "mnist" else "cifar-100-python.tar.gz"
    served[file] = served[file][:2_000]
    kind: Any = getattr(torchvision.datasets, (MNISTS | CIFARS)[name])
    if name == "mnist":
        monkeypatch.setattr(kind, "resources", [(stem, md5(served[stem])) for stem, _ in kind.resources])
    else:
        monkeypatch.setattr(kind, "tgz_md5", md5(served[file]))
    server.files = served
    point(name, server.address, monkeypatch)
    with pytest.raises(DatasetError, match=rf"could not be fetched \({file} is damaged, 3 times in a row\)"):
        load(name, [dataset(name).targets[0].name], tmp_path, said.append)
    assert server.asked.count(file) == 3
    assert not list(tmp_path.rglob("*.part"))


def wrong_mnist(**changed: Bytes) -> dict[str, bytes]:
    return mnist_files() | {name.replace("_", "-"): idx(array) for name, array in changed.items()}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (wrong_mnist(train_labels_idx1_ubyte=np.zeros(239, dtype=np.uint8)), "240 images but 239 labels"),
        (wrong_mnist(train_labels_idx1_ubyte=np.full(240, 10, dtype=np.uint8)), "labels that are not of digit"),
        (wrong_mnist(t10k_images_idx3_ubyte=np.zeros((40, 8, 8), dtype=np.uint8)), r"images of \(1, 8, 8\)"),
        (wrong_mnist(t10k_images_idx3_ubyte=np.zeros((40, 784), dtype=np.uint8)), "should have 3 dimension"),
    ],
)
def test_whole_files_of_the_wrong_content_are_fetched_again_and_given_up(
    files: dict[str, bytes],
    reason: str,
    server: Server,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.files = know("mnist", monkeypatch, files)
    point("mnist", server.address, monkeypatch)
    with pytest.raises(DatasetError, match=rf"^mnist could not be fetched \(its files cannot be read: .*{reason}"):
        load("mnist", ["digit"], tmp_path, said.append)
    assert len(server.asked) == 4 * 3


def test_a_pickle_that_cannot_be_read_is_fetched_again_and_given_up(
    server: Server, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = cifar_files("cifar100")
    server.files = know("cifar100", monkeypatch, files | {"train": files["train"][:5_000]})
    point("cifar100", server.address, monkeypatch)
    with pytest.raises(DatasetError, match=r"^cifar100 could not be fetched \(its files cannot be read: "):
        load("cifar100", ["fine"], tmp_path, said.append)
    assert server.asked == ["cifar-100-python.tar.gz"] * 3


# The disk


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("stage", ["fetch", "unpack"])
def test_a_full_disk_is_said_in_one_sentence(
    stage: str, server: Server, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = know("mnist", monkeypatch)
    point("mnist", server.address, monkeypatch)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / f"train-images-idx3-ubyte{'.gz' if stage == 'fetch' else ''}.part").symlink_to("/dev/full")
    with pytest.raises(DatasetError) as caught:
        load("mnist", ["digit"], tmp_path, said.append)
    assert str(caught.value) == (
        f"mnist could not be read or written under {tmp_path} (No space left on device); "
        "see to the folder's free space and permissions, then launch again"
    )


def test_a_folder_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DatasetError, match=r"^digits could not be read or written under .*/data \(Not a directory\);"):
        load("digits", ["digit"], tmp_path / "data", never)


# The prepared copy


def test_the_second_run_reads_the_prepared_copy_without_the_files_or_their_libraries(
    digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put("mnist", tmp_path, mnist_files())
    first = load("mnist", ["digit"], tmp_path, never)
    shutil.rmtree(place)
    for library in ("sklearn.datasets", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, library, None)
    assert same(load("mnist", ["digit"], tmp_path, never), first)
    assert len(load("digits", ["digit"], digits_folder, never).test) == 360


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
def test_a_damaged_prepared_copy_is_prepared_again_and_said_so(
    damage: Callable[[Path], None], said: list[str], tmp_path: Path
) -> None:
    put("mnist", tmp_path, mnist_files())
    first = load("mnist", ["digit"], tmp_path, never)
    damage(tmp_path / "prepared" / "mnist.safetensors")
    assert same(load("mnist", ["digit"], tmp_path, said.append), first)
    assert said == ["the prepared copy of mnist is damaged: preparing it again"]
    assert same(load("mnist", ["digit"], tmp_path, never), first)


def test_a_prepared_copy_of_another_version_is_prepared_again(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("mnist", tmp_path, mnist_files())
    first = load("mnist", ["digit"], tmp_path, never)
    monkeypatch.setattr(worker.datasets, "_PREPARED_VERSION", "0")
    assert same(load("mnist", ["digit"], tmp_path, said.append), first)
    assert said == ["the prepared copy of mnist is from another version: preparing it again"]


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
    monkeypatch.setattr(worker.datasets, "save_file", full)
    assert len(load("mnist", ["digit"], tmp_path, said.append).test) == TEST
    assert said == ["mnist could not be kept prepared for the next run (No space left on device)"]
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
    assert said == ["waiting for another run to fetch mnist"]
    assert not (tmp_path / "MNIST").exists()
