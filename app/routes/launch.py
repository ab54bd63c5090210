"""/launch: the form that says what to train, what would follow from it, and the same as a command."""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
import statistics
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from app.actions import find_run, first_target, launch
from app.contract.catalogue import Catalogue, FamilyEntry, OptionEntry
from app.contract.datasets import DATASETS, Dataset
from app.contract.recipes import PRESETS, RECIPES, recipe_settings
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, resolve
from app.deps import CatalogueDep, Parts, PartsDep
from app.errors import sentence
from app.rendering import setting, span
from app.store.database import reading
from app.store.query import RunFilter, list_runs, queue
from app.store.worker import list_workers

pages = APIRouter()

Form = dict[str, list[str]]
LISTS = ("targets", "tags")
OPTION = "option."
SAMPLED_RUNS = 20
# Where the form says the same as a blank, nothing is said; everything else is in RunSpec itself.
BLANKS: dict[str, Any] = {"dataset": "digits", "recipe": "default", "seed": 1, "priority": 0, "device": "auto"}


@dataclass(frozen=True)
class Field:
    """One field of the form: what stands in it, what a blank means, what is wrong with it."""

    name: str
    label: str
    kind: str
    value: str
    blank: str
    hint: str
    choices: list[str]
    error: str
    changed: bool


@dataclass(frozen=True)
class Plan:
    """What would follow from launching now."""

    config: RunConfig | None
    params: int | None
    images: int
    steps_per_epoch: int
    steps: int
    starts: str
    lasts: str
    command: str


@dataclass
class Draft:
    """A form as it stands, read with the only validator there is."""

    form: Form
    family: FamilyEntry | None
    dataset: Dataset | None
    spec: RunSpec | None = None
    config: RunConfig | None = None
    errors: dict[str, str] = field(default_factory=dict)

    def one(self, name: str) -> str:
        """What stands in a field."""
        return next((value for value in self.form.get(name, []) if value), "")


# name, label, kind, what it is for; what stands in `main` is always visible.
_Row = tuple[str, str, str, str]
MAIN: list[_Row] = [
    ("epochs", "Epochs", "whole", "times through the training images"),
    ("batch_size", "Batch size", "whole", "images in one step"),
    ("lr", "Learning rate", "number", "at the start of the schedule"),
    ("seed", "Seed", "whole", "the same seed trains the same network"),
    ("name", "Name", "words", "instead of family, size and dataset"),
]
MORE: list[_Row] = [
    ("optimizer", "Optimizer", "choice", ""),
    ("weight_decay", "Weight decay", "number", ""),
    ("schedule", "Schedule", "choice", "how the learning rate falls"),
    ("lr_min", "Lowest learning rate", "number", "where a cosine schedule ends"),
    ("momentum", "Momentum", "number", "for sgd"),
    ("label_smoothing", "Label smoothing", "number", "0 to below 1"),
    ("clip_norm", "Clip norm", "number", "largest gradient norm; 0 does not clip"),
    ("crop_padding", "Random crop", "whole", "pixels of padding before the crop; 0 does not crop"),
    ("flip", "Flip", "choice", "mirror training images at random"),
    ("precision", "Precision", "choice", ""),
    ("deterministic", "Deterministic", "choice", "only repeatable operations, also on a GPU"),
    ("device", "Device", "choice", "auto takes what the worker has"),
    ("priority", "Priority", "whole", "higher starts first"),
    ("tags", "Tags", "words", "separated by commas"),
    ("notes", "Notes", "text", ""),
]
_LABELS = {name: label for name, label, _, _ in MAIN + MORE}
CHOICES = {
    "optimizer": ["adam", "adamw", "sgd"],
    "schedule": ["constant", "plateau", "cosine"],
    "precision": ["32", "bf16"],
    "device": ["auto", "cpu", "cuda"],
    "flip": ["true", "false"],
    "deterministic": ["true", "false"],
}


# Reading the form ----------------------------------------------------------------------------------------------------


def said_in(form: Form, family: FamilyEntry | None) -> dict[str, Any]:
    """What a form says: an empty field says nothing."""
    known = set(RunSpec.model_fields) - {"options"}
    said: dict[str, Any] = {}
    for name, values in form.items():
        values = [value.strip() for value in values if value.strip()]
        if name not in known or not values:
            continue
        if name == "tags":
            said[name] = [tag.strip() for value in values for tag in value.split(",") if tag.strip()]
        else:
            said[name] = values if name in LISTS else values[0]
    options = {
        name.removeprefix(OPTION): _typed(values[0], name.removeprefix(OPTION), family)
        for name, values in form.items()
        if name.startswith(OPTION) and values and values[0]
    }
    return said | ({"options": options} if options else {})


