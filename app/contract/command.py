"""A command that a user submits with `runyard exec`: what is started, where, and with which environment.

Its arguments can have placeholders, `{lr}`. What may stand in for them is signed with the command; which of these
values a run has is not. So whatever fills the placeholders, nothing else can be started
(docs/decisions/0051-values-of-signed-placeholders.md).
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    field_validator,
)
from pydantic_core import PydanticCustomError

from app.contract.command_template import NAME, fill, names
from app.contract.spec import DEVICE, Tag
from app.contract.sweep import SEED, Choice, Space

MOST_ARGUMENTS: Final = 2000
LONGEST_ARGUMENT: Final = 100_000
MOST_BYTES: Final = 256 * 1024
"""Maximum size of a command with its environment; Linux accepts 2 MiB by default."""
LONGEST_TITLE: Final = 80
SIGNATURE_CHARACTERS: Final = 64

_PLAIN_TEMPLATE: Final = re.compile(r"[\w@%+=:./{}-]+", re.ASCII)
_PASSWORD: Final = re.compile(r"://[^/@\s]+@")
_SECRET: Final = re.compile(r"(?i)^(-{0,2}[\w-]*(?:token|secret|password|passwd|api-?key|credential)[\w-]*)(=.*)?$")

Argument = Annotated[str, StringConstraints(max_length=LONGEST_ARGUMENT)]
PlaceholderName = Annotated[str, StringConstraints(pattern=rf"^{NAME}$", max_length=100)]
PlaceholderValue = StrictStr | StrictInt | StrictFloat
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
RunName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]


def _known_device(value: str) -> str:
    if not DEVICE.fullmatch(value):
        raise PydanticCustomError("device", "must be auto, cpu, cuda, or one GPU by its index, such as cuda:1")
    return value


DeviceName = Annotated[str, AfterValidator(_known_device)]


class Command(BaseModel):
    """A command as it is signed: the worker starts exactly this, or nothing.

    ``argv`` is passed to the operating system as a list; no shell reads it. ``folder``: absolute working folder.
    ``environment``: variables added to the worker's. ``url``: the server that the command logs to.
    ``placeholders``: what each `{name}` in ``argv`` may be; without any, braces mean nothing. ``values``: what they are
    in a run; not signed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: list[Argument] = Field(min_length=1, max_length=MOST_ARGUMENTS, description="Program and arguments.")
    folder: Annotated[str, StringConstraints(max_length=4096)] = Field(description="Working folder, absolute.")
    environment: dict[VariableName, Argument] = Field(
        default_factory=dict, max_length=500, description="Environment variables to set, in addition to the worker's."
    )
    url: Annotated[str, StringConstraints(max_length=2000, pattern=r"^https?://")] = Field(
        description="URL of the server that the command logs to."
    )
    placeholders: dict[PlaceholderName, Space] = Field(
        default_factory=dict, max_length=30, description="Values that `{name}` in argv may have, by name."
    )
    values: dict[PlaceholderName, PlaceholderValue] = Field(
        default_factory=dict, max_length=30, description="Value of each placeholder, one of those that are signed."
    )
    signature: Annotated[str, StringConstraints(max_length=SIGNATURE_CHARACTERS)] = Field(
        "",
        description="HMAC-SHA256 of the other fields without values, with the key in the data folder;"
        " `runyard exec` computes it.",
    )

    @field_validator("argv")
    @classmethod
    def _startable(cls, value: list[str]) -> list[str]:
        if not value[0].strip():
            raise PydanticCustomError("argv", "argv must begin with a program")
        if any("\0" in argument for argument in value):
            raise PydanticCustomError("argv", "argv must not contain NUL characters")
        return value

    @field_validator("environment")
    @classmethod
    def _without_nul(cls, value: dict[str, str]) -> dict[str, str]:
        if any("\0" in text for text in value.values()):
            raise PydanticCustomError("environment", "environment must not contain NUL characters")
        return value

    @field_validator("folder")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith("/") or "\0" in value:
            raise PydanticCustomError("folder", "folder must be an absolute path")
        return value

    @field_validator("placeholders")
    @classmethod
    def _fillable(cls, value: dict[str, Space]) -> dict[str, Space]:
        for name, allowed in value.items():
            if isinstance(allowed, Choice) and not all(map(_is_fillable, allowed.choice)):
                message = f"the values of '{name}' must be finite numbers or texts without NUL characters"
                raise PydanticCustomError("placeholders", "{message}", {"message": message})
        return value

    def check_placeholders(self) -> None:
        """Check that each placeholder has values, and is used. Raises ValueError."""
        if not self.placeholders:
            return
        used = names(self.argv)
        if wrong := sorted(names(self.argv[:1])):
            raise ValueError(f"the program itself cannot vary: '{{{wrong[0]}}}' stands in {self.argv[0][:60]}")
        if missing := sorted(used - self.placeholders.keys()):
            name = missing[0]
            option = "--seeds N" if name == SEED else f"--sweep {name}=…"
            raise ValueError(
                f"the command has '{{{name}}}', but there are no values for it; add them with {option},"
                f" or write '{{{{{name}}}}}' for braces"
            )
        if unused := sorted(self.placeholders.keys() - used):
            raise ValueError(f"there are values for '{unused[0]}', but the command has no '{{{unused[0]}}}'")

    def filled(self, values: Mapping[str, Any] | None = None) -> list[str]:
        """The arguments with these values, by default its own, in place of the placeholders.

        Raises ValueError unless every placeholder has one of the values that are signed, and nothing else has a value.
        """
        values = self.values if values is None else values
        for name, value in values.items():
            if name not in self.placeholders:
                raise ValueError(f"the command has no placeholder '{name[:60]}'")
            if not self.placeholders[name].contains(value):
                raise ValueError(f"'{str(value)[:60]}' is not one of the values that were signed for '{name[:60]}'")
        self.check_placeholders()
        return fill(self.argv, values) if self.placeholders else list(self.argv)


