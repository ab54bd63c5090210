"""Which images of a split to show, and in what order: the most wrong first, or the least sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from app.analysis.picture_history import STATES, forgetting_events, states

Sort = Literal["wrong", "unsure", "forgetting", "index"]
SORTS: Final[dict[Sort, str]] = {
    "wrong": "most wrong",
    "unsure": "least sure",
    "forgetting": "most often forgotten",
    "index": "order in the dataset",
}
"""wrong: wrong predictions, the surest first, then right ones, the least sure first."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network, or several together, predicted: labels, predicted: uint16 [N]; confidence: float [N]."""

    labels: npt.NDArray[np.uint16]
    predicted: npt.NDArray[np.uint16]
    confidence: npt.NDArray[np.floating]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each prediction is right, bool [N]."""
        return np.asarray(self.predicted == self.labels)


@dataclass(frozen=True)
class Criteria:
    """Images to select; None and "" select all. ``low``, ``high``: bounds of the confidence, ``high`` excluded below 1.

    ``state``: of their history, as in `STATES`.
    """

    true: int | None = None
    predicted: int | None = None
    right: bool | None = None
    low: float = 0.0
    high: float = 1.0
    state: str = ""
    sort: Sort = "wrong"


def select(
    answers: Answers,
    criteria: Criteria,
    history: npt.NDArray[np.bool_] | None = None,
    among: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Return the indices of the images that meet the criteria, in their order, int64 [M].

    history: whether the predictions were right, bool [E, N]; without it, no image has a state or was forgotten. among:
    bool [N], further images to leave out.
    """
    chosen = np.ones(len(answers.labels), bool) if among is None else among.copy()
    if criteria.true is not None:
        chosen &= answers.labels == criteria.true
    if criteria.predicted is not None:
        chosen &= answers.predicted == criteria.predicted
    if criteria.right is not None:
        chosen &= answers.right == criteria.right
    if criteria.low > 0:
        chosen &= answers.confidence >= criteria.low
    if criteria.high < 1:
        chosen &= answers.confidence < criteria.high
    if criteria.state:
        chosen &= False if history is None else states(history) == STATES.index(criteria.state)
    found = np.flatnonzero(chosen)
    return found[_order(answers, criteria.sort, history, found)]


def ranks(confidence: npt.NDArray[np.floating]) -> npt.NDArray[np.unsignedinteger]:
    """Return whole numbers in the same order as confidences from 0 to 1, at most half of what their type can hold.

    They are the bits of the confidences: numpy sorts 16 of them ten times as fast as half precision.
    """
    return np.ascontiguousarray(confidence).view(f"u{confidence.itemsize}")


def _order(
    answers: Answers, sort: Sort, history: npt.NDArray[np.bool_] | None, found: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64] | slice:
    sureness = ranks(answers.confidence[found])
    match sort:
        case "wrong":
            most = ranks(np.ones(1, answers.confidence.dtype))
            return np.argsort(np.where(answers.right[found], sureness + (most + 1), most - sureness), kind="stable")
        case "unsure":
            return np.argsort(sureness, kind="stable")
        case "forgetting" if history is not None:
            return np.argsort(-forgetting_events(history[:, found]), kind="stable")
    return slice(None)
