"""The environment in which what Runyard is measured against is installed: ``.venv-bench``, made when first wanted.

It sees the packages of Runyard's own environment behind its own, so that a tracker which needs torch finds it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

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


class Theirs:
    """A process of that environment that runs ``bench/theirs/<module>.py`` and answers a line of JSON for a line.

    The module reads questions from its standard input and writes each answer as ``@`` and JSON on a line of its own;
    whatever else a tracker prints is passed over. Times that it answers are its own.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        words = [python(), "-u", str(Path(__file__).parent / "theirs" / f"{module}.py"), *arguments]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, question: Any) -> Any:
        """The answer. Raises RuntimeError when the process has ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise RuntimeError(f"{self._process.args!r} ended with status {self._process.wait()}")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