def _typed(value: str, name: str, family: FamilyEntry | None) -> Any:
    option = next((each for each in family.options if each.name == name), None) if family else None
    return next((choice for choice in option.choices if str(choice) == value), value) if option else value


def drafted(form: Form, catalogue: Catalogue) -> Draft:
    """A form with its errors, or with the RunSpec and RunConfig that it means."""
    form = _with_preset(form)
    draft = Draft(form, None, None)
    draft.family = catalogue.families.get(draft.one("family"))
    draft.dataset = DATASETS.get(draft.one("dataset") or "digits")
    said = _without_blanks(said_in(form, draft.family), draft.family)
    try:
        draft.spec = RunSpec.model_validate(said)
        draft.config = resolve(draft.spec, catalogue)
    except ValidationError as error:
        _note(draft, [sentence(each) for each in error.errors(include_url=False)])
        _note(draft, _errors_of_the_rest(said, draft.errors, catalogue))
    except SpecError as error:
        _note(draft, error.errors)
    return draft


def _errors_of_the_rest(said: dict[str, Any], wrong: dict[str, str], catalogue: Catalogue) -> list[FieldError]:
    # All that is wrong is shown at once: what cannot be read hides nothing else.
    rest = {name: value for name, value in said.items() if name not in wrong}
    try:
        resolve(RunSpec.model_validate(rest), catalogue)
    except (SpecError, ValidationError) as error:
        return error.errors if isinstance(error, SpecError) else []
    return []


def _note(draft: Draft, errors: list[FieldError]) -> None:
    for error in errors:
        words = error.message
        if error.field in _LABELS and words.startswith(error.field):
            words = _LABELS[error.field] + words.removeprefix(error.field)
        draft.errors.setdefault(error.field, f"{words[:1].upper()}{words[1:]}".rstrip(".") + ".")


def _with_preset(form: Form) -> Form:
    preset = next((value for value in form.get("preset", []) if value in PRESETS), None)
    if preset is None:
        return form
    # A preset is taken as what it stands for, so that each of its parts can be changed in the form.
    return {name: [str(value)] for name, value in PRESETS[preset].items()} | {
        name: values for name, values in form.items() if name != "preset"
    }


def _without_blanks(said: dict[str, Any], family: FamilyEntry | None) -> dict[str, Any]:
    blanks = BLANKS | ({"size": family.default} if family else {})
    dataset = said.get("dataset", "digits")
    if dataset in DATASETS:
        blanks["targets"] = [first_target(dataset)]
    kept = {name: value for name, value in said.items() if name not in blanks or str(value) != str(blanks[name])}
    if "options" in kept and family:
        defaults = {option.name: option.default for option in family.options}
        options = {name: value for name, value in kept["options"].items() if defaults.get(name, object) != value}
        kept = {name: value for name, value in kept.items() if name != "options"} | (
            {"options": options} if options else {}
        )
    return kept


def form_of(config: RunConfig) -> Form:
    """The form that would launch a run once more: what its recipe says stays blank."""
    defaults = BLANKS | (recipe_settings(config.recipe, config.family) if config.recipe in RECIPES else {})
    form: Form = {}
    for name, value in config.model_dump(exclude={"preset", "auxiliary", "options"}).items():
        if name in ("family", "size", "dataset", "recipe") or (value not in ("", []) and value != defaults.get(name)):
            written = value if isinstance(value, list) else [_written(value)]
            form[name] = [", ".join(written)] if name == "tags" else written
    return form | {OPTION + name: [str(value)] for name, value in config.options.items()}


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


# What the page is told -----------------------------------------------------------------------------------------------


