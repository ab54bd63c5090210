"""Command-line flags of a run, generated from the fields of RunSpec."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from inspect import Parameter
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from app.cli import completion
from app.contract.spec import RunSpec
from app.contract.sweep import NOT_SWEPT

# Always read as lists; "all" means every value.
LISTS = ("family", "size", "dataset")
LISTINGS = {"family": "`runyard architectures`", "dataset": "`runyard datasets`", "preset": "`runyard presets`"}
# Plain text, not split at commas.
TEXTS = ("name", "notes")
PANEL = "Run settings"
# A separate panel, since long pairs like --flip/--no-flip would leave little room for the other panel's help texts.
SWITCHES = "Run flags"


def field_names() -> list[str]:
    """Return all fields, those of the training first."""
    own = [name for name in RunSpec.__annotations__ if name in RunSpec.model_fields]
    return own + [name for name in RunSpec.model_fields if name not in own]


def parameters() -> list[Parameter]:
    """Return a typer parameter for every field, with None as default."""
    return [_parameter(name, RunSpec.model_fields[name]) for name in field_names()]


def read_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Convert flags to fields: split lists at commas, collect options by name, leave out blank flags.

    Several values for a single-valued field or option become a list, one run for each. Raises ValueError for an option
    that is not of the form NAME=VALUE.
    """
    fields: dict[str, Any] = {}
    for name in field_names():
        value = given.get(name)
        kind = _kind(RunSpec.model_fields[name])
        if value is None or value == "" or value == []:
            continue
        if kind is dict:
            fields[name] = {option: _one_or_several(values) for option, values in map(_pair, value)}
        elif kind is list or name in LISTS:
            items = _items(value)
            fields |= {name: items} if items else {}
        elif name in TEXTS or not isinstance(value, str):
            fields[name] = value
        else:
            fields[name] = _one_or_several(value)
    return fields


def read_changes(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse values of --set by field: "lr=3e-4", or "option.pool=mean" for an option of the family.

    Raises ValueError for a value that is not of the form FIELD=VALUE.
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        field, value = name.strip().replace("-", "_"), value.strip()
        if not separator or not field:
            raise ValueError(f"--set must be FIELD=VALUE, e.g. lr=3e-4, not '{pair[:60]}'")
        if field.startswith(("option.", "options.")):
            changes.setdefault("options", {})[field.partition(".")[2]] = _as_json(value)
        elif field in RunSpec.model_fields and _kind(RunSpec.model_fields[field]) is list:
            changes[field] = _items(value)
        elif field in RunSpec.model_fields and _kind(RunSpec.model_fields[field]) in (int, float, bool):
            changes[field] = _as_json(value)
        else:
            changes[field] = value
    return changes


def _as_json(value: str) -> Any:
    """Convert to a number or boolean if possible, else return the text."""
    try:
        parsed = json.loads(value)
    except ValueError:
        return value
    return parsed if isinstance(parsed, bool | int | float) else value


def _items(value: str) -> list[str]:
    return list(dict.fromkeys(item.strip() for item in value.split(",") if item.strip()))


def _one_or_several(value: str) -> str | list[str]:
    items = _items(value)
    return items if len(items) > 1 else "".join(items)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ValueError(f"--option must be NAME=VALUE, e.g. swish=learnable, not '{text[:60]}'")
    return name.strip(), value.strip()


def _parameter(name: str, field: FieldInfo) -> Parameter:
    flag = "--" + name.replace("_", "-")
    kind = _kind(field)
    description = (field.description or "").rstrip(".")
    completer = {"autocompletion": completion.BY_FIELD[name]} if name in completion.BY_FIELD else {}
    if kind is bool:
        return _keyword(name, bool | None, f"{flag}/--no-{flag[2:]}", help=description)
    if kind is dict:
        return _keyword(name, list[str] | None, flag.removesuffix("s"), metavar="NAME=VALUE", help=description)
    listing = f". List them with {LISTINGS[name]}." if name in LISTINGS else ""
    if name in LISTS:
        description = f'{description}. Comma-separated, or "all"{listing or "."}'
        return _keyword(name, str | None, flag, metavar="A,B,…", help=description, **completer)
    if kind is list:
        return _keyword(name, str | None, flag, metavar="A,B,…", help=description)
    if isinstance(kind, tuple):
        if not all(re.search(rf"\b{choice}:", description) for choice in kind):
            description = f"{description} ({', '.join(kind)})"
        return _keyword(name, str | None, flag, metavar="NAME", help=description)
    metavar = "TEXT" if name in TEXTS else {int: "N,…", float: "X,…"}.get(kind, "NAME")
    if name in NOT_SWEPT:
        metavar = metavar.removesuffix(",…")
    return _keyword(name, str | None, flag, metavar=metavar, help=description + listing, **completer)


def _keyword(name: str, annotation: Any, flag: str, **arguments: Any) -> Parameter:
    arguments["help"] = f"{arguments['help']}." if not arguments["help"].endswith(".") else arguments["help"]
    option = typer.Option(flag, rich_help_panel=PANEL if "/" not in flag else SWITCHES, **arguments)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation, option])


def _kind(field: FieldInfo) -> Any:
    """Return the type of a field's values without None: int, float, str, bool, list, dict, or a tuple of choices."""
    kind = field.annotation
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = next(argument for argument in get_args(kind) if argument is not type(None))
    if get_origin(kind) is Literal:
        return get_args(kind)
    return get_origin(kind) or kind
