"""/playground: several trained networks look at one picture, drawn, pasted, dropped or picked from a dataset."""

from __future__ import annotations

import base64
import binascii
import math
import time
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from app.actions.predicting import Which, check_pictures, checkpoint_of
from app.contract.datasets import DATASETS
from app.contract.errors import Conflict, Invalid, RunyardError
from app.contract.events import Checkpoint
from app.contract.own_datasets import PARTS
from app.contract.playground import SLIDERS, SWEPT, Center, Changes, Slider, Swept
from app.contract.spec import FieldError
from app.services.inference import TestPicture, Upload, Weights
from app.store.alias import find_alias, list_aliases
from app.store.database import reading
from app.store.run import RunRecord, load_run
from app.store.search.query import RunFilter, list_runs
from app.web.dependencies import Parts, PartsDep

pages = APIRouter()

MOST_CHOSEN = 12
LONGEST_TOKEN = 100
OFFERED = 40
SHOWN_CLASSES = 10
"""With more classes than this, only the most probable ones are shown, half as many."""

Tokens = Annotated[list[str], Query(max_length=100)]


@dataclass(frozen=True)
class Chosen:
    """A checkpoint that votes. ``token``: what the address calls it, the same for all ways to name it. ``problem``:
    why it cannot vote.
    """

    token: str
    title: str
    run: RunRecord | None = None
    checkpoint: Checkpoint | None = None
    problem: str = ""


@dataclass(frozen=True)
class Bar:
    """A class with its probability; ``true``: whether the picture is known to be of it."""

    label: str
    probability: float
    true: bool

    @property
    def percent(self) -> str:
        """The probability in percent."""
        return f"{100 * self.probability:.1f}"


@dataclass
class Vote:
    """What a checkpoint says of a picture. ``probabilities``: by class of its main head; ``others``: class and
    probability of its other heads.
    """

    chosen: Chosen
    problem: str = ""
    bars: list[Bar] = field(default_factory=list)
    top: Bar | None = None
    others: list[tuple[str, Bar]] = field(default_factory=list)
    probabilities: dict[str, float] = field(default_factory=dict)
    fed: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] | None = None
    curve: str = ""


class LookIn(BaseModel):
    """A picture, as base64 ``content`` of a file or ``picture`` DATASET:PART:INDEX, and the checkpoints that look."""

    model_config = ConfigDict(extra="forbid")

    runs: Annotated[list[Annotated[str, Field(max_length=LONGEST_TOKEN)]], Field(max_length=MOST_CHOSEN)] = []
    checkpoint: Which = "best"
    content: str = ""
    picture: Annotated[str, Field(max_length=200)] = ""
    center: Center = "auto"
    changes: Changes = Changes()
    sweep: Swept = ""
    why: bool = False


def _tokens(runs: list[str]) -> list[str]:
    found = [part.strip().lstrip("#")[:LONGEST_TOKEN] for value in runs for part in value.split(",") if part.strip()]
    return list(dict.fromkeys(found))[:MOST_CHOSEN]


def _choose(connection: Connection, token: str, which: Which) -> Chosen:
    """What a token stands for: a run's number or id, followed by ":last" or ":best"; or an alias."""
    name, _, asked = token.partition(":")
    kind: Which = "last" if asked == "last" else "best" if asked == "best" else which
    run, alias = None, None
    if name.isdecimal() and len(name) < 19:
        rows = list_runs(connection, RunFilter(number=[int(name)]), "-number", 1, None, time.time()).rows
        run = rows[0].run if rows else None
    elif name.startswith("r_"):
        run = load_run(connection, name)
    elif (alias := find_alias(connection, name)) is not None:
        run, kind = load_run(connection, alias.run), "best"
    if run is None:
        return Chosen(token, name, problem=f"there is no run or model '{name[:60]}'")
    if alias is not None:
        token, title = alias.name, f"{alias.name} (#{run.number})"
    else:
        token, title = f"{run.number}" if kind == which else f"{run.number}:{kind}", f"#{run.number} {run.title}"
    try:
        # A run that has not validated yet has only a last checkpoint.
        fallback = kind == "best" and not run.best_checkpoint and run.checkpoint
        return Chosen(token, title, run, checkpoint_of(run, "last" if fallback else kind))
    except Conflict as problem:
        return Chosen(token, title, run, problem=problem.message)


def _choose_all(connection: Connection, tokens: list[str], which: Which) -> list[Chosen]:
    """What the tokens stand for; a run that is named twice, by number and by id, counts once."""
    return list({each.token: each for each in (_choose(connection, token, which) for token in tokens)}.values())


