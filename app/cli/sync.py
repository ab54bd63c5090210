"""`runyard sync`: sends what programs could not send before they ended."""

from __future__ import annotations

import typer

from app.cli.client import Url, connected, warn
from app.cli.output import AsJson, print_json


def sync(as_json: AsJson = False, url: Url = None) -> None:
    """Send what programs logged while the server did not respond. Exits with status 1 if something is left."""
    with connected(url) as yard:
        results = list(yard.sync())
        if as_json:
            print_json({"runs": [{"name": name, "problem": problem} for name, problem in results]})
        elif not results:
            print("Nothing to send.")
        for name, problem in results:
            if problem:
                warn(f"{name}: {problem}")
            elif not as_json:
                print(f"{name}  sent to {yard.url}")
    if any(problem for _, problem in results):
        raise typer.Exit(1)