def view(request: Request, parts: Parts, catalogue: Catalogue, form: Form) -> dict[str, Any]:
    """Everything that the form's templates need."""
    form = dict(form)
    if not any(form.get("family", [])) and not any(form.get("preset", [])):
        form["family"] = [next(iter(catalogue.families), "")]
    draft = drafted(form, catalogue)
    recipe = draft.one("recipe") or "default"
    defaults: dict[str, Any] = dict(BLANKS)
    if recipe in RECIPES and draft.family:
        defaults |= recipe_settings(recipe, draft.family.name)
    targets = [value for value in draft.form.get("targets", []) if value]
    return {
        "draft": draft,
        "families": list(catalogue.families.values()),
        "broken": catalogue.broken,
        "family": draft.family,
        "dataset": draft.dataset,
        "datasets": list(DATASETS.values()),
        "recipes": list(RECIPES.values()),
        "presets": list(PRESETS),
        "size": draft.one("size") or (draft.family.default if draft.family else ""),
        "targets": targets or ([draft.dataset.targets[0].name] if draft.dataset else []),
        "recipe": recipe,
        "options": _option_fields(draft),
        "main": [_field(row, draft, defaults) for row in MAIN],
        "more": [_field(row, draft, defaults) for row in MORE],
        "plan": _plan(request, parts, catalogue, draft),
        "key": secrets.token_urlsafe(12),
        "unplaced": [message for name, message in draft.errors.items() if name not in _PLACED],
    }


_PLACED = {row[0] for row in MAIN + MORE} | {"family", "size", "dataset", "targets", "recipe", "options"}


def _field(row: _Row, draft: Draft, defaults: dict[str, Any]) -> Field:
    name, label, kind, hint = row
    value = draft.one(name)
    blank = defaults.get(name)
    shown = "" if blank is None else setting(blank)
    same = value == "" or value == _written(blank) or _same_number(value, blank)
    return Field(name, label, kind, value, shown, hint, CHOICES.get(name, []), draft.errors.get(name, ""), not same)


def _same_number(value: str, blank: Any) -> bool:
    try:
        return not isinstance(blank, bool | str | None) and float(value) == float(blank)
    except ValueError:
        return False


def _option_fields(draft: Draft) -> list[tuple[OptionEntry, str]]:
    if draft.family is None:
        return []
    return [(each, draft.one(OPTION + each.name) or str(each.default)) for each in draft.family.options]


def _plan(request: Request, parts: Parts, catalogue: Catalogue, draft: Draft) -> Plan:
    config = draft.config
    params = _params(catalogue, draft)
    if config is None or draft.spec is None:
        images = draft.dataset.train if draft.dataset else 0
        return Plan(None, params, images, 0, 0, "once the form is right", "", "")
    dataset = DATASETS[config.dataset]
    per_epoch = dataset.train // config.batch_size
    with reading(parts.engine) as connection:
        starts = _starts(connection, parts, config)
        lasts = _lasts(connection, config)
    body = json.dumps(draft.spec.model_dump(exclude_unset=True), ensure_ascii=False)
    address = f"{request.base_url}api/v1/runs"
    command = f"curl {shlex.quote(address)} \\\n  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    return Plan(config, params, dataset.train, per_epoch, per_epoch * config.epochs, starts, lasts, command)


def _params(catalogue: Catalogue, draft: Draft) -> int | None:
    """The exact count, which the catalogue knows for a family's own options and a dataset's first target."""
    if draft.family is None or draft.dataset is None:
        return None
    size = draft.family.size(draft.one("size") or draft.family.default)
    config = draft.config
    plain = config is None or (not config.options and config.targets == [first_target(config.dataset)])
    return size.params.get(draft.dataset.name) if size is not None and plain else None


def _starts(connection: Connection, parts: Parts, config: RunConfig) -> str:
    workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
    waiting, queued = queue(connection, workers, 500)
    if not workers:
        return "when a worker connects"
    fitting = [worker for worker in workers if config.device in ("auto", worker.device_kind)]
    if not fitting:
        return f"when a worker with {config.device} connects"
    # A run that waits for a device which these workers do not have stands in nobody's way.
    wanted = {"auto", *(worker.device_kind for worker in fitting)}
    before = [each for each in waiting if each.run.priority >= config.priority and each.run.device_wanted in wanted]
    ahead = len(before) if queued <= len(waiting) else queued
    free = sum(worker.free_slots for worker in fitting)
    if free > ahead:
        return f"at once, {free} slot{'s' if free != 1 else ''} free"
    return "next, when a slot is free" if not ahead else f"after {ahead} other{'s' if ahead != 1 else ''} in the queue"


