"""What can be known of deploy/compose.team.yml without a Docker engine; Compose needs none to read the file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError
from typer.main import get_command

from app.cli import cli
from app.contract.settings import Settings
from app.services.embedded import STOP_SECONDS, check_redis, find_redis
from tests.conftest import until

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "compose.team.yml"
TEXT = FILE.read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "runyard:local"}
WORKERS = {name: service for name, service in OURS.items() if name.startswith("worker")}
SECRETS = {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
GIVEN = {name: f"the{name.replace('_', '').lower()}" for name in SECRETS} | {"YARD_NAME": "yard.example.org"}
EXAMPLE = (ROOT / "deploy" / "team.env.example").read_text(encoding="utf-8")

every_service = pytest.mark.parametrize("name", SERVICES)
every_part = pytest.mark.parametrize("name", OURS)


def compose() -> list[str]:
    """The command of Compose; skips the test without it."""
    plugins = [*Path("/usr/libexec/docker/cli-plugins").glob("docker-compose"), Path("docker-compose")]
    for plugin in plugins:
        if (found := shutil.which(plugin)) is not None:
            return [found]
    pytest.skip("Docker Compose is not installed, so it has not read the file")


def settled(value: Any) -> Any:
    """A value of the file with what deploy/.env gives in place of its variables."""
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: GIVEN[found[1]], str(value)).replace("$$", "$")


@pytest.mark.parametrize("file", [FILE, ROOT / "docker-compose.yml"], ids=lambda file: str(file.name))
def test_compose_reads_the_file(file: Path) -> None:
    profiles = [word for profile in ("gpu", "gpu2", "cpu") for word in ("--profile", profile)]
    command = [*compose(), "-f", str(file), *profiles, "config", "--quiet"]
    done = subprocess.run(command, env=os.environ | GIVEN, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_compose_refuses_to_start_without_a_value(missing: str) -> None:
    command = [*compose(), "-f", str(FILE), "config", "--quiet"]
    environment = os.environ | GIVEN | {missing: ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "set it in deploy/.env" in done.stderr


def test_every_variable_must_be_set_and_is_in_the_example_without_a_value() -> None:
    used = re.findall(r"(?<!\$)\$\{?(\w+)(:\?)?", TEXT)
    assert {name for name, _ in used} == set(GIVEN)
    assert all(must for _, must in used)
    assert re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.M) == [(name, "") for name in ("YARD_NAME", *sorted(SECRETS))]


def test_no_secret_is_in_the_file_or_in_a_command() -> None:
    for service in SERVICES.values():
        assert "${" not in str(service.get("command"))
        for key, value in service.get("environment", {}).items():
            given = re.findall(r"://\w*:(.*)@", value) or ([value] if "PASSWORD" in key else [])
            assert all(re.fullmatch(r"\$\{\w+:\?set it in deploy/\.env\}", each) for each in given), key
            assert given or "URL" not in key


def test_the_file_with_secrets_reaches_neither_git_nor_the_image() -> None:
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "deploy" not in (ROOT / ".dockerignore").read_text()


def test_every_part_is_a_service() -> None:
    workers = {"worker-1": ["gpu"], "worker-2": ["gpu2"], "worker-cpu": ["cpu"]}
    assert {name: service["profiles"] for name, service in WORKERS.items()} == workers
    assert set(SERVICES) - set(WORKERS) == {"caddy", "postgres", "redis", "server", "recorder"}


def test_every_gpu_has_a_worker_of_its_own() -> None:
    reserved = [
        service["deploy"]["resources"]["reservations"]["devices"] for service in WORKERS.values() if "deploy" in service
    ]
    assert reserved == [
        [{"driver": "nvidia", "device_ids": [number], "capabilities": ["gpu"]}] for number in ("0", "1")
    ]


@every_service
def test_every_service_is_restarted_and_has_a_healthcheck(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    test = SERVICES[name]["healthcheck"]["test"]
    assert test[0] in {"CMD", "CMD-SHELL"}
    if test[1] == "python":
        compile(test[3], "healthcheck", "exec")


@every_service
def test_every_service_waits_until_what_it_needs_is_healthy(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "profiles" not in SERVICES[other]
    if name in OURS:
        assert "redis" in SERVICES[name]["depends_on"]


@every_service
def test_what_a_service_mounts_is_declared_or_exists(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        source = mount.split(":")[0]
        assert source in COMPOSE["volumes"] if source[0] != "." else (FILE.parent / source).is_file()
    assert "latest" not in SERVICES[name]["image"]


def test_every_volume_is_used() -> None:
    used = {mount.split(":")[0] for service in SERVICES.values() for mount in service["volumes"]}
    assert set(COMPOSE["volumes"]) <= used


@every_part
def test_the_variables_of_a_part_are_settings(name: str) -> None:
    environment = {key: settled(value) for key, value in OURS[name]["environment"].items()}
    assert set(environment) <= {f"RUNYARD_{field.upper()}" for field in Settings.model_fields}
    read = Settings.model_validate({key.removeprefix("RUNYARD_").lower(): value for key, value in environment.items()})
    assert read.redis == f"redis://:{GIVEN['REDIS_PASSWORD']}@redis:6379/0"
    is_worker = name in WORKERS
    assert ("postgresql" in read.database) is not is_worker
    assert is_worker or read.database == f"postgresql://runyard:{GIVEN['POSTGRES_PASSWORD']}@postgres/runyard"


@every_part
def test_a_part_is_a_command_of_runyard(name: str) -> None:
    program, command, *options = OURS[name]["command"]
    found: Any = get_command(cli)
    found.commands[command].make_context(command, options)
    assert program == "runyard"
    assert name.startswith(command)


def test_the_image_can_speak_to_postgresql() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = re.findall(r"extras\['(\w+)'\]", (ROOT / "Dockerfile").read_text())
    assert installed == ["postgres", "s3", "oidc"]
    assert set(installed) <= set(extras)


def test_a_stopped_worker_gets_the_time_that_it_may_take() -> None:
    for service in WORKERS.values():
        assert int(service["stop_grace_period"].removesuffix("s")) > STOP_SECONDS["worker"]


# Who reaches whom ----------------------------------------------------------------------------------------------------


def test_only_caddy_is_reached_from_other_machines_and_everyone_signs_in() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["caddy"]
    environment = {key: settled(value) for key, value in SERVICES["server"]["environment"].items()}
    settings = {key.removeprefix("RUNYARD_").lower(): value for key, value in environment.items()}
    read = Settings.model_validate({**settings, "host": SERVICES["server"]["command"][3]})
    assert read.everyone_signs_in
    assert read.allowed_hosts == GIVEN["YARD_NAME"]


def test_the_server_believes_caddy_alone() -> None:
    trusted = SERVICES["server"]["environment"]["RUNYARD_TRUSTED_PROXIES"]
    assert SERVICES["caddy"]["networks"] == {"front": {"ipv4_address": trusted}}
    assert [name for name, service in SERVICES.items() if "front" in service["networks"]] == ["caddy", "server"]


def test_database_and_redis_are_reached_by_runyard_alone() -> None:
    assert COMPOSE["networks"]["stores"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert SERVICES[name]["networks"] == ["stores"]
    assert {name for name, service in SERVICES.items() if "stores" in service["networks"]} == {
        *OURS,
        "postgres",
        "redis",
    }


def test_caddy_passes_on_to_the_port_of_the_server(tmp_path: Path) -> None:
    caddyfile = FILE.parent / "Caddyfile"
    assert f"reverse_proxy server:{SERVICES['server']['command'][-1]}\n" in caddyfile.read_text()
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("Caddy is not installed, so it has not read its configuration")
    command = [program, "validate", "--adapter", "caddyfile", "--config", str(caddyfile)]
    environment = os.environ | GIVEN | {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# Redis ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def redis_socket(tmp_path: Path) -> Iterator[Path]:
    """Redis as the file starts it, but on a socket."""
    shell, option, script = SERVICES["redis"]["command"]
    where = f"redis-server - --port 0 --unixsocket {tmp_path}/redis.sock --dir {tmp_path}"
    script = script.replace("$$", "$").replace("redis-server -", where, 1)
    environment = os.environ | GIVEN | {"PATH": f"{find_redis().parent}:{os.environ['PATH']}"}
    with subprocess.Popen([shell, option, script], env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield tmp_path / "redis.sock"
            assert process.poll() is None
            # Signals reach it: the shell is gone.
            assert GIVEN["REDIS_PASSWORD"] not in Path(f"/proc/{process.pid}/cmdline").read_text()
        finally:
            process.terminate()


def test_redis_demands_the_password_and_forgets_nothing(redis_socket: Path) -> None:
    until(redis_socket.exists)
    with Redis(unix_socket_path=str(redis_socket), password=GIVEN["REDIS_PASSWORD"]) as client:
        check_redis(client)
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
    with Redis(unix_socket_path=str(redis_socket)) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
