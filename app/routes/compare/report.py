"""/compare/report: a comparison as one file, to be kept or sent."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.charts.drawing import draw
from app.contract.errors import NotFound
from app.formats.report import file_name, style
from app.routes.compare.flops import FlopsDep
from app.routes.compare.page import curves_of, figures_of, read_comparison
from app.store.database import reading
from app.web.dependencies import PartsDep
from app.web.run_selection import AskedDep

pages = APIRouter()

# What stands in the file is its own style, and nothing that could run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@pages.get("/compare/report")
def compare_report(request: Request, parts: PartsDep, asked: AskedDep, flops: FlopsDep) -> HTMLResponse:
    """The page of a comparison as it is now: its curves, figures with intervals, and what differs; links lead back."""
    with reading(parts.engine) as connection:
        found = read_comparison(connection, asked)
        if not found.rows:
            raise NotFound("none of these runs is here; name some: /compare/report?runs=…")
        set_by_viewer = found.controls(asked)
        values = figures_of(found, asked.cost, flops)
        charts, points = curves_of(connection, found, set_by_viewer.smoothing)
    written = parts.templates.text(
        "compare_report.html",
        style=style(),
        now=time.time(),
        controls=set_by_viewer,
        boxes=[(chart, draw(chart, points, set_by_viewer)) for chart in charts],
        **values,
    )
    home = str(request.base_url).rstrip("/")
    headers = {
        "content-security-policy": POLICY,
        "content-disposition": f'attachment; filename="{file_name(each.number for each in found.shown)}"',
        "cache-control": "no-store",
    }
    return HTMLResponse(written.replace('href="/', f'href="{home}/'), headers=headers)
