"""Invalid settings are refused in one line before anything is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis


def runyard(folder: Path, *said: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *said],
        env=clean | {"RUNYARD_DATA_DIR": str(folder / "data"), "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["up", "server"])
def test_a_name_to_listen_on_is_refused_in_one_sentence(tmp_path: Path, command: str) -> None:
    done = runyard(tmp_path, command, "--host", "yard.example", "--port", "0")
    assert done.returncode == 2
    assert done.stderr == "runyard: 'yard.example' is not an IP address; use 127.0.0.1\n"
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    done = runyard(tmp_path, "up", RUNYARD_SLOTS="none", RUNYARD_DEVICE="tpu")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "runyard: RUNYARD_SLOTS (--slots) must be a whole number" in lines
    assert "runyard: RUNYARD_DEVICE must be auto, cpu, cuda, or one GPU such as cuda:1" in lines


def test_a_wrong_flag_is_named_with_its_setting_and_limit(tmp_path: Path) -> None:
    done = runyard(tmp_path, "up", "--port", "65536")
    assert (done.returncode, done.stderr) == (2, "runyard: RUNYARD_PORT (--port) must be at most 65535\n")


@pytest.mark.parametrize("command", ["up", "server", "worker"])
def test_a_data_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = runyard(tmp_path, command, "--data-dir", str(tmp_path / "file"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"runyard: cannot write to the data folder {tmp_path / 'file'}")
    assert "--data-dir" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_names_every_part(tmp_path: Path) -> None:
    done = runyard(tmp_path, "--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("up", "server", "recorder", "worker"))


def test_a_recorder_refuses_a_redis_that_would_forget_what_it_was_given(
    tmp_path: Path, redis: Redis, redis_server: str
) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        done = runyard(tmp_path, "recorder", RUNYARD_REDIS_URL=redis_server)
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    assert done.returncode == 1
    assert "set it to noeviction" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["up", "server"])
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://localhost/runyard", "RUNYARD_DATABASE_URL must name a PostgreSQL database"),
        ("postgresql://a:s3cret@/b?host=/nowhere", "cannot connect to the database of RUNYARD_DATABASE_URL"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path: Path, command: str, url: str, sentence: str) -> None:
    done = runyard(tmp_path, command, "--port", "0", RUNYARD_DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"runyard: {sentence}")
    assert (done.stderr.count("\n"), "s3cret" in done.stderr) == (1, False)


def test_without_the_driver_of_postgresql_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    # What Python finds first is no package that can be imported.
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text("import sys\nsys.modules['psycopg'] = None\n")
    path = os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")])
    done = runyard(tmp_path, "up", "--port", "0", RUNYARD_DATABASE_URL="postgresql://localhost/b", PYTHONPATH=path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.endswith("pip install 'runyard[postgres]'\n")


def test_without_the_library_of_openid_connect_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text("import sys\nsys.modules['authlib'] = None\n")
    path = os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")])
    provider = {"RUNYARD_OIDC_ISSUER": "https://login.example.org", "RUNYARD_OIDC_CLIENT_ID": "yard"}
    for command in ("up", "server"):
        done = runyard(tmp_path, command, "--port", "0", PYTHONPATH=path, **provider)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.endswith("pip install 'runyard[oidc]'\n")
    done = runyard(tmp_path, "up", "--port", "0", RUNYARD_OIDC_ISSUER="https://login.example.org")
    assert (done.returncode, done.stderr) == (2, "runyard: RUNYARD_OIDC_ISSUER: needs RUNYARD_OIDC_CLIENT_ID\n")
