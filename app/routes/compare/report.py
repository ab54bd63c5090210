"""/compare/report: a comparison as a single HTML file to save or share."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.charts.svg import draw
from app.contract.errors import NotFound
from app.formats.report import file_name, style
from app.routes.compare.flops import FlopsDep
from app.routes.compare.page import read_charts, read_comparison, table_values
from app.store.database import reading
from app.web.dependencies import PartsDep
from app.web.run_selection import ComparisonQueryDep

pages = APIRouter()

# The file contains its own styles and nothing that can run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@pages.get("/compare/report")
def compare_report(request: Request, parts: PartsDep, query: ComparisonQueryDep, flops: FlopsDep) -> HTMLResponse:
    """Download the current comparison: curves, metrics with intervals, and differences; links lead back."""
    with reading(parts.engine) as connection:
        comparison = read_comparison(connection, query)
        if not comparison.rows:
            raise NotFound("none of these runs exist; pass run IDs: /compare/report?runs=ID,ID")
        controls = comparison.controls(query)
        values = table_values(comparison, query.cost, flops)
        charts, points = read_charts(connection, comparison, controls.smoothing)
    html = parts.templates.text(
        "compare_report.html",
        style=style(),
        now=time.time(),
        controls=controls,
        boxes=[(chart, draw(chart, points, controls)) for chart in charts],
        **values,
    )
    home = str(request.base_url).rstrip("/")
    name = file_name(summary.number for summary in comparison.summaries)
    headers = {
        "content-security-policy": POLICY,
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
    }
    return HTMLResponse(html.replace('href="/', f'href="{home}/'), headers=headers)
