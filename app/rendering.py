"""Templates: how a page is made, and how figures, times and states are written on it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError

from app.moment import iso as iso
from app.store.database import reading
from app.store.queue import count_queued, paused_at
from app.store.worker import list_workers

ROOT = Path(__file__).resolve().parent.parent
COLOURS = 8
DASHES = 7


# How a value is written ----------------------------------------------------------------------------------------------


def figure(value: float | None, digits: int = 4) -> str:
    """A value with so many significant digits; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}"


def count(value: int | None) -> str:
    """A whole number in groups of three: 421,834."""
    return "–" if value is None else f"{value:,}"


def short(value: float | None) -> str:
    """A number in three digits: 182 k, 1.42 M."""
    if value is None or not math.isfinite(value):
        return "–"
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def metric_value(name: str, value: float | None) -> str:
    """The value of a metric: an accuracy in per cent, anything else as a figure."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.2f} %" if name.rsplit("/", 1)[-1] == "acc" else figure(value)


def span(seconds: float | None) -> str:
    """A length of time in its two largest units: 2 min 10 s."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def octets(value: int | None, step: int = 1024) -> str:
    """An amount of memory in units of 1024, as devices are sold, or of 1000, as costs are told: 79.6 GiB, 57.6 MB."""
    if not value:
        return "–"
    size, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB") if step == 1024 else ("kB", "MB", "GB", "TB"):
        if size < step:
            break
        size, unit = size / step, larger
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"


def setting(value: Any) -> str:
    """A setting of a run as its user would write it."""
    match value:
        case None | "" | [] | {}:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case int():
            return str(value)
        case list():
            return ", ".join(setting(each) for each in value)
        case dict():
            return ", ".join(f"{name} {setting(each)}" for name, each in value.items())
    return str(value)


def moment(seconds: float | None, shown: str = "relative") -> str:
    """A point in time as a ``<time>`` in UTC, which `time.js` turns into the viewer's zone and words."""
    if seconds is None:
        return "–"
    at = datetime.fromtimestamp(seconds, UTC)
    words = f"{at:%H:%M:%S}" if shown == "clock" else f"{at:%Y-%m-%d %H:%M} UTC"
    # Nothing in it is anybody's words, and Markup's own format takes three times as long.
    return Markup(f'<time datetime="{iso(seconds)}" data-shown="{shown}">{words}</time>')


def colour(number: int) -> str:
    """The classes of a run's colour and dash, the same on every page."""
    return f"c{(number - 1) % COLOURS + 1} d{(number - 1) // COLOURS % DASHES}"


def data_block(value: Any) -> Markup:
    """JSON for a ``<script type="application/json">``; nothing in it can end the element; NaN is null."""
    # Ten times as fast as the standard library, and a page of curves is megabytes of it.
    written = to_json(value, inf_nan_mode="null").decode()
    return Markup(written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


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


def look_at_yard(request: Request) -> Yard | None:
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
        for written in (iso, figure, count, short, metric_value, span, octets, setting, moment, colour, data_block):
            self.environment.globals[written.__name__] = written

    def text(self, name: str, **values: Any) -> str:
        """A rendered template."""
        return self.environment.get_template(name).render(**values)

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A rendered page, with the header's facts."""
        text = self.text(name, request=request, yard=look_at_yard(request), **values)
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
