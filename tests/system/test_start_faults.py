"""Each fault at the start, made for real: one sentence on standard error, exit status 1, and no traceback."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.services.embedded import find_redis, redis_command
from app.store.database import migrate, open_database
from tests.conftest import until
from tests.system.running_yard import ROOT

COMPONENTS = ("up", "server", "recorder", "worker")
DOCUMENTED = (ROOT / "docs" / "troubleshooting.md").read_text()


@dataclass
class Fault:
    """How to start a command so that it meets a fault."""

    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()


Make = Callable[[Path, ExitStack], Fault]


def as_owner_only() -> tuple[str, ...]:
    """What starts a command for which permissions count, also if root runs the tests."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores permissions, and there is no setpriv to change that")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


def unwritable(folder: Path, stack: ExitStack) -> Fault:
    (folder / "data").mkdir(mode=0o500)
    return Fault(prefix=as_owner_only())


def read_only_database(folder: Path, stack: ExitStack) -> Fault:
    new_database(folder)
    (folder / "data" / "runyard.db").chmod(0o400)
    return Fault(prefix=as_owner_only())


def not_a_folder(folder: Path, stack: ExitStack) -> Fault:
    (folder / "data").touch()
    return Fault()


def read_only_disk(folder: Path, stack: ExitStack) -> Fault:
    stack.enter_context(mounted(folder / "data", "ro"))
    return Fault()


def full_disk(folder: Path, stack: ExitStack) -> Fault:
    stack.enter_context(mounted(folder / "data", "size=64k"))
    filler = folder / "data" / "filler"
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    assert filler.stat().st_size == 64 * 1024
    return Fault()


def new_database(folder: Path) -> Path:
    (folder / "data").mkdir()
    path = folder / "data" / "runyard.db"
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


def damaged_database(folder: Path, stack: ExitStack) -> Fault:
    path = new_database(folder)
    content = path.read_bytes()
    path.write_bytes(b"\xff" * 200 + content[200:])
    return Fault()


def foreign_database(folder: Path, stack: ExitStack) -> Fault:
    (folder / "data").mkdir()
    with closing(sqlite3.connect(folder / "data" / "runyard.db")) as other:
        other.execute("CREATE TABLE recipes (cake TEXT)")
    return Fault()


def newer_database(folder: Path, stack: ExitStack) -> Fault:
    with closing(sqlite3.connect(new_database(folder))) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    return Fault()


def port_in_use(folder: Path, stack: ExitStack) -> Fault:
    taken = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
    return Fault({"RUNYARD_PORT": str(taken.getsockname()[1])})


def second_up(folder: Path, stack: ExitStack) -> Fault:
    (folder / "data").mkdir()
    lock = stack.enter_context(open(folder / "data" / "up.lock", "a+"))
    fcntl.flock(lock, fcntl.LOCK_EX)
    return Fault()


def wrong_password(folder: Path, stack: ExitStack) -> Fault:
    address = stack.enter_context(redis("--requirepass", "secret"))
    return Fault({"RUNYARD_REDIS_URL": address.replace("unix://", "unix://:wrong@")})


def careless_redis(folder: Path, stack: ExitStack) -> Fault:
    return Fault({"RUNYARD_REDIS_URL": stack.enter_context(redis("--appendonly", "no"))})


def old_redis(folder: Path, stack: ExitStack) -> Fault:
    """A server that speaks just enough of Redis' protocol: one before 6.0 does not know HELLO."""
    listening = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
    threading.Thread(target=_answer_as_old_redis, args=(listening,), daemon=True).start()
    return Fault({"RUNYARD_REDIS_URL": f"redis://127.0.0.1:{listening.getsockname()[1]}/0"})


