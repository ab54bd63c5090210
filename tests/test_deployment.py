"""What can be known of Dockerfile and docker-compose.yml without a Docker engine."""

from __future__ import annotations

import fnmatch
import importlib
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from static import vendor

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "redis"}

# The keys of the Compose specification that this file may use; a misspelt one is refused by Compose, so it is here.
KNOWN_KEYS = {
    *("build", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "init"),
    *("ports", "profiles", "restart", "security_opt", "stop_grace_period", "volumes"),
}
HEALTHCHECK_KEYS = {"test", "interval", "timeout", "start_period", "retries"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, with lines that go on joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", " ", text)
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def copied() -> list[tuple[str | None, list[str]]]:
    """Stage and sources of every COPY."""
    found = []
    for word, rest in instructions():
        if word == "COPY":
            parts = shlex.split(rest)
            stage = parts.pop(0).removeprefix("--from=") if parts[0].startswith("--from=") else None
            found.append((stage, parts[:-1]))
    return found


def in_build_context(path: str) -> bool:
    """Whether .dockerignore lets a path through; the last line that matches it or a folder above it decides."""
    let_through = True
    parts = path.strip("/").split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().rstrip("/")
        if not pattern or pattern.startswith("#"):
            continue
        bare = pattern.removeprefix("!").removeprefix("**/")
        names = parts if "**/" in pattern else above
        if any(fnmatch.fnmatchcase(name, bare) for name in names):
            let_through = pattern.startswith("!")
    return let_through


def runyard_commands() -> list[list[str]]:
    """Every command of Runyard that the two files start."""
    commands = [service["command"] for service in OURS.values()]
    return [*commands, *(yaml.safe_load(rest) for word, rest in instructions() if word == "CMD")]


def test_the_compose_file_has_no_key_that_compose_does_not_know() -> None:
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"name", "services", "volumes"}
    for service in SERVICES.values():
        assert set(service) <= KNOWN_KEYS
        assert set(service["healthcheck"]) <= HEALTHCHECK_KEYS


