"""Edits of a run change every place where the field is stored."""

from __future__ import annotations

from app.store.database import reading, writing
from app.store.edit import edit
from app.store.search.query import RunFilter, list_runs
from tests.conftest import Runs


def test_a_changed_run_is_found_by_its_new_words_and_trains_what_it_did(runs: Runs) -> None:
    run = runs.add(name="old", tags=["a", "b"], notes="x")
    before = runs.get(run).config
    with writing(runs.engine) as connection:
        edit(connection, run, {"name": "new ☃", "tags": ["b", "c", "c"], "priority": 4}, 9)
    found = runs.get(run)
    assert (found.title, found.name, found.notes, found.priority, found.status_commit) == ("new ☃", "new ☃", "x", 4, 9)
    assert found.tags == found.config.tags == ["b", "c"]
    unseen = {"name": "", "tags": [], "priority": 0}
    assert found.config.model_copy(update=unseen) == before.model_copy(update=unseen)
    with reading(runs.engine) as connection:
        for where, many in ((RunFilter(q="new"), 1), (RunFilter(tag=["c"]), 1), (RunFilter(tag=["a"]), 0)):
            assert list_runs(connection, where, "-number", 5, None, 0.0).total == many
