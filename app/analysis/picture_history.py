"""How predictions for each image changed over the epochs of a run.

M. Toneva et al., An Empirical Study of Example Forgetting during Deep Neural Network Learning, ICLR 2019.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

STATES: Final = ("always", "learned", "forgotten", "never")
ABOUT: Final = {
    "always": "right after every epoch",
    "learned": "wrong at first or in between, right after the last epoch",
    "forgotten": "right before, wrong after the last epoch",
    "never": "wrong after every epoch",
}
"""What each state means."""


def right_by_epoch(predicted: npt.NDArray[np.integer], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return whether each prediction is right, bool [E, N]; predicted: [E, N], labels: [N]."""
    return np.asarray(predicted == labels)


def states(right: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return the state of each image as its place in `STATES`, uint8 [N]; right: bool [E, N] with E > 0."""
    last, ever, every = right[-1], right.any(0), right.all(0)
    return np.select([every, last, ever], [0, 1, 2], 3).astype(np.uint8)


def forgetting_events(right: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return how often each image was right after an epoch and wrong after the next, int64 [N]; right: bool [E, N]."""
    return np.asarray((right[:-1] & ~right[1:]).sum(0), np.int64)
