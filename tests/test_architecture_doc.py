"""docs/architecture.md and its picture show the folders and imports that the code has."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from docs.architecture import BOXES, FILE, PLACES, arrows, drawn_folders, picture, reduced, widest_gap
from docs.imports import ROOT

PAGE = ROOT / "docs" / "architecture.md"


def test_the_picture_shows_the_code_as_it_is() -> None:
    assert FILE.read_text() == picture(), "run: python -m docs.architecture"


def test_the_picture_is_well_formed_and_loads_nothing() -> None:
    root = ElementTree.parse(FILE).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"href|url\(|@import|<script|<image", FILE.read_text())


def test_every_arrow_points_downwards() -> None:
    graph, _ = drawn_folders()
    found = arrows(graph)
    assert ("app", "app.routes") in found
    assert ("worker.training", "models") in found
    rows = {box.folder: box.row for box in BOXES} | {"frame": PLACES["app.routes.launch"].row}
    assert [(a, b) for a, b in found if rows[a] >= rows[b]] == []


def test_no_boxes_overlap() -> None:
    for box in BOXES:
        others = [other for other in BOXES if other.row == box.row and other is not box]
        assert all(other.left >= box.right or other.right <= box.left for other in others), box


def test_an_import_that_follows_from_others_has_no_arrow() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_an_arrow_passes_beside_the_boxes_between() -> None:
    store = PLACES["app.store"]
    assert widest_gap(store.left, store.right + 200, [store]) == (store.right + 12, store.right + 200)
    assert widest_gap(store.left, store.right, [store]) is None


@pytest.mark.parametrize("folder", sorted(PLACES))
def test_the_page_names_every_folder(folder: str) -> None:
    assert f"`{folder.replace('.', '/')}/`" in PAGE.read_text()


def test_every_folder_that_the_page_names_exists() -> None:
    named = re.findall(r"`((?:app|worker|models|tests|static)/[\w/]*/?)`", PAGE.read_text())
    assert len(named) >= len(PLACES)
    assert [path for path in named if not (ROOT / path).is_dir()] == []


def test_every_function_that_the_page_names_is_in_a_file_that_it_names() -> None:
    text = PAGE.read_text()
    sources = "\n".join((ROOT / path).read_text() for path in set(re.findall(r"`([\w/]+\.py)`", text)))
    functions = set(re.findall(r"`(\w+)\(\)`", text))
    assert len(functions) > 5
    assert [name for name in sorted(functions) if f"def {name}(" not in sources] == []


def test_the_runtime_diagram_has_every_process_and_store() -> None:
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(), re.S)
    nodes = set(re.findall(r"^ +(\w+)", diagram, re.M)) | set(re.findall(r"> (\w+)", diagram))
    assert nodes == {
        *("browser", "server", "inspector", "recorder", "worker", "trainer"),
        *("redis", "database", "artifacts"),
    }


def test_the_page_is_short() -> None:
    assert len(PAGE.read_text().splitlines()) <= 160
