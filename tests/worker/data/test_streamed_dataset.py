"""Streamed batches: the same as resident ones to the last bit, gathered ahead, by threads that end."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.contract.datasets import DATASETS
from tests.worker.own_dataset import make_own_dataset
from worker.data import read_ahead, streamed_dataset
from worker.data.datasets import PARTS, Data, load
from worker.data.device_dataset import Augment, Resident, order
from worker.data.streamed_dataset import Streamed

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    monkeypatch.setattr(DATASETS, "_own", None)
    DATASETS.open(tmp_path)
    make_own_dataset(tmp_path)
    return load("flowers", ["class"], tmp_path, lambda text: None)


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that gathered a batch each."""
    names: list[str] = []
    gather = streamed_dataset._gather

    def watched(*arguments: Any, **options: Any) -> Tensor:
        names.append(threading.current_thread().name)
        return gather(*arguments, **options)

    monkeypatch.setattr(streamed_dataset, "_gather", watched)
    return names


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("images")]


def same_batch(one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]]) -> bool:
    (images, targets), (others, other_targets) = one, other
    return (
        torch.equal(images, others)
        and images.stride() == others.stride()
        and torch.equal(targets["class"], other_targets["class"])
    )


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("augment", [None, Augment(crop_padding=2, flip=True, rotation_degrees=15)])
def test_an_epoch_has_the_same_batches_to_the_last_bit_all_gathered_in_the_background(
    data: Data, gathered: list[str], memory_format: torch.memory_format, augment: Augment | None
) -> None:
    resident = Resident(data, CPU, memory_format=memory_format)
    with Streamed(data, CPU, memory_format=memory_format) as streamed:
        one, other = (torch.Generator().manual_seed(3) for _ in range(2))
        for epoch in range(2):
            batches = streamed.ahead("train", order(5, epoch, streamed.size("train"), 16, CPU))
            for block in torch.split(batches, 5):
                for indices in block:
                    expected = resident.batch("train", indices, augment=augment, generator=one)
                    assert same_batch(streamed.batch("train", indices, augment=augment, generator=other), expected)
    assert len(gathered) == 2 * (200 // 16)
    assert all(name.startswith("images") for name in gathered)


@pytest.mark.parametrize("part", PARTS)
def test_an_evaluation_has_the_same_batches_to_the_last_bit_all_gathered_in_the_background(
    data: Data, gathered: list[str], part: Any
) -> None:
    resident = Resident(data, CPU)
    with Streamed(data, CPU) as streamed:
        slices = streamed.evaluation(part, 7)
        assert slices == resident.evaluation(part, 7)
        assert all(same_batch(streamed.batch(part, rows), resident.batch(part, rows)) for rows in slices)
    assert len(gathered) == len(slices)
    assert all(name.startswith("images") for name in gathered)


def test_any_other_batch_can_be_requested_too_at_any_time(data: Data) -> None:
    resident = Resident(data, CPU)
    with Streamed(data, CPU) as streamed:
        batches = streamed.ahead("train", order(5, 0, 200, 16, CPU))
        requests: list[Tensor | slice] = [
            batches[3],  # skips three
            batches[1],  # one of these
            torch.tensor([7, 7, 199]),
            slice(10, 20),
            slice(None),
            batches[4],
        ]
        for indices in requests:
            assert same_batch(streamed.batch("train", indices), resident.batch("train", indices))
        streamed.evaluation("test", 8)
        assert same_batch(streamed.batch("train", batches[5]), resident.batch("train", batches[5]))
        assert same_batch(streamed.batch("test", slice(0, 8)), resident.batch("test", slice(0, 8)))


@pytest.mark.parametrize(("batches", "ahead"), [(0, 1), (1, 1), (2.5, 2), (99, 4)])
def test_no_more_batches_are_gathered_ahead_than_memory_allows(
    data: Data, monkeypatch: pytest.MonkeyPatch, batches: float, ahead: int
) -> None:
    monkeypatch.setattr(streamed_dataset, "AHEAD_BYTES", int(batches * 16 * 3 * 28 * 28))
    with Streamed(data, CPU) as streamed:
        for indices in streamed.ahead("train", order(5, 0, 200, 16, CPU))[:5]:
            assert len(streamed._pending) == ahead
            streamed.images("train", indices)


@pytest.mark.parametrize("known", [True, False])
def test_images_are_announced_to_the_system_unless_it_has_all_of_them_in_memory(
    data: Data, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    announced: list[list[int]] = []
    monkeypatch.setattr(read_ahead, "in_memory", lambda images: known)
    monkeypatch.setattr(read_ahead, "read_images", lambda images, rows: announced.append(rows))
    with Streamed(data, CPU) as streamed:
        batches = streamed.ahead("train", order(1, 0, streamed.size("train"), 4, CPU))
        for batch in batches:
            streamed.images("train", batch)
    assert sorted(announced) == ([] if known else sorted(batches.tolist()))


def test_the_threads_end_when_it_is_closed_in_the_middle_of_an_epoch_or_by_an_error(data: Data) -> None:
    streamed = Streamed(data, CPU)
    assert threads() == []
    batches = streamed.ahead("train", order(5, 0, 200, 16, CPU))
    streamed.images("train", batches[0])
    assert threads()
    streamed.close()
    streamed.close()
    assert threads() == []
    with suppress(KeyError), streamed:
        streamed.ahead("train", batches)
        assert threads()
        raise KeyError
    assert threads() == []


def test_an_error_while_gathering_is_raised_where_the_batch_is_requested(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, announce: bool) -> Tensor:
        raise OSError("the disk is gone")

    monkeypatch.setattr(streamed_dataset, "_gather", failing)
    with Streamed(data, CPU) as streamed, pytest.raises(OSError, match="the disk is gone"):
        streamed.images("train", streamed.ahead("train", order(5, 0, 200, 16, CPU))[0])


def test_large_images_are_evaluated_in_smaller_batches(data: Data) -> None:
    resident = Resident(data, CPU)
    assert resident.at_most(16384) == 16384
    resident.shape = (3, 224, 224)
    assert resident.at_most(16384) == 1700
    assert resident.at_most(256) == 256
