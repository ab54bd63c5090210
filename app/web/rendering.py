"""Templates: how a page is made, and how figures, times and states are written on it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from sqlalchemy.exc import SQLAlchemyError

from app.contract.timestamps import iso
from app.store.database import reading
from app.store.queue import count_queued, paused_at
from app.store.worker import list_workers
from app.web.formatting import (
    color,
    count,
    data_block,
    format_bytes,
    format_duration,
    format_number,
    format_setting,
    format_short,
    metric_value,
    time_tag,
)

ROOT = Path(__file__).resolve().parents[2]


# What stands in the header of every page -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Yard:
    """Who is there to train, and what waits: the chips of the header."""

    workers: int
    devices: list[str]
    slots: int
    free: int
    queued: int
    active: int
    paused: bool = False


def read_yard(request: Request) -> Yard | None:
    """The header's facts; None where the database does not answer, so that an error page can still be made."""
    parts = request.app.state.parts
    try:
        with reading(parts.engine) as connection:
            workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
            queued = count_queued(connection)
            paused = paused_at(connection) is not None
    except SQLAlchemyError:
        return None
    slots, free = sum(worker.slots for worker in workers), sum(worker.free_slots for worker in workers)
    devices = sorted({worker.device_name for worker in workers})
    return Yard(len(workers), devices, slots, free, queued, slots - free, paused)


# Pages ---------------------------------------------------------------------------------------------------------------


class Templates:
    """Renders the files of ``templates/``; a name that is not given is an error, never an empty place."""

    def __init__(self, folder: Path = ROOT / "templates") -> None:
        self.environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for function in (
            iso,
            format_number,
            count,
            format_short,
            metric_value,
            format_duration,
            format_bytes,
            format_setting,
            time_tag,
            color,
            data_block,
        ):
            self.environment.globals[function.__name__] = function

    def text(self, name: str, **values: Any) -> str:
        """A rendered template."""
        return self.environment.get_template(name).render(**values)

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A rendered page, with the header's facts."""
        text = self.text(name, request=request, yard=read_yard(request), **values)
        return _uncached(text, status)

    def fragment(self, request: Request, name: str, **values: Any) -> HTMLResponse:
        """A rendered part of a page."""
        return _uncached(self.text(name, request=request, **values), 200)

    def error_page(self, request: Request, status: int, title: str, message: str) -> HTMLResponse:
        """A page that says what went wrong and where to go on."""
        return self.page(request, "error.html", status, code=status, title=title, message=message)


def _uncached(text: str, status: int) -> HTMLResponse:
    # A name may hold half of a surrogate pair, which UTF-8 has no word for.
    body = text.encode("utf-8", "replace")
    return HTMLResponse(body, status, {"cache-control": "no-cache", "vary": "HX-Request"})


def wants_fragment(request: Request) -> bool:
    """Whether htmx asks for a part of the page; it gets all of it when it goes back in the history."""
    return "hx-request" in request.headers and "hx-history-restore-request" not in request.headers


def local_path(path: str, otherwise: str) -> str:
    """``path`` when it leads to a page of this server, so that a form can say where to go on."""
    sound = path.startswith("/") and not path.startswith("//") and path.isascii() and path.isprintable()
    return path if sound and "\\" not in path else otherwise
