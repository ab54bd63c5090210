"""Where a run's images are: in memory if they take at most a share of what is free, otherwise streamed."""

from pathlib import Path

import pytest
import torch

from worker import memory
from worker.data.datasets import Data, load
from worker.data.device_dataset import Resident
from worker.data.inputs import Inputs
from worker.data.residence import Residence, format_bytes
from worker.data.streamed_dataset import Streamed

CPU = torch.device("cpu")
SIZE = 1797 * 28 * 28


@pytest.fixture
def digits(datasets: Path) -> Data:
    return load("digits", ["digit"], datasets, lambda text: None)


@pytest.mark.parametrize(
    ("free", "share", "text"),
    [
        (2 * SIZE, 0.5, "in memory (1.41 MB)"),
        (2 * SIZE - 1, 0.5, "streamed from disk (1.41 MB; more than half of the 2.82 MB of free memory)"),
        (4 * SIZE, 0.125, "streamed from disk (1.41 MB; more than 12.5% of the 5.64 MB of free memory)"),
        (2**60, 0.0, "streamed from disk (1.41 MB; RUNYARD_RESIDENT_SHARE is 0)"),
        (SIZE, 1.0, "in memory (1.41 MB)"),
    ],
)
def test_images_are_in_memory_up_to_the_share_and_it_is_said_in_a_phrase(
    digits: Data, monkeypatch: pytest.MonkeyPatch, free: int, share: float, text: str
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: free)
    residence = Residence.choose(digits, CPU, share)
    assert residence.text == text
    assert residence.in_memory == text.startswith("in memory")
    assert type(residence.hold(digits, CPU, inputs=Inputs.of(digits))) is (
        Resident if residence.in_memory else Streamed
    )


def test_on_a_gpu_its_own_free_memory_counts(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * SIZE, 2**60))
    assert Residence.choose(digits, torch.device("cuda"), 0.5).text == "in GPU memory (1.41 MB)"
    text = "streamed from disk (1.41 MB; more than 40% of the 2.82 MB of free GPU memory)"
    assert Residence.choose(digits, torch.device("cuda"), 0.4).text == text


def test_sizes_have_three_digits() -> None:
    sizes = (120_000_000, 999_400_000, 999_600_000, 12_000_000_000)
    assert [format_bytes(size) for size in sizes] == ["120 MB", "999 MB", "1 GB", "12 GB"]
