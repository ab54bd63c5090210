"""The server application: settings, database, live hub, inspector, routes and middleware."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from prometheus_client import CollectorRegistry
from redis import Redis
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request

from _runyard import __version__
from app.contract.broker import celery_client
from app.contract.command_key import ensure_key
from app.contract.datasets import DATASETS
from app.contract.settings import Settings, is_loopback
from app.routes import routers
from app.routes.mlflow import WITHIN, mlflow
from app.routes.runs.api import run_status
from app.services.augmented_batches import AugmentedBatches
from app.services.dataset_imports import DatasetImports
from app.services.inference import Inference
from app.services.inspector import Inspector
from app.services.live import Hub
from app.services.model_jobs import ModelJobs
from app.services.openid_provider import OpenIDProvider
from app.services.predictions import PredictionStore
from app.services.sample_sheets import SampleSheets
from app.store.database import migrate, open_database
from app.web import error_responses
from app.web.access import Access
from app.web.credentials import Credentials
from app.web.dependencies import Parts, PartsDep
from app.web.http_metrics import HttpMetrics
from app.web.openapi import describe
from app.web.rendering import ROOT, Templates
from app.web.request_ids import RequestIds
from app.web.run_numbers import RunNumbers
from app.web.security import HEADERS, Guard
from app.web.static_files import FilesInMemory

logger = logging.getLogger("runyard.server")

API_PREFIX = "/api/v1"


def create_app(settings: Settings | None = None, inspector: Inspector | None = None) -> FastAPI:
    """Create the ASGI application: opens the database now, and follows commits during its lifespan.

    Creates an inspector unless one is passed.
    """
    settings = settings or Settings()
    app = build_app(settings.allowed_hosts, by_address=not is_loopback(settings.host))
    app.state.parts = open_parts(settings, inspector)
    return app


def open_parts(settings: Settings, inspector: Inspector | None = None) -> Parts:
    """Open everything that routes use: the database, migrated, Redis, the live hub, the inspector and the templates."""
    DATASETS.open(settings.datasets)
    # Commands on this machine prove with it that they come from the owner of the data folder.
    ensure_key(settings.data_dir)
    engine = open_database(settings.database)
    migrate(engine)
    redis = Redis.from_url(settings.redis, socket_connect_timeout=2, socket_timeout=5)
    jobs = ModelJobs(settings, engine, redis)
    return Parts(
        settings=settings,
        engine=engine,
        redis=redis,
        celery=celery_client(settings.redis),
        hub=Hub(engine, settings.redis, run_status, jobs.look),
        inspector=inspector or Inspector(settings.data_dir.absolute(), settings.models_path),
        augmented=AugmentedBatches(settings.datasets),
        samples=SampleSheets(settings.datasets),
        predictions=PredictionStore(settings, engine),
        jobs=jobs,
        inference=Inference(settings),
        imports=DatasetImports(settings.datasets, settings.import_folders),
        templates=Templates(),
        credentials=Credentials(engine, settings),
        provider=OpenIDProvider(settings) if settings.oidc_issuer else None,
    )


def build_app(allowed_hosts: str = "", by_address: bool = False) -> FastAPI:
    """Build the application without its parts, which must be set as ``app.state.parts`` before it serves.

    FastAPI analyzes a route when it is first asked for, which takes half a second for all of them: tests build the
    application once and exchange its parts.
    """
    app = FastAPI(
        title="Runyard",
        version=__version__,
        description="Launch, watch and compare training runs of image classifiers.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
    )
    error_responses.install(app, HEADERS)
    for api, pages in routers():
        if api is not None:
            app.include_router(
                api, prefix=API_PREFIX, responses={422: {"model": error_responses.Problem, "description": "Invalid"}}
            )
        if pages is not None:
            app.include_router(pages, include_in_schema=False)
    app.include_router(mlflow)
    app.include_router(mlflow, prefix=WITHIN)
    describe(app, API_PREFIX)
    app.mount("/static", FilesInMemory(ROOT / "static"), name="static")

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request, parts: PartsDep) -> HTMLResponse:
        return parts.templates.page(request, "api_docs.html")

    app.state.requests = CollectorRegistry()
    app.add_middleware(HttpMetrics, registry=app.state.requests, prefix=API_PREFIX)
    app.add_middleware(RunNumbers)
    app.add_middleware(Access)
    # Access and RunNumbers read the database, and the handlers of the application see only what happens behind them.
    app.add_middleware(ExceptionMiddleware, handlers={OperationalError: error_responses.handle})
    app.add_middleware(Guard, allowed_hosts=allowed_hosts, by_address=by_address)
    app.add_middleware(RequestIds)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    inspector = parts.inspector
    await parts.hub.start()
    parts.imports.remove_unfinished()
    parts.imports.remove_old(parts.settings.trash_days * 86_400)
    parts.jobs.resume()
    # Look at the networks now, so that the first launch does not wait until this is done.
    starting = asyncio.create_task(inspector.start())
    starting.add_done_callback(_log_failure)
    yield
    starting.cancel()
    await inspector.close()
    parts.augmented.close()
    parts.samples.close()
    parts.inference.close()
    await run_in_threadpool(parts.jobs.close)
    await parts.hub.stop()
    parts.redis.close()
    parts.engine.dispose()


def _log_failure(starting: asyncio.Task[None]) -> None:
    if not starting.cancelled() and starting.exception() is not None:
        logger.error("%s", starting.exception())


def __getattr__(name: str) -> Any:
    # `uvicorn app.main:app` creates the application; merely importing this module does not open the database.
    if name == "app":
        return create_app()
    raise AttributeError(name)
