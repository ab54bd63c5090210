"""FastAPI dependencies of the routes: settings, database, Redis, live hub, inspector, catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from celery import Celery
from fastapi import Depends, Request
from redis import Redis
from sqlalchemy import Engine

from app.contract.catalog import Catalog
from app.contract.settings import Settings
from app.services.augmented_batches import AugmentedBatches
from app.services.dataset_imports import DatasetImports
from app.services.inference import Inference
from app.services.inspector import Inspector
from app.services.live import Hub
from app.services.model_jobs import ModelJobs
from app.services.openid_provider import OpenIDProvider
from app.services.predictions import PredictionStore
from app.services.sample_sheets import SampleSheets
from app.web.caller import Caller, caller
from app.web.credentials import Credentials
from app.web.rendering import Templates


@dataclass
class Parts:
    """The components of one server process."""

    settings: Settings
    engine: Engine
    redis: Redis
    celery: Celery
    hub: Hub
    inspector: Inspector
    augmented: AugmentedBatches
    imports: DatasetImports
    samples: SampleSheets
    predictions: PredictionStore
    jobs: ModelJobs
    inference: Inference
    templates: Templates
    credentials: Credentials
    provider: OpenIDProvider | None


def parts(request: Request) -> Parts:
    """Return the components of the server that handles the request."""
    components: Parts = request.app.state.parts
    return components


async def catalog(request: Request) -> Catalog:
    """Return the catalog of networks; waits for the inspector to start on first use."""
    return await parts(request).inspector.catalog()


PartsDep = Annotated[Parts, Depends(parts)]
CatalogDep = Annotated[Catalog, Depends(catalog)]
CallerDep = Annotated[Caller, Depends(caller)]