def test_every_part_is_a_service() -> None:
    assert set(SERVICES) == {"redis", "server", "recorder", "worker", "worker-cpu"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_restarted_and_has_a_healthcheck(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert re.fullmatch(r"\d+s", SERVICES[name]["healthcheck"]["interval"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_healthcheck_in_python_is_a_program(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]
    if test[1] == "python":
        compile(test[3], "healthcheck", "exec")


def test_redis_writes_to_a_named_volume_and_never_evicts() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync everysec" in command
    assert "--maxmemory-policy noeviction" in command
    assert SERVICES["redis"]["volumes"] == ["queue:/data"]


def test_ports_are_published_on_loopback_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"server": ["127.0.0.1:8000:8000"]}


def test_only_the_server_may_listen_beyond_loopback() -> None:
    for name, service in OURS.items():
        assert ("RUNYARD_BEHIND_LOOPBACK_PUBLISH" in service["environment"]) is (name == "server")
        assert ("--host" in service["command"]) is (name == "server")


def test_volumes_are_named_declared_and_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert used == set(COMPOSE["volumes"])
    assert all(re.fullmatch(r"[a-z]+", name) for name in used)


@pytest.mark.parametrize("name", OURS)
def test_every_part_of_runyard_shares_image_data_and_redis(name: str) -> None:
    service = OURS[name]
    assert service["image"] == OURS["server"]["image"]
    assert service["volumes"] == ["data:/data"]
    assert service["environment"]["RUNYARD_REDIS_URL"] == "redis://redis:6379/0"
    assert service["environment"]["RUNYARD_DATA_DIR"] == "/data"


def test_every_variable_is_a_setting() -> None:
    settings = importlib.import_module("app.contract.settings").Settings
    known = {f"RUNYARD_{name.upper()}" for name in settings.model_fields}
    given = {name for service in OURS.values() for name in service["environment"]}
    given |= set(re.findall(r"\b(RUNYARD_[A-Z_]+)=", DOCKERFILE))
    assert given <= known


@pytest.mark.parametrize("name", OURS)
def test_every_part_waits_until_what_it_needs_is_healthy(name: str) -> None:
    needed = OURS[name]["depends_on"]
    assert "redis" in needed
    for other, how in needed.items():
        assert other in SERVICES
        assert how == {"condition": "service_healthy"}
        assert "profiles" not in SERVICES[other]


def test_workers_are_chosen_by_a_profile_and_only_one_asks_for_a_gpu() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"worker": ["gpu"], "worker-cpu": ["cpu"]}
    (device,) = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert "deploy" not in SERVICES["worker-cpu"]


def test_every_command_is_one_of_runyard() -> None:
    typer = pytest.importorskip("typer.main")
    known = typer.get_command(importlib.import_module("app.cli").cli).commands
    for program, word, *options in runyard_commands():
        assert program == "runyard"
        names = {name for parameter in known[word].params for name in parameter.opts}
        assert {option for option in options if option.startswith("--")} <= names


def test_no_image_is_taken_by_a_tag_that_moves() -> None:
    stages = {rest.split(" AS ")[1] for word, rest in instructions() if word == "FROM" and " AS " in rest}
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    for image in [base for base in bases if base not in stages] + [service["image"] for service in SERVICES.values()]:
        assert ":" in image
        assert not image.endswith(":latest")


def test_the_image_runs_as_a_user_who_owns_the_data() -> None:
    last_stage = instructions()[max(i for i, (word, _) in enumerate(instructions()) if word == "FROM") :]
    users = [rest for word, rest in last_stage if word == "USER"]
    assert users == ["runyard"]
    made = next(rest for word, rest in last_stage if word == "RUN" and "useradd" in rest)
    assert "install -d -o runyard -g runyard -m 0750 /data" in made
    assert ("VOLUME", "/data") in last_stage
    assert [word for word, _ in last_stage if word in {"USER", "HEALTHCHECK", "CMD"}] == ["USER", "HEALTHCHECK", "CMD"]


def last_stage() -> list[str]:
    """The instructions of the image itself."""
    first = max(i for i, (word, _) in enumerate(instructions()) if word == "FROM")
    return [f"{word} {rest}" for word, rest in instructions()[first:]]


def test_packages_are_installed_before_the_code_is_copied() -> None:
    install = next(i for i, step in enumerate(last_stage()) if "pip install -c constraints.txt -r" in step)
    code = next(i for i, step in enumerate(last_stage()) if step.startswith("COPY --from=build"))
    assert install < code


def test_the_image_has_the_wheel_and_no_source() -> None:
    build = next(step for step in (f"{word} {rest}" for word, rest in instructions()) if "pip wheel" in step)
    assert build == "RUN pip wheel --no-deps --wheel-dir /dist ."
    assert "RUN pip install --no-deps /dist/*.whl" in last_stage()
    copied_here = [step for step in last_stage() if step.startswith("COPY")]
    assert copied_here == ["COPY pyproject.toml constraints.txt ./", "COPY --from=build /dist/ /dist/"]


def test_what_is_copied_exists_and_reaches_the_build() -> None:
    for stage, sources in copied():
        for source in sources:
            if stage is None:
                assert (ROOT / source).exists(), f"{source} is copied but does not exist"
                assert in_build_context(source), f"{source} is copied but .dockerignore keeps it out"
            else:
                assert (stage, source) == ("build", "/dist/")


def test_all_that_the_wheel_is_built_from_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["only-include"], *wheel["force-include"], project["project"]["readme"]}
    needed |= {*project["project"]["license-files"], f"{project['build-system']['build-backend']}.py"}
    sources = {source.strip("/") for stage, found in copied() for source in found if stage is None}
    assert needed | {*vendor.INPUTS, "pyproject.toml", "constraints.txt"} == sources


@pytest.mark.parametrize(
    "path", ["data/runyard.db", ".git/HEAD", ".venv/bin/python", "node_modules/a", "static/vendor/a.js", ".env"]
)
def test_what_is_private_or_made_stays_out_of_the_build(path: str) -> None:
    assert not in_build_context(path)
