"""Actions are stored with what undoing them needs, are undone once, and the oldest are dropped."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from app.store import undo
from app.store.database import reading, writing
from app.store.undo import find_act, mark_undone, record_act


def test_an_act_is_remembered_and_undone_once(engine: Engine) -> None:
    with writing(engine) as connection:
        act = record_act(connection, "tag", "1 run tagged a.", {"runs": ["r_1"], "tag": "a"}, 10.0)
        assert mark_undone(connection, act, 11.0)
        assert not mark_undone(connection, act, 12.0)
        assert not mark_undone(connection, "a_none", 12.0)
        found = find_act(connection, act)
    assert found is not None
    assert (found.kind, found.before, found.undone) == ("tag", {"runs": ["r_1"], "tag": "a"}, True)


def test_the_oldest_acts_are_forgotten(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "MAX_ACTS", 2)
    with writing(engine) as connection:
        acts = [record_act(connection, "tag", "", {}, float(at)) for at in range(5)]
    with reading(engine) as connection:
        assert [find_act(connection, act) is not None for act in acts] == [False, False, False, True, True]
