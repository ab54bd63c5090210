from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from worker import memory


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_VMSTAT", tmp_path / "vmstat")
    return tmp_path


def test_what_is_free_is_what_the_machine_and_the_container_both_have(cgroup: Path) -> None:
    free, total = memory.free_bytes(), memory.total_bytes()
    assert 0 < free <= psutil.virtual_memory().total == total
    (cgroup / "memory.max").write_text("max\n")
    (cgroup / "memory.current").write_text("500\n")
    assert memory.total_bytes() == total
    (cgroup / "memory.max").write_text("2000\n")
    assert memory.free_bytes() == 1500
    (cgroup / "memory.stat").write_text("anon 7\ninactive_file 100\n")
    assert memory.free_bytes() == 1600
    assert memory.total_bytes() == 2000


def test_the_kills_for_want_of_memory_are_counted_here_and_in_the_container(cgroup: Path) -> None:
    assert memory.out_of_memory_kills() == 0
    (cgroup / "vmstat").write_text("pgfault 9\noom_kill 2\n")
    assert memory.out_of_memory_kills() == 2
    (cgroup / "memory.events").write_text("oom 8\noom_kill 3\n")
    assert memory.out_of_memory_kills() == 5


def test_which_errors_mean_that_the_machine_has_no_memory_left() -> None:
    assert memory.is_host_out_of_memory(MemoryError())
    assert memory.is_host_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not memory.is_host_out_of_memory(RuntimeError("size mismatch"))
    assert not memory.is_host_out_of_memory(ValueError("can't allocate memory"))
