"""Calibration: whether a confidence of 90% is right in 90% of the cases, and how accuracy depends on coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from app.analysis.picture_selection import ranks

BINS: Final = 15
THRESHOLDS: Final = 200
"""Thresholds are multiples of 1/200, from 0 to 1."""


@dataclass(frozen=True)
class Bin:
    """Images with a confidence from ``low`` to below ``high`` (the last bin includes 1).

    ``confidence``: their mean confidence; ``accuracy``: the share that is right; both None without images.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """``error``: the expected calibration error, 0 to 1, None without images."""

    bins: list[Bin]
    error: float | None


@dataclass(frozen=True, eq=False)
class Coverage:
    """By threshold, float64 [T]: the share of images that are at least so sure, and the share of them that is right.

    Where no image is that sure, the accuracy is NaN.
    """

    thresholds: npt.NDArray[np.float64]
    coverage: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]


def calibration(confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]) -> Calibration:
    """Return the reliability of confidences [N], 0 to 1, in `BINS` bins of equal width.

    The expected calibration error is the mean of ``|accuracy - confidence|`` of the bins, weighted by their images: M.
    P. Naeini, G. F. Cooper, M. Hauskrecht, AAAI 2015. As torchmetrics does, it counts images with a confidence of
    exactly 1 as a bin of their own.
    """
    edges = np.linspace(0, 1, BINS + 1, dtype=np.float32)
    sure = confidence.astype(np.float32)
    places = np.searchsorted(edges, sure, "right") - 1
    counts = np.bincount(places, minlength=BINS + 1)
    confidences = np.bincount(places, sure, BINS + 1)
    hits = np.bincount(places, right, BINS + 1)
    error = float(np.abs(hits - confidences).sum() / len(sure)) if len(sure) else None
    # Where a bar for it would have no width, it is shown with the last one.
    for sums in (counts, confidences, hits):
        sums[-2] += sums[-1]
    bins = [
        Bin(
            place / BINS,
            (place + 1) / BINS,
            int(count),
            float(confidences[place] / count) if count else None,
            float(hits[place] / count) if count else None,
        )
        for place, count in enumerate(counts[:BINS])
    ]
    return Calibration(bins, error)


def coverage(confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]) -> Coverage:
    """Return which share of images is answered, and how accurately, if less sure ones are left open."""
    thresholds = np.linspace(0, 1, THRESHOLDS + 1)
    # In half precision, 0.9 is a little less than 0.9: a threshold is rounded as the confidences are.
    sureness = ranks(confidence)
    order = np.argsort(sureness, kind="stable")
    first = np.searchsorted(sureness[order], ranks(thresholds.astype(confidence.dtype)), "left")
    left = len(confidence) - first
    hits = np.concatenate([np.cumsum(right[order][::-1])[::-1], [0]])[first]
    accuracy = np.where(left > 0, hits / np.maximum(left, 1), np.nan)
    return Coverage(thresholds, left / max(1, len(confidence)), accuracy)
