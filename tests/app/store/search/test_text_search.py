"""Text searches find what reading every run finds, whatever changes and whichever index there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.store.database import reading, writing
from app.store.search import query
from app.store.search.query import RunFilter, count_runs, list_runs
from app.store.search.query_language import _trigrams
from app.store.trash import purge_runs
from tests.conftest import Runs

NOW = 1_700_000_500.0
# What SQL, FTS5 and this search itself give a meaning to, and characters without upper and lower case.
LETTERS = "aAbBtT1 %_\\'*.-^:日本"
TEXTS = st.text(LETTERS, max_size=8)
WORDS = st.text(LETTERS, min_size=1, max_size=6).filter(str.strip)
FAMILIES = ("vit", "simple_cnn")


def found(runs: Runs, q: str, sort: str = "-number") -> list[str]:
    with reading(runs.engine) as connection:
        page = list_runs(connection, RunFilter(q=q), sort, 500, None, NOW)
        assert page.total == len(page.rows) == count_runs(connection, RunFilter(q=q), NOW)
    return [row.run.id for row in page.rows]


def reading_every_run(runs: Runs, word: str) -> list[str]:
    rows = runs.sql(
        "SELECT id, name, notes, family, size, dataset FROM run WHERE deleted_at IS NULL ORDER BY number DESC"
    )
    return [
        row[0]
        for row in rows
        if any(word.lower() in part.lower() for part in (row[0], row[1], row[2], " ".join(row[3:6])))
    ]


@pytest.mark.parametrize("at_once", [0, 6000])
@given(
    drawn=st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(FAMILIES)), max_size=6),
    words=st.lists(WORDS, min_size=1, max_size=6),
    changes=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(("name", "notes")), TEXTS), max_size=4),
    deleted=st.sets(st.integers(0, 5), max_size=2),
    purged=st.booleans(),
)
def test_a_search_finds_what_reading_every_run_finds(
    runs: Runs,
    at_once: int,
    drawn: list[tuple[str, str, str]],
    words: list[str],
    changes: list[tuple[int, str, str]],
    deleted: set[int],
    purged: bool,
) -> None:
    with writing(runs.engine) as connection:
        connection.execute(text("DELETE FROM run"))
    made = [runs.add(name=name, notes=notes, family=family) for name, notes, family in drawn]
    for i, column, value in changes:
        if i < len(made):
            runs.set(made[i], **{column: value})
    for i in deleted:
        if i < len(made):
            runs.set(made[i], status="cancelled", ended_at=NOW, deleted_at=NOW)
    if purged:
        with writing(runs.engine) as connection:
            purge_runs(connection, NOW + 1)
    # Parts of what is there, so that most searches find something.
    words = words + [part[1:5] for name, notes, _ in drawn for part in (name, notes) if part[1:5].strip()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query, "SORTED_AT_ONCE", at_once)
        patch.setattr(query, "FOUND_AT_ONCE", at_once)
        for word in words:
            assert found(runs, f'"{word}"') == reading_every_run(runs, word)
            there = reading_every_run(runs, "")
            others = [run for run in reversed(there) if run not in reading_every_run(runs, word)]
            assert found(runs, f'-"{word}"', "number") == others
    if runs.engine.dialect.name == "sqlite":
        with writing(runs.engine) as connection:
            # Raises if the index and what it indexes differ.
            connection.execute(
                text("INSERT INTO searched_trigram (searched_trigram, rank) VALUES ('integrity-check', 1)")
            )


def test_no_word_is_found_across_the_end_of_a_name(runs: Runs) -> None:
    runs.add(name="late", notes="fusion")
    assert found(runs, "late") == found(runs, "fusion") != []
    assert found(runs, '"late\x1ffusion"') == found(runs, "latefusion") == []


@pytest.mark.sqlite
def test_without_the_index_of_trigrams_searches_find_the_same(runs: Runs) -> None:
    one, other = runs.add(name="warmup 12"), runs.add(notes="no Warmup")
    with writing(runs.engine) as connection:
        for what in ("TRIGGER searched_trigram_of_new", "TRIGGER searched_trigram_of_changed"):
            connection.execute(text(f"DROP {what}"))
        connection.execute(text("DROP TRIGGER searched_trigram_of_removed"))
        connection.execute(text("DROP TABLE searched_trigram"))
    runs.engine.dispose()
    third = runs.add(name="warmup 13")
    assert found(runs, "WARMUP") == [third, other, one]
    runs.set(third, name="cold")
    assert found(runs, "warmup") == [other, one]


@pytest.mark.sqlite
def test_a_long_word_is_narrowed_down_by_a_limited_number_of_trigrams(runs: Runs) -> None:
    assert _trigrams("ab") == ""
    assert _trigrams('a"bc') == '"a""b" AND """bc"'
    assert _trigrams("aaaa") == '"aaa"'
    assert _trigrams("".join(map(chr, range(0x4E00, 0x4E00 + 200)))).count(" AND ") == 29
    run = runs.add(notes="x" * 50 + "".join(map(chr, range(0x4E00, 0x4E00 + 200))))
    assert found(runs, "".join(map(chr, range(0x4E00, 0x4E00 + 190)))) == [run]
    assert found(runs, "".join(map(chr, range(0x4E00, 0x4E00 + 190))) + "y") == []


def test_searches_use_the_index(runs: Runs) -> None:
    runs.add(name="warmup")
    postgresql = runs.engine.dialect.name == "postgresql"
    with reading(runs.engine) as connection:
        if postgresql:
            # PostgreSQL reads a table of one row whole if it may.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            plan = connection.execute(text("EXPLAIN SELECT number FROM searched_text x WHERE x.text ILIKE '%warmup%'"))
            assert "ix_searched_text_trigram" in str(plan.all())
            return
        matching, values = query.conditions(connection, RunFilter(q="warmup"), NOW)
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN SELECT count(*) FROM run WHERE {matching}"), values)
        assert "searched_trigram" in str(plan.all())
