"""What a run is trained with: code, packages, machine, data. Nothing of os.environ, where secrets are."""

from __future__ import annotations

import os
import platform
import re
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

ROOT: Final = Path(__file__).resolve().parent.parent
GIT_SECONDS: Final = 2.0
LONGEST_DIFF: Final = 64 * 1024
MATTER: Final = (
    *("torch", "torchvision", "lightning", "pytorch-lightning", "torchmetrics", "numpy", "scipy", "scikit-learn"),
    *("scikit-image", "safetensors", "triton", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
)
"""The packages whose versions can change what a network becomes."""

_PASSWORD: Final = re.compile(r"://[^/@\s]+@")
_SECRET: Final = re.compile(r"(?i)^(-{0,2}[\w-]*(?:token|secret|password|passwd|api-?key|credential)[\w-]*)(=.*)?$")


def _freeze() -> dict[str, str]:
    found: dict[str, str] = {}
    for each in distributions():
        name = each.metadata["Name"]
        if name:
            # Of two of one name, the first on the path is the one that is imported.
            found.setdefault(name.lower().replace("_", "-"), each.version)
    return dict(sorted(found.items()))


# Read with the fork server's imports: a run would wait a tenth of a second, and what is imported is of these versions.
PACKAGES: Final = _freeze()


def capture(
    *, datasets: Path, name: str, measured: bool, device: torch.device, models_path: Path | None, command: list[str]
) -> dict[str, Any]:
    """All that can be told: code, command, packages, machine, device, and a checksum of the data."""
    found: dict[str, Any] = {
        "command": clean_command(command),
        # A wheel's folder can lie inside a checkout that has nothing to do with Runyard, as a virtual environment does.
        "code": checkout(ROOT) if (ROOT / "pyproject.toml").exists() else None,
        "python": sys.version.split()[0],
        "packages": {each: PACKAGES[each] for each in MATTER if each in PACKAGES},
        "freeze": [f"{each}=={version}" for each, version in PACKAGES.items()],
        "machine": machine(),
        "device": device_facts(device),
        "dataset": data_facts(datasets, name, measured),
    }
    if models_path is not None:
        outside = {"folder": _sayable(str(models_path)), "note": "not in a git checkout"}
        found["models"] = checkout(models_path) or outside
    return found


def brief(captured: dict[str, Any]) -> dict[str, Any]:
    """The few of these facts that stand beside every run."""
    code, device = captured.get("code") or {}, captured.get("device", {})
    found = {
        "commit": (code.get("commit", "")[:12] + (" and changes" if code.get("diff") else "")) if code else "",
        "processor": captured["machine"]["processor"],
        "driver": device.get("driver", ""),
        "cuda": device.get("cuda", ""),
        "dataset_sha256": captured["dataset"].get("sha256", "")[:16],
    }
    return {name: value for name, value in found.items() if value}


def facts(job_device: str, threads: int, device_name: str) -> dict[str, Any]:
    """What every run has told since the first version."""
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
    """The git checkout that ``folder`` is in: commit, branch and what is not committed; None where there is none."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD") or ""
    found: dict[str, Any] = {
        "folder": top,
        "commit": commit,
        "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "" if commit else "",
    }
    # Of a folder inside a larger checkout, only what lies in it.
    diff = _git(folder, "diff", "HEAD" if commit else "--cached", "--no-color", "--no-ext-diff", "--", ".") or ""
    fresh = _git(folder, "ls-files", "--others", "--exclude-standard", "--", ".") or ""
    size = len(diff.encode())
    if size > LONGEST_DIFF:
        diff = diff.encode()[:LONGEST_DIFF].decode("utf-8", "ignore")
        found["note"] = f"the first {LONGEST_DIFF // 1024} KiB of {size / 1024:,.0f} KiB of changes"
    if diff:
        found["diff"] = diff
    if fresh:
        found["untracked"] = fresh.splitlines()[:200]
    return found


def _git(folder: Path, *words: str) -> str | None:
    # No lock is taken, no pager started and nobody asked for a password: others may be at work in this checkout.
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environment.pop(name, None)
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, timeout=GIT_SECONDS, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip("\n") if done.returncode == 0 else None


def clean_command(words: list[str]) -> str:
    """A command line without what only its user may know: passwords of addresses, tokens."""
    shown, hide = [], False
    for word in words:
        secret = _SECRET.match(word)
        if hide:
            shown.append("…")
        elif secret:
            shown.append(f"{secret[1]}=…" if secret[2] else word)
        else:
            shown.append(_PASSWORD.sub("://…@", word))
        hide = bool(secret and not secret[2] and word.startswith("-"))
    return _sayable(" ".join(shown))


def _sayable(words: str) -> str:
    """Without what JSON cannot say: bytes of a file name that are no UTF-8."""
    return words.encode("utf-8", "replace").decode()


# Machine -------------------------------------------------------------------------------------------------------------


def processor_name() -> str:
    """The name of this machine's processor, or what is known of it."""
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Processor, cores, memory and system."""
    return {
        "processor": processor_name(),
        "cores": psutil.cpu_count() or 0,
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "host": socket.gethostname(),
    }


def device_facts(device: torch.device) -> dict[str, Any]:
    """What is trained on, and with which driver and CUDA."""
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
        said = pynvml.nvmlSystemGetDriverVersion()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return ""
    return said.decode() if isinstance(said, bytes) else str(said)


# Data ----------------------------------------------------------------------------------------------------------------


def data_facts(datasets: Path, name: str, measured: bool) -> dict[str, Any]:
    """Checksums of the tensors that were loaded. They stand in the prepared copy, and were checked when it was read."""
    found: dict[str, Any] = {"name": name}
    for key, file in (("sha256", f"{name}.safetensors"), ("measured_sha256", f"{name}.measured.safetensors")):
        if key == "measured_sha256" and not measured:
            continue
        with suppress(OSError, SafetensorError), safe_open(datasets / "prepared" / file, framework="pt") as kept:
            found[key] = (kept.metadata() or {}).get("sha256", "")
    return found
