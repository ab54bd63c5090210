"""The audit log as CSV: what the list has, also in many slices, and nothing that a spreadsheet would calculate."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.formats.table import as_csv
from app.routes.people.api_audit import AuditEventOut
from app.store.audit_event import record_event
from app.store.database import writing
from app.web.dependencies import Parts
from tests.people import ADMINISTRATOR, NAMES, bearer, people, session

COLUMNS = list(AuditEventOut.model_fields)
TEXT = st.text() | st.text('=+-@\t\r\n,"a')


@pytest.fixture
def parts(server: FastAPI) -> Parts:
    """The parts of a server with one person of each role, and some events more."""
    parts = people(server)
    with writing(parts.engine) as connection:
        for number in range(5):
            record_event(
                connection,
                at=1_790_000_000.5 + number,
                who=NAMES["member"],
                credential="session",
                address="192.0.2.7",
                action="run.tag" if number % 2 else "run.launch",
                target=f"=1+{number}",
                detail={"tags": ["a,b", '"'], "epochs": number} if number else {},
            )
    return parts


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("query", [{}, {"who": "grace"}, {"action": "run."}, {"target": "=1+3"}, {"who": "nobody"}])
def test_the_file_has_the_events_of_the_list_in_its_order_however_they_are_read(
    parts: Parts, client: TestClient, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
) -> None:
    monkeypatch.setattr("app.routes.people.api_audit.SLICE", 2)
    header = bearer(parts, ADMINISTRATOR, "admin")
    listed = client.get("/api/v1/audit", params=query, headers=header).json()["events"]
    assert bool(listed) == (query != {"who": "nobody"})
    answer = client.get("/api/v1/audit.csv", params=query, headers=header)
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.csv"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.partition("\n")[0] == ",".join(COLUMNS)
    found = rows(answer.text)
    assert [int(row["id"]) for row in found] == [event["id"] for event in listed]
    for row, event in zip(found, listed, strict=True):
        assert json.loads(row["detail"] or "{}") == event["detail"]
        assert row["target"].removeprefix("'") == event["target"]
        for name in ("time", "who", "credential", "address", "action"):
            assert row[name] == event[name]


def test_no_cell_is_a_formula(parts: Parts, client: TestClient) -> None:
    answer = client.get("/api/v1/audit.csv?action=run.", headers=bearer(parts, ADMINISTRATOR, "admin"))
    assert [row["target"] for row in rows(answer.text)] == [f"'=1+{number}" for number in reversed(range(5))]


@given(st.dictionaries(st.sampled_from(COLUMNS), TEXT | st.dictionaries(TEXT, TEXT)))
def test_whatever_an_event_says_no_cell_begins_as_a_formula_does(event: dict[str, Any]) -> None:
    written = b"".join(as_csv(COLUMNS, iter([[event]]))).decode()
    _, row = csv.reader(io.StringIO(written, newline=""))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row)


def test_the_page_links_to_what_it_shows(parts: Parts, client: TestClient) -> None:
    client.cookies.update(session(parts, ADMINISTRATOR))
    for query, number in (("", None), ("?who=grace&action=run.t", 2)):
        (link,) = re.findall(r'href="(/api/v1/audit\.csv[^"]*)"', client.get(f"/admin/audit{query}").text)
        found = rows(client.get(link.replace("&amp;", "&")).text)
        assert len(found) == number if number else len(found) > 5


@pytest.mark.parametrize("query", ["who=" + "x" * 61, "action=" + "x" * 61, "target=" + "x" * 301])
def test_a_filter_that_cannot_match_is_refused(parts: Parts, client: TestClient, query: str) -> None:
    assert client.get(f"/api/v1/audit.csv?{query}", headers=bearer(parts, ADMINISTRATOR, "admin")).status_code == 422
