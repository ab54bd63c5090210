"""The same launch as a command: for curl, and for Runyard's own command line."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from app.contract.spec import RunSpec
from app.routes.launch.form import written

USUAL_ADDRESS = "http://127.0.0.1:8000/"


@dataclass(frozen=True)
class Commands:
    """What to type into a shell; each launches the run that the form would.

    ``runyard`` is blank for tags that its list of tags, divided by commas, cannot hold.
    """

    curl: str
    runyard: str


def commands_of(spec: RunSpec, address: str) -> Commands:
    """The commands that launch ``spec`` on the server at ``address``, which ends in a slash."""
    said = spec.model_dump(exclude_unset=True)
    tags = said.get("tags", [])
    sayable = len(set(tags)) == len(tags) and not any("," in tag for tag in tags)
    return Commands(_curl(said, address), _runyard(said, address) if sayable else "")


def _curl(said: dict[str, Any], address: str) -> str:
    body = json.dumps(said, ensure_ascii=False)
    return (
        f"curl {shlex.quote(address + 'api/v1/runs')} \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    )


def _runyard(said: dict[str, Any], address: str) -> str:
    words = [] if address == USUAL_ADDRESS else [f"RUNYARD_URL={shlex.quote(address.rstrip('/'))}"]
    words += ["runyard", "launch"]
    for name, value in said.items():
        flag = "--" + name.replace("_", "-")
        match value:
            case dict():
                words += [f"--option {shlex.quote(f'{key}={written(each)}')}" for key, each in value.items()]
            case bool():
                words.append(flag if value else flag.replace("--", "--no-", 1))
            case list():
                words.append(_flag(flag, ",".join(value)))
            case _:
                words.append(_flag(flag, written(value)))
    return " ".join(words)


def _flag(flag: str, value: str) -> str:
    # A value that begins with a dash would be read as a flag.
    return f"{flag}={shlex.quote(value)}" if value.startswith("-") else f"{flag} {shlex.quote(value)}"
