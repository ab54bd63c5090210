"""/registered-models: names, versions and aliases that scripts register with MLflow, which the page Models shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse
from sqlalchemy import Connection

from app.actions import model_registry as acts
from app.store.registered_model import (
    ModelVersionRecord,
    RegisteredModelRecord,
    count_versions,
    list_registered,
    list_versions,
)
from app.store.run_file import FileTotals, folder_totals
from app.store.tracked_run import LoggedRunRecord, find_many_logged
from app.web.dependencies import PartsDep
from app.web.redirects import go_back

pages = APIRouter()

SHOWN_MODELS: Final = 200
SHOWN_VERSIONS: Final = 8
_SHOWN = (
    "v.model = :model AND (v.version > :before OR EXISTS"
    " (SELECT 1 FROM version_alias a WHERE a.model = v.model AND a.version = v.version))"
)


@dataclass(frozen=True)
class VersionView:
    """A version with its run and what is left of its files."""

    version: ModelVersionRecord
    run: LoggedRunRecord
    files: FileTotals


@dataclass(frozen=True)
class RegisteredView:
    """A registered model with its newest versions and those with an alias, the newest first. ``hidden``: others."""

    model: RegisteredModelRecord
    versions: list[VersionView]
    hidden: int

    @property
    def address(self) -> str:
        """How MLflow's clients name the version that an alias points to, or the newest one."""
        alias = next(iter(self.model.aliases), "")
        return f"models:/{self.model.name}@{alias}" if alias else f"models:/{self.model.name}/latest"


def registered_views(connection: Connection) -> list[RegisteredView]:
    """What the page shows of the registry, by name."""
    found = []
    for model in list_registered(connection, "TRUE", {}, "name", SHOWN_MODELS):
        at = {"model": model.id, "before": model.last_version - SHOWN_VERSIONS}
        versions = list_versions(connection, _SHOWN, at, "v.version DESC", 100)
        runs = {run.id: run for run in find_many_logged(connection, sorted({each.run for each in versions}))}
        shown = [
            VersionView(each, runs[each.run], folder_totals(connection, each.run, each.folder)) for each in versions
        ]
        found.append(RegisteredView(model, shown, count_versions(connection, model.id) - len(shown)))
    return found


@pages.post("/registered-models/delete")
def remove(
    parts: PartsDep,
    name: Annotated[str, Form(max_length=300)],
    version: Annotated[int, Form(ge=0, lt=2**31)] = 0,
) -> RedirectResponse:
    """Remove a version, or the name with all of them if no version is given; the files stay with their runs.

    The page of models offers to undo the removal of a version.
    """
    if version:
        return go_back("/models", "/models", act=acts.remove_version(parts, name, version))
    acts.delete(parts, name)
    return go_back("/models", "/models")
