"""Downloads over real sockets, complete or rejected."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.contract.datasets import dataset
from tests.worker.official_files import (
    CIFARS,
    MNISTS,
    TEST,
    Mirror,
    kind_of,
    know,
    md5,
    mnist_files,
    never,
    point,
    put,
    same,
)
from worker.data import fetch
from worker.data.datasets import DatasetError, load
from worker.reporting import progress

pytestmark = pytest.mark.usefixtures("loopback_only")


# Fetching


@pytest.mark.parametrize("name", MNISTS | CIFARS)
def test_a_dataset_is_fetched_once_and_said_so_without_a_progress_bar(
    name: str,
    mirror: Mirror,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    mirror.files = know(name, monkeypatch)
    point(name, mirror.address, monkeypatch)
    target = dataset(name).targets[0].name
    first = load(name, [target], tmp_path / "new" / "folder", said.append)
    assert same(load(name, [target], tmp_path / "new" / "folder", never), first)
    assert sorted(mirror.asked) == sorted(mirror.files)
    assert [sentence.split(" (")[0] for sentence in said] == [f"downloading {file}" for file in mirror.asked]
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("wrong", "sentence"), [("cut", "was interrupted"), ("damaged", "arrived damaged")], ids=["cut off", "damaged"]
)
def test_a_file_that_arrives_broken_twice_is_fetched_a_third_time(
    wrong: str, sentence: str, mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files = know("mnist", monkeypatch)
    broken = "train-images-idx3-ubyte.gz"
    mirror.wrong[broken] = [wrong, wrong]
    point("mnist", mirror.address, monkeypatch)
    assert len(load("mnist", ["digit"], tmp_path, said.append).test) == TEST
    assert mirror.asked.count(broken) == 3
    assert said.count(f"the download of {broken} {sentence}") == 2


@pytest.mark.parametrize(
    ("name", "file"), [("mnist", "t10k-labels-idx1-ubyte.gz"), ("cifar100", "cifar-100-python.tar.gz")]
)
def test_a_file_that_arrives_broken_three_times_is_given_up_and_leaves_nothing_behind(
    name: str, file: str, mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files = know(name, monkeypatch)
    mirror.wrong[file] = ["cut"] * 9
    point(name, mirror.address, monkeypatch)
    with pytest.raises(DatasetError) as caught:
        load(name, [dataset(name).targets[0].name], tmp_path, said.append)
    assert str(caught.value).startswith(f"could not download {name} (the download of {file} was interrupted); check ")
    assert mirror.asked.count(file) == 3
    assert not list(tmp_path.rglob(f"{file}*"))


def test_a_server_that_does_not_have_the_file_is_asked_once_and_the_next_mirror_helps(
    mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files = know("mnist", monkeypatch)
    monkeypatch.setattr(kind_of("mnist"), "mirrors", [mirror.address + "gone/", mirror.address])
    load("mnist", ["digit"], tmp_path, said.append)
    assert len(mirror.asked) == 8
    mirror.files = {}
    with pytest.raises(DatasetError, match=r"could not download mnist \(HTTP 404 Not Found\)"):
        load("mnist", ["digit"], tmp_path / "other", said.append)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("mnist", "its files in {folder}/MNIST/raw"),
        ("fashion_mnist", "its files in {folder}/FashionMNIST/raw"),
        ("cifar10", "cifar-10-python.tar.gz in {folder}"),
        ("cifar100", "cifar-100-python.tar.gz in {folder}"),
    ],
)
@pytest.mark.usefixtures("nowhere")
def test_without_a_network_one_sentence_says_what_to_do(
    name: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetError) as caught:
        load(name, [dataset(name).targets[0].name], tmp_path, never)
    assert str(caught.value) == (
        f"could not download {name} (Connection refused); check the network connection,"
        f" or put {missing.format(folder=tmp_path)}, then retry the run"
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
    with pytest.raises(
        DatasetError, match=r"^could not download mnist \(Name or service not known\); check the network"
    ):
        load("mnist", ["digit"], tmp_path, never)


def test_a_long_download_says_how_far_it_is(
    mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SENTENCE_SECONDS", 0.0)
    mirror.files = know("cifar100", monkeypatch)
    point("cifar100", mirror.address, monkeypatch)
    load("cifar100", ["fine"], tmp_path, said.append)
    assert said[0] == "downloading cifar-100-python.tar.gz (1.0 MB)"
    assert said[-1] == "downloading cifar-100-python.tar.gz: 1 of 1 MB"


def test_a_download_tells_its_share_from_little_to_all_of_it(
    mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SHARE_SECONDS", 0.0)
    monkeypatch.setattr(fetch, "_CHUNK_BYTES", 10_000)
    mirror.files = know("cifar100", monkeypatch)
    point("cifar100", mirror.address, monkeypatch)
    told: list[tuple[str, float]] = []
    load("cifar100", ["fine"], tmp_path, said.append, progress=lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert {what for what, _ in told} == {"downloading cifar-100-python.tar.gz"}
    assert len(shares) >= 50
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1
    assert shares[-1] == 1


def test_a_download_that_is_told_to_stop_stops_and_leaves_nothing_half_done(
    mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(what: str, share: float) -> None:
        raise Stop

    monkeypatch.setattr(progress, "SHARE_SECONDS", 0.0)
    mirror.files = know("mnist", monkeypatch)
    point("mnist", mirror.address, monkeypatch)
    with pytest.raises(Stop):
        load("mnist", ["digit"], tmp_path, said.append, progress=stop)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mnist.lock"]
    assert len(load("mnist", ["digit"], tmp_path, said.append).test) == TEST


def test_ten_runs_at_once_fetch_every_file_once(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files = know("mnist", monkeypatch)
    mirror.go.clear()
    point("mnist", mirror.address, monkeypatch)
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        if said.count("waiting for another run to download mnist") == 9:
            mirror.go.set()

    with ThreadPoolExecutor(10) as pool:
        loads = list(pool.map(lambda _: load("mnist", ["digit"], tmp_path, say), range(10)))
    assert mirror.go.is_set()
    assert sorted(mirror.asked) == sorted(mirror.files)
    assert all(same(loads[0], other) for other in loads)


# Broken files


@pytest.mark.parametrize("cut", [0, 3, 10, 5_000])
def test_a_raw_file_that_is_cut_off_is_unpacked_again(
    cut: int, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put("mnist", tmp_path, know("mnist", monkeypatch) | mnist_files())
    broken = place / "train-images-idx3-ubyte"
    broken.write_bytes(broken.read_bytes()[:cut])
    load("mnist", ["digit"], tmp_path, said.append)
    assert said == ["train-images-idx3-ubyte is damaged; downloading it again"]
    assert broken.read_bytes() == mnist_files()[broken.name]


def test_a_packed_file_that_is_cut_off_is_fetched_again(
    mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files = know("mnist", monkeypatch)
    point("mnist", mirror.address, monkeypatch)
    place = put("mnist", tmp_path, mirror.files)
    broken = place / "t10k-images-idx3-ubyte.gz"
    broken.write_bytes(broken.read_bytes()[:100])
    load("mnist", ["digit"], tmp_path, said.append)
    assert mirror.asked == [broken.name]


@pytest.mark.parametrize("name", ["mnist", "cifar100"])
def test_an_archive_broken_at_its_source_is_fetched_three_times_and_given_up(
    name: str, mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = know(name, monkeypatch)
    file = "train-images-idx3-ubyte.gz" if name == "mnist" else "cifar-100-python.tar.gz"
    served[file] = served[file][:2_000]
    kind = kind_of(name)
    if name == "mnist":
        monkeypatch.setattr(kind, "resources", [(stem, md5(served[stem])) for stem, _ in kind.resources])
    else:
        monkeypatch.setattr(kind, "tgz_md5", md5(served[file]))
    mirror.files = served
    point(name, mirror.address, monkeypatch)
    with pytest.raises(DatasetError, match=rf"could not download \w+ \({file} was damaged 3 times in a row\)"):
        load(name, [dataset(name).targets[0].name], tmp_path, said.append)
    assert mirror.asked.count(file) == 3
    assert not list(tmp_path.rglob("*.part"))


# The disk


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("stage", ["fetch", "unpack"])
def test_a_full_disk_is_said_in_one_sentence(
    stage: str, mirror: Mirror, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files = know("mnist", monkeypatch)
    point("mnist", mirror.address, monkeypatch)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / f"train-images-idx3-ubyte{'.gz' if stage == 'fetch' else ''}.part").symlink_to("/dev/full")
    with pytest.raises(DatasetError) as caught:
        load("mnist", ["digit"], tmp_path, said.append)
    assert str(caught.value) == (
        f"could not read or write mnist in {tmp_path} (No space left on device); "
        "check the folder's permissions and free space, then retry the run"
    )
