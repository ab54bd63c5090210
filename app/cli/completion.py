"""Shell completion of values: names from the contract; families, sizes, runs and sweeps from the server.

The shell waits for it at each Tab, so a server that does not respond within a second yields no completions.
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

Completions = list[tuple[str, str]]


def families(incomplete: str) -> Completions:
    """Complete families, after the last comma."""
    return _comma_separated(
        incomplete, ((row["family"], row["summary"]) for row in _get("/architectures", "architectures"))
    )


def sizes(incomplete: str) -> Completions:
    """Complete sizes of all families, after the last comma."""
    return _comma_separated(incomplete, ((row["size"], "") for row in _get("/architectures", "architectures")))


def datasets(incomplete: str) -> Completions:
    """Complete datasets, after the last comma."""
    listed = [(each["name"], each["title"]) for each in _get("/datasets", "datasets")]
    known = [(name, dataset.title) for name, dataset in DATASETS.items()]
    return _comma_separated(incomplete, listed or known)


def recipes(incomplete: str) -> Completions:
    """Complete recipes."""
    return _comma_separated(incomplete, ((name, recipe.about) for name, recipe in RECIPES.items()))


def presets(incomplete: str) -> Completions:
    """Complete presets."""
    return _comma_separated(incomplete, ((name, "") for name in PRESETS))


def runs(incomplete: str) -> Completions:
    """Complete recent runs by number, or by id if the word starts like one."""
    by_id = incomplete.startswith("r")
    recent = [
        (run["id"] if by_id else str(run["number"]), f"{run['title']} {run['status']}")
        for run in _get("/runs", "runs", limit=RUNS)
    ]
    return [completion for completion in recent if completion[0].startswith(incomplete)]


def sweeps(incomplete: str) -> Completions:
    """Complete sweeps by number."""
    recent = [(str(sweep["number"]), str(sweep["name"])) for sweep in _get("/sweeps", "sweeps")]
    return [completion for completion in recent if completion[0].startswith(incomplete)]


# By the field that a flag sets.
BY_FIELD: dict[str, Callable[[str], Completions]] = {
    "family": families,
    "size": sizes,
    "dataset": datasets,
    "recipe": recipes,
    "preset": presets,
}


def _comma_separated(incomplete: str, names: Iterable[tuple[str, str]]) -> Completions:
    before, comma, prefix = incomplete.rpartition(",")
    return [(f"{before}{comma}{name}", about) for name, about in dict(names).items() if name.startswith(prefix)]


def _get(path: str, part: str, **query: Any) -> list[dict[str, Any]]:
    import httpx

    from app.cli.client import UsageError, server_address
    from app.cli.local_key import local_auth
    from app.contract.settings import Settings
    from runyard import stored_token

    try:
        settings = Settings()
        address = (os.environ.get("RUNYARD_URL") or server_address(settings)).rstrip("/")
        token = stored_token(address)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        auth = None if token else local_auth(address, settings)
        found = httpx.get(
            f"{address}/api/v1{path}", params=query, headers=headers, auth=auth, timeout=SECONDS, trust_env=False
        )
        items = found.json()[part]
    except (OSError, httpx.HTTPError, httpx.InvalidURL, UsageError, ValueError, LookupError, TypeError):
        # An error message would garble the command line that is being typed.
        return []
    return [item for item in items if isinstance(item, dict)]