def _all_chosen(parts: Parts, tokens: list[str], which: Which) -> list[Chosen]:
    with reading(parts.engine) as connection:
        return _choose_all(connection, tokens, which)


def _picture(look: LookIn) -> Upload | TestPicture:
    """The picture to look at. Raises Invalid."""
    if look.content:
        encoded = look.content.partition(",")[2] if look.content.startswith("data:") else look.content
        try:
            upload = Upload("the image", base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError) as error:
            raise _invalid("the image is not encoded as base64") from error
        check_pictures([upload])
        return upload
    dataset, part, index = ([*look.picture.rsplit(":", 2), "", ""])[:3]
    if part not in PARTS or not index.isdecimal() or len(index) > 9:
        raise _invalid("choose an image: draw one, open a file, or pick one of a dataset")
    return TestPicture(dataset, part, int(index))


def _invalid(sentence: str) -> Invalid:
    return Invalid(sentence, [FieldError("picture", sentence)])


async def _votes(parts: Parts, look: LookIn) -> dict[str, Any]:
    """What the votes' template shows. Raises Invalid, Unavailable."""
    picture = _picture(look)
    chosen = await run_in_threadpool(_all_chosen, parts, _tokens(look.runs), look.checkpoint)
    answer = await _look(parts, look, picture, chosen)
    if any(vote.get("refused", {}).get("kind") == "gone" for vote in answer["votes"]):
        # A run that trains has replaced its last checkpoint.
        chosen = await run_in_threadpool(_all_chosen, parts, _tokens(look.runs), look.checkpoint)
        answer = await _look(parts, look, picture, chosen)
    found = {vote["key"]: vote for vote in answer["votes"]}
    votes = [_vote(each, found.get(each.token), answer) for each in chosen]
    slider = next((each for each in SLIDERS if each.name == look.sweep), None)
    return {
        "votes": votes,
        "verdict": verdict(votes),
        "fed": answer["fed"],
        "slider": slider,
        "at": _at(slider, look.changes),
    }


async def _look(parts: Parts, look: LookIn, picture: Upload | TestPicture, chosen: list[Chosen]) -> dict[str, Any]:
    networks = {
        each.token: Weights(each.checkpoint.path, each.checkpoint.step)
        for each in chosen
        if each.checkpoint is not None
    }
    return await parts.inference.look(networks, picture, look.center, look.changes, look.sweep, look.why)


