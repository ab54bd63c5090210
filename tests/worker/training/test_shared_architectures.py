from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import models
from app.contract.command_key import architecture_key, ensure_key, read_key
from app.contract.settings import Settings
from app.contract.shared_files import KEY_NAME, SharedFolder
from app.services.sharing import SharedArchitectures, Sharing
from worker.job import Job
from worker.reporting.progress import ProgressReporter
from worker.training.checkpoint_file import Store
from worker.training.shared_architectures import with_architectures

REPORTER = ProgressReporter(list[str]().append)


@pytest.fixture
def server(tmp_path: Path) -> Settings:
    """A server with an architecture of its own."""
    for name in ("server", "nets", "worker"):
        (tmp_path / name).mkdir()
    (tmp_path / "nets" / "mine.py").write_text("x = 1\n")
    return Settings(data_dir=tmp_path / "server", artifact_url=str(tmp_path / "store"), models_path=tmp_path / "nets")


@pytest.fixture
def shared(server: Settings) -> SharedFolder:
    """What the server shares."""
    architectures = SharedArchitectures(server)
    found = architectures.now()
    Sharing(server, architectures).step()
    assert found is not None
    return found


@pytest.fixture
def worker(tmp_path: Path) -> Settings:
    """Another machine."""
    return Settings(data_dir=tmp_path / "worker", artifact_url=str(tmp_path / "store"))


def job(settings: Settings, shared: SharedFolder | None, family: str = "mine") -> Job:
    config: Any = SimpleNamespace(family=family)
    return Job("r1", 1, 1, cast(Any, config), None, settings, "cpu", 1, architectures=shared)


def write_key(server: Settings, worker: Settings) -> Path:
    """What `runyard join` does."""
    path = worker.data_dir / KEY_NAME
    path.write_text(architecture_key(read_key(ensure_key(server.data_dir))).hex())
    os.chmod(path, 0o600)
    return path


def test_a_machine_that_joined_gets_what_the_server_signed(
    server: Settings, worker: Settings, shared: SharedFolder
) -> None:
    write_key(server, worker)
    for _ in range(2):
        found = with_architectures(job(worker, shared), Store(worker.artifacts), REPORTER)
        folder = found.settings.models_path
        assert folder == worker.data_dir / "architectures" / shared.digest[:16]
        assert (folder / "mine.py").read_text() == "x = 1\n"


def test_a_worker_of_the_servers_machine_derives_the_key(server: Settings, shared: SharedFolder) -> None:
    settings = server.model_copy(update={"models_path": None})
    found = with_architectures(job(settings, shared), Store(server.artifacts), REPORTER)
    assert found.settings.models_path is not None


def test_nothing_that_is_not_signed_reaches_the_disk(server: Settings, worker: Settings, shared: SharedFolder) -> None:
    with pytest.raises(models.UnknownArchitecture, match="mine is not on this machine: this worker has no key to tell"):
        with_architectures(job(worker, shared), Store(worker.artifacts), REPORTER)
    key = write_key(server, worker)
    for forged in (shared.signed(b"another key"), shared.model_copy(update={"signature": ""})):
        with pytest.raises(models.UnknownArchitecture, match="are not signed with the key that this worker has"):
            with_architectures(job(worker, forged), Store(worker.artifacts), REPORTER)
    os.chmod(key, 0o644)
    with pytest.raises(models.UnknownArchitecture, match="must belong to you and be readable by you alone"):
        with_architectures(job(worker, shared), Store(worker.artifacts), REPORTER)
    assert not (worker.data_dir / "architectures").exists()


def test_a_file_that_was_replaced_in_the_store_is_not_used(
    server: Settings, worker: Settings, shared: SharedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.data.shared_files.LOOK_SECONDS", 0.001)
    write_key(server, worker)
    Store(worker.artifacts).write(shared.files[0].path, b"import os\n")
    with pytest.raises(models.UnknownArchitecture, match=r"could not fetch mine\.py .* another SHA-256"):
        with_architectures(job(worker, shared), Store(worker.artifacts), REPORTER)


def test_a_worker_needs_nothing_for_what_it_has(server: Settings, worker: Settings, shared: SharedFolder) -> None:
    for settings, given, family in (
        (worker, shared, "simple_mlp"),
        (worker, None, "mine"),
        (worker.model_copy(update={"models_path": server.models_path}), shared, "mine"),
    ):
        before = job(settings, given, family)
        assert with_architectures(before, Store("memory://none"), REPORTER) is before
