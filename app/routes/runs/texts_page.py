"""/runs/{id}/texts: the texts that were logged by step, one at a time."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from app.actions import step_records as acts
from app.actions.runs import find_run
from app.routes.runs.histograms_page import version_of
from app.store.database import reading
from app.store.step_record import list_series
from app.web.dependencies import PartsDep
from app.web.rendering import wants_fragment

pages = APIRouter()


@pages.get("/runs/{run_id}/texts")
def texts_page(
    run_id: str,
    request: Request,
    parts: PartsDep,
    name: Annotated[str, Query(max_length=250)] = "",
    at: Annotated[int, Query(ge=0, lt=2**31)] = 2**31 - 1,
    seen: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Render the names, and of one the text with the number ``at``.

    ``seen``: the version of the names that are shown; nothing is answered while it is the newest.
    """
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        series = list_series(connection, run_id, "text")
        version = version_of(series)
        if seen and seen == version and run.live:
            return Response(status_code=204)
        # What shows that there are none is no part of which another could be exchanged.
        if wants_fragment(request) and (seen == "0" or not (series or name)):
            return Response(headers={"HX-Refresh": "true"})
        values: dict[str, Any] = {"run": run, "series": series, "version": version, "kind": "text", "chosen": name}
        if series or name:
            values["chosen"] = name = name or series[0].name
            places = acts.places_of(connection, run_id, "text", name)
            (found,) = acts.read_texts(connection, run_id, name, places, [min(at, len(places) - 1)])
            values |= {"found": found, "total": len(places)}
    if wants_fragment(request) and seen:
        return parts.templates.fragment(request, "_step_record_names.html", **values)
    if wants_fragment(request):
        fragment = parts.templates.fragment(request, "_text.html", **values)
        fragment.headers["hx-replace-url"] = f"/runs/{run_id}/texts?{urlencode({'name': name, 'at': found.number})}"
        return fragment
    return parts.templates.page(request, "texts.html", **values)
