"""Confusion matrices: counting, orders of classes, and the classes that are taken for each other most often.

Rows are the true classes, columns the predicted ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Order = Literal["class", "error", "cluster"]
ORDERS: Final[tuple[Order, ...]] = ("class", "error", "cluster")


@dataclass(frozen=True)
class Confusion:
    """``count`` of the ``of`` images of class ``true`` were predicted to be of class ``predicted``."""

    true: int
    predicted: int
    count: int
    of: int


def confusion_matrix(labels: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], classes: int) -> Counts:
    """Count images by true (row) and predicted class (column): int64 [classes, classes].

    labels, predicted: [N], each smaller than ``classes``.
    """
    cells = labels.astype(np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64, copy=False)


def accuracy(matrix: Counts) -> float:
    """Return the share of images on the diagonal, 0 to 1; NaN without images."""
    total = int(matrix.sum())
    return float(np.trace(matrix)) / total if total else float("nan")


def top_confusions(matrix: Counts, most: int) -> list[Confusion]:
    """Return up to ``most`` pairs of classes with the most wrong predictions, largest first."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    cells = np.flatnonzero(wrong)
    counts = wrong.ravel()[cells]
    # Stable: of equal counts, the first class comes first.
    chosen = cells[np.argsort(-counts, kind="stable")[:most]]
    rows = matrix.sum(1)
    pairs = [divmod(int(cell), len(matrix)) for cell in chosen]
    return [Confusion(row, column, int(matrix[row, column]), int(rows[row])) for row, column in pairs]


def class_order(matrix: Counts, by: Order) -> npt.NDArray[np.int64]:
    """Return the classes in the order in which to show them: a permutation, int64 [classes].

    class: as in the dataset. error: the class with the largest share of wrong predictions first, classes without images
    last. cluster: classes that are taken for each other stand side by side (average linkage).
    """
    classes = len(matrix)
    if by == "class" or classes < 3:
        return np.arange(classes)
    if by == "error":
        support = matrix.sum(1)
        share = np.where(support > 0, 1 - np.diag(matrix) / np.maximum(support, 1), -1.0)
        return np.argsort(-share, kind="stable")
    return _clustered(matrix)


def _clustered(matrix: Counts) -> npt.NDArray[np.int64]:
    # Takes a third of a second to import, and is rarely asked for.
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    likeness = (shares + shares.T) / 2
    distances = 1 - likeness
    np.fill_diagonal(distances, 0)
    return np.asarray(leaves_list(linkage(squareform(distances, checks=False), "average")), np.int64)
