"""/runs/words: what a question in the search field can be made of."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.contract.recipes import RECIPES
from app.store.database import reading
from app.store.run import STATES
from app.store.search.query import distinct_values
from app.store.search.query_language import KINDS, NAMES, OF_METRIC
from app.web.dependencies import PartsDep

pages = APIRouter()

# Ids are looked for by themselves.
UNSAID = ("id", "parent", "sweep")


@pages.get("/runs/words")
def runs_words(parts: PartsDep) -> dict[str, Any]:
    """Fields, metrics and their figures, and for each field the values that runs have."""
    with reading(parts.engine) as connection:
        found = {name: distinct_values(connection, name) for name in ("family", "size", "dataset", "tag", "metric")}
    return {
        "fields": [name for name in NAMES if name not in UNSAID],
        "metrics": found.pop("metric"),
        "figures": list(OF_METRIC),
        "values": {
            "is": list(KINDS),
            "status": list(STATES),
            "recipe": list(RECIPES),
            "optimizer": ["adam", "adamw", "sgd"],
            "schedule": ["constant", "plateau", "cosine", "one_cycle"],
        }
        | found,
    }
