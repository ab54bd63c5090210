from __future__ import annotations

import ast
import errno
import json
import math
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import worker.training.checkpoint_file
from tests.worker.conftest import make_config
from worker.training.checkpoint_file import State, Store, from_bytes, random_state, restore_random_state, to_bytes
from worker.training.tuning import Tuning

CPU = torch.device("cpu")
OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "adam", "weight_decay": 1e-4},
    {"optimizer": "adamw", "weight_decay": 0.01},
    {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1},
]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))


def step(net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor) -> None:
    optimizer.zero_grad()
    net(images).square().mean().backward()
    optimizer.step()


def state(**changes: Any) -> State:
    net = network()
    optimizer = Tuning().make_optimizer(net, make_config())
    step(net, optimizer, torch.randn(4, 1, 4, 4))
    random = random_state(CPU, torch.Generator().manual_seed(7))
    return State(**{"network": net.state_dict(), "optimizer": optimizer.state_dict(), "random": random} | changes)


@pytest.mark.parametrize("chosen", OPTIMIZERS, ids=lambda chosen: str(chosen["optimizer"]))
def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(chosen: dict[str, Any]) -> None:
    config = make_config(**chosen)
    torch.manual_seed(1)
    net = network()
    optimizer = Tuning().make_optimizer(net, config)
    generator = torch.Generator().manual_seed(5)
    batches = [torch.randn(4, 1, 4, 4) for _ in range(6)]
    for images in batches[:3]:
        step(net, optimizer, images)
    torch.rand(3)
    torch.rand(3, generator=generator)
    content = to_bytes(State(net.state_dict(), optimizer.state_dict(), random_state(CPU, generator), {"a": [1, None]}))
    for images in batches[3:]:
        step(net, optimizer, images)
    drawn = torch.rand(5), torch.rand(5, generator=generator)

    torch.manual_seed(99)
    other = network()
    resumed = Tuning().make_optimizer(other, config)
    fresh = torch.Generator()
    found = from_bytes(content)
    other.load_state_dict(found.network)
    resumed.load_state_dict(found.optimizer)
    restore_random_state(found.random, CPU, fresh)
    for images in batches[3:]:
        step(other, resumed, images)
    assert found.metadata == {"a": [1, None]}
    assert torch.equal(torch.rand(5), drawn[0])
    assert torch.equal(torch.rand(5, generator=fresh), drawn[1])
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
        assert value.dtype == other.state_dict()[name].dtype
    mine, theirs = optimizer.state_dict()["state"], resumed.state_dict()["state"]
    assert mine.keys() == theirs.keys()
    assert len(mine) > 0
    for index, slots in mine.items():
        assert slots.keys() == theirs[index].keys()
        assert all(torch.equal(value, theirs[index][name]) for name, value in slots.items())


FACTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), FACTS, max_size=4))
@settings(max_examples=100, deadline=None)
def test_facts_come_back_as_they_were(facts: dict[str, Any]) -> None:
    assert repr(from_bytes(to_bytes(State({}, {}, {}, facts))).metadata) == repr(facts)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4, 5)])
