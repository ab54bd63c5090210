"""Queries find the runs that they describe; any input gives either runs or an error message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.contract.errors import QueryError
from app.store.author import AUTHOR
from app.store.database import next_commit, reading, writing
from app.store.metric import Curve, add_points
from app.store.search.parser import AnyOf, Term, parse
from app.store.search.query import RunFilter, list_runs
from app.store.search.query_language import FIELD_NAMES
from tests.conftest import Runs

NOW = 1_800_000_000.0
DAY = 1_793_491_200.0  # 2026-11-01, UTC


@pytest.fixture
def known(runs: Runs) -> dict[str, str]:
    """Ids of runs that differ in every queryable way, by letter."""
    said: dict[str, dict[str, Any]] = {
        "a": {"family": "vit", "size": "tiny", "tags": ["paper", "old one"], "name": "late fusion"},
        "b": {"family": "vit", "size": "small", "lr": 0.01, "epochs": 40},
        "c": {"optimizer": "sgd", "seed": 3, "notes": "50% off: a_b"},
        "d": {"flip": True, "name": "third, live"},
    }
    ids = {letter: runs.add(**each) for letter, each in said.items()}
    for letter, status, began, seconds in (("a", "succeeded", DAY, 600), ("b", "failed", DAY + 90_000, 30)):
        runs.set(ids[letter], status="running", created_at=began, started_at=began)
        runs.set(ids[letter], status=status, ended_at=began + seconds)
    for letter, values in {"a": [0.5, 0.99, 0.97], "b": [0.2, 0.3]}.items():
        with writing(runs.engine) as connection:
            curve = Curve(np.arange(len(values), dtype="<u4"), np.array(values), np.arange(len(values), dtype=float))
            for name in ("val/acc", "val/f1"):
                add_points(connection, ids[letter], name, curve, next_commit(connection))
    return ids


def found(runs: Runs, ids: dict[str, str], said: str) -> str:
    letters = {run: letter for letter, run in ids.items()}
    with reading(runs.engine) as connection:
        page = list_runs(connection, RunFilter(q=said), "number", 100, None, NOW)
    assert page.total == len(page.rows)
    return "".join(letters[row.run.id] for row in page.rows)


@pytest.mark.parametrize(
    ("said", "letters"),
    [
        ("", "abcd"),
        ("family:vit", "ab"),
        ("family:vit size:small", "b"),
        ("size:tiny,small", "ab"),
        ("-family:vit", "cd"),
        ("family!=vit", "cd"),
        ("status:failed,succeeded", "ab"),
        ("is:live", "cd"),
        ("is:ended -status:failed", "a"),
        ("tag:paper", "a"),
        ('tag:"old one"', "a"),
        ("-tag:paper", "bcd"),
        ('name:"third, live"', "d"),
        ('name:"third, live",nothing,"late fusion"', "ad"),
        ('name!="third, live"', "abc"),
        ("name:third,live", ""),
        ('"third, live"', "d"),
        ('is:"live",ended', "abcd"),
        ('seed:"3","4"', "c"),
        ("val/acc>0.98", "a"),
        ("val/acc>98%", "a"),
        ("val/acc<=1", "ab"),
        ("val/acc<150%", "ab"),
        ("val/loss<90", ""),
        ("val/f1>0.9", "a"),
        ("val/f1<90%", "b"),
        ("val/acc.last<0.98", "ab"),
        ("val/acc.min<=0.2", "b"),
        ("-val/acc>0.98", "bcd"),
        ("val/acc:none", "cd"),
        ("val/acc:any", "ab"),
        ("lr=0.01", "b"),
        ("lr:1e-2", "b"),
        ("epochs>=40", "b"),
        ("epochs<40", "acd"),
        ("seed:3,4", "c"),
        ("duration>5m", "a"),
        ("duration<1min", "b"),
        ("created>=2026-11-02", "b"),
        ("started<2026-11-02", "a"),
        ("optimizer:sgd", "c"),
        ("optimizer!=sgd", "abd"),
        ("flip:yes", "d"),
        ("flip:false", "abc"),
        ("fusion", "a"),
        ('"late fusion"', "a"),
        ("late fusion", "a"),
        ('"fusion late"', ""),
        ("50%", "c"),
        ("a_b", "c"),
        ("-fusion family:vit", "b"),
        ("vit tiny", "a"),
        ("-lr>1000", "abcd"),
        ("size:small or optimizer:sgd", "bc"),
        ("size:small OR fusion OR flip:yes", "abd"),
        ("family:vit size:small or flip:yes", "bd"),
        ("family:vit (size:small or fusion)", "ab"),
        ("(size:small or fusion) status:failed", "b"),
        ("-(size:small or fusion)", "cd"),
        ("-(val/acc>0.98 family:vit)", "bcd"),
        ("((flip:yes))or(lr=0.01)", "bd"),
        ("-(-(fusion) -size:small)", "ab"),
        ('"or"', ""),
        ('fusion ""', "a"),
    ],
)
def test_a_question_finds_the_runs_that_it_means(runs: Runs, known: dict[str, str], said: str, letters: str) -> None:
    assert found(runs, known, said) == letters


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("shade:red", "no field 'shade'; fields: is, tag, id, name"),
        ("famly:vit", "no field 'famly'; did you mean family?"),
        ("Family:vit", "no field 'Family'; did you mean family?"),
        ("status:done", "no status 'done'; statuses: queued, starting"),
        ("is:good", "unknown value 'good' for is; values: live, running, ended"),
        ("epochs>many", "'many' is not a number; write epochs>20"),
        ("duration>5parsecs", "write duration>10m"),
        ("created>yesterday", "'yesterday' is not a date; write created>2026-11-01"),
        ("family>vit", "family is a text field; use family:vit"),
        ("family:", "family: needs a value"),
        ("family:,", "family:, needs a value"),
        ('name:"a', "missing closing quote"),
        ("a " * 31, "too many terms (limit: 30)"),
        ("(" * 31 + "a" + ")" * 31, "too many parentheses"),
        ("(family:vit", "missing closing parenthesis"),
        ("family:vit)", "unmatched closing parenthesis"),
        ("family:vit or", "'or' needs a term on each side"),
        ("or a", "'or' needs a term on each side"),
        ("a or or b", "'or' needs a term on each side"),
        ("(a or) b", "'or' needs a term on each side"),
        ("a ( )", "empty parentheses"),
        ("val/acc>1e999", "is not a number"),
        ("val/f1>90", "val/f1 is between 0 and 1; did you mean val/f1>0.9 or val/f1>90%?"),
        ("val/macro_acc>x", "'x' is not a number; write val/macro_acc>0.98"),
        ("val/acc>90", "val/acc is between 0 and 1; did you mean val/acc>0.9 or val/acc>90%?"),
        ("val/digit/acc.last<=98.5", "did you mean val/digit/acc.last<=0.985 or val/digit/acc.last<=98.5%"),
        ("-test/acc:0.5,50", "did you mean test/acc:0.5 or test/acc:50%"),
        ('is:"live,ended"', "unknown value 'live,ended' for is"),
    ],
)
def test_what_cannot_be_asked_is_answered_with_what_can(
    runs: Runs, known: dict[str, str], said: str, words: str
) -> None:
    with pytest.raises(QueryError) as caught:
        found(runs, known, said)
    assert words in str(caught.value)
    assert caught.value.field == "q"


SIGNS = (
    "val/acc",
    " or ",
    "(",
    ")",
    ":",
    ">",
    "<=",
    "!=",
    "-",
    '"',
    "1",
    "a",
    " ",
    ",",
    "%",
    "'",
    ";",
    "\\",
    "\0",
    "é",
)
FRAGMENTS = st.sampled_from([*FIELD_NAMES, *SIGNS])


@given(said=st.lists(FRAGMENTS, max_size=12).map("".join) | st.text(max_size=40))
def test_whatever_is_typed_gives_runs_or_a_sentence(runs: Runs, said: str) -> None:
    with reading(runs.engine) as connection:
        try:
            page = list_runs(connection, RunFilter(q=said), "-number", 10, None, NOW)
        except QueryError as error:
            sentence = str(error)
            page = None
    assert sentence if page is None else page.total >= 0


@given(value=st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_value_can_be_said_in_quotes(value: str) -> None:
    [[term]] = parse(f'-name:"{value}"').choices
    assert isinstance(term, Term)
    assert (term.negated, term.name, term.operator, term.value, term.values) == (True, "name", ":", value, (value,))


LETTERS = ("fusion", "size:small", "optimizer:sgd", "flip:yes")


@st.composite
def questions(draw: st.DrawFn, depth: int = 3) -> tuple[str, frozenset[str]]:
    """A query, and which of the four runs it matches."""
    if depth == 0 or draw(st.booleans()):
        at = draw(st.integers(0, 3))
        said, there = LETTERS[at], frozenset("abcd"[at])
    else:
        choices = draw(st.lists(st.lists(questions(depth - 1), min_size=1, max_size=2), min_size=1, max_size=2))
        said = "(" + " or ".join(" ".join(words for words, _ in choice) for choice in choices) + ")"
        there = frozenset[str]().union(*(frozenset.intersection(*(runs for _, runs in choice)) for choice in choices))
    return (f"-{said}", frozenset("abcd") - there) if draw(st.booleans()) else (said, there)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(question=questions())
def test_brackets_choices_and_their_opposites_mean_what_sets_mean(
    runs: Runs, known: dict[str, str], question: tuple[str, frozenset[str]]
) -> None:
    said, there = question
    assert found(runs, known, said) == "".join(sorted(there))


def test_a_part_knows_how_it_was_said() -> None:
    [[first, second]] = parse('family:vit  -(a or "b c")').choices
    assert isinstance(second, AnyOf)
    assert (first.source, second.source) == ("family:vit", '-(a or "b c")')


def test_runs_are_found_by_who_launched_them(runs: Runs, known: dict[str, str]) -> None:
    runs.set(known["a"], created_by="ada")
    runs.set(known["b"], created_by="grace")
    assert found(runs, known, "by:ada,Grace") == "ab"
    assert found(runs, known, "-by:ada") == "bcd"
    assert found(runs, known, "by:me") == "cd"
    token = AUTHOR.set("grace")
    try:
        assert found(runs, known, "by:me") == "b"
        assert found(runs, known, "by!=me") == "acd"
    finally:
        AUTHOR.reset(token)
