"""The Makefile, with stand-ins for Python and Runyard, and what packaging files may not say: nothing is installed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ["help", "setup", "up", "test", "lint", "build", "bench", "chaos", "pictures", "clean"]
PACKAGING = [
    "Makefile",
    "package.json",
    "package-lock.json",
    ".npmrc",
    ".gitignore",
    ".dockerignore",
    "static/vendor.py",
    "_runyard.py",
    "build_backend.py",
    "tests/chromium.py",
    ".pre-commit-config.yaml",
    "static/node.py",
    "tsconfig.json",
    "biome.jsonc",
    "constraints.txt",
    "Dockerfile",
    "docker-compose.yml",
    ".ci/run",
    "pyproject.toml",
]
PATIENCE_SECONDS = 20.0

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# Stands in for Python: says in `calls` what it was asked for, and does the part of it that the Makefile waits for.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in
  *ensurepip*) exit ${FAKE_ENSUREPIP:-0} ;;
  "-m venv --clear .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp runyard.sh .venv/bin/runyard ;;
  "-m pip install"*) exit ${FAKE_PIP:-0} ;;
  "-m tests.chromium") exit ${FAKE_CHROMIUM:-0} ;;
  static/vendor.py) mkdir -p static/vendor; : > static/vendor/versions.json ;;
  "-m static.node install") mkdir -p node_modules; : > node_modules/.package-lock.json ;;
esac
"""
# It takes a moment to stop, as Runyard does: GNU make 4.3 complains of "No child processes" when its child is gone at
# the very instant of the signal (in 421 of 4,228 trials of bare make; in none of 49 where that took half a second).
FAKE_RUNYARD = """#!/bin/sh
echo "runyard $*" >> calls
[ -z "$FAKE_STAY" ] && exit 0
trap 'echo "runyard stops" >> calls; sleep 0.5; exit 0' INT TERM
: > ready
while :; do sleep 0.05; done
"""


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without what an outer `make test` put there."""
    return {**{k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}, **extra}


def make(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run make with the stand-in as the only Python."""
    return subprocess.run(
        ["make", "PYTHON=./python.sh", *arguments],
        cwd=folder,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def calls(folder: Path) -> list[str]:
    """What the stand-ins were asked for since the last look."""
    log = folder / "calls"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a space in its name, with stand-ins for Python and Runyard."""
    folder = tmp_path / "run yard"
    (folder / "static").mkdir(parents=True)
    for name in ["Makefile", "pyproject.toml", "constraints.txt", "package.json", "package-lock.json", ".npmrc"]:
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "static" / "vendor.py", folder / "static")
    for name, text in {"python.sh": FAKE_PYTHON, "runyard.sh": FAKE_RUNYARD}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def running(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """`make up` of a Runyard that stays until it is stopped."""
    make(checkout, "setup")
    calls(checkout)
    process = subprocess.Popen(
        ["make", "up"],
        cwd=checkout,
        env=environment(FAKE_STAY="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Whoever runs the tests may ignore Ctrl-C, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (checkout / "ready").exists():
            assert time.monotonic() < deadline, "make up did not start Runyard"
            time.sleep(0.02)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@needs_make
def test_make_alone_lists_every_target_in_one_line_each() -> None:
    done = subprocess.run(["make"], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in done.stdout.splitlines()] == TARGETS
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines())


def test_every_target_that_is_a_command_has_a_help_line() -> None:
    makefile = (ROOT / "Makefile").read_text()
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert declared is not None
    assert set(declared[1].split()) - {"stale"} == set(TARGETS)
    assert re.findall(r"^([a-z]+):.*?## \S", makefile, re.MULTILINE) == TARGETS


@needs_make
def test_make_up_installs_first_and_then_starts_runyard(checkout: Path) -> None:
    done = make(checkout, "-j8", "up", "ARGS=--port 9000")
    assert done.returncode == 0, done.stderr
    asked = calls(checkout)
    assert [line for line in asked if line.startswith("-m pip install")] == [
        "-m pip install --quiet --disable-pip-version-check -c constraints.txt"
        " --config-settings editable_mode=compat -e .[dev]"
    ]
    assert asked[-2:] == ["static/vendor.py", "runyard up --port 9000"]


@needs_make
def test_a_second_make_up_starts_runyard_and_nothing_else(checkout: Path) -> None:
    make(checkout, "up")
    calls(checkout)
    done = make(checkout, "up")
    assert calls(checkout) == ["runyard up"]
    assert done.stdout + done.stderr == ""


@needs_make
def test_make_says_what_takes_long(checkout: Path) -> None:
    assert "about 7 GB" in make(checkout, "setup").stdout


@needs_make
def test_an_install_that_failed_is_done_again(checkout: Path) -> None:
    failed = make(checkout, "up", FAKE_PIP="1")
    assert failed.returncode != 0
    assert "could not install the Python packages" in failed.stderr
    assert "runyard up" not in calls(checkout)
    assert make(checkout, "up").returncode == 0
    assert any(line.startswith("-m pip install") for line in calls(checkout))


@needs_make
@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_list_of_packages_is_installed(checkout: Path, name: str) -> None:
    make(checkout, "setup")
    calls(checkout)
    soon = time.time() + 5
    os.utime(checkout / name, (soon, soon))
    make(checkout, "setup")
    asked = calls(checkout)
    assert any(line.startswith("-m pip install") for line in asked)
    assert "static/vendor.py" not in asked


@needs_make
@pytest.mark.parametrize("name", ["package.json", "package-lock.json", ".npmrc"])
def test_a_changed_list_of_browser_code_is_fetched(checkout: Path, name: str) -> None:
    make(checkout, "setup")
    calls(checkout)
    soon = time.time() + 5
    os.utime(checkout / name, (soon, soon))
    make(checkout, "setup")
    assert calls(checkout) == ["static/vendor.py"]


@needs_make
def test_a_checkout_that_was_moved_is_installed_again(checkout: Path) -> None:
    make(checkout, "setup")
    calls(checkout)
    moved = checkout.rename(checkout.parent / "elsewhere")
    make(moved, "setup")
    assert any(line.startswith("-m pip install") for line in calls(moved))


@needs_make
def test_without_a_new_enough_python_make_says_so_in_one_sentence(checkout: Path) -> None:
    done = make(checkout, "setup", "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (checkout / ".venv").exists()


@needs_make
def test_a_python_without_ensurepip_is_told_what_to_install(checkout: Path) -> None:
    done = make(checkout, "setup", FAKE_ENSUREPIP="1")
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


@needs_make
def test_ctrl_c_stops_runyard_and_make_says_nothing(checkout: Path, running: subprocess.Popen[str]) -> None:
    os.killpg(running.pid, signal.SIGINT)
    said, _ = running.communicate(timeout=PATIENCE_SECONDS)
    assert calls(checkout)[-1] == "runyard stops"
    assert "***" not in said


@needs_make
def test_a_terminated_make_passes_the_signal_on_to_runyard(checkout: Path, running: subprocess.Popen[str]) -> None:
    running.terminate()
    running.communicate(timeout=PATIENCE_SECONDS)
    assert calls(checkout)[-1] == "runyard stops"


@needs_make
def test_make_test_and_make_lint_run_the_tools_of_the_virtual_environment(checkout: Path) -> None:
    assert make(checkout, "setup").returncode == 0
    calls(checkout)
    assert make(checkout, "test", "lint", "build", "bench", "ARGS=-x").returncode == 0
    assert calls(checkout) == [
        "-m tests.chromium",
        "-m pytest -x",
        "-m static.node install",
        "-m ruff check .",
        "-m ruff format --check .",
        "-m mypy",
        "-m static.node lint",
        "-m build --no-isolation",
        "-m bench -x",
    ]
    assert make(checkout, "lint").returncode == 0
    assert "-m static.node install" not in calls(checkout)


@needs_make
def test_without_a_browser_no_test_is_started(checkout: Path) -> None:
    make(checkout, "setup")
    calls(checkout)
    done = make(checkout, "test", FAKE_CHROMIUM="1")
    assert done.returncode != 0
    assert calls(checkout) == ["-m tests.chromium"]


@needs_make
def test_make_clean_keeps_the_data(checkout: Path) -> None:
    make(checkout, "setup")
    (checkout / "data").mkdir()
    (checkout / "data" / "runyard.db").touch()
    assert make(checkout, "clean").returncode == 0
    assert (checkout / "data" / "runyard.db").exists()
    assert not (checkout / ".venv").exists()
    assert not (checkout / "static" / "vendor").exists()
    assert (checkout / "static" / "vendor.py").exists()


@pytest.mark.parametrize("name", PACKAGING)
def test_no_packaging_file_holds_an_address_of_a_registry_or_a_path_of_a_machine(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    # npm copies where to donate to a package into the lock file.
    text = re.sub(r'"funding": \{[^}]*\}', "", text)
    addresses = re.findall(r"\w+://(?!127\.0\.0\.1|redis:)[^\s\"']+", text)
    assert not addresses
    assert not re.findall(r"(?:/home|/Users|/root|/opt|/work)\b/?\S*", text)


def test_every_constraint_is_a_name_and_one_version() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert len(names) == len(set(names))
    assert lines == sorted(lines, key=str.lower)


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout")
@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        (".venv/bin/python", True),
        ("data/runyard.db", True),
        ("node_modules/uplot/package.json", True),
        ("static/vendor/htmx.min.js", True),
        ("app/__pycache__/main.pyc", True),
        ("runyard.egg-info/PKG-INFO", True),
        (".pytest_cache/README.md", True),
        (".mypy_cache/a", True),
        (".ruff_cache/a", True),
        (".hypothesis/a", True),
        ("static/vendor.py", False),
        ("static/runyard.css", False),
        ("worker/data/device_dataset.py", False),
        ("tests/worker/data/a.json", False),
        ("bench/results/start.json", False),
        ("package-lock.json", False),
        ("constraints.txt", False),
    ],
)
def test_git_ignores_what_is_made_and_keeps_what_is_written(path: str, ignored: bool) -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False)
    assert (done.returncode == 0) is ignored
