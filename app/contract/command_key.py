"""The key that proves who submits a command: a file in the data folder that only its owner can read.

`runyard exec` signs each command with it, the server accepts no command without a valid signature, and the worker
checks the signature again before it starts anything. So neither a web page nor someone who can write to Redis or to the
database can make a worker start a program (docs/decisions/0048-commands-are-signed.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from app.contract.command import Command
from app.contract.program import Program

NAME: Final = "exec.key"
KEY_BYTES: Final = 32


class KeyFileError(RuntimeError):
    """The key cannot be used; the message says why."""


def key_path(data_dir: Path) -> Path:
    """The key's file in a data folder."""
    return data_dir.absolute() / NAME


def ensure_key(data_dir: Path) -> Path:
    """Create the key of a data folder if it has none; returns its file."""
    path = key_path(data_dir)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{NAME}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # Fails if another process was faster; a half-written key is never visible.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return path


def read_key(path: Path, name: str = NAME) -> bytes:
    """Read a key from a file with this name.

    Raises KeyFileError unless the file is a key that belongs to this user and no other can read.
    """
    if path.name != name:
        raise KeyFileError(f"{path} is not a key of Runyard")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        content = file.read(2 * KEY_BYTES + 1)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise KeyFileError(f"{path} must belong to you and be readable by you alone (chmod 600)")
    try:
        key = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path} is damaged; delete it, and a new key is created")
    return key


def sign(key: bytes, command: Command) -> str:
    """The signature of a command: HMAC-SHA256 over its other fields without the values, in hexadecimal."""
    # A command without placeholders is signed as in versions that had none.
    left_out = {"signature", "values"} | (set() if command.placeholders else {"placeholders"})
    return _signature(key, command.model_dump(exclude=left_out))


def is_signed(key: bytes, command: Command) -> bool:
    """Whether the command's signature is valid."""
    return _same(sign(key, command), command.signature)


def sign_program(key: bytes, program: Program) -> str:
    """The signature of a program, over everything else in it. It is never that of a command.

    Without defaults, so that a later version with more fields still accepts it.
    """
    return _signature(key, {"program": program.model_dump(exclude={"signature"}, exclude_defaults=True)})


def is_program_signed(key: bytes, program: Program) -> bool:
    """Whether the program's signature is valid."""
    return _same(sign_program(key, program), program.signature)


def sign_removal(key: bytes, name: str, changed: str) -> str:
    """The proof that its owner removes a program; ``changed``: when it was added or replaced, as the API shows it."""
    return _signature(key, {"remove": name, "changed": changed})


def is_removal_signed(key: bytes, name: str, changed: str, signature: str) -> bool:
    """Whether the proof for the removal of a program is valid."""
    return _same(sign_removal(key, name, changed), signature)


def _signature(key: bytes, content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _same(expected: str, given: str) -> bool:
    # Only bytes: `compare_digest` refuses text with other characters than ASCII.
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))


def key_id(data_dir: Path) -> str:
    """A name for the key of a data folder that tells nothing about it; "" if the folder has none that can be used."""
    try:
        key = read_key(key_path(data_dir))
    except KeyFileError:
        return ""
    return hmac.new(key, b"name of the key", hashlib.sha256).hexdigest()[:16]


def architecture_key(key: bytes) -> bytes:
    """The key with which the server signs its own architectures for workers. It signs no command."""
    return hmac.new(key, b"architectures", hashlib.sha256).digest()


# Tokens of commands ---------------------------------------------------------------------------------------------------

RUN_TOKEN: Final = "ryr_"


def run_token(key: bytes, run: str) -> str:
    """The token with which the command of a run logs where people have to sign in. It is stored nowhere."""
    return f"{RUN_TOKEN}{run}.{hmac.new(key, f'log to {run}'.encode(), hashlib.sha256).hexdigest()}"


def run_of_token(key: bytes, token: str) -> str | None:
    """The run whose token this is; None for any other text."""
    run = token.removeprefix(RUN_TOKEN).partition(".")[0]
    valid = hmac.compare_digest(run_token(key, run).encode(), token.encode("utf-8", "surrogatepass"))
    return run if valid else None
