"""What the shell offers for a value: names from the contract, and families, sizes and runs from the server.

A shell waits for this at each Tab: a server that does not answer within a second offers nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES

SECONDS = 1.0
RUNS = 50

Offered = list[tuple[str, str]]


def families(incomplete: str) -> Offered:
    """The families of the catalog, after the last comma."""
    return _several(incomplete, ((row["family"], row["summary"]) for row in _get("/architectures", "architectures")))


def sizes(incomplete: str) -> Offered:
    """The sizes of all families, after the last comma."""
    return _several(incomplete, ((row["size"], "") for row in _get("/architectures", "architectures")))


def datasets(incomplete: str) -> Offered:
    """The datasets, after the last comma."""
    return _several(incomplete, ((name, facts.title) for name, facts in DATASETS.items()))


def recipes(incomplete: str) -> Offered:
    """The recipes."""
    return _several(incomplete, ((name, recipe.about) for name, recipe in RECIPES.items()))


def presets(incomplete: str) -> Offered:
    """The presets."""
    return _several(incomplete, ((name, "") for name in PRESETS))


def runs(incomplete: str) -> Offered:
    """The newest runs, by number, or by id once one is begun."""
    found = _get("/runs", "runs", limit=RUNS)
    by_id = incomplete.startswith("r")
    named = [(run["id"] if by_id else str(run["number"]), f"{run['title']} {run['status']}") for run in found]
    return [each for each in named if each[0].startswith(incomplete)]


def sweeps(incomplete: str) -> Offered:
    """The sweeps, by number."""
    named = [(str(sweep["number"]), str(sweep["name"])) for sweep in _get("/sweeps", "sweeps")]
    return [each for each in named if each[0].startswith(incomplete)]


# By the field that a flag says.
OF_FIELD: dict[str, Callable[[str], Offered]] = {
    "family": families,
    "size": sizes,
    "dataset": datasets,
    "recipe": recipes,
    "preset": presets,
}


def _several(incomplete: str, names: Iterable[tuple[str, str]]) -> Offered:
    before, comma, begun = incomplete.rpartition(",")
    return [(f"{before}{comma}{name}", about) for name, about in dict(names).items() if name.startswith(begun)]


def _get(path: str, part: str, **query: Any) -> list[dict[str, Any]]:
    import httpx

    from app.cli.client import UsageError, server_address
    from app.contract.settings import Settings

    token = os.environ.get("RUNYARD_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        address = os.environ.get("RUNYARD_URL") or server_address(Settings())
        url = f"{address.rstrip('/')}/api/v1{path}"
        found = httpx.get(url, params=query, headers=headers, timeout=SECONDS, trust_env=False).json()[part]
    except (httpx.HTTPError, httpx.InvalidURL, UsageError, ValueError, LookupError, TypeError):
        # Nothing can be said in the middle of a line that is being typed.
        return []
    return [each for each in found if isinstance(each, dict)]
