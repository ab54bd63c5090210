"""Backs up a data folder while Runyard runs: the database, artifacts, own datasets and reports not committed yet.

A backup is a tar file, whose last member is the manifest: a backup without one is incomplete. The database is copied
last, by SQLite's own backup: every file it names was there before, and a report that is not in it yet is in a spool.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from _runyard import __version__
from app.contract.command_key import NAME as KEY_FILE
from app.contract.settings import Settings
from app.services.data_folder import StartError, check_not_moved
from app.services.run_files import key_path
from app.store.database_copy import copy_database

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DATABASE: Final = "runyard.db"
DOWNLOADS: Final = "datasets"
SNAPSHOTS: Final = 5
"""How often the database is copied at most, because a checkpoint it names was replaced before it could be copied."""
CHUNK: Final = 2**20

Told = Callable[[int], None]


class BackupError(RuntimeError):
    """No backup was made; the message says why."""


@dataclass(frozen=True)
class Member:
    """A file of a backup: its size in bytes and the SHA-256 of its content."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup contains. ``missing``: files that the database names, but that no longer exist.

    ``created_at``: seconds since 1970, UTC. ``revision``: of the database. ``left_out``: sentences.
    """

    version: str
    revision: str
    created_at: float
    runs: int
    members: dict[str, Member]
    missing: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    format: int = FORMAT

    def to_json(self) -> bytes:
        """The last member of the backup."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """Inverse of to_json. Raises ValueError, KeyError or TypeError."""
        found = json.loads(content)
        return cls(**found | {"members": {name: Member(**member) for name, member in found["members"].items()}})

    @property
    def bytes(self) -> int:
        """Bytes of all members."""
        return sum(member.bytes for member in self.members.values())


def back_up(settings: Settings, target: Path, downloads: bool = False, told: Told = lambda written: None) -> Manifest:
    """Write a backup of the data folder to ``target``, which appears only once it is complete.

    ``downloads`` includes the built-in datasets. ``told`` is called with the bytes written so far. Raises BackupError.
    """
    folder = settings.data_dir.absolute()
    if settings.database_url is not None and not settings.database_url.startswith("sqlite:///"):
        raise BackupError("only yards with SQLite can be backed up; use pg_dump for PostgreSQL, and copy the artifacts")
    if settings.database_url is None:
        try:
            check_not_moved(folder)
        except StartError as error:
            raise BackupError(str(error)) from error
    database = Path(settings.database.removeprefix("sqlite:///"))
    if not database.is_file():
        raise BackupError(f"there is no Runyard in {folder}: {database} does not exist")
    if target.exists():
        raise BackupError(f"{target} exists already; choose another name")
    part = target.with_name(target.name + ".part")
    try:
        # It contains secrets: the key of commands, and those of webhooks.
        with open(part, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            manifest = _Backup(settings, database, downloads, _Archive(file, told)).write()
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, target)
        _sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise BackupError(_reason(error, target)) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return manifest


def _reason(error: OSError | sqlite3.Error, target: Path) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full; nothing is left of {target}"
    if isinstance(error, OSError):
        return f"cannot back up: {error.filename or target}: {error.strerror}"
    return f"cannot back up: the database cannot be read ({error})"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Archive:
    """Writes a tar file, and remembers every member's size and checksum."""

    def __init__(self, file: BinaryIO, told: Told) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)
        self._told = told
        self._written = 0
        self._states: dict[str, tuple[int, int, int]] = {}
        self.members: dict[str, Member] = {}

    def add(self, name: str, path: Path) -> None:
        """Add a file, unless it is in the archive as it is now; later additions of a name replace earlier ones.

        A file that was removed in the meantime is left out. Raises BackupError, OSError.
        """
        try:
            file = open(path, "rb")
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            state = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._states.get(name) != state:
                self._add(name, file, status)
                self._states[name] = state

    def add_content(self, name: str, content: bytes) -> None:
        """Add a member that is no file."""
        information = tarfile.TarInfo(name)
        information.size, information.mtime, information.mode = len(content), int(time.time()), 0o600
        self._tar.addfile(information, io.BytesIO(content))

    def close(self) -> None:
        """Write the end of the archive."""
        self._tar.close()

    def _add(self, name: str, file: BinaryIO, status: os.stat_result) -> None:
        information = tarfile.TarInfo(name)
        information.size, information.mtime = status.st_size, int(status.st_mtime)
        information.mode = stat.S_IMODE(status.st_mode)
        reader = _Hashing(file, self._count)
        try:
            self._tar.addfile(information, reader)
        except OSError as error:
            # What tarfile raises, without a number, for a file that has become shorter.
            if error.errno is None:
                raise BackupError(f"{name} changed while it was copied; try again") from error
            raise
        self.members[name] = Member(status.st_size, reader.digest())

    def _count(self, read: int) -> None:
        self._written += read
        self._told(self._written)


