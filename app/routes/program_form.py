"""The form of a program: its fields as the launch page shows them, and the request that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError

from app.actions.programs import values_by_seed
from app.contract.command_template import Value, value_text
from app.contract.errors import Invalid, to_field_errors
from app.contract.program import Program, ProgramField, ProgramLaunch
from app.contract.program_values import read_value, shown_values
from app.contract.spec import SpecError
from app.routes.launch.field_groups import CHOICES, DISPLAY_NAMES, Row
from app.routes.launch.fields import Field
from app.routes.launch.form import Form, field_text, joined_tags, split_tags
from app.routes.launch.multiple_values import ALSO
from app.routes.launch.prefill import Difference
from app.routes.program_variations import (
    HOW,
    HOW_BLANKS,
    HOW_CHOICES,
    HOW_ROWS,
    VALUE,
    SweepPlan,
    Variations,
    form_field,
    plan_sweep,
    read_variations,
)
from app.store.run import RunRecord
from app.web.formatting import upper_first

SOURCE = "source"
SEEDS = Row("seeds", "Seeds", "whole", "number of runs, with consecutive seeds")
RUN_ROWS = (
    Row("name", "Name", "words", "default: the program and its changed values"),
    Row("tags", "Tags", "words", "comma-separated"),
    Row("device", "Device", "choice", "auto: any device of its worker"),
    Row("priority", "Priority", "whole", "higher priority starts first"),
    Row("notes", "Notes", "text"),
)
_DEFAULTS = {"seeds": "1", "name": "", "tags": "", "device": "auto", "priority": "0", "notes": ""}
_KINDS = {"int": "whole", "float": "number", "bool": "choice", "choice": "choice", "text": "words", "path": "words"}
NAMED = {name: DISPLAY_NAMES[name] for name in ("true", "false")}


@dataclass
class ProgramDraft:
    """The current form, validated by the same code as the API.

    ``request`` and ``values``, those of each run, are None while any field is invalid; ``errors`` has a sentence for
    each invalid field, by the name of the form. ``posted``: the form was sent, so that it is an error to leave a field
    blank that is required. ``varied``: the fields with several values, of which ``request`` has the first ones, and
    ``sweep`` the sweep that they make, None for none.
    """

    program: Program
    form: Form
    request: ProgramLaunch | None = None
    values: list[dict[str, Value]] | None = None
    errors: dict[str, str] = field(default_factory=dict)
    posted: bool = False
    varied: Variations = field(default_factory=Variations)
    sweep: SweepPlan | None = None

    def text(self, name: str) -> str:
        """Return the text in a field, "" for its default."""
        return next((value for value in self.form.get(name, []) if value.strip()), "")

    @property
    def runs(self) -> int:
        """The number of runs; 0 while a field is invalid."""
        return self.sweep.runs if self.sweep is not None else len(self.values or ())


def read_draft(program: Program, form: Form) -> ProgramDraft:
    """Read a form into a draft: with its request, or with its errors. Fields that the program lacks are ignored."""
    draft = ProgramDraft(program, form)
    draft.varied = read_variations(program, form)
    given: dict[str, Any] = {"values": {name: text for name, text in draft.varied.first.items() if text}}
    for name in ("name", "device", SOURCE):
        given |= {name: text} if (text := draft.text(name).strip()) else {}
    given |= {"tags": split_tags(draft.text("tags"))} if draft.text("tags") else {}
    # Browsers send every line ending as CRLF.
    given |= {"notes": text.replace("\r\n", "\n")} if (text := draft.text("notes")) else {}
    for name in ("seeds", "priority"):
        if text := draft.text(name).strip():
            # Anything else is left for the validation, which says what is expected.
            given[name] = int(text) if text.lstrip("+-").isdecimal() and len(text) < 10 else text
    if not program.takes_seeds:
        given.pop("seeds", None)
    _check(draft, given)
    return draft


def _check(draft: ProgramDraft, given: dict[str, Any]) -> None:
    # All errors at once: a wrong tag must not hide a wrong value.
    request = None
    try:
        request = ProgramLaunch.model_validate(given)
    except ValidationError as error:
        for each in to_field_errors(error.errors(include_url=False)):
            draft.errors.setdefault(each.field, _sentence(each.message))
        request = ProgramLaunch.model_validate({"values": given["values"]})
    try:
        draft.values = values_by_seed(draft.program, request)
    except Invalid as error:
        _add(draft, error)
    if draft.varied.fields:
        draft.sweep = SweepPlan()
        fixed = {name: value for name, value in request.values.items() if name not in draft.varied.fields}
        run = request.model_dump(include={"name", "tags", "notes", "priority", "device"}, exclude_unset=True)
        values = _non_defaults(draft, fixed)
        run |= {"values": values} if values else {}
        try:
            planned = plan_sweep(draft.program, draft.varied, run, request.seeds)
        except (Invalid, SpecError) as error:
            _add(draft, error)
        else:
            draft.sweep = planned if not draft.errors else draft.sweep
    if draft.errors:
        draft.values = None
    else:
        draft.request = request.model_copy(update={"values": _without_defaults(draft)})


def _add(draft: ProgramDraft, error: Invalid | SpecError) -> None:
    for each in error.errors:
        own = each.field in draft.program.by_name
        draft.errors.setdefault(VALUE + each.field if own else form_field(each), _sentence(each.message))


def _non_defaults(draft: ProgramDraft, texts: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a form as their fields read them, without defaults; what cannot be read stays text."""
    if draft.values is None:
        return dict(texts)
    return {name: value for name, value in _without_defaults(draft).items() if name in texts}


def _sentence(message: str) -> str:
    return f"{upper_first(message).rstrip('.')}."


