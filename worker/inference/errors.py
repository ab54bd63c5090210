"""Why a question about a network cannot be answered."""

from __future__ import annotations

from typing import Any, Literal

Kind = Literal["gone", "network", "picture"]
"""gone: the checkpoint's file is not there. network: it cannot be used. picture: one of the pictures cannot be used."""


class Refused(Exception):
    """The message is one sentence for the user. ``picture``: the place of the picture that is the reason."""

    def __init__(self, kind: Kind, why: str, picture: int = 0) -> None:
        super().__init__(why)
        self.kind: Kind = kind
        self.picture = picture

    def as_json(self) -> dict[str, Any]:
        """As the answer tells it."""
        return {"kind": self.kind, "reason": str(self), "picture": self.picture}
