"""Request for a sweep over the placeholders of a signed command."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from app.contract.command import CommandRequest
from app.contract.sweep import SEED, Choice, SweepSpec

FROM_COMMAND: Final = ("base", "grid", "space", "most_params", "name", "tags")
"""Fields of a SweepSpec that the command's placeholders and the request say already."""


class CommandSweepRequest(CommandRequest):
    """Request for a sweep over the placeholders of a signed command; the other fields apply to every run."""

    sweep: SweepSpec = Field(
        default_factory=SweepSpec,
        description="Method, draws, seeds, metric, direction and pruning, as for other sweeps; the values come from the"
        " placeholders of the command.",
    )

    @field_validator("sweep")
    @classmethod
    def _without_values(cls, value: SweepSpec) -> SweepSpec:
        if wrong := [name for name in FROM_COMMAND if name in value.model_fields_set]:
            message = f"{wrong[0]} cannot be set for a sweep of a command; its placeholders have the values"
            raise PydanticCustomError("sweep", "{message}", {"message": message})
        return value

    @property
    def template(self) -> CommandRequest:
        """The request for each run, whose command has no values yet."""
        return CommandRequest.model_validate(self.model_dump(exclude={"sweep"}))

    @property
    def spec(self) -> SweepSpec:
        """The sweep with the values of the placeholders."""
        varied = {name: allowed for name, allowed in self.command.placeholders.items() if name != SEED}
        asked: dict[str, Any] = self.sweep.model_dump(exclude_unset=True) | {"name": self.name}
        if self.sweep.method != "grid":
            return SweepSpec.model_validate(asked | {"space": varied})
        grid = {
            name: allowed.choice if isinstance(allowed, Choice) else allowed.values()
            for name, allowed in varied.items()
        }
        return SweepSpec.model_validate(asked | {"grid": grid})