def _lasts(connection: Connection, config: RunConfig) -> str:
    where = RunFilter(["succeeded"], [config.family], [config.size], [config.dataset])
    page = list_runs(connection, where, "-number", SAMPLED_RUNS, None, time.time())
    paces = [
        (row.run.ended_at - row.run.started_at) / row.run.epochs
        for row in page.rows
        if row.run.ended_at and row.run.started_at and row.run.batch_size == config.batch_size
    ]
    if not paces:
        return ""
    lasts = span(statistics.median(paces) * config.epochs)
    return f"about {lasts}, from {len(paces)} run{'s' if len(paces) != 1 else ''} here"


# Routes --------------------------------------------------------------------------------------------------------------


def _query_form(request: Request) -> Form:
    return _gathered(parse_qsl(request.url.query, keep_blank_values=True))


def _gathered(pairs: Any) -> Form:
    form: Form = {}
    for name, value in pairs:
        if isinstance(value, str):
            form.setdefault(name, []).append(value.encode("utf-8", "replace").decode())
    return form


def _own_size(form: Form, catalogue: Catalogue) -> Form:
    """A form that was sent without JavaScript: the size that stood there for another family was not chosen."""
    before = catalogue.families.get(next(iter(form.get("size_of", [])), ""))
    if before and form.get("family") != [before.name] and form.get("size") == [before.default]:
        return {name: values for name, values in form.items() if name != "size"}
    return form


def _fitting(form: Form, catalogue: Catalogue) -> Form:
    """A form whose family or dataset was just changed: what the new one does not have is blank again."""
    form = dict(form)
    family = catalogue.families.get(next(iter(form.get("family", [])), ""))
    dataset = DATASETS.get(next(iter(form.get("dataset", [])), ""))
    if family:
        offered = {size.name for size in family.sizes}
        mine = form.get("size_of", [family.name]) == [family.name]
        form["size"] = [size for size in form.get("size", []) if mine and size in offered]
        options = {OPTION + option.name for option in family.options}
        form = {name: values for name, values in form.items() if not name.startswith(OPTION) or name in options}
    if dataset:
        form["targets"] = [name for name in form.get("targets", []) if name in {each.name for each in dataset.targets}]
    return form


@pages.get("/launch")
def launch_page(request: Request, parts: PartsDep, catalogue: CatalogueDep) -> HTMLResponse:
    """The form; ?family=…&epochs=… fills it in, ?from=RUN fills in what another run was."""
    form = _query_form(request)
    source = None
    if form.get("from"):
        source, _ = find_run(parts, form["from"][0])
        form = form_of(source.config) | {name: values for name, values in form.items() if name != "from"}
    return parts.templates.page(request, "launch.html", source=source, **view(request, parts, catalogue, form))


@pages.get("/launch/fields")
def launch_fields(request: Request, parts: PartsDep, catalogue: CatalogueDep) -> HTMLResponse:
    """The form anew, after a choice on which other fields depend."""
    form = _fitting(_query_form(request), catalogue)
    return parts.templates.fragment(request, "_launch_form.html", **view(request, parts, catalogue, form))


@pages.get("/launch/check")
def launch_check(request: Request, parts: PartsDep, catalogue: CatalogueDep) -> HTMLResponse:
    """What is wrong and what would follow, while someone types."""
    values = view(request, parts, catalogue, _query_form(request))
    return parts.templates.fragment(request, "_launch_notes.html", **values)


@pages.post("/launch")
async def post_launch(request: Request, parts: PartsDep, catalogue: CatalogueDep) -> Response:
    """Launch; or the same form again with what is wrong beside each field."""
    async with request.form(max_files=0, max_fields=200) as posted:
        form = _gathered(posted.multi_items())
    key = form.pop("key", [""])[0]
    form = _own_size(form, catalogue)
    form.pop("size_of", None)
    return await run_in_threadpool(_launched, request, parts, catalogue, form, key)


def _launched(request: Request, parts: Parts, catalogue: Catalogue, form: Form, key: str) -> Response:
    draft = drafted(form, catalogue)
    if draft.spec is None or draft.config is None:
        values = view(request, parts, catalogue, form)
        return parts.templates.page(request, "launch.html", 422, source=None, **values)
    # The button pressed twice launches one run; the same form filled in anew launches another.
    said = json.dumps([key, sorted(form.items())]).encode()
    run_id = launch(parts, catalogue, draft.spec, f"form-{hashlib.sha256(said).hexdigest()}" if key else None)
    return RedirectResponse(f"/runs/{run_id}", 303)
