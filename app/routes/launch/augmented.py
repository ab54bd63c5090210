"""The launch form's picture of augmented training images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool

from app.contract.errors import Invalid, Unavailable
from app.contract.spec import RunConfig
from app.routes.launch.form import gathered, read_draft, with_family
from app.services.augmented_batches import DRAWN, AugmentedBatches, is_augmented
from app.web.dependencies import CatalogDep, PartsDep
from app.web.formatting import upper_first

pages = APIRouter()

CACHE_SECONDS = 3600


@dataclass(frozen=True)
class AugmentedPicture:
    """Where the picture is: ``query`` of its address; ``drawn``: it is there; ``reason``: why there is none.

    ``both_mixed``: it shows mixup and CutMix, of which each batch uses one.
    """

    dataset: str
    query: str
    drawn: bool
    both_mixed: bool = False
    reason: str = ""


def augmented_picture(config: RunConfig | None, batches: AugmentedBatches) -> AugmentedPicture | None:
    """What the form shows for a configuration; None if its training images are not augmented."""
    if config is None or not is_augmented(config):
        return None
    query = urlencode([(name, _text(getattr(config, name))) for name in DRAWN])
    both_mixed = bool(config.mixup and config.cutmix)
    return AugmentedPicture(config.dataset, query, batches.kept(config) is not None, both_mixed)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _config(request: Request, catalog: CatalogDep) -> RunConfig:
    form = gathered(parse_qsl(request.url.query, keep_blank_values=True))
    draft = read_draft(with_family(form, catalog), catalog)
    if draft.config is None:
        raise Invalid("; ".join(draft.errors.values()) or "these settings are not valid")
    return draft.config


ConfigDep = Annotated[RunConfig, Depends(_config)]


@pages.get("/launch/augmented")
async def augmented_fragment(request: Request, parts: PartsDep, config: ConfigDep) -> HTMLResponse:
    """The picture as part of the form, once it is drawn; or why there is none."""
    reason = ""
    try:
        await parts.augmented.picture(config)
    except Unavailable as error:
        reason = f"{upper_first(error.message)}."
    shown = augmented_picture(config, parts.augmented)
    if shown is not None and reason:
        shown = replace(shown, drawn=False, reason=reason)
    return await run_in_threadpool(lambda: parts.templates.fragment(request, "_launch_augmented.html", augmented=shown))


@pages.get("/launch/augmented.png")
async def augmented_png(parts: PartsDep, config: ConfigDep) -> Response:
    """The picture itself."""
    picture = await parts.augmented.picture(config)
    return Response(picture, media_type="image/png", headers={"Cache-Control": f"private, max-age={CACHE_SECONDS}"})
