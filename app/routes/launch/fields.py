"""The fields as the page shows them: what stands in each, what a blank means, what differs, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.contract.catalog import Catalog, OptionEntry
from app.contract.datasets import DATASETS, Target
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES, Recipe
from app.routes.launch.field_groups import CHOICES, DISPLAY_NAMES, GROUPS, LABELS, MAIN, Row
from app.routes.launch.form import HEAD, OPTION, SETTINGS, Draft, field_text, same
from app.routes.launch.multiple_values import OWN

SOURCE = "source"
"""The field that names the run which the form was filled in from."""

# A longer one is left out of addresses, which servers and browsers cut.
LONGEST_NOTE = 2000


@dataclass(frozen=True)
class Field:
    """One field: ``value`` stands in it, ``blank`` is what it means when nothing does, in the form's own words.

    ``shown`` is the blank as people read it; ``changed`` says that the value is another one, and ``back`` is the
    address of the form without it. ``several``: how many values it holds, in words, blank for one; ``also``: those
    beside the first that are chosen, where it has boxes for them.
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
    """A group of fields under its summary: ``state`` says in a few words what is set, ``opened`` that one is wrong."""

    key: str
    title: str
    fields: list[Field]
    state: str
    changed: int
    opened: bool


@dataclass(frozen=True)
class Changes:
    """What differs from the recipe, or from the preset: ``words`` for people, ``back`` the address without it."""

    words: str
    count: int
    back: str
    back_words: str
    settings_alone: bool


@dataclass(frozen=True)
class RecipeChoice:
    """A recipe and why it cannot be chosen, blank where it can."""

    recipe: Recipe
    why_not: str


def main_fields(draft: Draft) -> list[Field]:
    """The fields that are always in sight."""
    return [_field(row, draft) for row in MAIN]


def grouped_fields(draft: Draft) -> list[FieldGroup]:
    """The other fields, by group."""
    found = []
    for group in GROUPS:
        fields = [_field(row, draft) for row in group.rows]
        words = [_state(each) for each in fields if each.row.kind != "text" and applies(each.row, draft)]
        found.append(
            FieldGroup(
                group.key,
                group.title,
                fields,
                " · ".join(each for each in words if each),
                sum(each.changed for each in fields),
                any(each.error for each in fields),
            )
        )
    return found


def _field(row: Row, draft: Draft) -> Field:
    value = draft.value(row.name)
    blank = draft.blanks.get(row.name)
    blank_written = "" if isinstance(blank, list) else field_text(blank)
    multiple = draft.multiple.count(row.name)
    changed = bool(multiple) or (row.name in SETTINGS and value.strip() != "" and not same(value.strip(), blank))
    return Field(
        row=row,
        value=value,
        blank=blank_written,
        shown=_named(row, blank_written),
        choices=CHOICES.get(row.name, ()),
        error=draft.errors.get(row.name, ""),
        changed=changed,
        back=address(draft, {row.name}) if changed else "",
        multiple=multiple,
        also=tuple(draft.multiple.also.get(row.name, [])),
    )


def applies(row: Row, draft: Draft) -> bool:
    """Whether a field matters with what is chosen in the others."""
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
    """A value as the page writes it; a batch of 32 is no float32."""
    return DISPLAY_NAMES.get(value, value) if row.name in CHOICES else value


# The way back --------------------------------------------------------------------------------------------------------


def address(draft: Draft, without: set[str] | frozenset[str] = frozenset()) -> str:
    """The address of this form as it stands, without some of its fields; what a blank would say is left out."""
    pairs: list[tuple[str, str]] = [("preset", draft.preset)] if draft.preset else []
    options = {OPTION + name for name in draft.given.get("options", {})}
    for name, values in draft.form.items():
        varied = name in draft.multiple.fields
        kept = name in draft.given or name in options or varied or name == SOURCE
        if name in without or name == "preset" or not kept:
            continue
        if name != "notes" or len(values[0]) <= LONGEST_NOTE:
            pairs += [(name, value) for value in values if value.strip()]
    pairs += draft.multiple.pairs(without)
    return f"/launch?{urlencode(pairs, errors='replace')}" if pairs else "/launch"


