"""The invalid fields of a launch form, as it lists them beside the button."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.contract.catalog import Catalog
from app.routes.launch.field_groups import GROUPS, MAIN
from app.routes.launch.fields import Field
from app.routes.launch.form import Draft
from app.routes.launch.multiple_values import HOW


@dataclass(frozen=True)
class InvalidField:
    """An invalid field: ``element`` is the id of its first control; ``message`` says what is wrong."""

    element: str
    message: str


def invalid_fields(draft: Draft, catalog: Catalog) -> list[InvalidField]:
    """Return the invalid fields of a draft, from the top of the page to its bottom."""
    head = _head(draft, catalog)
    rows = [row.name for row in MAIN], HOW, [row.name for group in GROUPS for row in group.rows]
    elements = head | {name: f"field-{name}" for names in rows for name in names}
    return [InvalidField(element, draft.errors[name]) for name, element in elements.items() if name in draft.errors]


def invalid_of(fields: Iterable[Field]) -> list[InvalidField]:
    """Return those of ``fields`` that are invalid."""
    return [InvalidField(f"field-{each.row.name}", each.error) for each in fields if each.error]


def _head(draft: Draft, catalog: Catalog) -> dict[str, str]:
    """Return the elements of the fields above the others; without a control, that of the error itself."""
    family, dataset = draft.family, draft.dataset
    options = family.options if family else []
    return {
        "preset": "preset",
        "family": next((f"family-{name}" for name in catalog.families), "error-family"),
        "size": f"size-{family.sizes[0].name}" if family else "error-size",
        "dataset": "field-dataset",
        "targets": f"target-{dataset.targets[0].name}" if dataset else "error-targets",
        "options": f"option-{options[0].name}-1" if options else "error-options",
        "auxiliary": "field-auxiliary",
        "recipe": "field-recipe",
    }
