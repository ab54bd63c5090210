"""What a route is given: settings, database, Redis, the live hub, the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from celery import Celery
from fastapi import Depends, Request
from redis import Redis
from sqlalchemy import Engine

from app.contract.catalog import Catalog
from app.contract.settings import Settings
from app.services.inspector import Inspector
from app.services.live import Hub
from app.web.rendering import Templates


@dataclass
class Parts:
    """The parts of one server process."""

    settings: Settings
    engine: Engine
    redis: Redis
    celery: Celery
    hub: Hub
    inspector: Inspector
    templates: Templates


def parts(request: Request) -> Parts:
    """The parts of the server that answers."""
    found: Parts = request.app.state.parts
    return found


async def catalog(request: Request) -> Catalog:
    """What can be trained; waits for the inspector where it is at work for the first time."""
    return await parts(request).inspector.catalog()


PartsDep = Annotated[Parts, Depends(parts)]
CatalogDep = Annotated[Catalog, Depends(catalog)]
