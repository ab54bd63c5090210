"""/views: saved views of the run table; the API and the forms of the table page."""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.actions.undo import delete_saved_view, rename_saved_view
from app.contract.errors import Conflict, Invalid
from app.contract.spec import FieldError
from app.contract.timestamps import iso
from app.routes.runs.table_request import parse_query
from app.store.database import reading, writing
from app.store.saved_view import TooManyViews, ViewRecord, list_views, save_view
from app.web.dependencies import Parts, PartsDep
from app.web.redirects import go_back

api = APIRouter(tags=["views"])
pages = APIRouter()

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]


class ViewIn(BaseModel):
    """A name, and the address of the run table to save: ``/runs?…``, or only the part after the ``?``."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    question: Annotated[str, Field(max_length=4000)] = ""


class ViewOut(BaseModel):
    """A saved view."""

    id: str
    name: str
    question: str
    url: str
    created: str


class ViewsOut(BaseModel):
    """All saved views, sorted by name."""

    views: list[ViewOut]


def _as_json(view: ViewRecord) -> ViewOut:
    created = iso(view.created_at) or ""
    return ViewOut(id=view.id, name=view.name, question=view.question, url=view.url, created=created)


def _save(parts: Parts, name: str, question: str) -> ViewRecord:
    query_string = urlsplit(question).query if question.startswith("/") else question.lstrip("?")
    try:
        with writing(parts.engine) as connection:
            # Normalized as the table itself writes it, so that nothing else is saved.
            return save_view(connection, name, parse_query(query_string).query_string(after=None), time.time())
    except TooManyViews as error:
        raise Conflict(str(error)) from error


@api.get("/views")
def get_views(parts: PartsDep) -> ViewsOut:
    """List the saved views of the run table."""
    with reading(parts.engine) as connection:
        return ViewsOut(views=[_as_json(view) for view in list_views(connection)])


@api.post("/views", status_code=201)
def post_view(body: ViewIn, parts: PartsDep) -> ViewOut:
    """Save a view, replacing one with the same name."""
    return _as_json(_save(parts, body.name, body.question))


@api.delete("/views/{view_id}", status_code=204)
def delete_view(view_id: str, parts: PartsDep) -> None:
    """Delete a saved view."""
    delete_saved_view(parts, view_id)


# Forms ---------------------------------------------------------------------------------------------------------------


def _valid_name(text: str) -> str:
    name = text.strip()
    if not 1 <= len(name) <= 60:
        sentence = "a view name must have 1 to 60 characters"
        raise Invalid(sentence, [FieldError("name", sentence)])
    return name


@pages.post("/views")
def save(
    parts: PartsDep,
    name: Annotated[str, Form(max_length=200)] = "",
    question: Annotated[str, Form(max_length=4000)] = "",
) -> RedirectResponse:
    """Save the current table as a view, and show it."""
    return RedirectResponse(_save(parts, _valid_name(name), question).url, 303)


@pages.post("/views/{view_id}/rename")
def rename(
    view_id: str,
    parts: PartsDep,
    name: Annotated[str, Form(max_length=200)] = "",
    back: Annotated[str, Form(max_length=4000)] = "/runs",
) -> RedirectResponse:
    """Rename a saved view."""
    return go_back(back, "/runs", act=rename_saved_view(parts, view_id, _valid_name(name)))


@pages.post("/views/{view_id}/delete")
def delete(view_id: str, parts: PartsDep, back: Annotated[str, Form(max_length=4000)] = "/runs") -> RedirectResponse:
    """Delete a saved view."""
    return go_back(back, "/runs", act=delete_saved_view(parts, view_id))
