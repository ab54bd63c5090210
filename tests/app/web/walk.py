"""All routes of an application, with an address for each, and what each of them takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from starlette.routing import Match, Mount


def leaves(app: Any) -> Iterator[Any]:
    """Every route and every mounted folder, in the order in which the router asks them."""
    for route in app.effective_candidates() if hasattr(app, "effective_candidates") else app.routes:
        if hasattr(route, "effective_candidates"):
            yield from leaves(route)
        else:
            yield route


def methods_of(route: Any) -> set[str]:
    """The methods of a route."""
    return {"GET"} if isinstance(route, Mount) else set(route.methods or ())


def address(route: Any) -> str:
    """An address that leads to a route, with x1, x2, … as its parameters; numbers where it takes only those."""
    if isinstance(route, Mount):
        return f"{route.path}/runyard.css"
    count = iter(range(1, 9))

    def fill(match: re.Match[str]) -> str:
        number = next(count)
        return str(number) if ":int" in match[0] else f"x{number}"

    return re.sub(r"{[^}]+}", fill, str(route.path))


def matched(routes: list[Any], method: str, path: str) -> Any:
    """The route that the router would take; None if there is none."""
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    return next((route for route in routes if route.matches(scope)[0] == Match.FULL), None)


def dependants(dependant: Dependant) -> Iterator[Dependant]:
    """A route's own parameters, and those of all that it depends on."""
    yield dependant
    for each in dependant.dependencies:
        yield from dependants(each)


def parameters(route: Any) -> Iterator[tuple[str, str, Any, FieldInfo]]:
    """Place (path, query, header, body), name, type and field of each parameter; a model's fields one by one.

    ``route``: of FastAPI, or as ``leaves`` gives it.
    """
    for each in dependants(route.dependant):
        yield from own_parameters(each)


def own_parameters(flat: Dependant) -> Iterator[tuple[str, str, Any, FieldInfo]]:
    """The same of one function."""
    places = {
        "path": flat.path_params,
        "query": flat.query_params,
        "header": flat.header_params,
        "body": flat.body_params,
    }
    for place, fields in places.items():
        for field in fields:
            kind = field.field_info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                for name, inner in kind.model_fields.items():
                    yield place, inner.alias or name, inner.annotation, inner
            else:
                yield place, field.alias, kind, field.field_info
