"""/models and /api/v1/models: names for the best checkpoint of a run, which move, and predictions with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from app.actions.aliases import delete_alias, set_alias, undo_move
from app.actions.predicting import predict, run_of_alias
from app.contract.errors import NotFound
from app.contract.spec import RunConfig
from app.contract.timestamps import iso
from app.routes.registered_models import registered_views
from app.store.alias import AliasRecord, Move, find_alias, list_aliases, list_moves
from app.store.database import reading
from app.store.run import RunRecord, load_run, resolve_run
from app.store.search.query import RunFilter, list_runs, runs_by_id
from app.store.undo import find_act
from app.web.dependencies import Parts, PartsDep
from app.web.redirects import go_back
from app.web.run_summary import RunSummary, summarize_run
from app.web.sent_pictures import (
    BODY,
    CenterQuery,
    PredictedPicturesOut,
    TopQuery,
    checkpoint_fields,
    predictions_of,
    sent_pictures,
)

api = APIRouter(tags=["models"])
pages = APIRouter()

SHOWN_MOVES = 8
Name = Annotated[str, Path(max_length=60)]


class ModelIn(BaseModel):
    """The ``run``, by its ID or number, whose best checkpoint the name shall point to. ``by``: who says so."""

    model_config = ConfigDict(extra="forbid")

    run: Annotated[str, Field(max_length=60)] | Annotated[int, Field(ge=0, lt=10**9)]
    by: Annotated[str, Field(max_length=100)] = ""


class MoveOut(BaseModel):
    """A move from a run to another, by number; null where the name did not exist. ``by``: "" if not known."""

    at: str
    before: int | None
    after: int | None
    by: str


class ModelOut(BaseModel):
    """A name, and the run whose best checkpoint it points to. ``history``: its moves, the newest first.

    ``warning``: a sentence, if its last move changed the dataset; "" otherwise.
    """

    name: str
    run: str
    number: int
    title: str
    dataset: str
    moved: str
    predict: str
    warning: str
    history: list[MoveOut]


class ModelsOut(BaseModel):
    models: list[ModelOut]


@dataclass(frozen=True)
class Model:
    """An alias with its run and its history, the newest move first. ``before``: the run before, if it still exists."""

    alias: AliasRecord
    summary: RunSummary
    moves: list[Move]
    before: RunRecord | None = None

    @property
    def warning(self) -> str:
        """What programs have to know of the last move, "" if nothing."""
        now, before = self.summary.run.config, self.before.config if self.before else None
        if before is None or (now.dataset == before.dataset and now.targets == before.targets):
            return ""
        return (
            f"{self.alias.name} pointed to run #{self.moves[0].before} before, which was trained on {_learned(before)};"
            f" this one was trained on {_learned(now)}, so the classes may differ"
        )

    @property
    def can_undo(self) -> bool:
        """Whether it can move back to the run before."""
        return bool(self.moves) and self.moves[0].before is not None


def _models(connection: Connection, aliases: list[AliasRecord]) -> list[Model]:
    rows = {row.run.id: row for row in runs_by_id(connection, list(dict.fromkeys(each.run for each in aliases)))}
    found = []
    for each in aliases:
        if each.run in rows:
            moves = list_moves(connection, each.name)
            before = moves[0].before if moves else None
            run = None if before is None else load_run(connection, resolve_run(connection, str(before)))
            found.append(Model(each, summarize_run(rows[each.run]), moves, run))
    return found


def _learned(config: RunConfig) -> str:
    return f"{config.dataset} ({', '.join(config.targets)})"


def _find(parts: Parts, name: str) -> Model:
    run_of_alias(parts, name)
    with reading(parts.engine) as connection:
        alias = find_alias(connection, name)
        found = _models(connection, [alias] if alias else [])
    if not found:
        raise NotFound(f"no model '{name[:60]}'")
    return found[0]


def model_out(model: Model) -> ModelOut:
    """A model as the API shows it."""
    alias = model.alias
    return ModelOut(
        name=alias.name,
        run=alias.run,
        number=alias.number,
        title=model.summary.run.title,
        dataset=model.summary.run.config.dataset,
        moved=iso(alias.moved_at) or "",
        predict=f"/api/v1/models/{alias.name}/predict",
        warning=model.warning,
        history=[
            MoveOut(at=iso(move.at) or "", before=move.before, after=move.after, by=move.by) for move in model.moves
        ],
    )


@api.get("/models")
def get_models(parts: PartsDep) -> ModelsOut:
    """List all models: names that point to the best checkpoint of a run."""
    with reading(parts.engine) as connection:
        return ModelsOut(models=[model_out(each) for each in _models(connection, list_aliases(connection))])


@api.get("/models/{name}")
def get_model(name: Name, parts: PartsDep) -> ModelOut:
    """Get a model and the history of its moves."""
    return model_out(_find(parts, name))


@api.put("/models/{name}")
def put_model(name: Name, model: ModelIn, parts: PartsDep) -> ModelOut:
    """Let a name point to a run's best checkpoint; one that exists moves to it."""
    set_alias(parts, name, str(model.run), model.by)
    return model_out(_find(parts, name))