class CommandRequest(BaseModel):
    """Request for a run that executes a signed command, or for several with different values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Command
    name: RunName = Field("", description="Display name (default: the command line).")
    tags: list[Tag] = Field(default_factory=list, max_length=20, description="Tags, to find runs by.")
    notes: str = Field("", max_length=20_000, description="Notes on the run.")
    priority: int = Field(0, ge=-1000, le=1000, strict=True, description="Runs with a higher priority start first.")
    device: DeviceName = Field("auto", description="Device to run on: auto, cpu, cuda, or one GPU by its index.")
    worker: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = Field(
        "", description="Run only on this worker, given by host name or the start of its id."
    )
    experiment: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)] = Field(
        "Default", description="MLflow experiment to log to; it is created if it does not exist."
    )
    restarts: int = Field(
        0, ge=0, le=100, strict=True, description="How often to start the command again if its worker disappears."
    )


def _is_fillable(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is int or (isinstance(value, str) and "\0" not in value and len(value) <= LONGEST_ARGUMENT)


def hide_secrets(arguments: Sequence[str]) -> list[str]:
    """The arguments with passwords in URLs and tokens replaced by "…"."""
    shown, hide = [], False
    for argument in arguments:
        secret = _SECRET.match(argument)
        if hide:
            shown.append("…")
        elif secret:
            shown.append(f"{secret[1]}=…" if secret[2] else argument)
        else:
            shown.append(_PASSWORD.sub("://…@", argument))
        hide = bool(secret and not secret[2] and argument.startswith("-"))
    return shown


def command_line(arguments: Sequence[str]) -> str:
    """The arguments as one would type them in a shell."""
    return " ".join(argument if argument == "…" else shlex.quote(argument) for argument in arguments)


def template_line(arguments: Sequence[str]) -> str:
    """The arguments of a command with placeholders, which stand without quotes where a shell would keep them."""
    return " ".join(
        argument if _PLAIN_TEMPLATE.fullmatch(argument) else command_line([argument]) for argument in arguments
    )


def command_title(arguments: Sequence[str]) -> str:
    """A short name for a command: the script and its arguments, without an interpreter, path or secret."""
    shown = hide_secrets(arguments)
    program = PurePosixPath(shown[0]).name
    if program.startswith("python") and len(shown) > 1 and not shown[1].startswith("-"):
        shown = shown[1:]
        program = PurePosixPath(shown[0]).name
    title = " ".join([program or shown[0], *shown[1:]])
    title = " ".join(title.split())
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…"
