"""Files that describe a program for `runyard program add`: TOML with a command, its folder, and its fields."""

from __future__ import annotations

import shutil
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

    from app.contract.program import Program

KEYS = ("name", "about", "command", "folder", "experiment", "restarts", "env", "fields")


def read_program(path: Path, environment: Mapping[str, str], url: str) -> Program:
    """Read a program, without its signature. Folders in the file are relative to it. Raises ValueError."""
    from pydantic import ValidationError

    from app.contract.command import MOST_BYTES
    from app.contract.program import Program
    from app.contract.program_checks import check_program

    given = _read(path)
    for name in given:
        if name not in KEYS:
            raise ValueError(f"{path}: unknown key '{name[:60]}'; keys: {', '.join(KEYS)}")
    folder = _folder(path, given.get("folder", "."))
    own = given.get("env", {})
    if not isinstance(own, dict):
        raise ValueError(f'{path}: env must be a table, such as [env] with NAME = "value"')
    content = {name: each for name, each in given.items() if name not in ("env", "fields")}
    content |= {
        "name": given.get("name", path.stem),
        "folder": str(folder),
        "fields": _fields(path, given.get("fields", {}), folder),
        "environment": dict(environment) | own,
        "url": url,
        # With the dash before the random part of a worker's id: gpu1 must not match gpu10.
        "worker": f"{socket.gethostname()}-",
    }
    try:
        program = Program.model_validate(content)
        program.model_dump_json().encode()
    except ValidationError as error:
        raise ValueError(f"{path}: {_messages(error)}") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{path}: the program, its folder and its environment must be valid UTF-8") from error
    try:
        check_program(program)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _check_program_exists(path, program)
    size = len(program.model_dump_json())
    if size > MOST_BYTES:
        raise ValueError(
            f"{path}: the program with its environment has {size:,} bytes; at most {MOST_BYTES:,} are possible"
        )
    return program


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a TOML file in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {str(error)[:1].lower()}{str(error)[1:]}") from error


def _folder(path: Path, given: Any) -> Path:
    if not isinstance(given, str):
        raise ValueError(f"{path}: folder must be text")
    folder = (path.absolute().parent / Path(given).expanduser()).resolve()
    if not folder.is_dir():
        raise ValueError(f"{path}: there is no folder {folder}")
    return folder


def _fields(path: Path, given: Any, folder: Path) -> list[dict[str, Any]]:
    """The fields, each checked by itself, so that a message names the field."""
    from pydantic import ValidationError

    from app.contract.program import ProgramField

    if not isinstance(given, dict) or not all(isinstance(each, dict) for each in given.values()):
        raise ValueError(f'{path}: fields must be tables, such as [fields.lr] with type = "float"')
    fields = []
    for name, each in given.items():
        own = f"field '{name[:60]}'"
        content = {"name": name} | each
        if isinstance(within := each.get("within"), str):
            content["within"] = str((folder / Path(within).expanduser()).resolve())
        try:
            fields.append(ProgramField.model_validate(content).model_dump(exclude_unset=True))
        except ValidationError as error:
            messages = _messages(error)
            raise ValueError(f"{path}: {messages if messages.startswith(own) else f'{own}: {messages}'}") from error
    return fields


def _messages(error: ValidationError) -> str:
    from app.contract.errors import to_field_errors

    return "; ".join(each.message for each in to_field_errors(error.errors()))


def _check_program_exists(path: Path, program: Program) -> None:
    words = program.command[0]
    # A path is relative to the folder, as it will be when the command starts.
    word = str(Path(program.folder) / words) if "/" in words else words
    if shutil.which(word, path=program.environment.get("PATH")) is None:
        raise ValueError(f"{path}: cannot find the program '{words[:200]}'; commands are not read by a shell")
