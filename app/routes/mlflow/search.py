"""/api/2.0/mlflow/runs/search and metrics/get-history: search runs and read their metrics."""

from __future__ import annotations

import numpy as np
from sqlalchemy import text

from app.actions import tracking as acts
from app.routes.mlflow.experiments import view_of
from app.routes.mlflow.filters import Sql, order_of_runs, run_condition
from app.routes.mlflow.pagination import next_token, offset_of
from app.routes.mlflow.protocol import Answer, Arguments, call, number_as_json
from app.routes.mlflow.runs import described
from app.store.database import reading
from app.store.metric import read_curves
from app.store.tracked_run import find_many_logged
from app.web.dependencies import Parts

MOST_RUNS, MOST_POINTS = 50_000, 25_000


@call("/runs/search")
def search_runs(parts: Parts, args: Arguments) -> Answer:
    """Search the runs of experiments with a filter, page by page."""
    sql = Sql()
    experiments = [str(each) for each in args.items("experiment_ids", 1000)]
    ids = ", ".join(
        sql.bind(int(each)) for each in experiments if each.isascii() and each.isdecimal() and len(each) < 16
    )
    conditions = [f"logged.experiment IN ({ids})", run_condition(args.text("filter", "", most=10_000), sql)]
    view = view_of(args, "run_view_type")
    conditions += {"ACTIVE_ONLY": ["run.deleted_at IS NULL"], "DELETED_ONLY": ["run.deleted_at IS NOT NULL"]}.get(
        view, []
    )
    order = order_of_runs([str(each) for each in args.items("order_by", 20)], sql)
    most, offset = args.whole("max_results", 1000, least=1, most=MOST_RUNS), offset_of(args)
    statement = (
        f"SELECT run.id FROM logged_run logged JOIN run ON run.id = logged.run WHERE {' AND '.join(conditions)}"
        f" ORDER BY {order} LIMIT :page_limit OFFSET :page_offset"
    )
    values = sql.values | {"page_limit": most + 1, "page_offset": offset}
    with reading(parts.engine) as connection:
        matches = [str(run) for run in connection.execute(text(statement), values).scalars()]
        page = matches[:most]
        runs = [
            run
            for start in range(0, len(page), 500)
            for run in described(connection, find_many_logged(connection, page[start : start + 500]))
        ]
    return {"runs": runs} | next_token(offset, most, len(matches))


@call("/metrics/get-history", "GET")
def get_history(parts: Parts, args: Arguments) -> Answer:
    """Return all points of a metric by time, page by page if the client requests pages."""
    run, key = acts.find(parts, args.run).id, args.text("metric_key", most=250)
    offset = offset_of(args)
    with reading(parts.engine) as connection:
        curve = read_curves(connection, run, [key], 0).get(key)
    if curve is None:
        return {"metrics": []}
    most = args.whole("max_results", least=1, most=MOST_POINTS) if args.has("max_results") else len(curve.steps)
    # As MLflow's server sorts them; a curve is stored in the order of its steps.
    page = np.lexsort((curve.values, curve.steps, curve.times))[offset : offset + most]
    points = zip(curve.steps[page].tolist(), curve.values[page].tolist(), curve.times[page].tolist(), strict=True)
    metrics = [
        {"key": key, "step": step, "value": number_as_json(value), "timestamp": round(time * 1000)}
        for step, value, time in points
    ]
    return {"metrics": metrics} | next_token(offset, most, max(0, len(curve.steps) - offset))