def _without_defaults(draft: ProgramDraft) -> dict[str, Value]:
    assert draft.values is not None
    fields, values = draft.program.by_name, draft.values[0]
    return {name: value for name, value in values.items() if not _is_default(fields[name], value)}


def _is_default(each: ProgramField, value: Value) -> bool:
    return each.default is not None and read_value(each, each.default) == value


# Fields on the page --------------------------------------------------------------------------------------------------


def value_fields(draft: ProgramDraft) -> list[Field]:
    """Return the program's own fields, followed by the number of seeds if it has a seed."""
    fields = [_value_field(draft, each) for each in draft.program.fields]
    return [*fields, _run_field(draft, SEEDS)] if draft.program.takes_seeds else fields


def sweep_fields(draft: ProgramDraft) -> list[Field]:
    """Return the fields that say how a sweep searches."""
    return [
        Field(
            row=row,
            value=draft.varied.how[row.name],
            blank="",
            shown=HOW_BLANKS[row.name],
            choices=HOW_CHOICES.get(row.name, ()),
            error=draft.errors.get(row.name, "") if draft.varied.fields else "",
            changed=False,
            back="",
        )
        for row in HOW_ROWS
    ]


def run_fields(draft: ProgramDraft) -> list[Field]:
    """Return the fields that every run has."""
    return [_run_field(draft, row) for row in RUN_ROWS]


def _value_field(draft: ProgramDraft, each: ProgramField) -> Field:
    name = VALUE + each.name
    numeric = each.type in ("int", "float")
    text = ", ".join(value for value in draft.form.get(name, []) if value.strip()) if numeric else draft.text(name)
    several = draft.varied.count(each.name)
    blank = "" if each.default is None else field_text(read_value(each, each.default))
    missing = "choose…" if _KINDS[each.type] == "choice" else "required"
    changed = bool(text.strip()) and not each.required and (name in draft.errors or not _same(draft, each))
    changed = changed or bool(several)
    return Field(
        row=Row(name, upper_first(each.name.replace("_", " ")), _KINDS[each.type], _hint(draft.program, each)),
        value=text,
        blank=blank,
        shown=missing if each.required else NAMED.get(blank, blank) if each.type == "bool" else blank,
        choices=("true", "false") if each.type == "bool" else tuple(each.choices),
        error=draft.errors.get(name, "") if text.strip() or several or draft.posted else "",
        changed=changed,
        back=address(draft, {name}) if changed else "",
        multiple=several,
    )


def _same(draft: ProgramDraft, each: ProgramField) -> bool:
    first = draft.varied.first[each.name]
    return not first or _is_default(each, read_value(each, first))


def _hint(program: Program, each: ProgramField) -> str:
    low, high = (None if bound is None else value_text(bound) for bound in (each.min, each.max))
    if low is not None and high is not None:
        expected = f"{low} to {high}"
    elif low is not None or high is not None:
        expected = f"at least {low}" if low is not None else f"at most {high}"
    elif each.type == "path":
        expected = f"a path within {each.within or program.folder}"
    elif each.type == "int" and not each.help:
        expected = "a whole number"
    else:
        expected = ""
    return "; ".join(filter(None, (each.help, expected)))


def _run_field(draft: ProgramDraft, row: Row) -> Field:
    text, blank = draft.text(row.name), _DEFAULTS[row.name]
    changed = row is SEEDS and text.strip() not in ("", blank)
    return Field(
        row=row,
        value=text,
        blank=blank,
        shown=blank,
        choices=CHOICES["device"] if row.name == "device" else (),
        error=draft.errors.get(row.name, ""),
        changed=changed,
        back=address(draft, {row.name}) if changed else "",
    )


def address(draft: ProgramDraft, without: set[str] | frozenset[str] = frozenset()) -> str:
    """Return the URL of the form with its current values, except the fields in ``without``, passwords and tokens."""
    own = {each.name: draft.text(VALUE + each.name) for each in draft.program.fields}
    visible = {VALUE + name for name, shown in shown_values(own).items() if shown == own[name]} - without
    known = visible | {ALSO + name for name in visible} | ({*_DEFAULTS, SOURCE, *HOW} - without)
    pairs = [(name, value) for name, given in draft.form.items() if name in known for value in given if value.strip()]
    query = urlencode(pairs, errors="replace")
    return f"/programs/{draft.program.name}{f'?{query}' if query else ''}"


# The run that the form was filled in from ----------------------------------------------------------------------------


def form_of(program: Program, run: RunRecord, values: Mapping[str, Value]) -> Form:
    """Return the form that launches a run of a program again; values that look like passwords stay blank."""
    config, form = run.config, Form()
    shown = shown_values(values)
    for each in program.fields:
        value = values.get(each.name)
        visible = value is not None and shown[each.name] == value_text(value)
        if value is not None and visible and not _is_default(each, value):
            form[VALUE + each.name] = [field_text(value)]
    given = {"name": config.name, "tags": joined_tags(config.tags), "notes": config.notes, "device": config.device}
    given["priority"] = "" if config.priority == 0 else str(config.priority)
    form |= {name: [text] for name, text in given.items() if text and text != _DEFAULTS[name]}
    return form | {SOURCE: [run.id]}


def differences(draft: ProgramDraft, values: Mapping[str, Value]) -> list[Difference] | None:
    """Return how the values differ from those of the source; None while a field is invalid."""
    if draft.values is None:
        return None
    found = []
    before, now = shown_values(values), shown_values(draft.values[0])
    for each in draft.program.fields:
        if each.name in values and value_text(values[each.name]) == value_text(draft.values[0][each.name]):
            continue
        label = each.name.replace("_", " ")
        found.append(Difference(label, VALUE + each.name, before.get(each.name, "–"), now[each.name]))
    return found
