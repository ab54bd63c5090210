"""Rendering of pages and fragments from the Jinja templates, and the data of the page header."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from sqlalchemy.exc import SQLAlchemyError

from app.contract.disk_space import DiskSpace
from app.contract.timestamps import iso
from app.services.disk_warnings import scarce_disks
from app.store.database import reading
from app.store.queue import count_queued, stopped_for
from app.store.removal import why_removed
from app.store.worker import is_clock_off, list_workers
from app.web.caller import caller, may
from app.web.formatting import (
    color,
    count,
    data_block,
    format_bytes,
    format_duration,
    format_flops,
    format_number,
    format_setting,
    format_short,
    metric_value,
    padded,
    time_tag,
    upper_first,
)

ROOT = Path(__file__).resolve().parents[2]


# Page header ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Yard:
    """The header's status chips: workers, devices, slots, active and queued runs; and disks with little room.

    ``clocks``: seconds by which the clock of a worker's machine is ahead, if it is far off.
    ``responds``: False if the database does not, so that only the server's own disk is known.
    """

    workers: int
    devices: list[str]
    slots: int
    free: int
    queued: int
    active: int
    paused: bool = False
    disks: list[DiskSpace] = field(default_factory=list)
    clocks: dict[str, float] = field(default_factory=dict)
    responds: bool = True


def read_yard(request: Request) -> Yard:
    """Return the header's data; also if the database does not respond, so that error pages still work."""
    parts = request.app.state.parts
    try:
        with reading(parts.engine) as connection:
            workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
            queued = count_queued(connection)
            paused = bool(stopped_for(connection))
    except SQLAlchemyError:
        return Yard(0, [], 0, 0, 0, 0, disks=scarce_disks(parts.settings, []), responds=False)
    slots, free = sum(worker.slots for worker in workers), sum(worker.free_slots for worker in workers)
    devices = sorted({worker.device_name for worker in workers})
    disks = scarce_disks(parts.settings, workers)
    clocks = {worker.host: worker.clock_off for worker in workers if is_clock_off(worker.clock_off)}
    return Yard(len(workers), devices, slots, free, queued, slots - free, paused, disks, clocks)


# Pages ---------------------------------------------------------------------------------------------------------------


class Templates:
    """Renders the files in ``templates/``; an undefined name is an error, never blank."""

    def __init__(self, folder: Path = ROOT / "templates") -> None:
        self.environment = _environment(folder)

    def text(self, name: str, **values: Any) -> str:
        """Render a template."""
        return self.environment.get_template(name).render(**values)

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Render a page, including the header's data."""
        # Whoever may read nothing must not see it in the header of the page that says so.
        yard = read_yard(request) if may(request, "read") else None
        text = self.text(name, request=request, yard=yard, **values)
        return _uncached(text, status)

    def fragment(self, request: Request, name: str, **values: Any) -> HTMLResponse:
        """Render a part of a page."""
        return _uncached(self.text(name, request=request, **values), 200)

    def error_page(self, request: Request, status: int, title: str, message: str) -> HTMLResponse:
        """Render an error page that explains the error and where to continue."""
        return self.page(request, "error.html", status, code=status, title=title, message=message)


@cache
def _environment(folder: Path) -> Environment:
    """One environment per folder and process, so that a template is compiled once."""
    environment = Environment(
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
        padded,
        format_duration,
        format_flops,
        format_bytes,
        format_setting,
        time_tag,
        color,
        data_block,
        may,
        caller,
        why_removed,
    ):
        environment.globals[function.__name__] = function
    environment.filters["upper_first"] = upper_first
    return environment


def _uncached(text: str, status: int) -> HTMLResponse:
    # A name may contain a lone surrogate, which UTF-8 cannot encode.
    body = text.encode("utf-8", "replace")
    return HTMLResponse(body, status, {"cache-control": "no-cache", "vary": "HX-Request"})


def wants_fragment(request: Request) -> bool:
    """Tell whether htmx requests a part of the page; it needs the full page when restoring history."""
    return "hx-request" in request.headers and "hx-history-restore-request" not in request.headers


def local_path(path: str, otherwise: str) -> str:
    """Return ``path`` if it is a page of this server, else ``otherwise``; used for redirects that a form requests."""
    local = path.startswith("/") and not path.startswith("//") and path.isascii() and path.isprintable()
    return path if local and "\\" not in path else otherwise
