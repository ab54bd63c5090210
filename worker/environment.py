"""Records what a run is trained with: code, packages, machine, data. Never reads os.environ, which may hold secrets."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import lightning
import numpy as np
import psutil
import torch
from safetensors import SafetensorError, safe_open

from app.contract.command import hide_secrets
from app.contract.datasets import dataset
from app.contract.shared_files import describe_contents, read_architectures

ROOT: Final = Path(__file__).resolve().parent.parent
GIT_SECONDS: Final = 2.0
MAX_DIFF_BYTES: Final = 64 * 1024
RELEVANT_PACKAGES: Final = (
    *("torch", "torchvision", "lightning", "pytorch-lightning", "torchmetrics", "numpy", "scipy", "scikit-learn"),
    *("scikit-image", "safetensors", "triton", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
)
"""Packages whose versions can affect training results."""


def _freeze() -> dict[str, str]:
    versions: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name:
            # If two have the same name, the first on the path is the one that is imported.
            versions.setdefault(name.lower().replace("_", "-"), distribution.version)
    return dict(sorted(versions.items()))


# Read while the fork server imports: reading them takes 0.1 s, which no run should wait, and the versions are those
# imported.
PACKAGES: Final = _freeze()


def capture(
    *, datasets: Path, name: str, measured: bool, device: torch.device, models_path: Path | None, command: list[str]
) -> dict[str, Any]:
    """Collect everything known: code, command, packages, machine, device, and a checksum of the data."""
    captured: dict[str, Any] = {
        "command": clean_command(command),
        # An installed wheel may be inside an unrelated checkout, for example in a virtual environment.
        "code": checkout(ROOT) if (ROOT / "pyproject.toml").exists() else None,
        "python": sys.version.split()[0],
        "packages": {package: PACKAGES[package] for package in RELEVANT_PACKAGES if package in PACKAGES},
        "freeze": [f"{package}=={version}" for package, version in PACKAGES.items()],
        "machine": machine(),
        "device": device_info(device),
        "dataset": data_info(datasets, name, measured),
    }
    if models_path is not None:
        outside = {"folder": _valid_utf8(str(models_path)), "note": "not in a Git repository"}
        captured["models"] = (checkout(models_path) or outside) | _version(models_path)
    return captured


def _version(models_path: Path) -> dict[str, str]:
    """The version of a folder of architectures: SHA-256 over its files."""
    try:
        return {"sha256": describe_contents(read_architectures(models_path)).digest}
    except OSError:
        return {}


def highlights(captured: dict[str, Any]) -> dict[str, Any]:
    """The entries shown with every run."""
    code, device = captured.get("code") or {}, captured.get("device", {})
    shown = {
        "commit": (code.get("commit", "")[:12] + (" (with uncommitted changes)" if code.get("diff") else ""))
        if code
        else "",
        "processor": captured["machine"]["processor"],
        "driver": device.get("driver", ""),
        "cuda": device.get("cuda", ""),
        "dataset_sha256": captured["dataset"].get("sha256", "")[:16],
    }
    return {name: value for name, value in shown.items() if value}


def versions_and_device(job_device: str, threads: int, device_name: str) -> dict[str, Any]:
    """Device, host and versions, as every run has reported them since the first version."""
    return {
        "device": job_device,
        "device_name": device_name,
        "host": socket.gethostname(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "numpy": np.__version__,
    }


# Code ----------------------------------------------------------------------------------------------------------------


def checkout(folder: Path) -> dict[str, Any] | None:
    """The Git checkout that contains ``folder``: commit, branch and uncommitted changes; None outside a checkout."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD") or ""
    state: dict[str, Any] = {
        "folder": top,
        "commit": commit,
        "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "" if commit else "",
    }
    # For a folder inside a larger checkout, only the changes within the folder.
    diff = _git(folder, "diff", "HEAD" if commit else "--cached", "--no-color", "--no-ext-diff", "--", ".") or ""
    untracked = _git(folder, "ls-files", "--others", "--exclude-standard", "--", ".") or ""
    size = len(diff.encode())
    if size > MAX_DIFF_BYTES:
        diff = diff.encode()[:MAX_DIFF_BYTES].decode("utf-8", "ignore")
        state["note"] = f"diff truncated to the first {MAX_DIFF_BYTES // 1024} of {size / 1024:,.0f} KiB"
    if diff:
        state["diff"] = diff
    if untracked:
        state["untracked"] = untracked.splitlines()[:200]
    return state


def _git(folder: Path, *arguments: str) -> str | None:
    # Take no lock, start no pager, ask for no password: other programs may be using this checkout.
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environment.pop(name, None)
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=GIT_SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip("\n") if done.returncode == 0 else None


def clean_command(arguments: list[str]) -> str:
    """The command line with passwords in URLs and tokens replaced by "…"."""
    return _valid_utf8(" ".join(hide_secrets(arguments)))


def _valid_utf8(text: str) -> str:
    """Replace what JSON cannot encode: bytes of a file name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()


# Machine -------------------------------------------------------------------------------------------------------------


def processor_name() -> str:
    """The name of this machine's processor, as precisely as the system reports it."""
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """The machine's processor, cores, memory and operating system."""
    return {
        "processor": processor_name(),
        "cores": psutil.cpu_count() or 0,
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "host": socket.gethostname(),
    }


def device_info(device: torch.device) -> dict[str, Any]:
    """The training device, with its driver and CUDA versions."""
    if device.type != "cuda":
        return {"kind": device.type}
    properties = torch.cuda.get_device_properties(device)
    return {
        "kind": "cuda",
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda or "",
        "cudnn": str(torch.backends.cudnn.version() or ""),  # type: ignore[no-untyped-call]
    }


def _driver() -> str:
    import pynvml

    try:
        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return ""
    return version.decode() if isinstance(version, bytes) else str(version)


# Data ----------------------------------------------------------------------------------------------------------------


def data_info(datasets: Path, name: str, measured: bool) -> dict[str, Any]:
    """Checksums of the loaded tensors, as stored in the prepared copy and verified when it was read.

    A user's own dataset has none, but a version, which is part of its name.
    """
    info: dict[str, Any] = {"name": dataset(name).key}
    for key, file in (("sha256", f"{name}.safetensors"), ("measured_sha256", f"{name}.measured.safetensors")):
        if key == "measured_sha256" and not measured:
            continue
        with suppress(OSError, SafetensorError), safe_open(datasets / "prepared" / file, framework="pt") as cached:
            info[key] = (cached.metadata() or {}).get("sha256", "")
    return info
