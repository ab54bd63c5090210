"""The routes: one module per first path segment, with its API and its pages."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter


def routers() -> Iterator[tuple[APIRouter | None, APIRouter | None]]:
    """Yield the API router and the page router of each module."""
    from app.routes import (
        architectures,
        catalog,
        commands,
        compare,
        datasets,
        exports,
        groups,
        health,
        launch,
        leaderboard,
        models,
        notifications,
        now,
        people,
        playground,
        predictions,
        preview,
        programs,
        prometheus,
        queue,
        registered_models,
        run_imports,
        runs,
        saved_views,
        script_runs,
        sweeps,
        workers,
    )

    for module in (
        now,
        queue,
        launch,
        preview,
        exports,
        predictions,
        runs,
        commands,
        programs,
        run_imports,
        script_runs,
        saved_views,
        groups,
        sweeps,
        compare,
        leaderboard,
        architectures,
        datasets,
        catalog,
        models,
        registered_models,
        playground,
        workers,
        notifications,
        people,
        health,
        prometheus,
    ):
        yield getattr(module, "api", None), getattr(module, "pages", None)
