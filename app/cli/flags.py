"""The flags of a run: one for every field of RunSpec, so that a new field is a new flag."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from app.contract.spec import RunSpec

# Several of these are several runs.
LISTS = ("family", "size", "dataset")
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

    Raises ValueError for an option that is not of the form name=value.
    """
    said: dict[str, Any] = {}
    for name in field_names():
        value = given.get(name)
        kind = _kind(RunSpec.model_fields[name])
        if value is None or value == "" or value == []:
            continue
        if kind is dict:
            said[name] = dict(_pair(each) for each in value)
        elif kind is list or name in LISTS:
            items = list(dict.fromkeys(item.strip() for item in value.split(",") if item.strip()))
            said |= {name: items} if items else {}
        else:
            said[name] = value
    return said


def _pair(said: str) -> tuple[str, str]:
    name, separator, value = said.partition("=")
    if not separator or not name.strip():
        raise ValueError(f"--option wants name=value, like swish=learnable, not '{said[:60]}'")
    return name.strip(), value.strip()


def _parameter(name: str, field: FieldInfo) -> Parameter:
    flag = "--" + name.replace("_", "-")
    kind = _kind(field)
    about = (field.description or "").rstrip(".")
    if kind is bool:
        return _keyword(name, bool | None, f"{flag}/--no-{flag[2:]}", help=about)
    if kind is dict:
        return _keyword(name, list[str] | None, flag.removesuffix("s"), metavar="NAME=VALUE", help=about)
    if name in LISTS:
        return _keyword(name, str | None, flag, metavar="A,B,…", help=f"{about}; several by comma, or all")
    if kind is list:
        return _keyword(name, str | None, flag, metavar="A,B,…", help=about)
    if isinstance(kind, tuple):
        words = [] if all(word in about for word in kind) else [", ".join(kind)]
        return _keyword(name, str | None, flag, metavar="WORD", help="; ".join([about, *words]).removeprefix("; "))
    return _keyword(name, str | None, flag, metavar={int: "N", float: "X"}.get(kind, "TEXT"), help=about)


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