class _Hashing(io.RawIOBase):
    """A file that hashes what is read from it."""

    def __init__(self, file: BinaryIO, read: Callable[[int], None]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._read = read

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._hash.update(content)
        self._read(len(content))
        return content

    def digest(self) -> str:
        return self._hash.hexdigest()


class _Backup:
    """One backup."""

    def __init__(self, settings: Settings, database: Path, downloads: bool, archive: _Archive) -> None:
        self._settings = settings
        self._folder = settings.data_dir.absolute()
        self._database = database
        self._downloads = downloads
        self._archive = archive
        self._artifacts = None if "://" in settings.artifacts else Path(settings.artifacts)

    def write(self) -> Manifest:
        self._add_tree(self._folder / "datasets" / "own", "datasets/own")
        if self._downloads:
            for name, path in _files(self._folder / "datasets"):
                if name.split("/")[0] not in ("own", "imports") and not name.endswith(".lock"):
                    self._archive.add(f"datasets/{name}", path)
        if (self._folder / KEY_FILE).exists():
            self._archive.add(KEY_FILE, self._folder / KEY_FILE)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".backup-") as own:
            copy = Path(own) / DATABASE
            missing = self._copy_consistently(copy, Path(own) / "spool")
            for name, path in _files(Path(own) / "spool"):
                self._archive.add(f"spool/{name}", path)
            self._archive.add(DATABASE, copy)
            revision, runs = _summary(copy)
        members = self._archive.members
        manifest = Manifest(__version__, revision, time.time(), runs, dict(members), missing, self._left_out())
        self._archive.add_content(MANIFEST, manifest.to_json())
        self._archive.close()
        return manifest

    def _copy_consistently(self, copy: Path, spool: Path) -> list[str]:
        """Copy spools and the database until all files it names are in the archive; returns those that are gone."""
        self._add_artifacts()
        missing: list[str] = []
        for _ in range(SNAPSHOTS):
            earlier = missing
            # Before the database: what it does not contain yet is still in a spool at this moment.
            _copy_spools(self._settings.spool, spool)
            copy_database(self._database, copy)
            if self._artifacts is None:
                return []
            self._add_artifacts()
            missing = sorted(name for name in _named(copy) if f"artifacts/{name}" not in self._archive.members)
            if missing == earlier:
                break
        return missing

    def _add_artifacts(self) -> None:
        if self._artifacts is not None:
            self._add_tree(self._artifacts, "artifacts")

    def _add_tree(self, folder: Path, prefix: str) -> None:
        for name, path in _files(folder):
            # A name with .new is a checkpoint that is being written. A script's file has its own name from the start:
            # the pass after the copy of the database, which names complete ones only, replaces a part of it.
            if not name.endswith(".new"):
                self._archive.add(f"{prefix}/{name}", path)

    def _left_out(self) -> list[str]:
        sentences = [] if self._downloads else ["built-in datasets are left out; they are downloaded again when needed"]
        if self._artifacts is None:
            sentences.append(f"artifacts are left out, since they are in {self._settings.artifacts}")
        if self._settings.models_path is not None:
            sentences.append(f"your architectures in {self._settings.models_path} are left out")
        return sentences


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names relative to a folder, and paths, of all files in it, without links."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if not path.is_symlink():
                yield path.relative_to(folder).as_posix(), path


def _copy_spools(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    # A file may be emptied at any moment, once all of it is committed: then the database will have it.
    for name, path in _files(source):
        try:
            (target / name).write_bytes(path.read_bytes())
        except FileNotFoundError:
            continue


def _named(database: Path) -> set[str]:
    """Paths in the artifact store that a database names."""
    with closing(sqlite3.connect(database)) as connection:
        columns = ("checkpoint", "best_checkpoint")
        parts = [f"SELECT json_extract({name}, '$.path') FROM run WHERE {name} <> ''" for name in columns]
        parts += ["SELECT path FROM kept_checkpoint", "SELECT path FROM prediction_file"]
        named = {path for (path,) in connection.execute(" UNION ".join(parts)) if path}
        return named | {key_path(run, key) for run, key in connection.execute("SELECT run, key FROM run_file")}


def _summary(database: Path) -> tuple[str, int]:
    """The revision of a database, and its number of runs."""
    with closing(sqlite3.connect(database)) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        (runs,) = connection.execute("SELECT count(*) FROM run WHERE deleted_at IS NULL").fetchone()
        return str(revision), int(runs)
