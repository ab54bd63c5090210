"""`runyard doctor`: whether this machine has what Runyard needs, and what to do where it has not."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import typer

from _runyard import __version__
from app.cli.output import AsJson, print_json
from app.cli.settings import read_settings
from app.contract.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OLDEST_PYTHON = (3, 11)
ENOUGH_BYTES = 5 * 2**30
TOO_FEW_BYTES = 200 * 2**20
LOOK_SECONDS = 60.0
# A server on a busy machine can take seconds to answer, and is Runyard all the same.
ANSWER_SECONDS = 20.0

ASK_TORCH = (
    "import json, torch; c = torch.cuda; there = c.is_available();"
    "print(json.dumps({'torch': torch.__version__, 'cuda': torch.version.cuda,"
    "'gpus': [c.get_device_name(i) for i in range(c.device_count())] if there else []}))"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ok, warn (it works, but), or fail; ``advice`` says what to do."""

    what: str
    state: Literal["ok", "warn", "fail"]
    said: str
    advice: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def doctor(as_json: AsJson = False) -> None:
    """Look whether this machine has what Runyard needs; status 1 where something is missing."""
    settings = read_settings()
    found = []
    for check in CHECKS:
        for finding in check(settings):
            found.append(finding)
            if not as_json:
                _print(finding)
    failed = [finding for finding in found if finding.state == "fail"]
    if as_json:
        print_json({"ok": not failed, "findings": [asdict(finding) for finding in found]})
    raise typer.Exit(1 if failed else 0)


def _print(finding: Finding) -> None:
    from rich.console import Console
    from rich.text import Text

    color = {"ok": "green", "warn": "yellow", "fail": "red"}[finding.state]
    line = Text.assemble((f"{finding.state:4}", color), f"  {finding.what}: {finding.said}")
    if finding.advice:
        line.append(f"\n      → {finding.advice}")
    Console(highlight=False, soft_wrap=True).print(line)


# What is looked at ---------------------------------------------------------------------------------------------------


def python(_: Settings) -> Iterator[Finding]:
    """The interpreter."""
    said = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        yield Finding("Python", "fail", said, "Runyard needs Python 3.11 or newer: make setup PYTHON=python3.12")
    else:
        yield Finding("Python", "ok", said)


def _installer() -> str:
    return "make setup" if (ROOT / "Makefile").exists() else "pip install of Runyard's wheel"


def packages(_: Settings) -> Iterator[Finding]:
    """Versions of what Runyard depends on."""
    from packaging.requirements import Requirement

    wrong, number = [], 0
    for line in metadata.requires("runyard") or []:
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        number += 1
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{needed.name} is missing")
            continue
        if not needed.specifier.contains(version, prereleases=True):
            wrong.append(f"{needed.name} {version} is not {needed.specifier}")
    said = f"runyard {__version__}, {number} packages"
    if wrong:
        yield Finding("Packages", "fail", f"{said}: {'; '.join(wrong)}", f"{_installer()} installs what is missing")
    else:
        yield Finding("Packages", "ok", said)


def torch(settings: Settings) -> Iterator[Finding]:
    """PyTorch and the GPUs that it sees, in a process of its own: it takes seconds to load."""
    command = [sys.executable, "-c", ASK_TORCH]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=LOOK_SECONDS, check=True)
        said = json.loads(asked.stdout)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        yield Finding("PyTorch", "fail", f"cannot be loaded: {reason[0][:200]}", f"{_installer()} installs it anew")
        return
    except (subprocess.TimeoutExpired, ValueError):
        yield Finding(
            "PyTorch", "fail", f"did not load within {LOOK_SECONDS:g} s", "look what else keeps the disk busy"
        )
        return
    yield Finding(
        "PyTorch", "ok", f"{said['torch']}" + (f", CUDA {said['cuda']}" if said["cuda"] else ", without CUDA")
    )
    yield _gpu(settings, said["gpus"])


def _gpu(settings: Settings, seen: list[str]) -> Finding:
    if seen:
        return Finding("GPU", "ok", ", ".join(seen))
    installed = _gpus_of_the_driver()
    if installed:
        advice = "install a driver that is new enough for this PyTorch (nvidia-smi names its CUDA version)"
        return Finding("GPU", "warn", f"{', '.join(installed)}, but PyTorch cannot use it", advice)
    if settings.device == "cuda":
        advice = "unset RUNYARD_DEVICE, or install the NVIDIA driver"
        return Finding("GPU", "fail", "none, but RUNYARD_DEVICE is cuda", advice)
    return Finding("GPU", "ok", "none; runs train on the CPU")


