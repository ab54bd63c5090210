"""The launch form's fields as the page shows them: value, default, changes, and the link that resets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.contract.catalog import Catalog, OptionEntry
from app.contract.dataset import Target
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES, Recipe
from app.routes.launch.field_groups import CHOICES, DISPLAY_NAMES, GROUPS, LABELS, MAIN, Row
from app.routes.launch.form import HEAD, OPTION, SETTINGS, Draft, field_text, same
from app.routes.launch.multiple_values import OWN

SOURCE = "source"
"""The field with the run that the form was filled in from."""

# Longer notes are left out of the URL: servers and browsers truncate long ones.
LONGEST_NOTE = 2000


@dataclass(frozen=True)
class Field:
    """One field: its ``value``, and ``blank``, the default that an empty field stands for, in the form's notation.

    ``shown`` is the default as displayed. ``changed``: the value differs from the default; ``back`` is the form's URL
    without it. ``multiple``: the number of values as text, blank for one; ``also``: the checked additional choices.
    """

    row: Row
    value: str
    blank: str
    shown: str
    choices: tuple[str, ...]
    error: str
    changed: bool
    back: str
    multiple: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class FieldGroup:
    """A collapsible group of fields: ``state`` summarizes the settings; ``opened``: a field has an error."""

    key: str
    title: str
    fields: list[Field]
    state: str
    changed: int
    opened: bool


@dataclass(frozen=True)
class Changes:
    """The differences from the recipe or preset: a ``summary``, and ``back``, the URL of the form without them."""

    summary: str
    count: int
    back: str
    back_label: str
    settings_only: bool


@dataclass(frozen=True)
class RecipeChoice:
    """A recipe, and why it cannot be chosen (blank if it can)."""

    recipe: Recipe
    why_not: str


def main_fields(draft: Draft) -> list[Field]:
    """Return the fields that are always visible."""
    return [_field(row, draft) for row in MAIN]


def grouped_fields(draft: Draft) -> list[FieldGroup]:
    """Return the other fields, by group."""
    groups = []
    for group in GROUPS:
        fields = [_field(row, draft) for row in group.rows]
        states = [_state(field) for field in fields if field.row.kind != "text" and applies(field.row, draft)]
        groups.append(
            FieldGroup(
                group.key,
                group.title,
                fields,
                " · ".join(state for state in states if state),
                sum(field.changed for field in fields),
                any(field.error for field in fields),
            )
        )
    return groups


def _field(row: Row, draft: Draft) -> Field:
    value = draft.value(row.name)
    blank = draft.blanks.get(row.name)
    default = "" if isinstance(blank, list) else field_text(blank)
    multiple = draft.multiple.count(row.name)
    changed = bool(multiple) or (row.name in SETTINGS and value.strip() != "" and not same(value.strip(), blank))
    return Field(
        row=row,
        value=value,
        blank=default,
        shown=_named(row, default),
        choices=CHOICES.get(row.name, ()),
        error=draft.errors.get(row.name, ""),
        changed=changed,
        back=address(draft, {row.name}) if changed else "",
        multiple=multiple,
        also=tuple(draft.multiple.also.get(row.name, [])),
    )


def applies(row: Row, draft: Draft) -> bool:
    """Tell whether a field has an effect with the current choices in the other fields."""
    if not row.only:
        return True
    other, *choices = row.only.split()
    return draft.effective(other) in choices or any(value in choices for value in draft.multiple.values.get(other, []))


def _state(field: Field) -> str:
    value = field.value.strip() or field.blank
    if field.multiple:
        return f"{field.row.label.lower()} {field.multiple}"
    if value in ("", "0", "false") or (field.row.name not in SETTINGS and value == field.blank):
        return ""
    if field.row.name == "notes":
        return "notes"
    label = field.row.label.lower()
    return label if value == "true" else f"{label} {_named(field.row, value)}"


def _named(row: Row, value: str) -> str:
    """Return a value's display name; only of choices, so that a batch size of 32 does not become float32."""
    return DISPLAY_NAMES.get(value, value) if row.name in CHOICES else value


# Resetting -----------------------------------------------------------------------------------------------------------


def address(draft: Draft, without: set[str] | frozenset[str] = frozenset()) -> str:
    """Return the URL of the form with its current values, except the fields in ``without`` and default values."""
    pairs: list[tuple[str, str]] = [("preset", draft.preset)] if draft.preset else []
    options = {OPTION + name for name in draft.given.get("options", {})}
    for name, values in draft.form.items():
        varied = name in draft.multiple.fields
        included = name in draft.given or name in options or varied or name == SOURCE
        if name in without or name == "preset" or not included:
            continue
        if name != "notes" or len(values[0]) <= LONGEST_NOTE:
            pairs += [(name, value) for value in values if value.strip()]
    pairs += draft.multiple.pairs(without)
    return f"/launch?{urlencode(pairs, errors='replace')}" if pairs else "/launch"


