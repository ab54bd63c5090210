"""What a worker checks before it starts a command: the signature, and the values of a program or of placeholders."""

from __future__ import annotations

from pathlib import Path

from app.contract.command import Command
from app.contract.command_key import KeyFileError, is_program_signed, is_signed, key_path, read_key
from app.contract.program import Program, ProgramCall, ProgramValueError, Startable
from app.contract.program_checks import check_program
from app.contract.program_values import argument_text, check_values, command_of
from worker.reporting.error_text import reason


class Refused(ValueError):
    """The worker does not start this; the message says why."""


def checked_command(requested: Startable, data_dir: Path) -> Command:
    """The command to start, if its owner signed it or the program that it calls. Raises Refused.

    The values of a program were checked when it was launched. Here they are checked again, because whoever can write to
    the database or to Redis could have changed them since.
    """
    try:
        key = read_key(key_path(data_dir))
    except KeyFileError as error:
        raise Refused(f"this worker starts no commands: {error}") from error
    if isinstance(requested, Command):
        if not is_signed(key, requested):
            raise Refused(f"this worker does not start this command: it is not signed with the key in {data_dir}")
        try:
            return requested.model_copy(update={"argv": requested.filled(), "placeholders": {}, "values": {}})
        except ValueError as error:
            raise Refused(f"this worker does not start this command: {error}") from error
    program = requested.program
    if not is_program_signed(key, program):
        raise Refused(
            f"this worker does not start program '{program.name}': it is not signed with the key in {data_dir}"
        )
    try:
        check_program(program)
        command = command_of(requested)
        _check_paths(program, requested)
    except ProgramValueError as error:
        raise Refused(f"this worker does not start program '{program.name}' with these values: {error}") from error
    except ValueError as error:
        raise Refused(f"this worker does not start program '{program.name}': {error}") from error
    return command


def _check_paths(program: Program, call: ProgramCall) -> None:
    """Check that no path leaves its folder by a link. Raises ValueError."""
    fields, values = program.by_name, check_values(program, call.values)
    for name, value in values.items():
        field = fields[name]
        if field.type != "path":
            continue
        folder = Path(field.within or program.folder)
        path = Path(argument_text(program, field, value))
        try:
            inside = path.resolve().is_relative_to(folder.resolve())
        except (OSError, RuntimeError) as error:
            raise ValueError(f"cannot read {name} '{value}': {reason(error).lower()}") from error
        if not inside:
            raise ValueError(f"{name} '{value}' leads out of {folder}")
