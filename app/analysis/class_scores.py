"""Precision, recall, F1 and support of each class, from a confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.analysis.confusion import Counts

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores by class, each float64 [C], 0 to 1; support, int64 [C], is the number of images of the class.

    precision: share of the predictions of a class that are right. recall: share of its images that are predicted to be
    of it. f1: their harmonic mean. A score whose denominator is zero is 0: the precision of a class that is never
    predicted, the recall of one without images, the F1 where both are 0.
    """

    precision: Shares
    recall: Shares
    f1: Shares
    support: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]

    @property
    def undefined(self) -> bool:
        """Whether a score is 0 only because its denominator is zero."""
        return bool((self.support == 0).any() or (self.predicted == 0).any())


def class_scores(matrix: Counts) -> ClassScores:
    """Return the scores of each class of a confusion matrix."""
    right = np.diag(matrix)
    support, predicted = matrix.sum(1), matrix.sum(0)
    return ClassScores(
        _ratio(right, predicted), _ratio(right, support), _ratio(2 * right, support + predicted), support, predicted
    )


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Shares:
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)
