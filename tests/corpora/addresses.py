"""Every address of a filled yard that is read: each GET route, with everything that its parameters can name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx2
from starlette.routing import Mount

from tests.app.web.walk import leaves, methods_of, parameters
from tests.filled_yard import FilledYard

STREAMS = ("/events",)
"""The ends of addresses whose answers do not end."""
FORMATS = ("csv", "json", "tfevents", "parquet")
IN_PATHS: Mapping[str, str] = {
    "run_id": "run",
    "within": "script run",
    "sweep_id": "sweep",
    "job_id": "job",
    "model_id": "logged model",
    "number": "import",
    "view_id": "view",
    "webhook_id": "webhook",
    "rule_id": "rule",
    "token_id": "token",
}
"""Kinds of objects by the parameter that names them; of ``name`` it depends on the route."""
NAMED: tuple[tuple[str, str], ...] = (
    ("/datasets/", "dataset"),
    ("/admin/people/", "person"),
    ("/users/", "person"),
    ("/programs/", "program"),
    ("/models/", "alias"),
    ("/histograms/", "histogram"),
    ("/texts/", "text"),
    ("/exports/", "file"),
)


def _choices(name: str, path: str, yard: FilledYard) -> list[str]:
    if name == "format":
        return list(FORMATS)
    if name == "path":
        return yard.ids["file"]
    if name == "name":
        kind = next((kind for part, kind in NAMED if part in path), "")
        return yard.ids.get(kind, ["1"])
    return yard.ids.get(IN_PATHS.get(name, ""), ["1"])


def addresses(app: Any, yard: FilledYard) -> Iterator[tuple[str, str]]:
    """The path of each GET route with each of its addresses, without a query and with one that names something."""
    for route in leaves(app):
        if isinstance(route, Mount) or "GET" not in methods_of(route) or str(route.path).endswith(STREAMS):
            continue
        path = str(route.path)
        filled = [""]
        for part in re.split(r"({[^}]+})", path):
            name = part[1:-1].partition(":")[0] if part.startswith("{") else ""
            values = [quote(each, safe="/") for each in _choices(name, path, yard)] if name else [part]
            filled = [before + value for before in filled for value in values]
        queries = _queries(route, path, yard) if hasattr(route, "dependant") else [""]
        yield from ((path, address + query) for address in filled for query in queries)


def fill_address(path: str, yard: FilledYard) -> str:
    """A path of a route with the first object of each kind in place of its parameters."""

    def fill(match: re.Match[str]) -> str:
        return quote(_choices(match[1], path, yard)[0], safe="/")

    return re.sub(r"{([^}:]+)[^}]*}", fill, path)


def _queries(route: Any, path: str, yard: FilledYard) -> list[str]:
    """Queries for pages that show something only if it is named."""
    names = {name for place, name, _, _ in parameters(route) if place == "query"}
    runs, found = yard.ids["run"], [""]
    if "runs" in names:
        found.append("?runs=" + ",".join(runs[:3]))
        found.append("?runs=" + ",".join([*yard.ids["script run"], *yard.ids["imported run"]]))
    if "with" in names:
        found.append(f"?with={runs[1]}")
    if "q" in names:
        found.append(f"?q={quote(yard.say('query'))}")
    if "file" in names:
        found += [f"?file={quote(each)}" for each in yard.ids["file"]]
    if "name" in names:
        found += [f"?name={quote(each)}" for each in (*yard.ids["histogram"], *yard.ids["text"])]
    if "refused" in names:
        found.append(f"?refused={quote(yard.say('refused'))}")
    return found


def answers(
    app: Any, client: httpx2.Client, yard: FilledYard, headers: Mapping[str, str]
) -> Iterator[tuple[str, str, httpx2.Response]]:
    """The answer of each address, with the path of its route."""
    for path, address in addresses(app, yard):
        yield path, address, client.get(address, headers=headers, follow_redirects=False)
