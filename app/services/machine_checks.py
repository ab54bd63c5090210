"""Checks of what Runyard needs on this machine: each finds a state, a sentence and how to fix it.

`runyard doctor` makes all of them, and the page of administrators those that a running server can make.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from _runyard import __version__
from app.contract.disk_space import free_space, state_of
from app.contract.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OLDEST_PYTHON = (3, 11)
TORCH_SECONDS = 60.0

TORCH_PROBE = (
    "import json, torch; c = torch.cuda; available = c.is_available();"
    "print(json.dumps({'torch': torch.__version__, 'cuda': torch.version.cuda,"
    "'gpus': [c.get_device_name(i) for i in range(c.device_count())] if available else []}))"
)


@dataclass(frozen=True)
class Finding:
    """Result of one check; ``warn``: works with limitations; ``advice``: how to fix it."""

    what: str
    state: Literal["ok", "warn", "fail"]
    said: str
    advice: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def python(_: Settings) -> Iterator[Finding]:
    """Check the version of Python."""
    version = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        yield Finding("Python", "fail", version, "Runyard needs Python 3.11 or newer: make setup PYTHON=python3.12")
    else:
        yield Finding("Python", "ok", version)


def _installation() -> str:
    return "run make setup" if (ROOT / "Makefile").exists() else "reinstall Runyard's wheel with pip"


def packages(_: Settings) -> Iterator[Finding]:
    """Check the versions of all dependencies."""
    from packaging.requirements import Requirement

    problems, count = [], 0
    for line in metadata.requires("runyard") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} {version} is installed, but {requirement.specifier} is required")
    summary = f"runyard {__version__}, {count} packages"
    if problems:
        yield Finding(
            "Packages", "fail", f"{summary}: {'; '.join(problems)}", f"{_installation()} to install what is missing"
        )
    else:
        yield Finding("Packages", "ok", summary)


def torch(settings: Settings) -> Iterator[Finding]:
    """Check PyTorch and its GPUs in a separate process, because PyTorch takes seconds to load."""
    command = [sys.executable, "-c", TORCH_PROBE]
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_SECONDS, check=True)
        info = json.loads(probe.stdout)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or ["no error message"]
        yield Finding("PyTorch", "fail", f"cannot be loaded: {reason[0][:200]}", f"{_installation()} to repair it")
        return
    except (subprocess.TimeoutExpired, ValueError):
        yield Finding(
            "PyTorch",
            "fail",
            f"did not load within {TORCH_SECONDS:g} s",
            "check whether another process is using the disk heavily",
        )
        return
    yield Finding(
        "PyTorch", "ok", f"{info['torch']}" + (f", CUDA {info['cuda']}" if info["cuda"] else ", without CUDA")
    )
    yield _gpu(settings, info["gpus"])


def _gpu(settings: Settings, usable: list[str]) -> Finding:
    if usable:
        return Finding("GPU", "ok", ", ".join(usable))
    installed = _driver_gpus()
    if installed:
        advice = "install a newer NVIDIA driver (nvidia-smi shows the CUDA version that the driver supports)"
        return Finding("GPU", "warn", f"found {', '.join(installed)}, but PyTorch cannot use it", advice)
    if settings.device == "cuda":
        advice = "unset RUNYARD_DEVICE, or install the NVIDIA driver"
        return Finding("GPU", "fail", "none, but RUNYARD_DEVICE is cuda", advice)
    return Finding("GPU", "ok", "none; runs train on the CPU")


def _driver_gpus() -> list[str]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # without a driver, there is no GPU that torch could have missed
        return []
    try:
        count = pynvml.nvmlDeviceGetCount()
        return [str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count)]
    finally:
        pynvml.nvmlShutdown()


def redis(settings: Settings) -> Iterator[Finding]:
    """Check the configured Redis, or whether there is one to start."""
    from redis import Redis
    from redis.exceptions import RedisError

    from app.services.data_folder import StartError
    from app.services.embedded import check_redis, find_redis

    if settings.redis_url is None:
        try:
            program = find_redis()
        except StartError as error:
            yield Finding("Redis", "fail", "not found", str(error).removeprefix("Redis not found. "))
            return
        output = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"v=(\S+)", output)
        yield Finding("Redis", "ok", f"{version[1] if version else 'unknown version'} at {program}")
        return
    client = Redis.from_url(settings.redis_url, socket_connect_timeout=3, socket_timeout=3)
    address = re.sub(r"//[^@/]*@", "//…@", settings.redis_url)
    try:
        client.ping()
        check_redis(client)
        yield Finding("Redis", "ok", f"responds at {address}")
    except StartError as error:
        yield Finding("Redis", "fail", f"responds at {address}, but can lose data", str(error))
    except (RedisError, OSError) as error:
        yield Finding("Redis", "fail", f"{address} does not respond ({error})", "start it, or unset RUNYARD_REDIS_URL")
    finally:
        client.close()


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Check that the data folder is writable and has free space."""
    folder = settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            yield Finding("Data folder", "ok", str(folder) if folder.exists() else f"{folder} (will be created)")
    except OSError as error:
        advice = "give this user write access, or set RUNYARD_DATA_DIR to another folder"
        yield Finding("Data folder", "fail", f"{existing} is not writable ({error.strerror})", advice)
    yield _disk_space(settings, existing)


def _disk_space(settings: Settings, existing: Path) -> Finding:
    free, total = free_space(existing)
    summary = f"{free / 2**30:.1f} GiB free"
    advice = "free up disk space; checkpoints and datasets take a few GiB"
    match state_of(settings, free, total):
        case "full":
            return Finding("Disk space", "fail", f"{summary}, too little to start a run", advice)
        case "low":
            return Finding("Disk space", "warn", summary, advice)
    return Finding("Disk space", "ok", summary)


def browser_code(_: Settings) -> Iterator[Finding]:
    """Check the npm packages of the pages."""
    required = json.loads((ROOT / "package.json").read_text())["dependencies"]
    folder = ROOT / "static" / "vendor"
    try:
        installed = json.loads((folder / "versions.json").read_text())
    except (OSError, ValueError):
        installed = {}
    missing = [f"{name} {version}" for name, version in required.items() if installed.get(name) != version]
    if missing:
        advice = f"{_installation()} to install it; without it, pages have no live curves"
        yield Finding("Browser code", "warn", f"{', '.join(missing)} missing from {folder}", advice)
    else:
        yield Finding("Browser code", "ok", ", ".join(f"{name} {version}" for name, version in required.items()))


def database(settings: Settings) -> Iterator[Finding]:
    """Check that PostgreSQL, if it is used, responds."""
    if settings.database_url is None:
        return
    from app.store.database import check_database
    from app.store.postgresql import DatabaseUnusable

    try:
        check_database(settings.database_url)
    except DatabaseUnusable as error:
        yield Finding("Database", "fail", str(error), "start it, or correct RUNYARD_DATABASE_URL")
    else:
        yield Finding("Database", "ok", "PostgreSQL responds")


def models(settings: Settings) -> Iterator[Finding]:
    """Check the folder with user-defined architectures."""
    if settings.models_path is None:
        return
    folder = settings.models_path.expanduser()
    if not folder.is_dir() or not os.access(folder, os.R_OK):
        advice = "create the folder, or unset RUNYARD_MODELS_PATH"
        yield Finding("Custom architectures", "fail", f"{folder} is not a readable folder", advice)
        return
    files = [path.stem for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]
    advice = "check them with `runyard architectures --check`" if files else ""
    yield Finding("Custom architectures", "ok", f"{', '.join(files) or 'none'} in {folder}", advice)
