"""The launch form's content as a command: for curl, for Runyard's command line, and for Python."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from itertools import chain
from typing import Any

from app.contract.program_sweep import ProgramSweepRequest
from app.contract.spec import RunSpec
from app.contract.sweep import OPTION, SweepSpec
from app.routes.launch.form import field_text

USUAL_ADDRESS = "http://127.0.0.1:8000/"
SEARCHED = ("method", "draws", "metric", "direction", "pruning")


@dataclass(frozen=True)
class Commands:
    """Three commands that launch the same as the form.

    ``runyard`` is blank if the tags cannot be written as a comma-separated list.
    """

    curl: str
    runyard: str
    python: str


def commands_of(spec: RunSpec | SweepSpec, address: str, complete: bool = True) -> Commands:
    """Return the commands that launch ``spec`` on the server at ``address``, which ends in a slash.

    ``complete``: every combination of a sweep's values is valid. Otherwise the command line would reject the flags.
    """
    given = spec.model_dump(mode="json", exclude_unset=True)
    run = given.get("base", {}) if isinstance(spec, SweepSpec) else given
    tags = run.get("tags", [])
    listable = len(set(tags)) == len(tags) and not any("," in tag for tag in tags)
    if isinstance(spec, SweepSpec):
        runyard = _line(_sweep(given) if listable and complete else _from_standard_input(given), address)
        return Commands(_curl(given, f"{address}api/v1/sweeps"), runyard, _python(given, "sweep", address))
    runyard = _line(["runyard", "launch", *_flags(given)], address)
    return Commands(
        _curl(given, f"{address}api/v1/runs"), runyard if listable else "", _python(given, "launch", address)
    )


def program_commands(
    program: str, request: dict[str, Any], address: str, sweep: ProgramSweepRequest | None = None
) -> Commands:
    """Return the commands that launch a program; ``request``: the fields of a ProgramLaunch that were given.

    ``sweep``: the sweep to launch instead of a run.
    """
    if sweep is not None:
        return _program_sweep(program, sweep, address)
    values, more = request.get("values", {}), {name: each for name, each in request.items() if name != "values"}
    listable = not any("," in tag for tag in more.get("tags", []))
    words = ["runyard", "program", "launch", program]
    words += [shlex.quote(f"{name}={field_text(value)}") for name, value in values.items()]
    arguments = [repr(program), *(f"{name}={value!r}" for name, value in ({"values": values} | more).items())]
    where = "" if address == USUAL_ADDRESS else repr(address.rstrip("/"))
    return Commands(
        _curl(request, f"{address}api/v1/programs/{program}/runs"),
        _line([*words, *_flags(more)], address) if listable else "",
        f"from runyard import Runyard\n\nRunyard({where}).launch_program({', '.join(arguments)})",
    )


def _curl(given: dict[str, Any], address: str) -> str:
    body = json.dumps(given, ensure_ascii=False)
    return f"curl {shlex.quote(address)} \\\n  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"


def _line(words: list[str], address: str) -> str:
    where = [] if address == USUAL_ADDRESS else [f"RUNYARD_URL={shlex.quote(address.rstrip('/'))}"]
    return " ".join([*where, *words])


def _flags(given: dict[str, Any]) -> list[str]:
    words = []
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        match value:
            case dict():
                words += [f"--option {shlex.quote(f'{key}={field_text(each)}')}" for key, each in value.items()]
            case bool():
                words.append(flag if value else flag.replace("--", "--no-", 1))
            case list():
                words.append(_flag(flag, ",".join(value)))
            case _:
                words.append(_flag(flag, field_text(value)))
    return words


def _flag(flag: str, value: str) -> str:
    # A value that starts with a dash would be read as a flag.
    return f"{flag}={shlex.quote(value)}" if value.startswith("-") else f"{flag} {shlex.quote(value)}"


# Sweeps --------------------------------------------------------------------------------------------------------------


def _sweep(given: dict[str, Any]) -> list[str]:
    """Use ``runyard launch`` with several values per flag for a plain grid, else ``runyard sweep create``."""
    grid, space = given.get("grid", {}), given.get("space", {})
    # A flag without a value cannot take several.
    spaced = [name for name, values in grid.items() if not all(_in_a_flag(value) for value in values)]
    plain = not space and not spaced and not any(name in given for name in (*SEARCHED, "name"))
    words = ["runyard", "launch"] if plain else ["runyard", "sweep", "create"]
    words += _flags(given.get("base", {}))
    for name, values in grid.items():
        listed = ",".join(field_text(value) for value in values)
        if name in spaced:
            words.append(_flag("--space", f"{name}={listed}"))
        elif name.startswith(OPTION):
            words.append(_flag("--option", f"{name.removeprefix(OPTION)}={listed}"))
        else:
            words.append(_flag("--" + name.replace("_", "-"), listed))
    words += [_flag("--space", f"{name}={_spaced(chosen)}") for name, chosen in space.items()]
    return words + [
        _flag(f"--{name}", field_text(given[name])) for name in ("seeds", *SEARCHED, "name") if name in given
    ]


def _from_standard_input(given: dict[str, Any]) -> list[str]:
    """Pass the specification as JSON on standard input, for a sweep that flags cannot express."""
    return ["runyard", "sweep", "create", "--file", "-", "<<<", shlex.quote(json.dumps(given, ensure_ascii=False))]


def _in_a_flag(value: Any) -> bool:
    return not isinstance(value, bool | list) and "," not in str(value)


def _spaced(chosen: dict[str, Any]) -> str:
    if "choice" in chosen:
        return ",".join(field_text(value) for value in chosen["choice"])
    how = ":log" if chosen.get("log") else f":{field_text(chosen['step'])}" if chosen.get("step") else ""
    return f"{field_text(chosen['low'])}..{field_text(chosen['high'])}{how}"


def _program_sweep(program: str, request: ProgramSweepRequest, address: str) -> Commands:
    given = request.model_dump(mode="json", exclude_unset=True)
    values: dict[str, Any] = given.pop("values", {})
    how: dict[str, Any] = dict(given.pop("sweep"))
    grid, space = how.pop("grid", {}), how.pop("space", {})
    # In a list on the command line, a comma separates two values.
    listable = not any("," in text for text in (*given.get("tags", []), *map(str, chain(*grid.values()))))
    words = [f"{name}={field_text(value)}" for name, value in values.items()]
    words += [f"{name}={','.join(field_text(value) for value in listed)}" for name, listed in grid.items()]
    words += [f"{name}={_spaced(chosen)}" for name, chosen in space.items()]
    flags = {"draws": "trials", "direction": "goal", "pruning": "prune"}
    search = {flags.get(name, name): value for name, value in how.items()}
    search |= {"goal": how["direction"][:3]} if "direction" in how else {}
    line = ["runyard", "program", "launch", program, *map(shlex.quote, words), *_flags(given | search)]
    asked = {"values": values} if values else {}
    asked |= {name: chosen for name, chosen in (("grid", grid), ("space", space)) if chosen}
    arguments = ", ".join([repr(program), *(f"{name}={value!r}" for name, value in (asked | how | given).items())])
    where = "" if address == USUAL_ADDRESS else repr(address.rstrip("/"))
    return Commands(
        _curl(request.model_dump(mode="json", exclude_unset=True), f"{address}api/v1/programs/{program}/sweeps"),
        _line(line, address) if listable else "",
        f"from runyard import Runyard\n\nRunyard({where}).sweep_program({arguments})",
    )


# Python --------------------------------------------------------------------------------------------------------------


def _python(given: dict[str, Any], method: str, address: str) -> str:
    where = "" if address == USUAL_ADDRESS else repr(address.rstrip("/"))
    arguments = [f"{name}={value!r}" for name, value in given.items()]
    call = ", ".join(arguments)
    if len(call) > 60:
        call = "\n    " + ",\n    ".join(arguments) + ",\n"
    return f"from runyard import Runyard\n\nRunyard({where}).{method}({call})"