def changes_of(draft: Draft) -> Changes:
    """Summarize the differences from the recipe or preset, with the URL that resets them."""
    changed = draft.changed
    settings = f"{len(changed)} setting{'s' if len(changed) != 1 else ''} changed"
    if draft.preset:
        reset = {*HEAD, *SETTINGS, "auxiliary", *(name for name in draft.form if name.startswith(OPTION))}
        summary = f"{settings} from preset {draft.preset}" if changed else f"preset {draft.preset}, unchanged"
        back_label = "reset to the preset"
    else:
        reset = set(SETTINGS)
        summary = f"{settings} from recipe {draft.recipe}" if changed else f"recipe {draft.recipe}, unchanged"
        back_label = "reset to the recipe"
    settings_only = all(name in SETTINGS for name in changed)
    return Changes(summary, len(changed), address(draft, reset) if changed else "", back_label, settings_only)


# Choices -------------------------------------------------------------------------------------------------------------


def recipe_choices(draft: Draft) -> list[RecipeChoice]:
    """Return every recipe, with the reason if it does not fit the chosen dataset."""
    choices = []
    for recipe in RECIPES.values():
        fits = draft.dataset is None or recipe.fits(draft.dataset)
        choices.append(RecipeChoice(recipe, "" if fits else f"only for {recipe.supported}"))
    return choices


def target_choices(draft: Draft) -> list[Target]:
    """Return the dataset's targets, with the chosen ones in training order."""
    if draft.dataset is None:
        return []
    offered = {target.name: target for target in draft.dataset.targets}
    chosen = iter([offered[name] for name in dict.fromkeys(draft.targets) if name in offered])
    picked = set(draft.targets)
    return [next(chosen) if target.name in picked else target for target in draft.dataset.targets]


@dataclass(frozen=True)
class OptionChoice:
    """A choice of an option; ``value``: what the form sends, "" for the default, which follows the dataset."""

    text: str
    value: str
    chosen: bool
    why_not: str


def option_choices(draft: Draft) -> list[tuple[OptionEntry, list[OptionChoice]]]:
    """Return the family's options, each with its choices; those that do not suit the dataset's images say why."""
    side = draft.dataset.side if draft.dataset else 0
    found = []
    for option in draft.family.options if draft.family else []:
        default = str(option.default_at(side))
        chosen = draft.value(OPTION + option.name) or default
        choices = [
            OptionChoice(
                str(choice),
                "" if str(choice) == default else str(choice),
                str(choice) == chosen,
                option.why_not(choice, side),
            )
            for choice in option.choices
        ]
        found.append((option, choices))
    return found


def presets_by_dataset() -> dict[str, list[str]]:
    """Return the presets' names, grouped by dataset."""
    groups: dict[str, list[str]] = {name: [] for name in DATASETS}
    for name, preset in PRESETS.items():
        groups[str(preset["dataset"])].append(name)
    return {dataset: names for dataset, names in groups.items() if names}


def also_choices(draft: Draft, catalog: Catalog) -> dict[str, list[tuple[str, bool]]]:
    """Return each field's additional choices and whether each is checked; sizes are those of all chosen families."""
    families = [draft.value("family"), *draft.multiple.also.get("family", [])]
    sizes = [size.name for name in families if name in catalog.families for size in catalog.families[name].sizes]
    offered: dict[str, list[str]] = {
        "family": list(catalog.families),
        "size": list(dict.fromkeys(sizes)),
        "dataset": list(DATASETS),
        "recipe": [each.recipe.name for each in recipe_choices(draft) if not each.why_not],
    }
    offered |= {name: list(choices) for name, choices in CHOICES.items()}
    for option, options in option_choices(draft):
        offered[OPTION + option.name] = [each.text for each in options if not each.why_not]
    additional = {}
    for name, choices in offered.items():
        chosen = draft.multiple.also.get(name, [])
        first = draft.value(name) or field_text(_blank(draft, name))
        others = [choice for choice in dict.fromkeys([*choices, *chosen]) if choice != first]
        additional[name] = [(choice, choice in chosen) for choice in others]
    return additional


def _blank(draft: Draft, name: str) -> Any:
    if name.startswith(OPTION):
        return draft.blanks.get("options", {}).get(name.removeprefix(OPTION))
    return draft.blanks.get(name)


def fields_of_page(draft: Draft, catalog: Catalog) -> dict[str, Any]:
    """Return the template values for all fields."""
    placed: Mapping[str, Any] = LABELS | dict.fromkeys((*HEAD, "options", "auxiliary", "preset", *OWN))
    return {
        "main": main_fields(draft),
        "groups": grouped_fields(draft),
        "changes": changes_of(draft),
        "recipes": recipe_choices(draft),
        "targets": target_choices(draft),
        "options": option_choices(draft),
        "presets": presets_by_dataset(),
        "also": also_choices(draft, catalog),
        "named": DISPLAY_NAMES,
        "unplaced": [message for name, message in draft.errors.items() if name not in placed],
    }
