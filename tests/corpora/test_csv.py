"""CSV files: every route and command that writes one, with texts that a spreadsheet would calculate."""

from __future__ import annotations

import ast
import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from app.formats.csv_cells import FORMULA, NUMBER
from tests.corpora.addresses import answers
from tests.filled_yard import fill
from tests.people import NAMES, bearer

ROOT = Path(__file__).resolve().parents[2]
CORPUS = (
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+SUM(A1)",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "＝1+1",
    '=HYPERLINK("http://evil.example")',
)
FILES = {
    "/api/v1/runs.{format}",
    "/api/v1/runs/{run_id}/curves.{format}",
    "/api/v1/runs/{run_id}/predictions.csv",
    "/runs/{run_id}/robustness.csv",
    "/api/v1/datasets/{name}/items.csv",
    "/datasets/{name}/items.csv",
    "/api/v1/audit.csv",
}


def formulas(text: str) -> list[str]:
    """Cells that a spreadsheet would calculate."""
    cells = [value for row in csv.reader(io.StringIO(text, newline="")) for value in row]
    return [value for value in cells if FORMULA.match(value) and not NUMBER.fullmatch(value)]


def test_no_csv_file_of_any_route_has_a_formula(server: FastAPI, client: TestClient) -> None:
    payloads = itertools.cycle(CORPUS)
    yard = fill(server, client, lambda field: next(payloads))
    found: dict[str, str] = {}
    for route, address, answer in answers(server, client, yard, bearer(yard.parts, NAMES["administrator"])):
        if answer.headers.get("content-type", "").startswith("text/csv"):
            assert answer.status_code == 200, address
            assert formulas(answer.text) == [], address
            found[route] = found.get(route, "") + answer.text
    assert set(found) == FILES
    # In most of them, something could have been a formula.
    assert {route for route, content in found.items() if re.search(r"(^|[,\n\"])'[=+@\n＝-]", content)} >= FILES - {
        "/runs/{run_id}/robustness.csv",
        "/api/v1/audit.csv",
    }


def test_everything_that_writes_csv_goes_through_one_module() -> None:
    """A tag in the launch form is quoted as CSV, and an importer writes its own list, which is copied at export."""
    allowed = {"app/formats/csv_cells.py", "app/routes/launch/form.py", "worker/data/importing/version_folder.py"}
    files = [*(ROOT / "app").rglob("*.py"), *(ROOT / "worker").rglob("*.py"), ROOT / "runyard.py"]
    writers = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("writer", "DictWriter") and _is_csv(node.value):
                writers.add(str(path.relative_to(ROOT)))
    assert writers == allowed
    by_hand = [str(path.relative_to(ROOT)) for path in files if re.search(r"[\"']text/csv", path.read_text())]
    assert len(by_hand) >= 5
    for name in by_hand:
        assert re.search(r"csv_cells|formats\.table|as_csv|curve_formats", (ROOT / name).read_text()), name


def _is_csv(node: Any) -> bool:
    return isinstance(node, ast.Name) and node.id == "csv"
