"""Requests, responses and errors of MLflow's REST protocol.

Each call is a plain function of the server's parts and the arguments; it runs in a thread. Bodies are parsed by hand:
creating a Pydantic model for each of a thousand points would take longer than storing them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import from_json, to_json
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from app.actions.model_registry import NameTaken
from app.contract.errors import Conflict, DiskFull, Invalid, NotFound, RunyardError
from app.web.dependencies import Parts, parts

logger = logging.getLogger("runyard.server")

router = APIRouter(include_in_schema=False)
PREFIX = "/api/2.0/mlflow"
WITHIN = "/runs/{within}"
"""Prefix under which the command of a run finds the same calls."""
Answer = dict[str, Any]


class Exists(RunyardError):
    """The name is already taken."""

    status = 400
    title = "Already exists"


class NotServed(RunyardError):
    """A feature of MLflow that Runyard does not support."""

    status = 501
    title = "Not supported"


_CODES: list[tuple[type[RunyardError], str, int]] = [
    (NotFound, "RESOURCE_DOES_NOT_EXIST", 404),
    (Exists, "RESOURCE_ALREADY_EXISTS", 400),
    (NameTaken, "RESOURCE_ALREADY_EXISTS", 400),
    # Not 409 or 5xx: a client would retry for minutes.
    (Conflict, "INVALID_STATE", 400),
    (Invalid, "INVALID_PARAMETER_VALUE", 400),
    (NotServed, "NOT_IMPLEMENTED", 501),
    (DiskFull, "RESOURCE_LIMIT_EXCEEDED", 507),
]


class Arguments:
    """A request's arguments by name; every access is validated, and errors name the field.

    ``within``: the run whose command sent the request, if its address says so.
    """

    def __init__(self, values: dict[str, Any], lists: dict[str, list[str]] | None = None) -> None:
        self.values = values
        self.lists = lists or {}
        self.within = ""

    def has(self, name: str) -> bool:
        """Tell whether the field is present."""
        return self.values.get(name) is not None

    def text(self, name: str, default: str | None = None, *, most: int = 5000) -> str:
        """Return a text field; without a default, it is required."""
        value = self.values.get(name)
        if value is None:
            if default is None:
                raise Invalid(f"{name} is missing")
            return default
        if isinstance(value, bool | int | float):
            value = str(value)
        if not isinstance(value, str):
            raise Invalid(f"{name} must be text")
        if len(value) > most:
            raise Invalid(f"{name} can have at most {most:,} characters")
        if "\0" in value or not _encodable(value):
            raise Invalid(f"{name} contains characters that are not valid text")
        return value

    def whole(self, name: str, default: int | None = None, *, least: int = 0, most: int = 2**53) -> int:
        """Return an integer field; protobuf writes long integers as text."""
        value = self.values.get(name)
        if value is None:
            if default is None:
                raise Invalid(f"{name} is missing")
            return default
        number = whole(value)
        if number is None or not least <= number <= most:
            raise Invalid(f"{name} must be a whole number from {least:,} to {most:,}")
        return number

    def flag(self, name: str, default: bool) -> bool:
        """Return a boolean field."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise Invalid(f"{name} must be true or false")
        return default if value is None else value

    def items(self, name: str, most: int) -> list[Any]:
        """Return a list field."""
        value = self.lists.get(name, self.values.get(name))
        if value is None:
            return []
        if not isinstance(value, list):
            raise Invalid(f"{name} must be a list")
        if len(value) > most:
            raise Invalid(f"{name} can have at most {most:,} entries")
        return value

    def parts(self, name: str, most: int) -> list[Arguments]:
        """Return a field that is a list of objects."""
        entries = self.items(name, most)
        if not all(isinstance(entry, dict) for entry in entries):
            raise Invalid(f"{name} must be a list of objects")
        return [Arguments(entry) for entry in entries]

    def pairs(self, name: str, most: int) -> dict[str, str]:
        """Return a field that is a list of {key, value}."""
        return {entry.text("key", most=250): entry.text("value", "", most=8000) for entry in self.parts(name, most)}

    @property
    def run(self) -> str:
        """The run's ID; older clients send run_uuid."""
        return self.text("run_id", self.text("run_uuid", ""), most=80) or self.text("run_id", most=80)


def whole(value: Any) -> int | None:
    """Parse an integer as protobuf's JSON writes it; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and len(value) > 20:
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def number_as_json(value: float | None) -> float | str:
    """Format a number as protobuf's JSON writes it; None stands for NaN."""
    if value is None or math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


Call = Callable[[Parts, Arguments], Answer]


def call(path: str, *methods: str) -> Callable[[Call], Call]:
    """Register a function for a path of the protocol."""

    def register(function: Call) -> Call:
        async def endpoint(request: Request) -> Response:
            try:
                args = await read_arguments(request)
                named = dict(request.path_params)
                args.within = named.pop("within", "")
                args.values |= named
                answer = await run_in_threadpool(function, parts(request), args)
                return Response(to_json(answer, inf_nan_mode="strings"), media_type="application/json")
            except RunyardError as error:
                return refusal(error)

        endpoint.__name__ = function.__name__
        router.add_api_route(PREFIX + path, endpoint, methods=list(methods or ("POST",)))
        return function

    return register


async def read_arguments(request: Request) -> Arguments:
    """Read the arguments of a request from its query, or from its JSON body. Raises Invalid."""
    if request.method == "GET":
        query = request.query_params
        return Arguments(dict(query), {name: query.getlist(name) for name in query})
    try:
        body = await request.body()
    except HTTPException as error:
        raise Invalid(str(error.detail)) from error
    try:
        values = from_json(body or b"{}")
    except ValueError as error:
        raise Invalid("the body is not JSON") from error
    if not isinstance(values, dict):
        raise Invalid("the body must be a JSON object")
    return Arguments(values)


def refusal(error: RunyardError) -> Response:
    """Return an error in MLflow's format."""
    code, status = next(((code, status) for kind, code, status in _CODES if isinstance(error, kind)), ("", 0))
    body = {"error_code": code or "INTERNAL_ERROR", "message": error.message}
    return Response(to_json(body), status or 500, media_type="application/json")