def _vote(chosen: Chosen, said: dict[str, Any] | None, answer: dict[str, Any]) -> Vote:
    if said is None:
        return Vote(chosen, chosen.problem)
    if "refused" in said:
        return Vote(chosen, said["refused"]["reason"])
    true = answer.get("true", {})
    bars_by_head = {
        head: [
            Bar(label, probability, true.get(head) == place)
            for place, (label, probability) in enumerate(zip(said["labels"][head], probabilities, strict=True))
        ]
        for head, probabilities in said["probabilities"].items()
    }
    (_, bars), *others = bars_by_head.items()
    ordered = sorted(bars, key=lambda bar: -bar.probability)
    along = said.get("sweep")
    return Vote(
        chosen,
        bars=bars if len(bars) <= SHOWN_CLASSES else ordered[: SHOWN_CLASSES // 2],
        top=ordered[0],
        probabilities={bar.label: bar.probability for bar in bars},
        others=[(head, max(each, key=lambda bar: bar.probability)) for head, each in others],
        fed=answer["fed"][said["fed"]],
        why=said.get("why"),
        curve=_curve(along) if along else "",
    )


@dataclass(frozen=True)
class Verdict:
    """What all votes say. ``agreeing``: votes for ``leading``, the class with the most; 0 if several have as many.

    Then ``leading`` is the one of these with the highest ``mean`` probability (0 to 1). ``voting``: number of votes.
    """

    voting: int
    leading: str = ""
    agreeing: int = 0
    mean: float = 0.0

    @property
    def majority(self) -> bool:
        """Whether more than half say the same."""
        return 2 * self.agreeing > self.voting


def verdict(votes: list[Vote]) -> Verdict:
    """Count the votes; a checkpoint that was chosen twice, as a run and as a model, has one."""
    counted = {vote.chosen.checkpoint.path if vote.chosen.checkpoint else "": vote for vote in votes if vote.top}
    voting = list(counted.values())
    tops = [vote.top.label for vote in voting if vote.top]
    if not tops:
        return Verdict(0)
    most = max(map(tops.count, tops))
    tied = [label for label in dict.fromkeys(tops) if tops.count(label) == most]
    means = {label: sum(vote.probabilities.get(label, 0.0) for vote in voting) / len(voting) for label in tied}
    leading = max(tied, key=lambda label: means[label])
    return Verdict(len(tops), leading, most if len(tied) == 1 else 0, means[leading])


def _curve(along: list[float]) -> str:
    """Points of a polyline in a view box of 100 × 24."""
    return " ".join(f"{100 * i / (SWEPT - 1):.1f},{24 - 24 * value:.1f}" for i, value in enumerate(along))


def _at(slider: Slider | None, changes: Changes) -> float:
    """Where a slider is, in percent of its range."""
    if slider is None:
        return 0.0
    value: float = getattr(changes, slider.name)
    return 100 * (value - slider.low) / (slider.high - slider.low)


def _offered(connection: Connection) -> list[RunRecord]:
    rows = list_runs(connection, RunFilter(), "-number", 4 * OFFERED, None, time.time()).rows
    return [row.run for row in rows if row.run.checkpoint or row.run.best_checkpoint][:OFFERED]


@pages.get("/playground")
async def playground(
    request: Request,
    parts: PartsDep,
    runs: Tokens = [],
    checkpoint: str = "best",
    picture: Annotated[str, Query(max_length=200)] = "",
    center: str = "auto",
    sweep: str = "",
    why: str = "",
    look: str = "",
) -> HTMLResponse:
    """Render the playground; with ``look`` also the votes, which the page's script asks for by itself."""
    which: Which = "last" if checkpoint == "last" else "best"
    tokens = _tokens(runs)

    def read() -> tuple[list[RunRecord], list[Any], list[Chosen]]:
        with reading(parts.engine) as connection:
            offered = _offered(connection)
            chosen = _choose_all(connection, tokens or [str(run.number) for run in offered[:1]], which)
            return offered, list_aliases(connection), chosen

    offered, aliases, chosen = await run_in_threadpool(read)
    datasets = list(
        dict.fromkeys(
            run.config.dataset for run in [*(each.run for each in chosen if each.run), *offered] if not run.logged
        )
    )
    asked = LookIn(
        runs=[each.token for each in chosen],
        checkpoint=which,
        picture=picture or (f"{datasets[0]}:test:0" if datasets else ""),
        center="on" if center == "on" else "off" if center == "off" else "auto",
        changes=_changes(request),
        sweep=next((each.name for each in SLIDERS if each.name == sweep), ""),
        why=bool(why),
    )
    problem, votes = "", None
    if look and chosen:
        try:
            votes = await _votes(parts, asked)
        except RunyardError as error:
            problem = error.message
    known = {str(run.number) for run in offered} | {alias.name for alias in aliases}
    return parts.templates.page(
        request,
        "playground.html",
        offered=offered,
        aliases=aliases,
        chosen=[each.token for each in chosen],
        others=[each for each in chosen if each.token not in known],
        datasets=[DATASETS[key] for key in datasets if key in DATASETS],
        asked=asked,
        place=([*asked.picture.rsplit(":", 2), "", ""])[:3],
        sliders=SLIDERS,
        problem=problem,
        result=votes,
    )


def _changes(request: Request) -> Changes:
    """The sliders in an address; what is no number, or out of range, counts as not given."""
    given: dict[str, float] = {}
    for slider in SLIDERS:
        try:
            value = float(request.query_params.get(slider.name, slider.neutral))
        except ValueError:
            continue
        if math.isfinite(value):
            given[slider.name] = min(max(value, slider.low), slider.high)
    return Changes(**given)


@pages.post("/playground/look")
async def post_look(look: LookIn, request: Request, parts: PartsDep) -> HTMLResponse:
    """Render what the chosen checkpoints see in a picture; a problem is rendered too."""
    problem, votes = "", None
    try:
        votes = await _votes(parts, look)
    except RunyardError as error:
        problem = error.message
    return parts.templates.fragment(request, "_playground_votes.html", problem=problem, result=votes)


@pages.get("/playground/newest")
def newest(parts: PartsDep, runs: Tokens = [], checkpoint: str = "best") -> JSONResponse:
    """Return the checkpoint that each token stands for now, so that the page notices new ones."""
    chosen = _all_chosen(parts, _tokens(runs), "last" if checkpoint == "last" else "best")
    now = {each.token: f"{each.checkpoint.path} {each.checkpoint.step}" if each.checkpoint else "" for each in chosen}
    return JSONResponse(now, headers={"cache-control": "no-store"})
