"""/runs/suggestions: suggestions for the search field of the run table."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.contract.recipes import RECIPES
from app.store.database import reading
from app.store.run import STATES
from app.store.search.query import distinct_values
from app.store.search.query_language import FIELD_NAMES, KINDS, METRIC_FIGURES
from app.web.dependencies import PartsDep

pages = APIRouter()

# IDs are searched without a field name.
NOT_SUGGESTED = ("id", "parent", "sweep")


@pages.get("/runs/suggestions")
def search_suggestions(parts: PartsDep) -> dict[str, Any]:
    """Return the search fields, metrics and their statistics, and the values of each field."""
    with reading(parts.engine) as connection:
        values = {name: distinct_values(connection, name) for name in ("family", "size", "dataset", "tag", "metric")}
    return {
        "fields": [name for name in FIELD_NAMES if name not in NOT_SUGGESTED],
        "metrics": values.pop("metric"),
        "figures": list(METRIC_FIGURES),
        "values": {
            "is": list(KINDS),
            "status": list(STATES),
            "recipe": list(RECIPES),
            "optimizer": ["adam", "adamw", "sgd"],
            "schedule": ["constant", "plateau", "cosine", "one_cycle"],
        }
        | values,
    }
