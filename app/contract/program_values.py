"""Values for the fields of a program: read, checked and filled into its arguments, by server and worker alike.

A value stands in its one argument and nowhere else. What it can do there is limited too: numbers are numbers, texts are
one line, a path stays within its folder, and no value that others write begins an argument with "-".
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from app.contract.command import LONGEST_ARGUMENT, LONGEST_TITLE, Command, hide_secrets
from app.contract.command_template import Value, fill, parts, value_text
from app.contract.program import Program, ProgramCall, ProgramField, ProgramValueError
from app.contract.spec import FieldError

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,16}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?", re.ASCII)
_LARGEST: Final = 2**53
_CONTROLS: Final = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of characters that end a line, control a terminal, or cannot be encoded."""


def check_values(program: Program, given: Mapping[str, Any]) -> dict[str, Value]:
    """Read values, as JSON types or as text, and return one for each field in order; defaults fill in the others.

    Raises ProgramValueError with an error for each wrong field.
    """
    errors = []
    known = program.by_name
    for name in given:
        if name not in known:
            there = f"fields: {', '.join(known)}" if known else "it has no fields"
            errors.append(FieldError(name[:60], f"program '{program.name}' has no field '{name[:60]}'; {there}"))
    values: dict[str, Value] = {}
    for field in program.fields:
        value = given.get(field.name)
        try:
            values[field.name] = _default(field) if value is None else read_value(field, value)
        except ValueError as error:
            errors.append(FieldError(field.name, str(error)))
    errors += [error for error in dash_errors(program, values) if error.field not in {each.field for each in errors}]
    if errors:
        raise ProgramValueError(errors)
    return values


def command_of(call: ProgramCall) -> Command:
    """The command that a program with values stands for, without a signature. Raises ProgramValueError."""
    program = call.program
    values = check_values(program, call.values)
    argv = _arguments(program, values)
    longest = max(len(argument) for argument in argv)
    if longest > LONGEST_ARGUMENT:
        raise ProgramValueError([FieldError("values", f"an argument has more than {LONGEST_ARGUMENT:,} characters")])
    return Command(argv=argv, folder=program.folder, environment=program.environment, url=program.url)


def _arguments(program: Program, values: Mapping[str, Value]) -> list[str]:
    fields = program.by_name
    return _filled(program, {name: argument_text(program, fields[name], value) for name, value in values.items()})


def _filled(program: Program, texts: Mapping[str, str]) -> list[str]:
    filled = fill(program.command, texts)
    # An option that is switched off by "" leaves no empty argument behind.
    flags = {f"{{{field.name}}}" for field in program.fields if field.type == "bool" and not texts[field.name]}
    return [argument for template, argument in zip(program.command, filled, strict=True) if template not in flags]


def shown_values(values: Mapping[str, Value]) -> dict[str, str]:
    """Values as parameters of a run: as text, and "…" for those whose field is named like a password or a token."""
    return {name: hide_secrets([f"{name}={value_text(value)}"])[0].partition("=")[2] for name, value in values.items()}


def template_arguments(program: Program, given: Mapping[str, Any], varied: Collection[str]) -> list[str]:
    """The arguments of a program for display, with ``{name}`` in place of each field in ``varied``.

    ``given``: values of the other fields; defaults fill in those that are left out. Raises ValueError.
    """
    texts = {}
    for field in program.fields:
        value = given.get(field.name)
        if field.name in varied:
            texts[field.name] = f"{{{field.name}}}"
        else:
            read = _default(field) if value is None else read_value(field, value)
            texts[field.name] = argument_text(program, field, read)
    return _filled(program, texts)


def call_title(call: ProgramCall, without: Collection[str] = ()) -> str:
    """A short name for a program with values: "tune · lr 0.01", with the values that differ from the defaults.

    ``without``: fields that are not named, because their values stand elsewhere.
    """
    shown = {name: text for name, text in shown_values(call.values).items() if name not in without}
    defaults = {field.name: field.default for field in call.program.fields}
    changed = [f"{name} {text}" for name, text in shown.items() if not _same(call.values[name], defaults.get(name))]
    title = " ".join(" · ".join(filter(None, (call.program.name, ", ".join(changed)))).split())
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…"


def _same(value: Value, default: Value | None) -> bool:
    return default is not None and value_text(value) == value_text(type(value)(default))


