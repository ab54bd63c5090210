"""The environment in which what Runyard is measured against is installed: ``.venv-bench``, made when first wanted.

It sees the packages of Runyard's own environment behind its own, so that a tracker which needs torch finds it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.asked import Asked

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-bench"
WANTED = Path(__file__).with_name("alternatives.txt")


def python() -> str:
    """The environment's interpreter; installs what is missing. Raises CalledProcessError when that fails."""
    program = FOLDER / "bin" / "python"
    stamp = FOLDER / "installed.txt"
    if stamp.exists() and stamp.read_text() == WANTED.read_text():
        return str(program)
    print(f"installing the alternatives into {FOLDER.name} (about 1 GB, once)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
    pip = [str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(WANTED)]
    subprocess.run(pip, check=True)
    where = subprocess.run(
        [str(program), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(where) / "runyard-behind.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    stamp.write_text(WANTED.read_text())
    return str(program)


def versions() -> dict[str, str]:
    """What is installed there of what was wanted."""
    names = [line.split("=")[0] for line in WANTED.read_text().split()]
    program = (
        f"import json; from importlib.metadata import version as v; print(json.dumps({{n: v(n) for n in {names}}}))"
    )
    said = subprocess.run([python(), "-c", program], check=True, capture_output=True, text=True).stdout
    found: dict[str, str] = json.loads(said)
    return found


class Theirs(Asked):
    """A process of that environment that runs ``bench/theirs/<module>.py``; times that it answers are its own."""

    def __init__(self, module: str, *arguments: str) -> None:
        super().__init__(python(), "-u", str(Path(__file__).parent / "theirs" / f"{module}.py"), *arguments)
