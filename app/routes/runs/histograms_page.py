"""/runs/{id}/histograms: the histograms of a run, those of one name as a ridgeline over the steps."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from app.actions import step_records as acts
from app.actions.runs import find_run
from app.charts.ridgeline import ridgeline
from app.store.database import reading
from app.store.step_record import RecordSeries, list_series
from app.web.dependencies import PartsDep
from app.web.rendering import wants_fragment

pages = APIRouter()

MOST_RIDGES: Final = 40


def version_of(series: list[RecordSeries]) -> str:
    """What changes when histograms or texts are added."""
    return str(sum(each.count for each in series))


@pages.get("/runs/{run_id}/histograms")
def histograms_page(
    run_id: str,
    request: Request,
    parts: PartsDep,
    name: Annotated[str, Query(max_length=250)] = "",
    at: Annotated[int, Query(ge=0, lt=2**31)] = 2**31 - 1,
    seen: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Render the names, and the ridgeline of one, with the histogram with the number ``at`` of those shown.

    ``seen``: the version of what is shown; nothing is answered while it is the newest.
    """
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        series = list_series(connection, run_id, "histogram")
        version = version_of(series)
        if seen and seen == version and run.live:
            return Response(status_code=204)
        # What shows that there are none is no part of which another could be exchanged.
        if wants_fragment(request) and (seen == "0" or not (series or name)):
            return Response(headers={"HX-Refresh": "true"})
        values: dict[str, Any] = {"run": run, "series": series, "version": version, "kind": "histogram", "chosen": name}
        if series or name:
            values["chosen"] = name = name or series[0].name
            places = acts.places_of(connection, run_id, "histogram", name)
            found = acts.read_histograms(connection, run_id, name, places, acts.evenly(places, MOST_RIDGES))
            figure = ridgeline([(each.step, each.histogram) for each in found])
            values |= {"figure": figure, "total": len(places), "at": min(at, len(found) - 1)}
    if wants_fragment(request):
        return parts.templates.fragment(request, "_histograms.html", **values)
    return parts.templates.page(request, "histograms.html", **values)
