"""What retention can remove."""

from __future__ import annotations

from typing import Final, Literal

RunKind = Literal["checkpoints", "best_checkpoints", "predictions", "logs"]
"""What can be removed of a run that stays."""
Kind = Literal[RunKind, "spools", "trash"]

LABELS: Final[dict[Kind, str]] = {
    "checkpoints": "checkpoints",
    "best_checkpoints": "best checkpoint",
    "predictions": "predictions",
    "logs": "log",
    "spools": "unsent reports",
    "trash": "deleted run",
}
