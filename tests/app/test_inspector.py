"""The catalogue is made once, kept as long as it is true, and never made in the server's own process."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from app import inspector
from app.contract.catalogue import Catalogue
from app.errors import Unavailable
from app.inspector import Inspector

EMPTY = Catalogue(families={})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stands in for the inspector's process, which counts how often it is started."""
    count = tmp_path / "count"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho once >> '{count}'\necho '{EMPTY.model_dump_json()}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def starts(folder: Path) -> int:
    file = folder / "count"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_catalogue_that_is_kept_is_used(tmp_path: Path, catalogue: Catalogue, catalogue_json: bytes) -> None:
    (tmp_path / "catalogue.json").write_bytes(catalogue_json)
    assert asyncio.run(Inspector(tmp_path).catalogue()) == catalogue


def test_many_who_ask_at_once_start_one_process_and_the_next_server_none(tmp_path: Path, made: None) -> None:
    async def ask(one: Inspector) -> list[Catalogue]:
        return await asyncio.gather(*(one.catalogue() for _ in range(5)))

    assert asyncio.run(ask(Inspector(tmp_path))) == [EMPTY] * 5
    assert asyncio.run(Inspector(tmp_path).catalogue()) == EMPTY
    assert starts(tmp_path) == 1


@pytest.mark.parametrize(
    "kept", [b"", b"{", b"[]", b'{"catalogue":{"families":{}}}', b'{"digest":"old","catalogue":{"families":{}}}']
)
def test_a_catalogue_that_is_old_or_broken_is_made_anew(tmp_path: Path, made: None, kept: bytes) -> None:
    file = tmp_path / "catalogue.json"
    file.write_bytes(kept)
    assert asyncio.run(Inspector(tmp_path).catalogue()) == EMPTY
    assert starts(tmp_path) == 1
    assert json.loads(file.read_text())["digest"] == inspector._digest()


def test_a_zoo_that_cannot_be_looked_at_is_unavailable_and_its_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho no torch here >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(Unavailable, match="log says why"):
        asyncio.run(Inspector(tmp_path).catalogue())
    assert "no torch here" in caplog.text
    assert not (tmp_path / "catalogue.json").exists()


def test_the_digest_changes_with_the_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec([str(package)]))
    first = inspector._digest()
    assert inspector._digest() == first
    (package / "mine.py").write_text("x = 1")
    assert inspector._digest() != first


class Spec:
    def __init__(self, folders: list[str]) -> None:
        self.submodule_search_locations = folders


def test_a_definition_is_words_and_figures() -> None:
    assert inspector._definition({"hidden_units": (256, 128), "heads": 4}) == "hidden units 256,128; heads 4"
