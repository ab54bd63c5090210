"""/runs/{id}/robustness: the accuracy of a run's best checkpoint on spoiled test images, beside another run's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.charts.robustness_card import Y_TICKS, draw_cards
from app.contract.errors import Conflict, NotFound
from app.contract.model_jobs import RobustnessResult
from app.formats.csv_cells import CsvChunks
from app.services.model_jobs import refusal
from app.store.database import reading
from app.store.model_job import JobRecord, jobs_of, newest_of, runs_with
from app.store.run import load_run
from app.web.dependencies import Parts, PartsDep
from app.web.rendering import wants_fragment

pages = APIRouter()

KIND = "robustness"
MAX_OTHERS = 200

With = Annotated[str, Query(alias="with", max_length=60)]


def _context(parts: Parts, run_id: str, other_id: str) -> dict[str, Any]:
    """What the page shows. Raises NotFound for either run."""
    with reading(parts.engine) as connection:
        run = load_run(connection, run_id)
        if run is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        jobs = jobs_of(connection, run_id, KIND)
        other = load_run(connection, other_id) if other_id else None
        if other_id and other is None:
            raise NotFound(f"no run '{other_id[:40]}'")
        cards_of = newest_of(connection, [run_id, *([other.id] if other is not None else [])], KIND)
        others = [each for each in runs_with(connection, KIND, run.dataset, MAX_OTHERS) if each[0] != run_id]
    found = _result(cards_of.get(run_id))
    beside = _result(cards_of.get(other.id)) if other is not None else None
    newest = jobs[0] if jobs else None
    return {
        "run": run,
        "other": other,
        "others": others,
        "found": found,
        "beside": beside,
        "cards": draw_cards(found, beside, run.number, other.number if other is not None else 0) if found else [],
        "y_ticks": Y_TICKS,
        "live": newest if newest is not None and newest.live else None,
        "failed": newest if newest is not None and newest.status == "failed" else None,
        "refused": refusal(run, KIND),
    }


def _result(job: JobRecord | None) -> RobustnessResult | None:
    return None if job is None else RobustnessResult.model_validate(job.result)


@pages.get("/runs/{run_id}/robustness")
def robustness_page(run_id: str, request: Request, parts: PartsDep, other: With = "") -> HTMLResponse:
    """Render the card of a run, or how to get one; htmx asks for the part that changes while it is made."""
    context = _context(parts, run_id, other)
    if wants_fragment(request):
        return parts.templates.fragment(request, "_robustness.html", **context)
    return parts.templates.page(request, "robustness.html", **context)


@pages.get("/runs/{run_id}/robustness.csv")
def robustness_csv(run_id: str, parts: PartsDep, other: With = "") -> Response:
    """Download the card as CSV: a line for each corruption and strength; 0 is the unchanged images."""
    context = _context(parts, run_id, other)
    run, found, compared, beside = context["run"], context["found"], context["other"], context["beside"]
    if found is None:
        raise Conflict(f"the robustness of run #{run.number} was not measured")
    lines = CsvChunks()
    columns = ["target", "corruption", "strength", "parameters", f"run {run.number}"]
    lines.row([*columns, f"run {compared.number}"] if beside is not None else columns)
    for head, corruption, strength, parameters, value in _values(found):
        row = [head, corruption, strength, parameters, value]
        lines.row([*row, _value_of(beside, head, corruption, strength)] if beside is not None else row)
    headers = {
        "content-disposition": f'attachment; filename="robustness-{run.number}.csv"',
        "cache-control": "no-store",
    }
    return Response(lines.drain(), media_type="text/csv; charset=utf-8", headers=headers)


def _values(found: RobustnessResult) -> Iterator[tuple[str, str, int, str, float]]:
    """Head, corruption, strength, what the strength is, and accuracy."""
    for head, by_name in found.accuracy.items():
        yield head, "", 0, "", found.clean[head]
        for name, values in by_name.items():
            for place, value in enumerate(values):
                yield head, name, place + 1, found.parameters[name][place], value


def _value_of(found: RobustnessResult, head: str, corruption: str, strength: int) -> float | str:
    """An accuracy of another run's card; "" if it has none."""
    if not corruption:
        return found.clean.get(head, "")
    values = found.accuracy.get(head, {}).get(corruption, [])
    return values[strength - 1] if strength <= len(values) else ""


def _back(request: Request, parts: Parts, run_id: str, other: str) -> Response:
    if wants_fragment(request):
        return parts.templates.fragment(request, "_robustness.html", **_context(parts, run_id, other))
    return RedirectResponse(f"/runs/{run_id}/robustness" + (f"?with={quote(other, safe='')}" if other else ""), 303)


@pages.post("/runs/{run_id}/robustness")
def start_robustness(
    run_id: str, request: Request, parts: PartsDep, other: Annotated[str, Form(alias="with", max_length=60)] = ""
) -> Response:
    """Start to make the card."""
    parts.jobs.start(run_id, KIND)
    return _back(request, parts, run_id, other)


@pages.post("/runs/{run_id}/robustness/cancel")
def cancel_robustness(
    run_id: str, request: Request, parts: PartsDep, other: Annotated[str, Form(alias="with", max_length=60)] = ""
) -> Response:
    """Stop making the card."""
    for job in parts.jobs.of_run(run_id, KIND):
        if job.live:
            parts.jobs.cancel(job.id)
    return _back(request, parts, run_id, other)
