"""Conversion between the launch form and a RunSpec, in both directions."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.contract.catalog import Catalog, FamilyEntry
from app.contract.dataset import Dataset
from app.contract.datasets import DATASETS
from app.contract.errors import to_field_errors
from app.contract.presets import PRESETS
from app.contract.recipes import ONE_CYCLE_WARMUP, RECIPES, recipe_settings
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, default_settings, resolve
from app.contract.spec_errors import remaining_errors
from app.routes.launch.field_groups import LABELS
from app.routes.launch.multiple_values import MultipleValues, split_values
from app.web.formatting import upper_first

Form = dict[str, list[str]]
"""The text in each field, by name; a missing or blank field means its default."""

OPTION = "option."
HEAD = ("family", "size", "dataset", "targets", "recipe")
"""Fields that are never blank on the page."""
SETTINGS = tuple(recipe_settings("default", "", "digits"))
"""Fields that a recipe sets."""
_DEFAULTS: dict[str, Any] = {
    **{"auxiliary": False, "name": "", "tags": [], "notes": "", "priority": 0, "device": "auto", "worker": ""},
    "find_batch": False,
    "on_nonfinite": "stop",
    "keep_checkpoints": 10,
    "keep_predictions": True,
    "robustness": False,
}


@dataclass
class Draft:
    """The current form, validated by the same code as the API.

    ``given``: the values that differ from the defaults. ``blanks``: the default of each field. ``config`` is None while
    any field is invalid; ``errors`` has one sentence per invalid field. ``multiple``: the fields with several values;
    everywhere else, the first value stands for them.
    """

    form: Form
    given: dict[str, Any]
    blanks: dict[str, Any]
    family: FamilyEntry | None
    dataset: Dataset | None
    recipe: str
    preset: str
    spec: RunSpec | None = None
    config: RunConfig | None = None
    errors: dict[str, str] = field(default_factory=dict)
    multiple: MultipleValues = field(default_factory=MultipleValues)

    def value(self, name: str) -> str:
        """Return the text in a field."""
        return next((value for value in self.form.get(name, []) if value), "")

    def effective(self, name: str) -> str:
        """Return a field's value, or its default if it is blank."""
        return self.value(name) or field_text(self.blanks.get(name))

    @property
    def targets(self) -> list[str]:
        """The heads, in training order."""
        return [value for value in self.form.get("targets", []) if value] or list(self.blanks["targets"])

    @property
    def changed(self) -> list[str]:
        """The fields that differ from the recipe, or from the preset if one is chosen."""
        head = ["family", "size", "dataset", "recipe", "targets", "auxiliary"] if self.preset else []
        names = [name for name in (*head, *SETTINGS) if name in self.given or name in self.multiple.ranges]
        return names + ([OPTION + name for name in self.given.get("options", {})] if self.preset else [])


def given_fields(form: Form, family: FamilyEntry | None) -> dict[str, Any]:
    """Return the filled-in fields of a form as RunSpec fields; blank ones are left out."""
    given: dict[str, Any] = {}
    for name, values in form.items():
        if name == "notes":
            # Browsers send every line ending as CRLF.
            text = values[0].replace("\r\n", "\n") if values else ""
            given |= {"notes": text} if text else {}
            continue
        values = [value.strip() for value in values if value.strip()]
        if name == "options" or name not in RunSpec.model_fields or not values:
            continue
        if name == "tags":
            given[name] = [tag for value in values for tag in split_tags(value)]
        else:
            given[name] = values if name == "targets" else values[0]
    options = {
        name.removeprefix(OPTION): _typed(values[0], name.removeprefix(OPTION), family)
        for name, values in form.items()
        if name.startswith(OPTION) and values and values[0]
    }
    return given | ({"options": options} if options else {})


def _typed(value: str, name: str, family: FamilyEntry | None) -> Any:
    option = next((each for each in family.options if each.name == name), None) if family else None
    return next((choice for choice in option.choices if str(choice) == value), value) if option else value


def settings_of(preset: str, recipe: str, family: str, dataset: str, schedule: str) -> dict[str, Any]:
    """Return a run's default settings; for a recipe that no longer exists, those of the default recipe."""
    recipe = recipe if recipe in RECIPES else "default"
    known = DATASETS.get(dataset)
    settings = default_settings(recipe, family, known) if known else recipe_settings(recipe, family, dataset)
    if schedule == "one_cycle" and settings["schedule"] != "one_cycle":
        settings["warmup"] = ONE_CYCLE_WARMUP
    return settings | {name: value for name, value in PRESETS.get(preset, {}).items() if name in settings}


