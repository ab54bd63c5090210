"""Every error of a spec at once: a field that cannot be parsed does not hide what is wrong with the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from app.contract.catalog import Catalog
from app.contract.spec import FieldError, RunSpec, SpecError, resolve

DEPENDS_ON = {
    "family": {"preset"},
    "size": {"preset", "family"},
    "options": {"preset", "family"},
    "dataset": {"preset", "recipe"},
    "recipe": {"preset", "dataset"},
    "targets": {"preset", "recipe", "dataset"},
    "auxiliary": {"preset", "recipe", "dataset", "family"},
    "batch_size": {"preset", "recipe", "dataset", "family"},
    "lr_min": {"preset", "recipe", "schedule", "lr"},
}
"""Which values are right for a field depends on these."""


def remaining_errors(given: Mapping[str, Any], wrong: Collection[str], catalog: Catalog) -> list[FieldError]:
    """Return the errors of the fields ``given`` that do not depend on those that cannot be parsed, ``wrong``."""
    rest = {name: value for name, value in given.items() if name not in wrong}
    try:
        resolve(RunSpec.model_validate(rest), catalog)
    except SpecError as error:
        undecided = {*wrong, *(field for field, others in DEPENDS_ON.items() if others.intersection(wrong))}
        return [each for each in error.errors if each.field not in undecided]
    except ValidationError:
        # Fields that are wrong only together: they are among the errors already.
        return []
    return []