@api.delete("/models/{name}", status_code=204)
def delete(name: Name, parts: PartsDep) -> None:
    """Remove a name; the run it points to stays."""
    delete_alias(parts, name)


@api.post("/models/{name}/predict", openapi_extra=BODY)
async def post_predict(
    name: Name, request: Request, parts: PartsDep, center: CenterQuery = "auto", top: TopQuery = 0
) -> PredictedPicturesOut:
    """Predict the classes of pictures with the checkpoint that the name points to now."""
    run = run_of_alias(parts, name)
    pictures = await sent_pictures(request)
    found = await predict(parts, run, pictures, "best", center)
    return PredictedPicturesOut(
        run=found.run.id,
        number=found.run.number,
        model=name,
        checkpoint=found.which,
        dataset=found.batch.dataset,
        predictions=predictions_of(found.batch, [each.name for each in pictures], top),
        **checkpoint_fields(found.checkpoint),
    )


# Pages ---------------------------------------------------------------------------------------------------------------


@pages.get("/models")
def models_page(
    request: Request,
    parts: PartsDep,
    removed: Annotated[str, Query(max_length=60)] = "",
    act: Annotated[str, Query(max_length=60)] = "",
) -> HTMLResponse:
    """Render all names with their runs, histories and how to predict with them, and what was registered with MLflow.

    ``removed``: a name to bring back. ``act``: the removal of a version, which can be undone.
    """
    with reading(parts.engine) as connection:
        models = _models(connection, list_aliases(connection))
        registered = registered_views(connection)
        offered = list_runs(connection, RunFilter(), "-number", 50, None, 0.0).rows
        done = find_act(connection, act) if act else None
        gone = None if find_alias(connection, removed) else next(iter(list_moves(connection, removed)), None)
    return parts.templates.page(
        request,
        "models.html",
        models=models,
        registered=registered,
        shown=SHOWN_MOVES,
        removed=removed,
        gone=gone,
        act=done,
        offered=[row.run for row in offered if row.run.best_checkpoint],
        address=str(request.base_url).rstrip("/"),
    )


@pages.post("/models")
def point(
    parts: PartsDep,
    name: Annotated[str, Form(max_length=200)] = "",
    run: Annotated[str, Form(max_length=60)] = "",
    back: Annotated[str, Form(max_length=500)] = "/models",
) -> RedirectResponse:
    """Let a name point to a run."""
    set_alias(parts, name.strip().lower(), run)
    return go_back(back, "/models")


@pages.post("/models/{name}/undo")
def undo(name: Name, parts: PartsDep) -> RedirectResponse:
    """Move an alias back to the run before."""
    undo_move(parts, name)
    return go_back("/models", "/models")


@pages.post("/models/{name}/delete")
def remove(name: Name, parts: PartsDep) -> RedirectResponse:
    """Remove an alias; the page of models offers to undo it."""
    delete_alias(parts, name)
    return go_back("/models", "/models", removed=name)
