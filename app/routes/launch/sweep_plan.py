"""The launch form's plan for a sweep: number of runs, duration, and skipped combinations."""

from __future__ import annotations

from dataclasses import dataclass

from app.actions.sweeps import SweepPreview, preview_sweep
from app.contract.catalog import Catalog
from app.contract.spec import FieldError, RunConfig, SpecError
from app.contract.sweep import DEFAULT_DRAWS, SweepSpec
from app.routes.launch.cost import Cost
from app.routes.launch.form import Draft, add_errors
from app.web.dependencies import Parts
from app.web.formatting import format_duration


@dataclass(frozen=True)
class SweepPlan:
    """A sweep before its launch; while the form is invalid, ``runs`` is 0 and ``spec`` is None."""

    spec: SweepSpec | None
    runs: int
    duration: str
    examples: list[str]
    left_out: list[str]


def sweep_of(draft: Draft) -> SweepSpec | None:
    """Return the sweep of a form, None for a single run; adds the sweep's errors to the draft."""
    if not draft.multiple.sweeping:
        return None
    # The validated values: "3" as typed is a number here.
    given = draft.given if draft.spec is None else draft.spec.model_dump(mode="json", exclude_unset=True)
    try:
        return draft.multiple.spec(given, draft.blanks)
    except SpecError as error:
        add_sweep_errors(draft, error.errors)
        return None


def add_sweep_errors(draft: Draft, errors: list[FieldError]) -> None:
    """Add a sweep's errors to the draft, at the matching form fields."""
    form_fields = {"grid": "method", "space": "method", "direction": "metric"}
    at = [
        FieldError("options" if e.field.startswith("option.") else form_fields.get(e.field, e.field), e.message)
        for e in errors
    ]
    add_errors(draft, at)


def plan_of_sweep(parts: Parts, catalog: Catalog, draft: Draft, cost: Cost) -> SweepPlan | None:
    """Return the plan of the form's sweep, None for a single run."""
    if not draft.multiple.sweeping:
        return None
    spec = sweep_of(draft)
    nothing = SweepPlan(None, 0, "", [], [])
    if spec is None or draft.config is None:
        return nothing
    try:
        preview = preview_sweep(parts, catalog, spec)
    except SpecError as error:
        add_sweep_errors(draft, error.errors)
        return nothing
    duration = _duration(preview, draft.config, cost)
    return SweepPlan(spec, preview.total, duration, preview.examples, preview.expansion.left_out)


def _duration(preview: SweepPreview, first: RunConfig, cost: Cost) -> str:
    slots = f"{preview.forecast.slots} slot{'s' if preview.forecast.slots != 1 else ''}"
    if preview.forecast.seconds is not None:
        duration = f"about {format_duration(preview.forecast.seconds)} on {slots}"
        unknown = preview.forecast.unknown
        return f"{duration}; {unknown} run{'s' if unknown != 1 else ''} not yet estimated" if unknown else duration
    predictions = cost.preview.predictions if cost.preview else []
    epoch_seconds = [each.epoch_seconds for each in predictions if each.epoch_seconds is not None]
    if not epoch_seconds:
        return f"duration unknown ({slots})"
    seconds = preview.total * epoch_seconds[0] * first.epochs / preview.forecast.slots
    return f"about {format_duration(seconds)} on {slots}, if every run takes as long as the first"


def how_of(draft: Draft) -> dict[str, str]:
    """Return the values of the form's sweep fields."""
    how = draft.multiple.how
    return {
        "method": draft.multiple.method,
        "draws": how.get("draws", ""),
        "usual_draws": str(DEFAULT_DRAWS),
        "metric": how.get("metric", ""),
        "pruning": how.get("pruning", ""),
    }
