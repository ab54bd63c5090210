"""Finds the images that differ most from the others of their class."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

SHOWN: Final = 20
_FEWEST: Final = 5
"""Images of a class from which one can be told to differ."""
_MOST: Final = 20_000
"""Images of a class whose mean and deviation are taken; evenly chosen."""
_LEAST_STD: Final = 4.0
"""Of a value of a thumbnail: less is no more than noise."""


def outliers(
    thumbnails: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    tick: Callable[[], None],
) -> list[tuple[int, float]]:
    """Places in `rows` of the images farthest from their class, farthest first, with their distances.

    thumbnails: uint8 [M, values]; rows: the thumbnail of each of N images; labels: int64 [N]. The distance is the root
    mean square over all values of how many standard deviations the value is from its mean in the class.
    """
    order = np.argsort(labels, kind="stable")
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    far: list[tuple[float, int]] = []
    for places in np.split(order, bounds):
        if len(places) < _FEWEST:
            continue
        tick()
        sample = places[:: -(-len(places) // _MOST)]
        values = thumbnails[rows[sample]].astype(np.float32)
        mean, std = values.mean(0), np.maximum(values.std(0), _LEAST_STD)
        for start in range(0, len(places), _MOST):
            part = places[start : start + _MOST]
            away = (thumbnails[rows[part]].astype(np.float32) - mean) / std
            distances = np.sqrt(np.square(away).mean(1))
            for each in np.argsort(-distances, kind="stable")[:SHOWN]:
                heapq.heappush(far, (float(distances[each]), -int(part[each])))
                if len(far) > SHOWN:
                    heapq.heappop(far)
    return [(-place, round(distance, 3)) for distance, place in sorted(far, reverse=True)]
