"""The run that a form was filled in from, and what the form says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from app.actions.runs import find_run
from app.contract.errors import NotFound
from app.routes.launch.field_groups import DISPLAY_NAMES, LABELS
from app.routes.launch.fields import SOURCE
from app.routes.launch.form import Draft
from app.store.run import RunRecord
from app.web.dependencies import Parts
from app.web.formatting import format_setting

NOT_COMPARED = ("name", "tags", "notes", "priority")


@dataclass(frozen=True)
class Difference:
    """A field that would not be as it was; ``field`` is blank where the page has no field of that name."""

    label: str
    field: str
    before: str
    now: str


def source_of(parts: Parts, draft: Draft) -> RunRecord | None:
    """The run that a draft was filled in from, as long as it is there."""
    try:
        return find_run(parts, draft.value(SOURCE))[0] if draft.value(SOURCE) else None
    except NotFound:
        return None


def differences(source: RunRecord | None, draft: Draft) -> list[Difference] | None:
    """What differs from the source; None without one, and as long as the form is not right."""
    if source is None or draft.config is None:
        return None
    found = []
    for name, now in draft.config.model_dump(exclude={*NOT_COMPARED, "options"}).items():
        before = getattr(source.config, name)
        if before != now and name not in draft.multiple.fields:
            label = LABELS.get(name, name.replace("_", " ").capitalize())
            found.append(Difference(label, name if name in LABELS else "", _words(before), _words(now)))
    options = source.config.options | draft.config.options
    for name in options:
        before, now = source.config.options.get(name), draft.config.options.get(name)
        if before != now:
            usual = {option.name: option.default for option in draft.family.options} if draft.family else {}
            texts = [_words(usual.get(name) if value is None else value) for value in (before, now)]
            found.append(Difference(name.replace("_", " ").capitalize(), "", *texts))
    return found


def _words(value: object) -> str:
    written = format_setting(value)
    return DISPLAY_NAMES.get(written, written)