def _answer_as_old_redis(listening: socket.socket) -> None:
    def answer(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while header := lines.readline():
                words = []
                for _ in range(int(header[1:])):
                    words.append(lines.read(int(lines.readline()[1:]) + 2).strip().upper())
                known = words[0] in (b"PING", b"SELECT")
                connection.sendall(b"+OK\r\n" if known else b"-ERR unknown command '%s'\r\n" % words[0])

    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def no_gpu(folder: Path, stack: ExitStack) -> Fault:
    address = stack.enter_context(redis())
    return Fault({"RUNYARD_REDIS_URL": address, "RUNYARD_DEVICE": "cuda:99", "CUDA_VISIBLE_DEVICES": ""})


def missing_driver(folder: Path, stack: ExitStack) -> Fault:
    return Fault({"RUNYARD_DATABASE_URL": "mysql://root@127.0.0.1/runyard"})


@contextmanager
def redis(*options: str) -> Iterator[str]:
    """A Redis with these options; gives its address, without a password."""
    with tempfile.TemporaryDirectory(prefix="ry", dir="/tmp") as folder:
        unix_socket = Path(folder) / "redis.sock"
        command = [*redis_command(find_redis(), Path(folder), unix_socket), *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                until(unix_socket.exists)
                yield f"unix://{unix_socket}"
            finally:
                process.terminate()


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("cannot mount a small disk: run this test as root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


FAULTS: dict[str, tuple[Make, tuple[str, ...], str]] = {
    "no permission": (unwritable, COMPONENTS, "cannot write to the data folder FOLDER (FOLDER: Permission denied);"),
    "database of another user": (
        read_only_database,
        COMPONENTS,
        "cannot write to the data folder FOLDER (FOLDER/runyard.db: Permission denied);",
    ),
    "not a folder": (not_a_folder, COMPONENTS, "cannot write to the data folder FOLDER (FOLDER: File exists);"),
    "read-only disk": (
        read_only_disk,
        COMPONENTS,
        "cannot write to the data folder FOLDER (FOLDER: Read-only file system);",
    ),
    "full disk": (full_disk, COMPONENTS, "the disk of FOLDER is full; free some space and start again"),
    "damaged database": (
        damaged_database,
        ("up", "server", "recorder"),
        "the database FOLDER/runyard.db is damaged; restore a backup into another folder (`runyard restore`)",
    ),
    "database of another program": (
        foreign_database,
        ("up", "server", "recorder"),
        "FOLDER/runyard.db is the database of another program; choose another data folder or database",
    ),
    "database of a newer version": (
        newer_database,
        ("up", "server", "recorder"),
        "the database was last used by a newer Runyard (revision 9999); install that version, or restore a backup of"
        " this one into another data folder",
    ),
    "unknown database": (
        missing_driver,
        ("up", "server", "recorder"),
        "RUNYARD_DATABASE_URL must name a PostgreSQL database",
    ),
    "port in use": (port_in_use, ("up", "server"), "port NUMBER on 127.0.0.1 is already in use"),
    "already running": (
        second_up,
        ("up",),
        "another Runyard is already using FOLDER; stop it, or choose another --data-dir",
    ),
    "silent Redis": (
        lambda folder, stack: Fault({"RUNYARD_REDIS_URL": "redis://127.0.0.1:9/0"}),
        ("up",),
        "Redis at ADDRESS does not respond; start it, or correct RUNYARD_REDIS_URL",
    ),
    "wrong password of Redis": (
        wrong_password,
        COMPONENTS,
        "Redis at ADDRESS refuses the user or password in RUNYARD_REDIS_URL; correct it",
    ),
    "Redis without persistence": (
        careless_redis,
        ("up", "server", "recorder"),
        "Redis persistence is off; set 'appendonly yes' so that a restart loses no events",
    ),
    "old Redis": (old_redis, COMPONENTS, "Redis at ADDRESS is too old; install Redis 6.0 or newer"),
    "no such GPU": (
        no_gpu,
        ("worker",),
        "RUNYARD_DEVICE is cuda:99, but PyTorch finds no such GPU on this machine",
    ),
}


def start(
    folder: Path, command: tuple[str, ...], fault: Fault, current: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    settings = {"RUNYARD_DATA_DIR": str(folder / "data"), "RUNYARD_PORT": "0", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*fault.prefix, sys.executable, "-m", "app.cli", *command],
        cwd=current,
        env=clean | settings | fault.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def told(text: str, folder: Path) -> str:
    """What was said, without what differs from test to test."""
    text = text.replace(str(folder / "data"), "FOLDER")
    text = re.sub(r"Redis at \S+", "Redis at ADDRESS", text)
    return re.sub(r"port \d+", "port NUMBER", text)


@pytest.mark.parametrize(("name", "command"), [(name, each) for name, row in FAULTS.items() for each in row[1]])
def test_a_fault_at_the_start_is_one_sentence(tmp_path: Path, name: str, command: str) -> None:
    make, _, sentence = FAULTS[name]
    with ExitStack() as stack:
        done = start(tmp_path, (command,), make(tmp_path, stack))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = told(done.stderr, tmp_path).splitlines()
    assert [line for line in lines if line.startswith(f"runyard: {sentence}")], done.stderr


def test_a_worker_starts_in_a_folder_that_its_user_may_not_enter(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with ExitStack() as stack:
        fault = no_gpu(tmp_path, stack)
        fault.prefix = ("sh", "-c", 'chmod 0 . && exec "$@"', "sh", *as_owner_only())
        done = start(tmp_path, ("worker",), fault, home)
    assert home.stat().st_mode & 0o777 == 0
    # It looked for its GPU in a process of multiprocessing, which enters the folder of its parent.
    assert "runyard: RUNYARD_DEVICE is cuda:99, but PyTorch finds no such GPU on this machine" in done.stderr


@pytest.mark.parametrize("name", FAULTS)
def test_the_table_of_faults_has_each_sentence(name: str) -> None:
    assert f"| {name} | {FAULTS[name][2]}" in DOCUMENTED
