"""The run that the launch form was filled in from, and how the form differs from it."""

from __future__ import annotations

from dataclasses import dataclass

from app.actions.runs import find_run
from app.contract.errors import NotFound
from app.routes.launch.field_groups import DISPLAY_NAMES, LABELS
from app.routes.launch.fields import SOURCE
from app.routes.launch.form import Draft
from app.store.run import RunRecord
from app.web.dependencies import Parts
from app.web.formatting import format_setting, upper_first

NOT_COMPARED = ("name", "tags", "notes", "priority")


@dataclass(frozen=True)
class Difference:
    """A changed field; ``field`` is blank if the page has no field with that name."""

    label: str
    field: str
    before: str
    now: str


def source_of(parts: Parts, draft: Draft) -> RunRecord | None:
    """Return the run that a draft was filled in from, if it still exists."""
    try:
        return find_run(parts, draft.value(SOURCE))[0] if draft.value(SOURCE) else None
    except NotFound:
        return None


def differences(source: RunRecord | None, draft: Draft) -> list[Difference] | None:
    """Return the differences from the source run; None without a source or while the form is invalid."""
    if source is None or draft.config is None:
        return None
    changed = []
    for name, now in draft.config.model_dump(exclude={*NOT_COMPARED, "options"}).items():
        before = getattr(source.config, name)
        if before != now and name not in draft.multiple.fields:
            label = LABELS.get(name, upper_first(name.replace("_", " ")))
            changed.append(Difference(label, name if name in LABELS else "", _displayed(before), _displayed(now)))
    options = source.config.options | draft.config.options
    for name in options:
        before, now = source.config.options.get(name), draft.config.options.get(name)
        if before != now:
            usual = {option.name: option.default for option in draft.family.options} if draft.family else {}
            texts = [_displayed(usual.get(name) if value is None else value) for value in (before, now)]
            changed.append(Difference(upper_first(name.replace("_", " ")), "", *texts))
    return changed


def _displayed(value: object) -> str:
    text = format_setting(value)
    return DISPLAY_NAMES.get(text, text)
