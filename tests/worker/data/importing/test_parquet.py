"""Parquet files are read, with images in them or beside them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest
from pyarrow import parquet

from tests.worker.data.importing.making import Imports, pixels, png, put


def test_without_pyarrow_the_user_learns_how_to_install_it(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1" + bytes(100))
    assert imports.fails(tmp_path / "x.parquet") == (
        'Parquet files need the package pyarrow; install it with pip install "runyard[parquet]"'
    )


def _write(path: Path, columns: dict[str, Any], names: list[str] | None = None) -> None:
    table = arrow.table(columns)
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)


@pytest.mark.parametrize("column", ["image", "img"])
def test_images_in_files_of_the_hugging_face_hub_are_read(imports: Imports, tmp_path: Path, column: str) -> None:
    for part, first, n in (("train", 0, 40), ("test", 100, 6)):
        images = [{"bytes": png(first + each), "path": f"{each}.png"} for each in range(n)]
        labels = [each % 2 for each in range(n)]
        _write(tmp_path / f"hub/data/{part}-00000-of-00001.parquet", {column: images, "label": labels}, ["dog", "cat"])
    made = imports.of(tmp_path / "hub")
    assert made.described.classes == ("cat", "dog")
    assert made.described.images == {"train": 36, "validation": 4, "test": 6}
    path = "data/test-00000-of-00001.parquet#1"
    assert made.label(path) == "cat"
    assert (made.image(path) == pixels(101).transpose(2, 0, 1)).all()


def test_a_table_of_paths_is_read(imports: Imports, tmp_path: Path) -> None:
    source = put(tmp_path / "x", {f"i/{n}.png": png(n) for n in range(20)})
    _write(
        source / "labels.parquet",
        {"path": [f"i/{n}.png" for n in range(20)], "label": [("no", "yes")[n % 2] for n in range(20)]},
    )
    for number, each in enumerate((source, source / "labels.parquet")):
        made = Imports(imports.datasets, id=str(number)).of(each)
        assert made.label("i/3.png") == "yes"


def test_other_columns_fail_with_their_names(imports: Imports, tmp_path: Path) -> None:
    _write(tmp_path / "x.parquet", {"a": [1], "b": [2]})
    assert "a, b" in imports.fails(tmp_path / "x.parquet")
