"""What several networks predict together: the class with the most votes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def majority_vote(
    predicted: Sequence[npt.NDArray[np.uint16]], confidence: Sequence[npt.NDArray[np.floating]]
) -> npt.NDArray[np.uint16]:
    """Return the class that most of several predictions name, uint16 [N]; of equally many, the one named more surely.

    predicted, confidence: one [N] for each network, at least one.
    """
    classes, sure = np.stack(predicted), np.stack(confidence).astype(np.float32)
    # A vote counts 1 and its confidence less than any vote, so that the confidences only decide between equals.
    weight = 1 + sure / (len(classes) + 1)
    votes = np.stack([np.where(classes == own, weight, 0).sum(0) for own in classes])
    return np.asarray(np.take_along_axis(classes, votes.argmax(0)[None], 0)[0])
