"""A body that is not valid JSON: the error says where, and names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.web.broken_json import describe
from tests.conftest import errors_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (
            '{"family": "vit", "options": {bad}}',
            "options",
            "options is not valid JSON at character 31 of the body: expecting property name enclosed in double quotes",
        ),
        ('{"options": {"pool": [1,,2]}}', "options", "options is not valid JSON at character 25 of the body"),
        ('{"a,b{": 1, "lr": 0..1}', "lr", "lr is not valid JSON at character 20 of the body"),
        ("options={bad", "body", "the body is not valid JSON at character 1: expecting value"),
    ],
)
def test_the_error_names_the_field_and_the_place(client: TestClient, body: str, field: str, message: str) -> None:
    answer = client.post("/api/v1/runs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert errors_of(answer)[field].startswith(message)
    assert answer.json()["detail"] == errors_of(answer)[field]


@given(st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=4), st.text("abc", min_size=1, max_size=5))
def test_the_field_is_found_whatever_stands_before_it(before: dict[str, Any], name: str) -> None:
    before.pop(name, None)
    start = json.dumps(before)[:-1] + (", " if before else "") + f'"{name}": '
    with pytest.raises(json.JSONDecodeError) as broken:
        json.loads(start + "[{bad}]}")
    assert describe(broken.value.doc, broken.value.pos, broken.value.msg).field == name
