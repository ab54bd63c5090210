"""The flags of a run: one for every field of RunSpec, so that a new field is a new flag."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from inspect import Parameter
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from app.cli import completion
from app.contract.spec import RunSpec

# Always read as several, and "all" is a word of theirs.
LISTS = ("family", "size", "dataset")
# A comma in these is a comma.
TEXTS = ("name", "notes")
PANEL = "What to train"
# On its own: the names of the opposites would make the other panel's explanations narrow.
YES_OR_NO = "What to train, yes or no"


def field_names() -> list[str]:
    """Every field, what is trained first and what is noted beside it last."""
    own = [name for name in RunSpec.__annotations__ if name in RunSpec.model_fields]
    return own + [name for name in RunSpec.model_fields if name not in own]


def parameters() -> list[Parameter]:
    """A keyword for every field, as typer reads them; None where a flag is not given."""
    return [_parameter(name, RunSpec.model_fields[name]) for name in field_names()]


def read_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, by field: lists taken apart at their commas, options as text by name, blank flags left out.

    Several values of a field that has one (or of an option) are a list: each is to be tried. Raises ValueError for an
    option that is not of the form name=value.
    """
    said: dict[str, Any] = {}
    for name in field_names():
        value = given.get(name)
        kind = _kind(RunSpec.model_fields[name])
        if value is None or value == "" or value == []:
            continue
        if kind is dict:
            said[name] = {option: _one_or_several(words) for option, words in map(_pair, value)}
        elif kind is list or name in LISTS:
            items = _items(value)
            said |= {name: items} if items else {}
        elif name in TEXTS or not isinstance(value, str):
            said[name] = value
        else:
            said[name] = _one_or_several(value)
    return said


def read_changes(pairs: Sequence[str]) -> dict[str, Any]:
    """What --set says, "lr=3e-4", by field; "option.pool=mean" is an option of the family.

    Raises ValueError for what is not of the form name=value.
    """
    changes: dict[str, Any] = {}
    for said in pairs:
        name, separator, value = said.partition("=")
        field, value = name.strip().replace("-", "_"), value.strip()
        if not separator or not field:
            raise ValueError(f"--set wants field=value, like lr=3e-4, not '{said[:60]}'")
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
    """A number, true or false where it is one, else the words as they are."""
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, bool | int | float) else value


def _items(value: str) -> list[str]:
    return list(dict.fromkeys(item.strip() for item in value.split(",") if item.strip()))


def _one_or_several(value: str) -> str | list[str]:
    items = _items(value)
    return items if len(items) > 1 else "".join(items)


def _pair(said: str) -> tuple[str, str]:
    name, separator, value = said.partition("=")
    if not separator or not name.strip():
        raise ValueError(f"--option wants name=value, like swish=learnable, not '{said[:60]}'")
    return name.strip(), value.strip()


def _parameter(name: str, field: FieldInfo) -> Parameter:
    flag = "--" + name.replace("_", "-")
    kind = _kind(field)
    about = (field.description or "").rstrip(".")
    offered = {"autocompletion": completion.OF_FIELD[name]} if name in completion.OF_FIELD else {}
    if kind is bool:
        return _keyword(name, bool | None, f"{flag}/--no-{flag[2:]}", help=about)
    if kind is dict:
        return _keyword(name, list[str] | None, flag.removesuffix("s"), metavar="NAME=VALUE", help=about)
    if name in LISTS:
        return _keyword(name, str | None, flag, metavar="A,B,…", help=f"{about}; several by comma, or all", **offered)
    if kind is list:
        return _keyword(name, str | None, flag, metavar="A,B,…", help=about)
    if isinstance(kind, tuple):
        words = [] if all(word in about for word in kind) else [", ".join(kind)]
        return _keyword(name, str | None, flag, metavar="WORD", help="; ".join([about, *words]).removeprefix("; "))
    metavar = "TEXT" if name in TEXTS else {int: "N,…", float: "X,…"}.get(kind, "WORD")
    return _keyword(name, str | None, flag, metavar=metavar, help=about, **offered)


def _keyword(name: str, annotation: Any, flag: str, **said: Any) -> Parameter:
    option = typer.Option(flag, rich_help_panel=PANEL if "/" not in flag else YES_OR_NO, **said)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation, option])


def _kind(field: FieldInfo) -> Any:
    """The type of a field's values, None aside: int, float, str, bool, list, dict, or a tuple of its words."""
    kind = field.annotation
    while get_origin(kind) in (Annotated, Union, UnionType):
        inside = [each for each in get_args(kind) if each is not type(None)]
        kind = inside[0]
    if get_origin(kind) is Literal:
        return get_args(kind)
    return get_origin(kind) or kind
