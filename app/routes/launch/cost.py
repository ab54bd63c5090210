"""The cost of a network, computed by the inspector process; the page does not wait for that process to start."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app.actions.preview import preview
from app.contract.catalog import Catalog
from app.contract.errors import Unavailable
from app.contract.preview import Preview
from app.contract.spec import RunConfig, SpecError
from app.routes.launch.form import Draft, add_errors
from app.web.dependencies import Parts
from app.web.formatting import upper_first

PATIENCE_SECONDS = 0.4
"""How long a page waits for figures that are not computed yet; a warm process answers sooner."""

WAIT_SECONDS = 1.0
"""How long the follow-up request waits for them."""


@dataclass(frozen=True)
class Cost:
    """The figures of a network: a ``preview``, or still ``waiting`` for it, or the ``reason`` why there is none."""

    preview: Preview | None = None
    waiting: bool = False
    reason: str = ""


# Tasks that continue after their page was sent; the inspector caches the result for the next request.
_background: set[asyncio.Task[Preview]] = set()


async def look_at_cost(parts: Parts, catalog: Catalog, draft: Draft, patience: float) -> Cost:
    """Return the cost of a draft's network, or ``waiting`` if it takes longer than ``patience`` seconds.

    Adds an error to the draft if the network cannot be built.
    """
    if draft.config is None:
        return Cost()
    task = asyncio.create_task(_previewed(parts, catalog, draft.config))
    _background.add(task)
    task.add_done_callback(_finish)
    try:
        done, _ = await asyncio.wait({task}, timeout=patience)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        return Cost(waiting=True)
    try:
        return Cost(task.result())
    except SpecError as error:
        add_errors(draft, error.errors)
        return Cost()
    except Unavailable as error:
        return Cost(reason=f"{upper_first(error.message)}.")


async def _previewed(parts: Parts, catalog: Catalog, config: RunConfig) -> Preview:
    return await preview(parts, catalog, config)


def _finish(task: asyncio.Task[Preview]) -> None:
    _background.discard(task)
    # Retrieve the exception here too: nobody else does once the page was sent.
    if not task.cancelled():
        task.exception()