def argument_text(program: Program, field: ProgramField, value: Value) -> str:
    """A checked value as it stands in its argument; a path becomes absolute."""
    if field.type == "bool":
        return field.if_true if value else field.if_false
    if field.type == "path":
        return str(PurePosixPath(field.within or program.folder, str(value)))
    return value_text(value)


def _default(field: ProgramField) -> Value:
    if field.default is None:
        raise ValueError(f"{field.name} is required{_expected(field)}")
    return read_value(field, field.default)


def _expected(field: ProgramField) -> str:
    return f"; choices: {_listed(field)}" if field.type == "choice" else ""


def _listed(field: ProgramField) -> str:
    shown = ", ".join(field.choices[:20])
    return f"{shown}, …" if len(field.choices) > 20 else shown


# One value -----------------------------------------------------------------------------------------------------------


def read_value(field: ProgramField, given: Any) -> Value:
    """Read the value of a field. Raises ValueError with a sentence that begins with the field's name."""
    match field.type:
        case "int" | "float":
            return _number(field, given)
        case "bool":
            return _truth(field, given)
        case "choice":
            text = value_text(given) if isinstance(given, bool | int | float) else given
            if text not in field.choices:
                raise ValueError(f"{field.name} must be one of {_listed(field)}, not '{str(given)[:60]}'")
            return str(text)
        case "text":
            return _text(field, given)
        case "path":
            return _path(field, given)


def _number(field: ProgramField, given: Any) -> int | float:
    whole = field.type == "int"
    wanted = "a whole number" if whole else "a number"
    value: int | float | None = None
    if isinstance(given, str):
        text = given.strip()
        if whole and _WHOLE.fullmatch(text):
            value = int(text)
        elif not whole and _NUMBER.fullmatch(text):
            value = float(text)
    elif isinstance(given, int) and not isinstance(given, bool):
        value = given if whole else float(given) if abs(given) <= _LARGEST else math.inf
    elif isinstance(given, float) and not whole:
        value = given
    if value is None:
        raise ValueError(f"{field.name} must be {wanted}, not '{str(given)[:60]}'")
    if abs(value) > _LARGEST if whole else not math.isfinite(value):
        raise ValueError(f"{field.name} must be {wanted} that is not so large")
    if field.min is not None and value < field.min:
        raise ValueError(f"{field.name} must be at least {value_text(field.min)}, not {value_text(value)}")
    if field.max is not None and value > field.max:
        raise ValueError(f"{field.name} must be at most {value_text(field.max)}, not {value_text(value)}")
    return value if whole else float(value)


def _truth(field: ProgramField, given: Any) -> bool:
    if isinstance(given, bool):
        return given
    text = given.strip().lower() if isinstance(given, str) else ""
    if text not in ("true", "false"):
        raise ValueError(f"{field.name} must be true or false, not '{str(given)[:60]}'")
    return text == "true"


def _text(field: ProgramField, given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{field.name} must be text")
    if len(given) > field.max_length:
        raise ValueError(f"{field.name} can have at most {field.max_length:,} characters, not {len(given):,}")
    if any(unicodedata.category(character) in _CONTROLS for character in given):
        raise ValueError(f"{field.name} must be one line without control characters")
    return given


def _path(field: ProgramField, given: Any) -> str:
    text = _text(field, given)
    path = PurePosixPath(text)
    if not text.strip() or path.is_absolute() or ".." in path.parts:
        folder = field.within or "the program's folder"
        raise ValueError(f"{field.name} must be a path within {folder}, such as data/train.csv, without '..'")
    return str(path)


def dash_errors(program: Program, values: Mapping[str, Value]) -> list[FieldError]:
    """Errors of values that others write and that would begin an argument with "-", as options do."""
    fields, errors = program.by_name, []
    for argument in program.command:
        for part in parts(argument):
            field = fields.get(part.text) if part.is_name else None
            if field is not None and field.name not in values:
                break
            text = part.text if field is None else argument_text(program, field, values[field.name])
            if text and field is not None and text.startswith("-") and not field.chosen_by_owner:
                message = f"{field.name} would begin an argument with '-', as options do: {text[:60]}"
                errors.append(FieldError(field.name, message))
            if text:
                break
    return errors
