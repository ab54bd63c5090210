"""What follows where the form holds several values: how many runs that makes, how long they take, what is left out."""

from __future__ import annotations

from dataclasses import dataclass

from app.actions.sweeps import SweepPreview, preview_sweep
from app.contract.catalog import Catalog
from app.contract.spec import FieldError, RunConfig, SpecError
from app.contract.sweep import USUAL_DRAWS, SweepSpec
from app.routes.launch.cost import Cost
from app.routes.launch.form import Draft, add_errors
from app.web.dependencies import Parts
from app.web.formatting import format_duration


@dataclass(frozen=True)
class SweepPlan:
    """A sweep before it starts; ``runs`` is 0 as long as something is wrong, and ``spec`` is None."""

    spec: SweepSpec | None
    runs: int
    lasts: str
    examples: list[str]
    left_out: list[str]


def sweep_of(draft: Draft) -> SweepSpec | None:
    """The sweep that a form means, None for a single run; what is wrong with it is noted in the draft."""
    if not draft.multiple.sweeping:
        return None
    # As it was read: what is typed as "3" is a number.
    given = draft.given if draft.spec is None else draft.spec.model_dump(mode="json", exclude_unset=True)
    try:
        return draft.multiple.spec(given, draft.blanks)
    except SpecError as error:
        add_sweep_errors(draft, error.errors)
        return None


def add_sweep_errors(draft: Draft, errors: list[FieldError]) -> None:
    """Write down what is wrong with a sweep, at the fields of the form."""
    placed = {"grid": "method", "space": "method", "direction": "metric"}
    at = [
        FieldError("options" if e.field.startswith("option.") else placed.get(e.field, e.field), e.message)
        for e in errors
    ]
    add_errors(draft, at)


def plan_of_sweep(parts: Parts, catalog: Catalog, draft: Draft, cost: Cost) -> SweepPlan | None:
    """What would follow from launching the form, None for a single run."""
    if not draft.multiple.sweeping:
        return None
    spec = sweep_of(draft)
    nothing = SweepPlan(None, 0, "", [], [])
    if spec is None or draft.config is None:
        return nothing
    try:
        found = preview_sweep(parts, catalog, spec)
    except SpecError as error:
        add_sweep_errors(draft, error.errors)
        return nothing
    lasts = _lasts(found, draft.config, cost)
    return SweepPlan(spec, found.total, lasts, found.examples, found.expansion.left_out)


def _lasts(found: SweepPreview, first: RunConfig, cost: Cost) -> str:
    slots = f"{found.forecast.slots} slot{'s' if found.forecast.slots != 1 else ''}"
    if found.forecast.seconds is not None:
        words = f"about {format_duration(found.forecast.seconds)} on {slots}"
        unknown = found.forecast.unknown
        return f"{words}; nothing is known yet of {unknown} of them" if unknown else words
    predictions = cost.preview.predictions if cost.preview else []
    paces = [each.epoch_seconds for each in predictions if each.epoch_seconds is not None]
    if not paces:
        return f"how long is not known yet, on {slots}"
    seconds = found.total * paces[0] * first.epochs / found.forecast.slots
    return f"roughly {format_duration(seconds)} on {slots}, if each lasts as long as the first"


def how_of(draft: Draft) -> dict[str, str]:
    """What stands in the fields that say how a sweep goes about it."""
    how = draft.multiple.how
    return {
        "method": draft.multiple.method,
        "draws": how.get("draws", ""),
        "usual_draws": str(USUAL_DRAWS),
        "metric": how.get("metric", ""),
        "pruning": how.get("pruning", ""),
    }