def _gpus_of_the_driver() -> list[str]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, so there is no GPU that torch could fail to find
        return []
    try:
        count = pynvml.nvmlDeviceGetCount()
        return [str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count)]
    finally:
        pynvml.nvmlShutdown()


def redis(settings: Settings) -> Iterator[Finding]:
    """The Redis that is named, or a program that can be started."""
    from redis import Redis
    from redis.exceptions import RedisError

    from app.services.data_folder import StartError
    from app.services.embedded import check_redis, find_redis

    if settings.redis_url is None:
        try:
            program = find_redis()
        except StartError as error:
            yield Finding("Redis", "fail", "none", str(error))
            return
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"v=(\S+)", said)
        yield Finding("Redis", "ok", f"{version[1] if version else 'a version of its own'} at {program}")
        return
    client = Redis.from_url(settings.redis_url, socket_connect_timeout=3, socket_timeout=3)
    where = re.sub(r"//[^@/]*@", "//…@", settings.redis_url)
    try:
        client.ping()
        check_redis(client)
        yield Finding("Redis", "ok", f"answers at {where}")
    except StartError as error:
        yield Finding("Redis", "fail", f"answers at {where}, but is not safe", str(error))
    except (RedisError, OSError) as error:
        yield Finding("Redis", "fail", f"{where} does not answer ({error})", "start it, or unset RUNYARD_REDIS_URL")
    finally:
        client.close()


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Whether it can be written, and how much room is left."""
    folder = settings.data_dir.absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            said = str(folder) if folder.exists() else f"{folder} (will be made)"
            yield Finding("Data folder", "ok", said)
    except OSError as error:
        advice = "let this user write there, or name another folder in RUNYARD_DATA_DIR"
        yield Finding("Data folder", "fail", f"{there} cannot be written ({error.strerror})", advice)
    free = shutil.disk_usage(there).free
    said = f"{free / 2**30:.1f} GiB free"
    if free < ENOUGH_BYTES:
        state: Literal["warn", "fail"] = "warn" if free >= TOO_FEW_BYTES else "fail"
        yield Finding("Disk space", state, said, "make room: checkpoints and datasets take a few GiB")
    else:
        yield Finding("Disk space", "ok", said)


def port(settings: Settings) -> Iterator[Finding]:
    """Whether it is free, or Runyard's own."""
    if settings.port == 0:
        yield Finding("Port", "ok", "any free one")
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            # As the server does: a port whose connections are still fading is free.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((settings.host, settings.port))
        yield Finding("Port", "ok", f"{settings.host}:{settings.port} is free")
    except OSError as error:
        if _is_runyard(settings):
            yield Finding("Port", "ok", f"Runyard answers at {settings.host}:{settings.port}")
            return
        advice = "end what listens there, or take another: runyard up --port 9000"
        yield Finding("Port", "fail", f"{settings.host}:{settings.port} cannot be used ({error.strerror})", advice)


def _is_runyard(settings: Settings) -> bool:
    import httpx

    from app.cli.client import server_address

    try:
        said = httpx.get(f"{server_address(settings)}/healthz", timeout=ANSWER_SECONDS, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return False
    return isinstance(said, dict) and {"database", "redis"} <= set(said)


def browser_code(_: Settings) -> Iterator[Finding]:
    """What the pages need from npm."""
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    folder = ROOT / "static" / "vendor"
    try:
        there = json.loads((folder / "versions.json").read_text())
    except (OSError, ValueError):
        there = {}
    missing = [f"{name} {version}" for name, version in wanted.items() if there.get(name) != version]
    if missing:
        advice = f"{_installer()} fetches it; without it the pages work, but without live curves"
        yield Finding("Browser code", "warn", f"{', '.join(missing)} missing in {folder}", advice)
    else:
        yield Finding("Browser code", "ok", ", ".join(f"{name} {version}" for name, version in wanted.items()))


def models(settings: Settings) -> Iterator[Finding]:
    """The folder of architectures of one's own."""
    if settings.models_path is None:
        return
    folder = settings.models_path.expanduser()
    if not folder.is_dir() or not os.access(folder, os.R_OK):
        advice = "make the folder, or unset RUNYARD_MODELS_PATH"
        yield Finding("Own architectures", "fail", f"{folder} is not a folder that can be read", advice)
        return
    files = [path.stem for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]
    advice = "`runyard architectures --check` counts them" if files else ""
    yield Finding("Own architectures", "ok", f"{', '.join(files) or 'none'} in {folder}", advice)


CHECKS: tuple[Check, ...] = (python, packages, torch, redis, data_folder, port, browser_code, models)