def test_tensors_of_every_type_and_shape_come_back(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    value = (torch.arange(math.prod(shape)).reshape(shape) % 2).to(dtype)
    found = from_bytes(to_bytes(State({"a/b.c": value}, {}, {}))).network["a/b.c"]
    assert found.dtype == dtype
    assert found.shape == value.shape
    assert torch.equal(found, value)


def test_tensors_that_share_memory_or_are_expanded_are_saved_whole() -> None:
    base = torch.arange(12.0)
    shared = {
        "one": base,
        "same": base,
        "view": base[2:6],
        "turned": base.view(3, 4).t(),
        "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 5),
        "last": torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    found = from_bytes(to_bytes(State(shared, {}, {}))).network
    assert found.keys() == shared.keys()
    assert all(torch.equal(found[name], value) for name, value in shared.items())
    found["one"][0] = 100.0
    assert found["same"][0] == 0.0


def test_a_saved_state_does_not_follow_the_network() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    content = to_bytes(State(net.state_dict(), {}, {}))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in from_bytes(content).network.items())


def test_a_file_cut_off_anywhere_is_a_value_error() -> None:
    content = to_bytes(state(metadata={"position": 3}))
    assert from_bytes(content).metadata == {"position": 3}
    for length in [*range(0, 200), *range(200, len(content), 37), len(content) - 1]:
        with pytest.raises(ValueError, match="not a Runyard checkpoint, or a truncated one"):
            from_bytes(content[:length])


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a Runyard checkpoint"):
        from_bytes(content)


@pytest.mark.parametrize("header", [b"[]", b"3", b"{}", b'{"__metadata__": 1}', b'{"__metadata__": {"runyard": "{}"}}'])
def test_a_header_that_is_not_ours_is_a_value_error(header: bytes) -> None:
    with pytest.raises(ValueError, match="not a Runyard checkpoint"):
        from_bytes(len(header).to_bytes(8, "little") + header)


def test_a_safetensors_file_of_somebody_else_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not a Runyard checkpoint"):
        from_bytes(safetensors.torch.save({"weight": torch.ones(3)}, {"format": "pt"}))


def test_a_checkpoint_can_be_read_with_safetensors_alone() -> None:
    content = to_bytes(state(metadata={"position": 3}))
    names = safetensors.torch.load(content)
    assert "network/0.weight" in names
    length = int.from_bytes(content[:8], "little")
    assert json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["runyard"])["facts"] == {"position": 3}


def test_a_store_gives_back_what_was_written_and_makes_the_folders(tmp_path: Path) -> None:
    for address in (str(tmp_path / "store"), f"file://{tmp_path}/store-2", "memory://store"):
        store = Store(address)
        store.write("r_1/2/last.safetensors", b"first")
        store.write("r_1/2/last.safetensors", b"second")
        assert store.read("r_1/2/last.safetensors") == b"second"
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["last.safetensors"] * 2


def test_a_file_that_is_removed_is_gone_and_one_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    for address in (str(tmp_path), "memory://removed"):
        store = Store(address)
        store.write("r/1/last.safetensors", b"x")
        store.remove("r/1/last.safetensors")
        store.remove("r/1/last.safetensors")
        with pytest.raises(FileNotFoundError):
            store.read("r/1/last.safetensors")


@pytest.mark.parametrize("dies_in", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    class Crash(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Crash

    store = Store(str(tmp_path))
    store.write("r/1/last.safetensors", b"old")
    with monkeypatch.context() as patched:
        patched.setattr(os, dies_in, die)
        with pytest.raises(Crash):
            store.write("r/1/last.safetensors", b"new")
    assert store.read("r/1/last.safetensors") == b"old"
    store.write("r/1/last.safetensors", b"newest")
    assert store.read("r/1/last.safetensors") == b"newest"


def test_no_checkpoint_is_ever_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "dump", "dumps", "Pickler", "Unpickler"):
        monkeypatch.setattr(f"pickle.{name}", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(torch, "save", refuse)
    assert from_bytes(to_bytes(state())).network
    for source in Path(worker.__file__).parent.rglob("*.py"):
        if source.name == "dataset_readers.py":  # reads CIFAR's own files, after checking their MD5
            continue
        if source.name in ("pool.py", "reader_process.py"):  # an importer and the processes that it started
            continue
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not modules & {"pickle", "cloudpickle", "dill", "joblib"}, source
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
                assert node.attr not in ("load", "save"), source


def test_a_file_without_room_leaves_nothing_and_keeps_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path), lambda total: total // 10)
    usage = namedtuple("usage", "free total")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(150, 1000))
    store.write("r/1/last", b"x" * 50)
    with pytest.raises(OSError, match="No space left"):
        store.write("r/1/last", b"y" * 51)
    assert store.read("r/1/last") == b"x" * 50
    store.reserve = lambda total: 0
    store.write("r/1/last", b"y" * 51)

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        store.write("r/1/next", b"z")
    assert [path.name for path in (tmp_path / "r" / "1").iterdir()] == ["last"]
