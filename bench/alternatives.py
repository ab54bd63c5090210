"""The environment of the alternatives to Runyard, ``.venv-bench``, created on first use.

Its packages take precedence over those of Runyard's own environment, which it can import too, so that a tracker that
needs torch finds it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.json_process import JsonProcess

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-bench"
REQUIREMENTS = Path(__file__).with_name("alternatives.txt")


def python() -> str:
    """Path of the environment's interpreter; installs missing packages. Raises CalledProcessError if that fails."""
    program = FOLDER / "bin" / "python"
    stamp = FOLDER / "installed.txt"
    if stamp.exists() and stamp.read_text() == REQUIREMENTS.read_text():
        return str(program)
    print(f"installing the alternatives into {FOLDER.name} (about 1 GB, once)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
    pip = [str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    subprocess.run(pip, check=True)
    site_packages = subprocess.run(
        [str(program), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(site_packages) / "runyard-behind.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    stamp.write_text(REQUIREMENTS.read_text())
    return str(program)


def versions() -> dict[str, str]:
    """Installed versions of the required packages."""
    names = [line.split("=")[0] for line in REQUIREMENTS.read_text().split()]
    program = (
        f"import json; from importlib.metadata import version as v; print(json.dumps({{n: v(n) for n in {names}}}))"
    )
    output = subprocess.run([python(), "-c", program], check=True, capture_output=True, text=True).stdout
    installed: dict[str, str] = json.loads(output)
    return installed


class TrackerProcess(JsonProcess):
    """A process in that environment that runs ``bench/trackers/<module>.py`` and reports its own CPU and wall times."""

    def __init__(self, module: str, *arguments: str) -> None:
        super().__init__(python(), "-u", str(Path(__file__).parent / "trackers" / f"{module}.py"), *arguments)
