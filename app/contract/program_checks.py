"""What a program must not leave to others: which program starts, and what a shell or an interpreter reads as code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from app.contract.command_template import parts
from app.contract.program import Program
from app.contract.program_values import dash_errors, read_value

_SHELLS: Final = ("sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "csh", "tcsh")
_TAKE_A_VALUE: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_SHELLS, ("-o", "-O", "+o", "+O", "--rcfile", "--init-file")),
    "python": ("-W", "-X"),
    "perl": ("-I", "-M"),
    "ruby": ("-I", "-r", "-E", "-C"),
    "node": ("-r", "--require", "--import"),
    "php": ("-d", "-c"),
    "Rscript": (),
    "julia": (),
}
"""Interpreters, and their options whose value is the next argument and no code."""
_JOINING: Final = ("ssh", "su", "watch", "parallel", "eval")
"""Programs that give their arguments to a shell."""


def check_program(program: Program) -> None:
    """Check what others choose in a program, and its defaults. Raises ValueError with a sentence."""
    fields = program.by_name
    if any(part.is_name for part in parts(program.command[0])):
        raise ValueError("the first argument of command is the program; it cannot contain a field")
    for index, reader in _code(program):
        free = [part.text for part in parts(program.command[index]) if part.is_name and fields[part.text].free]
        if free:
            raise ValueError(
                f"field '{free[0]}' must not stand in an argument that {reader} reads as code or as the script to run;"
                " pass it as an argument of a script"
            )
    defaults = {}
    for field in program.fields:
        if field.default is not None:
            try:
                defaults[field.name] = read_value(field, field.default)
            except ValueError as error:
                raise ValueError(f"the default of field '{field.name}' does not fit: {error}") from error
    for wrong in dash_errors(program, defaults):
        raise ValueError(f"the default of field '{wrong.field}' does not fit: {wrong.message}")


def _code(program: Program) -> Iterator[tuple[int, str]]:
    """Indexes of the arguments that an interpreter or a shell may read as code, with its name."""
    for start, argument in enumerate(program.command):
        name = re.sub(r"[0-9.]+$", "", PurePosixPath(argument).name)
        if name in _JOINING:
            yield from ((index, name) for index in range(start + 1, len(program.command)))
        elif name in _TAKE_A_VALUE:
            yield from ((index, name) for index in _head(program.command, start + 1, _TAKE_A_VALUE[name]))


def _head(command: list[str], start: int, with_value: tuple[str, ...]) -> Iterator[int]:
    """Indexes from the first argument of an interpreter to its script or code."""
    index = start
    while index < len(command):
        yield index
        argument = command[index]
        if argument in with_value:
            yield from range(index + 1, min(index + 2, len(command)))
            index += 2
        elif argument.startswith(("-", "+")):
            index += 1
        else:
            return
