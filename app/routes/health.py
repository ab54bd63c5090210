"""/healthz: the server's health check."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.store.database import reading
from app.web.dependencies import PartsDep

pages = APIRouter()


@pages.get("/healthz")
def healthz(parts: PartsDep) -> JSONResponse:
    """Return 200 if the database and Redis respond, else 503, with "ok" or the error for each."""
    checks = {"database": "ok", "redis": "ok"}
    try:
        with reading(parts.engine) as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        checks["database"] = type(error).__name__
    try:
        parts.redis.ping()
    except (RedisError, OSError) as error:
        checks["redis"] = type(error).__name__
    return JSONResponse(checks, 200 if set(checks.values()) == {"ok"} else 503)
