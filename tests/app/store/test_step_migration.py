"""Curves from before steps had 64 bits are read after the migration, those whose steps run backwards in order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from app.store import metric
from app.store.database import MIGRATIONS, next_commit, reading, writing
from app.store.experiment import DEFAULT
from app.store.metric import Curve, read_curves
from app.store.tracked_run import NewLoggedRun, insert_logged
from tests.app.store.curves import VALUES, in_any_order, part, same, sorted_by_step
from tests.app.store.test_metric import empty, figures, summary
from tests.conftest import Runs

# No version of Runyard before this migration could use PostgreSQL.
pytestmark = pytest.mark.sqlite
NAME = "train/loss"


def migrate(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    (command.upgrade if revision == "head" else command.downgrade)(config, revision)


@pytest.fixture
def logged(runs: Runs) -> str:
    with writing(runs.engine) as connection:
        return insert_logged(connection, NewLoggedRun(DEFAULT, "mine", "mine", 1.0), next_commit(connection), 1.0, 60.0)


def write_as_before(connection: Connection, run: str, chunks: list[Curve], tiers: list[int]) -> None:
    """Insert chunks in the order in which they came, and a summary of the points in that order."""
    whole = Curve(*(np.concatenate([getattr(each, name) for each in chunks]) for name in ("steps", "values", "times")))
    found = figures(whole)
    names = {"min": "low", "max": "high"}
    low, high = found["min"], found["max"]
    series: dict[str, Any] = {
        **{names.get(name, name): value for name, value in found.items()},
        "first_step": int(whole.steps[0]),
        "last_time": float(whole.times[-1]),
        "low_step": 0 if low is None else int(whole.steps[(whole.values == low).argmax()]),
        "high_step": 0 if high is None else int(whole.steps[(whole.values == high).argmax()]),
        "run": run,
        "name": NAME,
        "run_number": 1,
    }
    columns = ", ".join(series)
    id = connection.execute(
        text(f"INSERT INTO metric_series ({columns}) VALUES (:{', :'.join(series)}) RETURNING id"), series
    ).scalar_one()
    for each, tier in zip(chunks, tiers, strict=True):
        level = metric.envelope(each, max(2, 2 * (len(each.steps) // metric.BUCKET)))
        row = {
            "series": id,
            "tier": tier,
            "commit_number": 1,
            "first_step": int(each.steps[0]),
            "last_step": int(each.steps[-1]),
            "points": len(each.steps),
            "steps": each.steps.astype("<u4").tobytes(),
            "point_values": each.values.tobytes(),
            "times": each.times.tobytes(),
            "level_steps": level.steps.astype("<u4").tobytes() if tier else b"",
            "level_values": np.concatenate((level.values, level.times)).tobytes() if tier else b"",
        }
        connection.execute(text(f"INSERT INTO metric_chunk ({', '.join(row)}) VALUES (:{', :'.join(row)})"), row)


@st.composite
def chunked(draw: st.DrawFn) -> tuple[Curve, list[int]]:
    """Points in the order in which they came, and the sizes of their chunks."""
    sizes = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    total = sum(sizes)
    steps = draw(st.lists(st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)), min_size=total, max_size=total))
    return in_any_order(steps, draw(st.lists(VALUES, min_size=total, max_size=total))), sizes


@hypothesis_settings(max_examples=15)
@given(made=chunked())
def test_a_logged_curve_is_sorted_by_step(runs: Runs, logged: str, made: tuple[Curve, list[int]]) -> None:
    whole, sizes = made
    ends = np.cumsum([0, *sizes]).tolist()
    chunks = [part(whole, begin, end) for begin, end in pairwise(ends)]
    with writing(runs.engine) as connection:
        empty(connection, logged)
        migrate(connection, "0015")
        write_as_before(connection, logged, chunks, [max(0, 1 - i) for i in range(len(chunks))])
        migrate(connection, "head")
        expected = sorted_by_step(whole)
        assert same(read_curves(connection, logged, [NAME], 0)[NAME], expected)
        assert summary(connection, logged, NAME) == figures(expected)
        # Points of any 64-bit steps join the curve.
        more = in_any_order([2**40, -5], [1.0, 2.0])
        metric.add_points(connection, logged, NAME, more, next_commit(connection))
        steps = read_curves(connection, logged, [NAME], 0)[NAME].steps
        assert steps.tolist() == [-5, *expected.steps.tolist(), 2**40]


def test_a_level_is_sorted_with_its_chunk(runs: Runs, logged: str) -> None:
    values = np.sin(np.arange(20_000) / 50)
    values[[11, 15_000]] = 50.0, -50.0
    steps = np.concatenate((np.arange(10_000, 20_000), np.arange(10_000)))
    whole = Curve(steps, values, np.array(1000.0 + steps, np.float64))
    with writing(runs.engine) as connection:
        migrate(connection, "0015")
        write_as_before(connection, logged, [whole], [1])
        migrate(connection, "head")
        far = read_curves(connection, logged, [NAME], 100)[NAME]
    assert (np.diff(far.steps) > 0).all()
    assert {(10_011, 50.0), (5000, -50.0)} <= set(zip(far.steps.tolist(), far.values.tolist(), strict=True))
    assert far.times.tolist() == (1000.0 + far.steps).tolist()


def test_a_trained_curve_stays_as_it_is_and_is_not_even_read(runs: Runs) -> None:
    run = runs.add()
    with writing(runs.engine) as connection:
        migrate(connection, "0015")
        write_as_before(connection, run, [in_any_order([1, 2, 3], [1.0, 2.0, 3.0])], [0])
        connection.execute(text("UPDATE metric_chunk SET steps = x'00'"))
        migrate(connection, "head")
    assert runs.sql("SELECT steps FROM metric_chunk") == [(b"\0",)]


def test_steps_that_an_earlier_version_cannot_read_are_not_given_to_it(runs: Runs) -> None:
    run = runs.add()
    version = text("SELECT version_num FROM alembic_version")
    with writing(runs.engine) as connection:
        metric.add_points(connection, run, NAME, in_any_order([2**32], [1.0]), next_commit(connection))
        newest = connection.execute(version).scalar()
    with pytest.raises(ValueError, match="more than 32 bits"), writing(runs.engine) as connection:
        migrate(connection, "0015")
    with reading(runs.engine) as connection:
        assert connection.execute(version).scalar() == newest
