"""/datasets/imports/{id}: an import's progress, its preview with the choices that can be made, and its end."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from app.contract.dataset_import import SIDES, Choices, Part
from app.contract.errors import Conflict, Invalid, NotFound, to_field_errors
from app.contract.spec import FieldError
from app.routes.datasets.bars import class_rows, source_rows
from app.routes.datasets.page import CACHE_SECONDS, MAX_SHOWN_CLASSES, SAMPLES, list_page
from app.services.dataset_imports import DatasetImport
from app.web.dependencies import Parts, PartsDep
from app.web.formatting import upper_first

pages = APIRouter()

MAX_FIELDS = 300_000

ImportId = Annotated[str, Path(max_length=60)]


@pages.post("/datasets/imports")
async def post_import(request: Request, parts: PartsDep) -> Response:
    """Start an import from the form; with a preview."""
    try:
        started = await parts.imports.receive(request)
    except Invalid as error:
        sentence = f"{upper_first(error.errors[0].message if error.errors else error.message)}."
        return await run_in_threadpool(lambda: list_page(request, parts, 422, wrong=sentence))
    return RedirectResponse(f"/datasets/imports/{started.id}", 303)


@pages.get("/datasets/imports/{number}")
def import_page(request: Request, number: ImportId, parts: PartsDep) -> Response:
    """Show an import."""
    found = parts.imports.find(number)
    if "hx-request" not in request.headers:
        return parts.templates.page(request, "dataset_import.html", **_values(parts, found))
    if found.state.status == "ready":
        response = HTMLResponse("")
        response.headers["hx-redirect"] = _dataset_address(found)
        return response
    return parts.templates.fragment(request, "_dataset_import.html", **_values(parts, found))


def _values(parts: Parts, found: DatasetImport, errors: dict[str, str] | None = None) -> dict[str, Any]:
    report = parts.imports.report(found.id)
    made = found.choices.choices
    shown = report.choices if report else made
    rows = class_rows(report.classes, report.near_empty) if report else []
    names = _source_classes(found, parts)
    return {
        "found": found,
        "report": report,
        "made": made,
        # What the user left open is what the importer chose.
        "side": made.side or shown.side,
        "color": made.color or shown.color,
        "source_classes": source_rows(names[:MAX_SHOWN_CLASSES], rows),
        "hidden": max(0, len(names) - MAX_SHOWN_CLASSES),
        "sides": SIDES,
        "samples": SAMPLES,
        "errors": errors or {},
        "address": _dataset_address(found),
        "look": urlencode({"side": made.side or shown.side or 28, "color": made.color or shown.color, "fit": made.fit}),
    }


def _source_classes(found: DatasetImport, parts: Parts) -> list[str]:
    """The classes of the source, in order; those that are left out too."""
    report = parts.imports.report(found.id)
    if report is None:
        return []
    kept = {name for each in report.classes for name in each.found}
    return sorted(kept | set(found.choices.choices.classes), key=lambda name: (name.casefold(), name))


def _dataset_address(found: DatasetImport) -> str:
    version = f"?version={found.state.version}" if found.state.version else ""
    return f"/datasets/{found.request.name}{version}"


@pages.post("/datasets/imports/{number}/choices")
async def post_choices(request: Request, number: ImportId, parts: PartsDep) -> Response:
    """Change the choices; with ``keep``, make the dataset of them."""
    async with request.form(max_fields=MAX_FIELDS) as form:
        try:
            choices = _read_choices(form)
        except ValidationError as error:
            errors = {each.field: f"{upper_first(_in_percent(each))}." for each in to_field_errors(error.errors())}
            return await run_in_threadpool(_show, request, parts, number, errors)
        keep = "keep" in form
    errors = {}
    # Chosen in another tab meanwhile: this one shows what was.
    with suppress(Conflict):
        try:
            await run_in_threadpool(parts.imports.choose, number, choices, keep)
        except Invalid as error:
            errors = {each.field: f"{upper_first(each.message)}." for each in error.errors}
    return await run_in_threadpool(_show, request, parts, number, errors)


def _show(request: Request, parts: Parts, number: str, errors: dict[str, str]) -> Response:
    if "hx-request" not in request.headers and not errors:
        return RedirectResponse(f"/datasets/imports/{number}", 303)
    values = _values(parts, parts.imports.find(number), errors)
    if "hx-request" not in request.headers:
        return parts.templates.page(request, "dataset_import.html", 422, **values)
    return parts.templates.fragment(request, "_dataset_import.html", **values)


def _in_percent(error: FieldError) -> str:
    """The message for a field of the form, where shares are in percent."""
    if error.field in ("validation_share", "test_share"):
        return "enter a share between 1 and 50%"
    return error.message


def _read_choices(form: FormData) -> Choices:
    """Raises ValidationError."""
    given = {name: str(form[name]) for name in ("fit", "seed") if form.get(name)}
    fields: dict[str, Any] = dict(given)
    if form.get("side"):
        side = str(form["side"])
        fields["side"] = int(side) if side.isdecimal() and len(side) < 10 else side
    if form.get("color"):
        fields["color"] = str(form["color"])
    for name in ("validation_share", "test_share"):
        if form.get(name):
            text = str(form[name]).strip().removesuffix("%")
            fields[name] = float(text) / 100 if _is_number(text) else text
    pairs = zip(form.getlist("found"), form.getlist("renamed"), strict=False)
    fields["classes"] = {str(name): str(new) for name, new in pairs if str(new).strip() != str(name)}
    return Choices.model_validate(fields)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pages.post("/datasets/imports/{number}/cancel")
def cancel(number: ImportId, parts: PartsDep) -> RedirectResponse:
    """Cancel an import, or remove one that has ended from the list."""
    parts.imports.cancel(number)
    return RedirectResponse("/datasets", 303)


@pages.get("/datasets/imports/{number}/samples.png")
async def samples_png(
    request: Request, number: ImportId, parts: PartsDep, found: Annotated[str, Query(max_length=1000)]
) -> Response:
    """A row of images of a class of the source, made as the query says: side, color, fit."""
    query = request.query_params
    try:
        choices = Choices.model_validate(
            {"side": int(query.get("side", "28")), "fit": query.get("fit", "crop"), "color": query.get("color", "rgb")}
        )
    except ValueError as error:
        raise Invalid("invalid side, color or fit") from error
    await run_in_threadpool(parts.imports.find, number)
    return _png(await parts.samples.of_sample(number, found, choices, SAMPLES))


@pages.get("/datasets/imports/{number}/image.png")
async def image_png(
    number: ImportId, parts: PartsDep, part: Part, index: Annotated[int, Query(ge=0, lt=2**40)]
) -> Response:
    """One image that the import has read."""
    found = await run_in_threadpool(parts.imports.find, number)
    if found.state.status != "preview":
        raise NotFound("this import has no preview")
    return _png(await parts.samples.of_draft(number, part, index, found.state.shown))


def _png(picture: bytes) -> Response:
    return Response(picture, media_type="image/png", headers={"Cache-Control": f"private, max-age={CACHE_SECONDS}"})