def blanks_of(given: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """Return the default that `resolve` fills in for each blank field, given the other fields."""
    preset = str(given.get("preset", ""))
    stands_for = PRESETS.get(preset, {})
    recipe = str(given.get("recipe") or stands_for.get("recipe", "default"))
    made_for = RECIPES[recipe].datasets if recipe in RECIPES else ()
    usual = stands_for.get("dataset") or next(iter(made_for), "digits")
    dataset = DATASETS.get(str(given.get("dataset") or usual))
    family = catalog.families.get(str(given.get("family") or stands_for.get("family", "")))
    head = {
        "recipe": "default",
        "dataset": usual,
        "size": family.default if family else "",
        "targets": [dataset.targets[0].name] if dataset else [],
        "options": {each.name: each.default_at(dataset.side if dataset else 0) for each in family.options}
        if family
        else {},
    }
    names = (family.name if family else "", dataset.key if dataset else "")
    settings = settings_of(preset, recipe, *names, str(given.get("schedule", "")))
    return _DEFAULTS | head | settings | dict(stands_for)


def _without_blanks(given: dict[str, Any], blanks: dict[str, Any]) -> dict[str, Any]:
    changed = {
        name: value
        for name, value in given.items()
        if name == "options" or name not in blanks or not same(value, blanks[name])
    }
    defaults = blanks["options"]
    options = {name: value for name, value in changed.pop("options", {}).items() if defaults.get(name, object) != value}
    return changed | ({"options": options} if options else {})


def same(value: Any, blank: Any) -> bool:
    """Tell whether a field's value equals its default."""
    if isinstance(value, str) and isinstance(blank, int | float) and not isinstance(blank, bool):
        try:
            return float(value) == float(blank)
        except ValueError:
            return False
    return bool(value == (field_text(blank) if isinstance(value, str) else blank))


def field_text(value: Any) -> str:
    """Return a value as text for a form field; numbers survive a round trip exactly."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            short = f"{value:g}"
            return short if float(short) == value else repr(value)
    return str(value)


def split_tags(text: str) -> list[str]:
    """Split comma-separated tags; a tag that contains a comma is quoted."""
    line = re.sub(r"[\r\n]+", " ", text)
    try:
        tags = next(csv.reader([line], skipinitialspace=True), [])
    except csv.Error:
        tags = line.split(",")
    return [tag.strip() for tag in tags if tag.strip()]


def joined_tags(tags: Iterable[str]) -> str:
    """Join tags so that `split_tags` reads them back."""
    written_tags = []
    for tag in tags:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([tag])
        written_tags.append(line.getvalue())
    return ", ".join(written_tags)


def read_draft(form: Form, catalog: Catalog) -> Draft:
    """Read a form into a Draft: with its RunSpec and RunConfig, or with its errors."""
    form, multiple = split_values(form)
    preset = next((value for value in form.get("preset", []) if value in PRESETS), "")
    named = next((value for value in form.get("family", []) if value), PRESETS.get(preset, {}).get("family", ""))
    family = catalog.families.get(named)
    given = given_fields(form, family)
    blanks = blanks_of(given, catalog)
    form = dict(form)
    shown_for, checked = form.pop("targets_of", [""])[0], any(form.get("targets", []))
    for name in HEAD:
        blank = blanks.get(name, "")
        form[name] = [value for value in form.get(name, []) if value] or (blank if name == "targets" else [blank])
    blanks["seeds"] = 1
    draft = Draft(
        form=form | multiple.typed | {"seeds": [multiple.seeds]},
        given=_without_blanks(given, blanks),
        blanks=blanks,
        family=family,
        dataset=DATASETS.get(form["dataset"][0]),
        recipe=form["recipe"][0],
        preset=preset,
        multiple=multiple,
    )
    try:
        draft.spec = RunSpec.model_validate(draft.given)
        draft.config = resolve(draft.spec, catalog)
    except ValidationError as error:
        add_errors(draft, to_field_errors(error.errors(include_url=False)))
        add_errors(draft, remaining_errors(draft.given, draft.errors, catalog))
    except SpecError as error:
        add_errors(draft, error.errors)
    # A form that shows the dataset's targets has one checked; another request that names none takes the default.
    if shown_for and shown_for == form["dataset"][0] and not checked:
        add_errors(draft, [FieldError("targets", "choose at least one target")])
    return draft


def add_errors(draft: Draft, errors: Iterable[FieldError]) -> None:
    """Add errors to a draft, the first one per field; a draft with an error has no config."""
    for error in errors:
        draft.config = None
        message = re.sub(r"^tags\.\d+ ", "a tag ", error.message)
        if error.field in LABELS and re.match(rf"{re.escape(error.field)}\b", message):
            message = LABELS[error.field] + message.removeprefix(error.field)
        draft.errors.setdefault(error.field, f"{upper_first(message).rstrip('.')}.")


def form_of(config: RunConfig) -> Form:
    """Return the form that launches a run again; fields that its recipe or preset sets stay blank.

    Needs no catalog: a run whose family no longer exists still has a form, with an error at the family.
    """
    preset = config.preset if config.preset in PRESETS else None
    blanks = dict(_DEFAULTS)
    if config.recipe in RECIPES:
        blanks |= settings_of(preset or "", config.recipe, config.family, config.dataset, config.schedule)
    form: Form = {"preset": [preset]} if preset else {}
    for name, value in config.model_dump(exclude={"preset", "options"}).items():
        if name in HEAD:
            form[name] = list(value) if name == "targets" else [value]
        elif name not in blanks or value != blanks[name]:
            form[name] = [joined_tags(value)] if name == "tags" else [field_text(value)]
    return form | {OPTION + name: [str(value)] for name, value in config.options.items()}


def gathered(pairs: Iterable[tuple[str, Any]]) -> Form:
    """The fields of a form or of a URL's query; files are ignored."""
    form: Form = {}
    for name, value in pairs:
        if isinstance(value, str):
            form.setdefault(name, []).append(value.encode("utf-8", "replace").decode())
    return form


def with_family(form: Form, catalog: Catalog) -> Form:
    """Return the form with a family chosen; the first one if neither family nor preset is given."""
    named = any(form.get("family", [])) or any(name in PRESETS for name in form.get("preset", []))
    return form if named else form | {"family": [next(iter(catalog.families), "")]}
