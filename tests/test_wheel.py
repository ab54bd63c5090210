"""The distributions: what they contain, and a Runyard that is installed from the wheel and trains a run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

from _runyard import __version__
from static import vendor
from tests.system.running_yard import OFFLINE
from tests.test_docs_example import NAME, example

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = [
    *("app", "models", "worker"),
    *("templates", "static"),
]
# Folders of the user's that have the names of Runyard's own: whoever imports one of them ends.
DECOY = 'raise SystemExit("a folder of the user was imported")\n'
PATIENCE_SECONDS = 120.0


def clean(**extra: str) -> dict[str, str]:
    """This process's environment without what leads Python or Runyard anywhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RUNYARD_"))} | extra


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both distributions; the wheel is built from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel."""
    (found,) = built.glob("*.whl")
    return found


def committed(*folders: str) -> set[str]:
    """Files of the checkout in these folders, without what tools make there."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and (ROOT / "static" / "vendor") not in path.parents
    }


# Contents ------------------------------------------------------------------------------------------------------------


def test_the_wheel_has_one_public_module_and_one_private_folder(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"runyard.py", "_runyard", f"runyard-{__version__}.dist-info"}
    assert wheel.name == f"runyard-{__version__}-py3-none-any.whl"


def test_the_wheel_has_code_templates_static_files_migrations_and_browser_code(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"_runyard/{name}" for name in committed(*INSTALLED) - {"static/vendor.py"}}
    browser = {target for package, files in vendor.FILES.items() if package != "axe-core" for target in files.values()}
    expected |= {f"_runyard/static/vendor/{name}" for name in browser | {vendor.VERSIONS}}
    expected |= {"runyard.py", "_runyard/__init__.py", "_runyard/package.json", "_runyard/bench/results/zoo.json"}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.startswith("_runyard/app/store/migrations/versions/0001") for name in names)


def test_the_wheel_says_its_version_license_and_program(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel)
    information = f"runyard-{__version__}.dist-info"
    said = Parser().parsestr(files.read(f"{information}/METADATA").decode())
    assert (said["Name"], said["Version"]) == ("runyard", __version__)
    assert (said["License-Expression"], said["License-File"]) == ("Apache-2.0", "LICENSE")
    assert files.read(f"{information}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert files.read(f"{information}/entry_points.txt").decode().split() == [
        *("[console_scripts]", "runyard", "=", "_runyard:main"),
    ]


def test_the_source_distribution_has_all_that_a_build_needs(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    browser = {target for files in vendor.FILES.values() for target in files.values()} | {vendor.VERSIONS}
    assert committed(*INSTALLED) | {f"static/vendor/{name}" for name in browser} <= names
    assert {"LICENSE", "README.md", "pyproject.toml", "build_backend.py", "_runyard.py", "runyard.py"} <= names
    assert {*vendor.INPUTS, "constraints.txt"} <= names
    others = ("tests/", "data/", ".venv/", "docs/", "bench/")
    assert [name for name in names if name.startswith(others)] == ["bench/results/zoo.json"]


def test_the_version_is_written_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    for name in ("pyproject.toml", "runyard.py", "app/main.py", "app/cli/__init__.py"):
        assert __version__ not in (ROOT / name).read_text()


# A trial -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh virtual environment with the wheel, which borrows the packages of this one."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    place = {name: str(folder) for name in ("base", "platbase", "installed_base")}
    site = Path(sysconfig.get_path("purelib", "venv", vars=place))
    # A folder that a .pth file names is searched, but its own .pth files are not read: so this checkout, which is
    # installed there as editable, stays out.
    packages = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in packages))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    offline = ["--no-deps", "--no-index", "--no-compile", "--ignore-installed", "--disable-pip-version-check"]
    subprocess.run([*pip, *offline, str(wheel)], env=clean(), check=True)
    assert not [name for name in ("app", "models", "worker", "templates", "static") if (site / name).exists()]
    return folder / "bin"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A user's folder with decoys: its path is short, for the socket of Redis."""
    with tempfile.TemporaryDirectory(prefix="rw", dir="/tmp") as name:
        place = Path(name)
        for decoy in ("app", "models", "worker"):
            (place / decoy).mkdir()
            for module in ("__init__.py", "__main__.py"):
                (place / decoy / module).write_text(DECOY)
        for module in ("_runyard.py", "torch.py", "celery.py"):
            (place / module).write_text(DECOY)
        for empty in ("templates", "static"):
            (place / empty).mkdir()
        (place / "nets").mkdir()
        (place / "nets" / f"{NAME}.py").write_text(example())
        yield place


class Started:
    """`runyard up` of the installed wheel."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.output = folder / "up.out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [program, "up", "--port", "0"],
                cwd=folder,
                env=clean(**OFFLINE, RUNYARD_MODELS_PATH="nets"),
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self.logs = folder / "data" / "logs"
        self.address = ""

    def said(self) -> str:
        """What it printed, and the end of its logs."""
        return self.output.read_text() + "".join(
            f"\n== {log.name}\n{log.read_text()[-1500:]}" for log in self.logs.glob("*.log")
        )

    def until(self, ready: Callable[[], Any]) -> Any:
        """The first true answer of ``ready``."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not (answer := ready()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)
        return answer

    def get(self, path: str) -> bytes:
        """The body of an answer with status 200."""
        with urllib.request.urlopen(self.address + path, timeout=PATIENCE_SECONDS) as answer:
            assert answer.status == 200
            body: bytes = answer.read()
            return body


@pytest.fixture(scope="module")
def started(installed: Path, folder: Path) -> Iterator[Started]:
    """Runyard from the wheel, running in the folder with decoys."""
    running = Started(installed / "runyard", folder)
    try:
        found = running.until(lambda: re.search(r"Open (http://\S+)", running.output.read_text()))
        running.address = found[1]
        yield running
    finally:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()


def test_the_program_says_its_version(installed: Path, folder: Path) -> None:
    for command in ([installed / "runyard"], [installed / "python", "-P", "-m", "runyard"]):
        done = subprocess.run([*command, "--version"], cwd=folder, env=clean(), capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (f"runyard {__version__}\n", "")


def test_it_answers_and_serves_its_pages_and_browser_code(started: Started) -> None:
    assert set(json.loads(started.get("/healthz"))) >= {"database", "redis"}
    assert b"<html" in started.get("/")
    assert json.loads(started.get("/openapi.json"))["info"]["version"] == __version__
    for name in ("runyard.css", "page.js", "vendor/htmx.min.js", "vendor/uPlot.iife.min.js"):
        assert started.get(f"/static/{name}") == (ROOT / "static" / name).read_bytes()


def test_a_users_script_trains_a_users_architecture(installed: Path, started: Started, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from runyard import Runyard\n"
        f"yard = Runyard({started.address!r})\n"
        f"run = yard.launch(family={NAME!r}, size='tiny', dataset='digits', epochs=1).wait()\n"
        "print(run.status, run.figure('test/acc') > 0)\n"
    )
    done = subprocess.run([installed / "python", str(script)], env=clean(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("succeeded True\n", ""), started.said()
    (run,) = json.loads(started.get("/api/v1/runs"))["runs"]
    about = json.loads(started.get(f"/api/v1/runs/{run['id']}/environment"))
    assert about["code"] is None
    assert f"runyard=={__version__}" in about["freeze"]


def test_ctrl_c_ends_it(started: Started) -> None:
    started.process.send_signal(signal.SIGINT)
    assert started.process.wait(PATIENCE_SECONDS) == 0
    assert started.output.read_text().endswith("Stopped.\n")
    assert "a folder of the user was imported" not in started.said()
