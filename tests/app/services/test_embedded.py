"""`runyard up` explains why it cannot start, and what to do."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.exceptions import ResponseError

from app.contract.settings import Settings
from app.services.data_folder import StartError
from app.services.embedded import Child, LocalStack, check_redis, find_redis, free_port, make_private, redis_command
from tests.conftest import until


def test_any_free_port_is_found() -> None:
    port = free_port("127.0.0.1", 0)
    assert 1024 <= port <= 65535
    assert free_port("127.0.0.1", port) == port


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"port {port} on 127.0.0.1 is already in use .*--port"):
            free_port("127.0.0.1", port)


@pytest.mark.parametrize("port", [8000, 8765])
def test_commands_are_told_where_the_server_is_unless_they_look_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], port: int
) -> None:
    stack = LocalStack(Settings(data_dir=tmp_path))
    stack._stop.set()
    stack.address = f"http://127.0.0.1:{port}"
    stack._announce_ready(time.monotonic())
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith(f"Open http://127.0.0.1:{port} ")
    assert others == ([] if port == 8000 else [f"Commands in other terminals need: export RUNYARD_URL={stack.address}"])
    os.close(stack._pipe)
    os.close(stack._pipe_end)


# Redis ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def careful(redis: Redis) -> Iterator[Redis]:
    """A Redis whose settings a test may change."""
    before = {name: redis.config_get(name)[name] for name in ("maxmemory-policy", "appendonly")}
    yield redis
    for name, value in before.items():
        redis.config_set(name, str(value))


def test_the_embedded_redis_is_one_that_may_be_used(redis: Redis) -> None:
    check_redis(redis)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_a_redis_that_would_drop_events_is_refused(careful: Redis, policy: str) -> None:
    careful.config_set("maxmemory-policy", policy)
    with pytest.raises(StartError, match=rf"{policy}.*set it to noeviction"):
        check_redis(careful)


def test_a_redis_that_keeps_nothing_on_disk_is_refused(careful: Redis) -> None:
    careful.config_set("appendonly", "no")
    with pytest.raises(StartError, match="set 'appendonly yes'"):
        check_redis(careful)


def test_a_redis_that_hides_its_settings_is_believed(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def hide(*_: object) -> None:
        raise ResponseError("unknown command CONFIG")

    monkeypatch.setattr(redis, "config_get", hide)
    check_redis(redis)


def test_a_redis_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis() == program


def test_a_machine_without_redis_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"apt install redis-server.*RUNYARD_REDIS_URL"):
        find_redis()


def test_the_embedded_redis_listens_on_no_port_and_keeps_everything(tmp_path: Path) -> None:
    command = redis_command(Path("/usr/bin/redis-server"), tmp_path, tmp_path / "s")
    said = " ".join(command)
    for part in ("--port 0", "--unixsocketperm 700", "--appendonly yes", "--maxmemory-policy noeviction"):
        assert part in said


def test_a_data_folder_with_a_long_path_has_its_redis_on_a_short_private_socket(tmp_path: Path) -> None:
    yard = LocalStack(Settings(data_dir=tmp_path / ("x" * 120), port=0))
    yard._start_redis()
    try:
        assert len(str(yard.settings.socket)) < 60
        assert stat.S_IMODE(yard.settings.socket.parent.stat().st_mode) == 0o700
        with Redis.from_url(yard.settings.redis) as client:
            until(lambda: yard._redis_answers(client), what="Redis answers")
            client.set("kept", "1")
        # Its data is still in the data folder.
        assert (tmp_path / ("x" * 120) / "redis" / "appendonlydir").exists() or list(
            (tmp_path / ("x" * 120) / "redis").glob("*.aof")
        )
    finally:
        yard._stop_all()
        yard.settings.socket.unlink(missing_ok=True)


def test_a_socket_folder_that_belongs_to_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(StartError, match="belongs to another user"):
        make_private(tmp_path)
    monkeypatch.undo()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(StartError, match="belongs to another user"):
        make_private(tmp_path / "link")


# Processes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[int]:
    reading, writing = os.pipe()
    yield reading
    os.close(reading)
    os.close(writing)


def child(folder: Path, *command: str) -> Child:
    return Child("a child", list(command), dict(os.environ), folder / "logs" / "child.log")


def test_a_child_that_died_is_noticed_and_its_last_words_are_known(tmp_path: Path, pipe: int) -> None:
    one = child(tmp_path, "sh", "-c", "echo first; echo last words >&2; exit 3")
    one.start(pipe)
    until(one.died)
    assert one.process is not None
    assert one.process.returncode == 3
    assert one.log_tail(1) == "last words"
    assert one.log_tail() == "first\nlast words"


def test_a_child_is_ended_with_all_that_it_started(tmp_path: Path, pipe: int) -> None:
    one = child(tmp_path, "sh", "-c", "sleep 1000 & echo $!; trap 'exit 0' TERM; wait")
    one.start(pipe)
    grandchild = int(until(one.log_tail))
    assert one.stop(5.0)
    until(lambda: gone(grandchild))


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path, pipe: int) -> None:
    one = child(tmp_path, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    one.start(pipe)
    until(one.log_tail)
    assert not one.stop(0.2)
    assert one.process is not None
    assert one.process.returncode == -9


def gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    return "State:\tZ" in status


def test_a_second_runyard_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0)
    first, second = LocalStack(settings), LocalStack(settings)
    first._lock()
    with pytest.raises(StartError, match="another Runyard is already using"):
        second._lock()
    for yard in (first, second):
        assert yard._lock_file is not None
        yard._lock_file.close()


GUARDED = """
import os, subprocess, sys
reading, writing = os.pipe()
os.set_inheritable(reading, True)
program = ["sh", "-c", "while :; do sleep 0.05; done", sys.argv[1]]
subprocess.Popen(
    [sys.executable, "-m", "app.services.guardian", *program],
    env=dict(os.environ, RUNYARD_PARENT_PIPE=str(reading)), pass_fds=[reading], start_new_session=True,
)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def guarded(token: str) -> list[list[str]]:
    """Command lines of the guardian and of its program."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if token in words and GUARDED not in words:
                found.append(words)
    return found


@pytest.mark.parametrize("at_once", [False, True])
def test_redis_ends_when_runyard_is_killed(at_once: bool, capfd: pytest.CaptureFixture[str]) -> None:
    token = f"token-{uuid.uuid4()}"
    parent = subprocess.Popen([sys.executable, "-c", GUARDED, token], stdin=subprocess.PIPE)
    assert parent.stdin is not None
    if not at_once:
        until(lambda: "sh" in [words[0] for words in guarded(token)])
    parent.stdin.close()
    assert parent.wait(10) == -9
    said: list[str] = []

    def heard() -> bool:
        said.append(capfd.readouterr().err)
        return "the parent process has ended" in "".join(said)

    until(heard)
    # The guardian carries the token as well, and starts nothing after its end.
    until(lambda: not guarded(token))


def test_children_see_the_settings_of_runyard(tmp_path: Path) -> None:
    yard = LocalStack(Settings(data_dir=tmp_path, slots=3, port=0, behind_loopback_publish=True, lease_seconds=2.5))
    code = "import json; from app.contract.settings import Settings; print(Settings().model_dump_json())"
    began = time.monotonic()
    printed = subprocess.run(
        [sys.executable, "-c", code], env=yard._environment(), capture_output=True, text=True, check=True
    ).stdout
    said = json.loads(printed)
    assert (said["slots"], said["lease_seconds"], said["behind_loopback_publish"]) == (3, 2.5, True)
    assert said["data_dir"] == str(tmp_path)
    assert time.monotonic() - began < 60
