"""/runs/{id}/card: the model card of a run, as a page and in Markdown."""

from __future__ import annotations

import time
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel, ValidationError

from app.analysis.leaderboard import IGNORED
from app.analysis.model_card import Facts, ModelCard, model_card, same_but_seed
from app.contract.errors import NotFound, Unavailable
from app.contract.spec import RunSpec, SpecError
from app.routes.launch.commands import USUAL_ADDRESS, commands_of
from app.store import lineage
from app.store.database import reading
from app.store.search.query import RunFilter, list_runs, runs_by_id
from app.web.dependencies import Parts, PartsDep

api = APIRouter(tags=["models"])
pages = APIRouter()

MOST_SEEDS = 200
"""Of a configuration with more runs than these, the newest ones count."""


class FactOut(BaseModel):
    """One line of a section."""

    name: str
    value: str


class SectionOut(BaseModel):
    """A section of a card: facts, sentences, a table (``headings``, ``rows``) and ``code``; empty where it has none."""

    title: str
    facts: list[FactOut]
    sentences: list[str]
    headings: list[str]
    rows: list[list[str]]
    code: str


class CardOut(BaseModel):
    """A model card under the headings of Mitchell et al. 2019; ``markdown``: the same as a document."""

    title: str
    sections: list[SectionOut]
    markdown: str


async def read_card(parts: Parts, run_id: str) -> tuple[int, ModelCard]:
    """Return a run's number and its card. Raises NotFound."""
    facts = await run_in_threadpool(_facts, parts, run_id)
    flops = None
    if not facts.run.logged:
        try:
            flops = (await parts.inspector.profile(facts.run.config)).flops
        except (SpecError, Unavailable):
            # The architecture was removed or the inspector does not answer: the card leaves the line out.
            flops = None
    found = replace(facts, flops=flops)
    return facts.run.number, await run_in_threadpool(model_card, found)


def _facts(parts: Parts, run_id: str) -> Facts:
    with reading(parts.engine) as connection:
        rows = runs_by_id(connection, [run_id])
        if not rows:
            raise NotFound(f"no run '{run_id[:40]}'")
        run, summary = rows[0].run, rows[0].summary
        if run.logged:
            return Facts(run, summary)
        where = RunFilter(["succeeded"], [run.family], [run.size], [run.dataset])
        others = list_runs(connection, where, "-number", MOST_SEEDS, None, time.time()).rows
        ids = set(same_but_seed(run, [row.run for row in others], IGNORED))
        captured = lineage.read_capture(connection, run_id)
    same = [(row.run, row.summary) for row in others if row.run.id in ids]
    return Facts(run, summary, same, parts.predictions.load(run_id), captured, None, _command(run.requested_spec))


def _command(asked: dict[str, object]) -> str:
    try:
        commands = commands_of(RunSpec.model_validate(asked), USUAL_ADDRESS)
    except ValidationError:
        # A request of an older version, with settings that are called differently now.
        return ""
    return commands.runyard or commands.curl


@api.get("/runs/{run_id}/card")
async def get_card(run_id: str, parts: PartsDep) -> CardOut:
    """Return the model card of a run: data, recipe, metrics with intervals, calibration, robustness and limits."""
    _, card = await read_card(parts, run_id)
    sections = [
        SectionOut(
            title=section.title,
            facts=[FactOut(name=name, value=value) for name, value in section.facts],
            sentences=section.sentences,
            headings=section.headings,
            rows=section.rows,
            code=section.code,
        )
        for section in card.sections
    ]
    return CardOut(title=card.title, sections=sections, markdown=card.markdown())


async def card_markdown(run_id: str, parts: PartsDep) -> PlainTextResponse:
    """Download the model card of a run in Markdown."""
    number, card = await read_card(parts, run_id)
    headers = {
        "content-disposition": f'attachment; filename="run-{number}-card.md"',
        "cache-control": "no-store",
    }
    return PlainTextResponse(card.markdown(), media_type="text/markdown", headers=headers)


for router in (api, pages):
    router.get("/runs/{run_id}/card.md", response_class=PlainTextResponse)(card_markdown)


@pages.get("/runs/{run_id}/card")
async def card_page(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """Render the model card of a run."""
    number, card = await read_card(parts, run_id)
    return await run_in_threadpool(
        parts.templates.page, request, "model_card.html", card=card, run_id=run_id, number=number
    )
