"""A backup contains everything that was acknowledged, is whole or absent, and comes back as it was or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.contract.settings import Settings
from app.services import backup
from app.services.backup import MANIFEST, BackupError, Manifest, Member, back_up
from app.services.restore import restore
from app.store.database import writing
from app.store.database_copy import copy_database
from tests.conftest import Runs

pytestmark = pytest.mark.sqlite


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("runyard.db")
    }


def members(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        return opened.getnames()


@pytest.fixture
def folder(settings: Settings, engine: Engine) -> Path:
    """A data folder with a run that has a checkpoint."""
    runs = Runs(engine)
    run = runs.add()
    runs.set(run, checkpoint=f'{{"path":"{run}/1/last-9.safetensors"}}')
    folder = settings.data_dir.absolute()
    fill(folder, {f"artifacts/{run}/1/last-9.safetensors": b"weights", f"artifacts/{run}/1/best.safetensors": b"best"})
    return folder


def test_a_backup_restores_the_database_and_every_file_but_what_can_be_had_again(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    kept = {
        "artifacts/r_1/files/k_1": bytes(range(256)) * 9000,
        "artifacts/empty": b"",
        "datasets/own/flowers/abc/images.npy": b"pixels",
        "datasets/own/.trash/old@1/abc/images.npy": b"trashed",
        "spool/r_1.1.0": b"report",
        "exec.key": b"0" * 64,
    }
    left_out = {
        "artifacts/r_1/1/last-10.safetensors.new": b"half",
        "datasets/prepared/mnist.safetensors": b"downloaded",
        "datasets/imports/one/draft": b"draft",
        "logs/server.log": b"log",
        "redis/appendonly.aof": b"redis",
        "catalog.json": b"{}",
    }
    before = contents(folder)
    fill(folder, kept | left_out)
    (folder / "exec.key").chmod(0o600)
    manifest = back_up(settings, tmp_path / "yard.tar")
    restored = restore(tmp_path / "yard.tar", tmp_path / "new" / "data")
    found = contents(tmp_path / "new" / "data")
    assert found == {name: content for name, content in before.items() if name.startswith("artifacts")} | kept
    assert restored == manifest
    assert (manifest.runs, manifest.missing) == (1, [])
    assert manifest.left_out == ["built-in datasets are left out; they are downloaded again when needed"]
    assert stat.S_IMODE((tmp_path / "new" / "data" / "exec.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "yard.tar").stat().st_mode) == 0o600
    with closing(sqlite3.connect(tmp_path / "new" / "data" / "runyard.db")) as copy:
        assert copy.execute("SELECT count(*) FROM run").fetchone() == (1,)
    assert not list(folder.glob(".backup-*"))


def test_built_in_datasets_are_included_on_request(settings: Settings, folder: Path, tmp_path: Path) -> None:
    fill(folder, {"datasets/prepared/mnist.safetensors": b"pixels", "datasets/prepared/mnist.lock": b""})
    manifest = back_up(settings, tmp_path / "yard.tar", downloads=True)
    assert manifest.left_out == []
    assert [name for name in members(tmp_path / "yard.tar") if "prepared" in name] == [
        "datasets/prepared/mnist.safetensors"
    ]


def test_a_checkpoint_that_is_replaced_during_the_backup_is_in_it_with_the_row_that_names_it(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = [path.name for path in (folder / "artifacts").iterdir()]
    copies: list[int] = []

    def train_on(source: Path, target: Path) -> None:
        """Just after each of the first three copies, a newer checkpoint replaces the one that was copied."""
        copy(source, target)
        copies.append(1)
        if len(copies) <= 3:
            step = 9 + len(copies)
            fill(folder, {f"artifacts/{run}/1/last-{step}.safetensors": b"%d" % step})
            Runs(engine).set(run, checkpoint=f'{{"path":"{run}/1/last-{step}.safetensors"}}')
            (folder / f"artifacts/{run}/1/last-{step - 1}.safetensors").unlink()

    copy = copy_database
    monkeypatch.setattr(backup, "copy_database", train_on)
    fill(folder, {f"artifacts/{run}/1/last-9.safetensors": b"9"})
    # The first pass has not seen it yet.
    (folder / f"artifacts/{run}/1/last-9.safetensors").rename(folder / "hidden")
    seen = backup._Backup._add_artifacts

    def appear(self: Any) -> None:
        seen(self)
        if (folder / "hidden").exists():
            (folder / "hidden").rename(folder / f"artifacts/{run}/1/last-9.safetensors")

    monkeypatch.setattr(backup._Backup, "_add_artifacts", appear)
    manifest = back_up(settings, tmp_path / "yard.tar")
    assert manifest.missing == []
    restore(tmp_path / "yard.tar", tmp_path / "restored")
    with closing(sqlite3.connect(tmp_path / "restored" / "runyard.db")) as restored:
        (path,) = restored.execute("SELECT json_extract(checkpoint, '$.path') FROM run").fetchone()
    assert (tmp_path / "restored" / "artifacts" / path).exists()


def test_a_file_that_a_script_was_still_sending_is_whole_if_the_database_names_it(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = [path.name for path in (folder / "artifacts").iterdir()]
    fill(folder, {f"artifacts/{run}/files/k_1": b"first half, "})
    copy = backup._copy_spools

    def arrive(source: Path, target: Path) -> None:
        """The rest arrives after the first pass over the artifacts, and before the database is copied."""
        with open(folder / f"artifacts/{run}/files/k_1", "ab") as file:
            file.write(b"second half")
        with writing(engine) as connection:
            connection.execute(
                text("INSERT INTO run_file (run, path, key, bytes, created_at) VALUES (:run, 'a.txt', 'k_1', 23, 1.0)"),
                {"run": run},
            )
        copy(source, target)

    monkeypatch.setattr(backup, "_copy_spools", arrive)
    assert back_up(settings, tmp_path / "yard.tar").missing == []
    restore(tmp_path / "yard.tar", tmp_path / "restored")
    assert (tmp_path / "restored" / f"artifacts/{run}/files/k_1").read_bytes() == b"first half, second half"


def test_files_that_the_database_names_but_nobody_has_are_told(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    (run,) = [path.name for path in (folder / "artifacts").iterdir()]
    (folder / f"artifacts/{run}/1/last-9.safetensors").unlink()
    manifest = back_up(settings, tmp_path / "yard.tar")
    assert manifest.missing == [f"{run}/1/last-9.safetensors"]
    assert restore(tmp_path / "yard.tar", tmp_path / "restored").missing == manifest.missing


def test_artifacts_elsewhere_and_own_architectures_are_said_to_be_left_out(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    elsewhere = settings.model_copy(update={"artifact_url": "s3://bucket/yard", "models_path": Path("/models")})
    manifest = back_up(elsewhere, tmp_path / "yard.tar")
    assert manifest.left_out[1:] == [
        "artifacts are left out, since they are in s3://bucket/yard",
        "your architectures in /models are left out",
    ]
    assert not any(name.startswith("artifacts/") for name in manifest.members)


@pytest.mark.parametrize("when", ["full", "interrupted"])
def test_a_backup_that_breaks_off_leaves_nothing(
    settings: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if when == "full" else KeyboardInterrupt()

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(backup, "copy_database", fail)
    (tmp_path / "out").mkdir()
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(BackupError if when == "full" else KeyboardInterrupt) as raised:
        back_up(settings, tmp_path / "out" / "yard.tar")
    assert when != "full" or str(raised.value) == f"the disk is full; nothing is left of {tmp_path / 'out/yard.tar'}"
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(path.name for path in folder.iterdir()) == before


def test_nothing_is_overwritten(settings: Settings, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "yard.tar").write_text("mine")
    with pytest.raises(BackupError, match=r"yard\.tar exists already; choose another name"):
        back_up(settings, tmp_path / "yard.tar")
    back_up(settings, tmp_path / "other.tar")
    fill(tmp_path / "restored", {"file": b"mine"})
    with pytest.raises(BackupError, match="is not empty; a backup is restored into a new folder"):
        restore(tmp_path / "other.tar", tmp_path / "restored")
    assert contents(tmp_path / "restored") == {"file": b"mine"}
    assert (tmp_path / "yard.tar").read_text() == "mine"


def test_where_there_is_no_yard_or_another_database_that_is_said(settings: Settings, tmp_path: Path) -> None:
    nowhere = settings.model_copy(update={"data_dir": tmp_path / "nowhere"})
    with pytest.raises(BackupError, match=r"there is no Runyard in .*nowhere"):
        back_up(nowhere, tmp_path / "yard.tar")
    other = settings.model_copy(update={"database_url": "postgresql://host/yard"})
    with pytest.raises(BackupError, match="only yards with SQLite can be backed up; use pg_dump"):
        back_up(other, tmp_path / "yard.tar")


@pytest.fixture
def archive(settings: Settings, folder: Path, tmp_path: Path) -> Path:
    """A backup."""
    back_up(settings, tmp_path / "yard.tar")
    return tmp_path / "yard.tar"


def refused(archive: Path, folder: Path) -> str:
    """Why a backup is not restored; nothing of it stays."""
    beside = set(folder.parent.iterdir())
    with pytest.raises(BackupError) as raised:
        restore(archive, folder)
    assert set(folder.parent.iterdir()) == beside
    return str(raised.value)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_backup_with_any_byte_changed_or_any_end_missing_is_refused_or_restores_the_same(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(archive.read_bytes())
    with tarfile.open(archive) as opened:
        end = opened.getmember(MANIFEST).offset_data + opened.getmember(MANIFEST).size
    place = data.draw(st.integers(0, end - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("restored")
    (folder / "yard.tar").write_bytes(content)
    try:
        restore(folder / "yard.tar", folder / "data")
    except BackupError:
        assert sorted(path.name for path in folder.iterdir()) == ["yard.tar"]
    else:
        restore(archive, folder / "other")
        assert contents(folder / "data") == contents(folder / "other")
        assert (folder / "data/runyard.db").read_bytes() == (folder / "other/runyard.db").read_bytes()


def packed(path: Path, files: dict[str, bytes], manifest: Manifest | None = None) -> Path:
    """A tar file with these members, and a manifest that is right about them unless another is given."""
    hashes = {name: Member(len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()}
    manifest = manifest or Manifest("0.2.0", "0001", 1.0, 0, hashes)
    with tarfile.open(path, "w") as archive:
        for name, content in {**files, MANIFEST: manifest.to_json()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "artifacts/../../evil", "unknown/file", "redis/appendonly.aof", "spool/../x"]
)
def test_a_name_that_no_backup_has_is_refused(tmp_path: Path, name: str) -> None:
    said = refused(packed(tmp_path / "evil.tar", {name: b"evil"}), tmp_path / "restored")
    assert said == f"{name!r} does not belong into a backup of Runyard"


def test_a_link_in_a_backup_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        link = tarfile.TarInfo("artifacts/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert "is not a file" in refused(tmp_path / "evil.tar", tmp_path / "restored")


def test_a_backup_of_a_newer_version_says_so(tmp_path: Path, archive: Path) -> None:
    with tarfile.open(archive) as opened:
        file = opened.extractfile("runyard.db")
        assert file is not None
        database = file.read()
    member = Member(len(database), hashlib.sha256(database).hexdigest())
    newer = Manifest("9.1.0", "9999", 1.0, 0, {"runyard.db": member})
    said = refused(packed(tmp_path / "newer.tar", {"runyard.db": database}, newer), tmp_path / "restored")
    assert said == "this backup was made by Runyard 9.1.0, which has a newer database; update Runyard first"
    other = Manifest("9.1.0", "0001", 1.0, 0, {"runyard.db": member}, format=2)
    said = refused(packed(tmp_path / "other.tar", {"runyard.db": database}, other), tmp_path / "restored")
    assert said == "this backup has format 2, which this Runyard (1) does not know"


def test_a_damaged_database_and_none_are_refused(tmp_path: Path) -> None:
    assert refused(packed(tmp_path / "a.tar", {}), tmp_path / "restored") == "the backup contains no database"
    said = refused(
        packed(tmp_path / "b.tar", {"runyard.db": b"SQLite format 3\0" + b"x" * 5000}), tmp_path / "restored"
    )
    assert said.startswith("the backup's database is damaged")


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("some text")
    assert "is not a backup of Runyard" in refused(tmp_path / "text", tmp_path / "restored")
    assert refused(tmp_path / "nowhere", tmp_path / "restored") == (
        f"cannot restore: {tmp_path / 'nowhere'}: No such file or directory"
    )


def test_a_full_disk_ends_a_restore_without_a_trace(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("app.services.restore._write", lambda content, path, mode: full(content))
    assert refused(archive, tmp_path / "restored") == "the disk is full; nothing was restored"
