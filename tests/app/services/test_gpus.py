"""A machine with several GPUs gets a worker for each; a fake nvidia-smi program stands in for the driver."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from app.contract.settings import Settings
from app.services.embedded import LocalStack
from app.services.gpus import count_gpus, worker_devices

LISTING = "GPU 0: NVIDIA H100 (UUID: GPU-1)\nGPU 1: NVIDIA H100 (UUID: GPU-2)\nGPU 2: NVIDIA H100 (UUID: GPU-3)\n"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program that lists three GPUs."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] || exit 9\ncat <<'END'\n{LISTING}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def test_gpus_are_counted_as_a_worker_would_find_them(driver: Path) -> None:
    assert count_gpus({}) == 3
    for visible, many in (("0,2", 2), ("1", 1), ("", 0), ("-1", 0), ("0,-1,2", 1), ("0,1,2,3,4", 3)):
        assert count_gpus({"CUDA_VISIBLE_DEVICES": visible}) == many


def test_a_machine_without_the_driver_or_with_a_broken_one_has_none(driver: Path) -> None:
    driver.write_text("#!/bin/sh\necho 'GPU 0: x'\nexit 9\n")
    assert count_gpus({}) == 0
    driver.write_text("no program")
    assert count_gpus({}) == 0
    driver.unlink()
    assert count_gpus({}) == 0


def test_every_gpu_has_a_worker_unless_one_was_named(driver: Path) -> None:
    assert worker_devices("auto", {}) == worker_devices("cuda", {}) == ["cuda:0", "cuda:1", "cuda:2"]
    assert worker_devices("cuda:1", {}) == ["cuda:1"]
    assert worker_devices("cpu", {}) == ["cpu"]
    assert worker_devices("auto", {"CUDA_VISIBLE_DEVICES": "1"}) == ["auto"]
    driver.unlink()
    assert worker_devices("auto", {}) == ["auto"]


def test_up_starts_and_stops_them_all(driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = LocalStack(Settings(data_dir=tmp_path / "yard", redis_url="redis://127.0.0.1:1", port=0))
    monkeypatch.setattr(yard, "_until", lambda *_: True)
    monkeypatch.setattr("app.services.embedded.check_redis", lambda _: None)
    monkeypatch.setattr("app.services.embedded.sys.executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "python").chmod(0o755)
    try:
        assert yard._start_all()
        workers = {name: child for name, child in yard._children.items() if name.startswith("worker")}
        devices = {name: child.environment["RUNYARD_DEVICE"] for name, child in workers.items()}
        assert devices == {"worker": "cuda:0", "worker-2": "cuda:1", "worker-3": "cuda:2"}
        assert len({child.log for child in workers.values()}) == 3
    finally:
        yard._stop_all()
    ended = [child.process.returncode for child in yard._children.values() if child.process is not None]
    assert ended == [-signal.SIGTERM] * 5
