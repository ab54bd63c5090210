"""What a network would cost, from the process that builds it; the page does not wait for that process to start."""

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

PATIENCE_SECONDS = 0.4
"""How long a page waits for figures that are not there yet; a warm process answers sooner."""

WAIT_SECONDS = 1.0
"""How long it waits for them when it asks again."""


@dataclass(frozen=True)
class Cost:
    """The figures of a network: there, being ``waiting`` for, or not to be had for a ``reason``."""

    preview: Preview | None = None
    waiting: bool = False
    reason: str = ""


# What goes on after its page was sent; its answer is kept by the inspector, for the next request.
_going_on: set[asyncio.Task[Preview]] = set()


async def look_at_cost(parts: Parts, catalog: Catalog, draft: Draft, patience: float) -> Cost:
    """The cost of what a draft means, ``waiting`` when it takes longer than ``patience`` seconds.

    A network that cannot be built is noted among the draft's errors.
    """
    if draft.config is None:
        return Cost()
    task = asyncio.create_task(_previewed(parts, catalog, draft.config))
    _going_on.add(task)
    task.add_done_callback(_ended)
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
        return Cost(reason=f"{error.message[:1].upper()}{error.message[1:]}.")


async def _previewed(parts: Parts, catalog: Catalog, config: RunConfig) -> Preview:
    return await preview(parts, catalog, config)


def _ended(task: asyncio.Task[Preview]) -> None:
    _going_on.discard(task)
    # Looked at here too, because nobody else does once the page was sent.
    if not task.cancelled():
        task.exception()