def changes_of(draft: Draft) -> Changes:
    """How much differs from the recipe or the preset, and the address at which nothing does."""
    changed = draft.changed
    settings = f"{len(changed)} setting{'s' if len(changed) != 1 else ''} changed"
    if draft.preset:
        gone = {*HEAD, *SETTINGS, "auxiliary", *(name for name in draft.form if name.startswith(OPTION))}
        words = f"preset {draft.preset}, {settings}" if changed else f"preset {draft.preset}, as it is"
        back_words = "back to the preset"
    else:
        gone = set(SETTINGS)
        words = f"{settings} from recipe {draft.recipe}" if changed else f"recipe {draft.recipe}, as it is"
        back_words = "back to the recipe"
    alone = all(name in SETTINGS for name in changed)
    return Changes(words, len(changed), address(draft, gone) if changed else "", back_words, alone)


# What can be chosen --------------------------------------------------------------------------------------------------


def recipe_choices(draft: Draft) -> list[RecipeChoice]:
    """Every recipe; one that is made for other datasets says so."""
    found = []
    for recipe in RECIPES.values():
        fits = draft.dataset is None or recipe.fits(draft.dataset.name)
        found.append(RecipeChoice(recipe, "" if fits else f"for {', '.join(recipe.datasets)}"))
    return found


def target_choices(draft: Draft) -> list[Target]:
    """The dataset's targets, those that are chosen in the order in which they are trained."""
    if draft.dataset is None:
        return []
    offered = {target.name: target for target in draft.dataset.targets}
    chosen = iter([offered[name] for name in dict.fromkeys(draft.targets) if name in offered])
    picked = set(draft.targets)
    return [next(chosen) if target.name in picked else target for target in draft.dataset.targets]


def option_choices(draft: Draft) -> list[tuple[OptionEntry, str]]:
    """The family's options, each with its choice."""
    if draft.family is None:
        return []
    return [(each, draft.value(OPTION + each.name) or str(each.default)) for each in draft.family.options]


def presets_by_dataset() -> dict[str, list[str]]:
    """The names of the presets, by the dataset they are made for."""
    found: dict[str, list[str]] = {name: [] for name in DATASETS}
    for name, preset in PRESETS.items():
        found[str(preset["dataset"])].append(name)
    return {dataset: names for dataset, names in found.items() if names}


def also_choices(draft: Draft, catalog: Catalog) -> dict[str, list[tuple[str, bool]]]:
    """What can be tried beside what is chosen, by field, and whether it is: of sizes those of all chosen families."""
    families = [draft.value("family"), *draft.multiple.also.get("family", [])]
    sizes = [size.name for name in families if name in catalog.families for size in catalog.families[name].sizes]
    offered: dict[str, list[str]] = {
        "family": list(catalog.families),
        "size": list(dict.fromkeys(sizes)),
        "dataset": list(DATASETS),
        "recipe": [each.recipe.name for each in recipe_choices(draft) if not each.why_not],
    }
    offered |= {name: list(choices) for name, choices in CHOICES.items()}
    options = draft.family.options if draft.family else []
    offered |= {OPTION + option.name: [str(choice) for choice in option.choices] for option in options}
    found = {}
    for name, choices in offered.items():
        chosen = draft.multiple.also.get(name, [])
        first = draft.value(name) or field_text(_blank(draft, name))
        others = [choice for choice in dict.fromkeys([*choices, *chosen]) if choice != first]
        found[name] = [(choice, choice in chosen) for choice in others]
    return found


def _blank(draft: Draft, name: str) -> Any:
    if name.startswith(OPTION):
        return draft.blanks.get("options", {}).get(name.removeprefix(OPTION))
    return draft.blanks.get(name)


def fields_of_page(draft: Draft, catalog: Catalog) -> dict[str, Any]:
    """Everything about the fields that the templates need."""
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
