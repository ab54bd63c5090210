"""A program that its owner offers for launching: a command with typed fields in its arguments.

It is added on the worker's machine (`runyard program add`) and signed like a command. Others choose only the values of
its fields (docs/decisions/0050-programs-are-signed-templates.md).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from app.contract.command import MOST_ARGUMENTS, Argument, Command, DeviceName, RunName, VariableName
from app.contract.command_template import names, value_text
from app.contract.spec import FieldError, Tag

MOST_FIELDS: Final = 60
MOST_SEEDS: Final = 1000
MOST_CHOICES: Final = 200
LONGEST_TEXT: Final = 4000
USUAL_LENGTH: Final = 200
SIGNATURE_CHARACTERS: Final = 64
SEED: Final = "seed"
"""The field that several seeds set, if it takes whole numbers."""

FieldType = Literal["int", "float", "bool", "choice", "text", "path"]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=60)]
FieldInt = Annotated[int, Field(ge=-(2**63), lt=2**63)]
FieldFloat = Annotated[float, Field(ge=-1e300, le=1e300)]
FieldValue = bool | FieldInt | FieldFloat | str
ProgramName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
ShortText = Annotated[str, StringConstraints(max_length=USUAL_LENGTH)]


class ProgramField(BaseModel):
    """A field of a program; one without a ``default`` is required.

    ``min`` and ``max`` bound numbers, ``max_length`` texts and paths. ``choices``: the values of a choice. A bool
    becomes ``if_true`` or ``if_false`` in its argument. ``within``: the absolute folder that a path stays in, by
    default that of the program.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: FieldName
    type: FieldType
    default: bool | int | float | str | None = None
    help: Annotated[str, StringConstraints(max_length=500)] = ""
    min: int | float | None = Field(None, allow_inf_nan=False)
    max: int | float | None = Field(None, allow_inf_nan=False)
    choices: Annotated[list[ShortText], Field(max_length=MOST_CHOICES)] = []
    max_length: int = Field(USUAL_LENGTH, ge=1, le=LONGEST_TEXT)
    if_true: ShortText = "true"
    if_false: ShortText = "false"
    within: Annotated[str, StringConstraints(max_length=4096)] = ""

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is None

    @property
    def chosen_by_owner(self) -> bool:
        """Whether its texts are those that the program's owner wrote: a choice, or yes and no."""
        return self.type in ("choice", "bool")

    @property
    def free(self) -> bool:
        """Whether its value is text that others write."""
        return self.type in ("text", "path")

    @field_validator("choices", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return [value_text(each) if isinstance(each, int | float) else each for each in value] if value else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, types in _ONLY.items():
            if getattr(self, name) != _FIELD_DEFAULTS[name]:
                _require(self.type in types, f"field '{self.name}': only {' and '.join(types)} can have {name}")
        if self.type == "choice":
            _require(bool(self.choices), f"field '{self.name}': a choice needs choices")
            _require(all(text.strip() for text in self.choices), f"field '{self.name}': choices must not be empty")
            _require(len(set(self.choices)) == len(self.choices), f"field '{self.name}': choices must be different")
        if self.min is not None and self.max is not None:
            _require(self.min <= self.max, f"field '{self.name}': min must be at most max")
        if self.within:
            _require(_is_absolute(self.within), f"field '{self.name}': within must be an absolute folder")
        texts = (*self.choices, self.if_true, self.if_false)
        _require(not any("\0" in text for text in texts), f"field '{self.name}' must not contain NUL characters")
        return self


_ONLY: Final[dict[str, tuple[str, ...]]] = {
    "min": ("int", "float"),
    "max": ("int", "float"),
    "choices": ("choice",),
    "max_length": ("text", "path"),
    "if_true": ("bool",),
    "if_false": ("bool",),
    "within": ("path",),
}
_FIELD_DEFAULTS: Final = {name: field.default for name, field in ProgramField.model_fields.items()}


class Program(BaseModel):
    """A program as it is signed. ``command``: program and arguments, with `{field}` where a value goes.

    ``folder``: absolute working folder. ``environment``: variables added to the worker's. ``url``: the server that its
    runs log to. ``worker``: start of the ID of the workers that have the key. ``restarts``: how often a run may start
    again after its worker disappeared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ProgramName
    about: Annotated[str, StringConstraints(max_length=500)] = ""
    command: list[Argument] = Field(min_length=1, max_length=MOST_ARGUMENTS)
    fields: list[ProgramField] = Field(default_factory=list, max_length=MOST_FIELDS)
    folder: Annotated[str, StringConstraints(max_length=4096)]
    environment: dict[VariableName, Argument] = Field(default_factory=dict, max_length=500)
    url: Annotated[str, StringConstraints(max_length=2000, pattern=r"^https?://")]
    experiment: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""
    worker: Annotated[str, StringConstraints(max_length=80)] = ""
    restarts: int = Field(0, ge=0, le=100, strict=True)
    signature: Annotated[str, StringConstraints(max_length=SIGNATURE_CHARACTERS)] = ""

    @model_validator(mode="after")
    def _fillable(self) -> Self:
        _require(_is_absolute(self.folder), "folder must be an absolute path")
        _require(bool(self.command[0].strip()), "command must begin with a program")
        texts = (*self.command, *self.environment.values())
        _require(not any("\0" in text for text in texts), "command and env must not contain NUL characters")
        known = [field.name for field in self.fields]
        _require(len(set(known)) == len(known), "fields must have different names")
        try:
            named = names(self.command)
        except ValueError as error:
            raise ValueError(f"command: {error}") from error
        for name in sorted(named - set(known)):
            there = f"fields: {', '.join(known) or 'none'}"
            raise ValueError(f"command has {{{name}}}, but there is no field of that name; {there}")
        for name in known:
            _require(name in named, f"field '{name}' stands in no argument; write {{{name}}} in command")
        return self

    @property
    def by_name(self) -> dict[str, ProgramField]:
        """Its fields by name, in order."""
        return {field.name: field for field in self.fields}

    @property
    def takes_seeds(self) -> bool:
        """Whether it has a whole number as a seed, so that several seeds can be launched."""
        return any(field.name == SEED and field.type == "int" for field in self.fields)


class ProgramCall(BaseModel):
    """A program with a value for each field: what a run of it executes. The worker checks both again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: Program
    values: dict[str, FieldValue] = Field(max_length=MOST_FIELDS)


class ProgramRequest(BaseModel):
    """Values of a program's fields, and fields of each run, as launches and sweeps have them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: dict[str, FieldValue | None] = Field(
        default_factory=dict,
        max_length=MOST_FIELDS,
        description="Values by field; a field that is left out or null has its default.",
    )
    name: RunName = Field("", description="Display name (default: the program and its changed values).")
    tags: list[Tag] = Field(default_factory=list, max_length=20, description="Tags, to find runs by.")
    notes: str = Field("", max_length=20_000, description="Notes on the run.")
    priority: int = Field(0, ge=-1000, le=1000, strict=True, description="Runs with a higher priority start first.")
    device: DeviceName = Field("auto", description="Device to run on: auto, cpu, cuda, or one GPU by its index.")


class ProgramLaunch(ProgramRequest):
    """Request for runs of a program: the values of its fields, and fields of each run.

    ``seeds``: number of runs, with consecutive values of the field seed. ``source``: the run that these values were
    taken from, by id.
    """

    seeds: int = Field(1, ge=1, le=MOST_SEEDS, strict=True, description="Number of runs, with consecutive seeds.")
    source: Annotated[str, StringConstraints(max_length=40)] = Field(
        "", description="ID of the run of this program that these values were taken from."
    )


Startable = Command | ProgramCall
"""What a run can execute: a signed command, or a signed program with values."""


class ProgramValueError(ValueError):
    """Values that a program does not accept; ``errors`` has one for each field."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


def _is_absolute(folder: str) -> bool:
    return folder.startswith("/") and "\0" not in folder


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
