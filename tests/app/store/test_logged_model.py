"""All points of a model's metrics are kept, each once, in whatever order and batches they arrive."""

from __future__ import annotations

import math

from alembic import command
from alembic.config import Config
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.store.database import MIGRATIONS, next_commit, writing
from app.store.logged_model import (
    LoggedModelRecord,
    ModelPoint,
    UsedModel,
    folder_for,
    insert_model,
    list_metrics,
    list_used,
    put_used,
    write_metrics,
)
from app.store.tracked_run import NewLoggedRun, insert_logged

MODEL = "m-0123456789abcdef"
POINTS = st.lists(
    st.tuples(
        st.sampled_from(["acc", "loss"]),
        st.sampled_from(["", "iris"]),
        # Without -0.0, which SQLite keeps as 0.0.
        st.floats(allow_infinity=False).map(lambda value: value + 0.0) | st.just(math.nan),
        st.integers(-5, 5),
        st.integers(0, 5),
    ),
    max_size=30,
)


def a_model(engine: Engine) -> str:
    """Add a model; gives its run."""
    with writing(engine) as connection:
        run = insert_logged(connection, NewLoggedRun(0, "Default", "a run", 1.0), next_commit(connection), 1.0, 60.0)
        insert_model(
            connection,
            LoggedModelRecord(MODEL, run, 0, "net", folder_for(MODEL, "net"), "", "READY", {}, {}, False, 1.0, 1.0),
        )
    return run


@given(POINTS, st.integers(1, 5))
def test_every_point_of_each_metric_and_dataset_is_kept_once(
    engine: Engine, rows: list[tuple[str, str, float, int, int]], batch: int
) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM run")
    run = a_model(engine)
    points = [ModelPoint(MODEL, name, run, data, "", value, step, float(at)) for name, data, value, step, at in rows]
    with writing(engine) as connection:
        for start in range(0, len(points), batch):
            write_metrics(connection, points[start : start + batch])
        kept = list_metrics(connection, [MODEL]).get(MODEL, [])
    # As in MLflow, a metric has one value at a step and a time; what a client sends again is the same.
    unique: dict[tuple[str, str, int, float], ModelPoint] = {}
    for point in points:
        unique.setdefault((point.name, point.dataset_name, point.step, point.at), point)
    # repr: NaN is not equal to itself.
    assert sorted(map(repr, kept)) == sorted(map(repr, unique.values()))
    assert [(each.name, each.at) for each in kept] == sorted((each.name, each.at) for each in kept)


def test_an_earlier_version_of_the_tables_has_the_newest_point_of_each_metric(engine: Engine) -> None:
    run = a_model(engine)
    points = [
        ModelPoint(MODEL, name, run, dataset, "", value, step, at)
        for name, dataset, value, step, at in (
            ("acc", "iris", 0.1, 1, 9.0),
            ("acc", "iris", 0.3, 2, 8.0),
            ("acc", "iris", 0.2, 2, 7.0),
            ("acc", "", 0.4, 0, 1.0),
            ("loss", "", math.nan, -1, 1.0),
        )
    ]
    with writing(engine) as connection:
        write_metrics(connection, points)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0019")
        earlier = list_metrics(connection, [MODEL])[MODEL]
        command.upgrade(config, "head")
        assert list(map(str, list_metrics(connection, [MODEL])[MODEL])) == list(map(str, earlier))
        write_metrics(connection, points)
        assert len(list_metrics(connection, [MODEL])[MODEL]) == len(points)
    assert [(each.name, each.dataset_name, each.step, each.at) for each in earlier] == [
        ("acc", "", 0, 1.0),
        ("acc", "iris", 2, 8.0),
        ("loss", "", -1, 1.0),
    ]


def test_a_model_that_a_run_made_twice_is_listed_once_at_its_last_step(engine: Engine) -> None:
    run = a_model(engine)
    with writing(engine) as connection:
        put_used(connection, [UsedModel(run, MODEL, "output", 3), UsedModel(run, MODEL, "input")])
        put_used(connection, [UsedModel(run, MODEL, "output", 2**40)])
        assert list_used(connection, [run, "r_none"]) == {
            run: [UsedModel(run, MODEL, "input"), UsedModel(run, MODEL, "output", 2**40)]
        }
