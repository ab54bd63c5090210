"""The route that launches a run: its errors name every invalid field at once, and say where several runs go."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.contract.errors import to_field_errors
from app.contract.spec import FieldError, SpecError
from app.contract.spec_errors import remaining_errors
from app.web.dependencies import catalog


class LaunchRoute(APIRoute):
    """Add what FastAPI does not check to the errors of a body that it rejects."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler. Raises SpecError with every invalid field of a spec."""
        handle = super().get_route_handler()

        async def launch(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                errors = to_field_errors(error.errors())
                if isinstance(error.body, list):
                    message = "the body must be one run, not a list; for several, POST a sweep to /api/v1/sweeps"
                    raise SpecError([FieldError("body", message)]) from error
                if isinstance(error.body, dict):
                    wrong = {each.field for each in errors}
                    more = remaining_errors(error.body, wrong, await catalog(request))
                    raise SpecError([*errors, *more]) from error
                raise

        return launch
