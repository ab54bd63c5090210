"""Takes images at random, from each class its share; without torch, since programs without torch need it too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def stratified_split(
    labels: npt.NDArray[np.int64], take: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Take `take` of the N labels at random, from each class its share (to within one); returns indices (rest, taken).

    Both are ascending and together they are 0..N-1. A fixed function of its arguments: numpy has promised never to
    change the numbers that RandomState draws. Raises ValueError unless 0 <= take <= N.
    """
    n = len(labels)
    if not 0 <= take <= n:
        raise ValueError(f"cannot take {take} of {n}")
    order = np.random.RandomState(seed).permutation(n)
    order = order[np.argsort(labels[order], kind="stable")]
    # Every (n/take)-th of the shuffled items, sorted by class: any k consecutive items contain k·take/n of them, to
    # within one.
    ticks = (np.arange(n + 1, dtype=np.int64) * take + n // 2) // max(n, 1)
    taken = np.diff(ticks) > 0
    return np.sort(order[~taken]), np.sort(order[taken])
