"""Splits images at random, so that each class has its share in every part, and equal images stay together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from worker.data.importing.names import TEST, TRAIN, VALIDATION
from worker.data.importing.stratified_split import stratified_split

Integers = npt.NDArray[np.int64]


def split(labels: Integers, groups: Integers, *, validation: float, test: float, seed: int) -> npt.NDArray[np.int8]:
    """The part of each of N images: TRAIN, VALIDATION or TEST; a fixed function of its arguments.

    groups: images with the same number stay in one part, that of the first one's class. validation, test: shares of all
    images; each part with a share above 0 gets at least one group if there are enough, and training at least one image
    of each class.
    """
    parts = np.full(len(labels), TRAIN, np.int8)
    if not len(labels):
        return parts
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    # Groups in the order of their first images, so that it does not matter how they are numbered.
    order = np.argsort(first, kind="stable")
    number = np.empty(len(first), np.int64)
    number[order] = np.arange(len(first))
    group = number[group.reshape(-1)]
    classes = labels[np.sort(first)]
    n = len(classes)
    chosen = np.full(n, TRAIN, np.int8)
    for part, share, offset in ((TEST, test, 0), (VALIDATION, validation, 1)):
        left = np.flatnonzero(chosen == TRAIN)
        take = min(max(1, round(share * n)), len(left)) if share > 0 else 0
        chosen[left[stratified_split(classes[left], take, (seed + offset) % 2**32)[1]]] = part
    parts = chosen[group]
    _keep_classes(labels, group, chosen)
    parts = chosen[group]
    for part, share in ((VALIDATION, validation), (TEST, test)):
        if share > 0 and not (parts == part).any():
            _give_one(labels, group, chosen, part)
            parts = chosen[group]
    return parts


def _keep_classes(labels: Integers, group: Integers, chosen: npt.NDArray[np.int8]) -> None:
    """Return a group to training for each class that has none there."""
    classes, first = np.unique(labels, return_index=True)
    missing = np.setdiff1d(classes, labels[chosen[group] == TRAIN])
    chosen[group[first[np.isin(classes, missing)]]] = TRAIN


def _give_one(labels: Integers, group: Integers, chosen: npt.NDArray[np.int8], part: int) -> None:
    """Move to an empty part the first group without which training still has every class of it, if there is one."""
    training = chosen[group] == TRAIN
    in_training = np.bincount(labels[training], minlength=int(labels.max()) + 1)
    members = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[members], np.arange(len(chosen) + 1))
    for each in np.flatnonzero(chosen == TRAIN):
        inside = labels[members[starts[each] : starts[each + 1]]]
        classes, counts = np.unique(inside, return_counts=True)
        if (in_training[classes] > counts).all():
            chosen[each] = part
            return


def duplicate_groups(checksums: npt.NDArray[np.uint64]) -> Integers:
    """Numbers of images [N], the same for those with equal checksums [N, 2]."""
    if not len(checksums):
        return np.zeros(0, np.int64)
    order = np.lexsort((checksums[:, 1], checksums[:, 0]))
    sorted_sums = checksums[order]
    new = np.concatenate([[True], (sorted_sums[1:] != sorted_sums[:-1]).any(1)])
    groups = np.empty(len(order), np.int64)
    groups[order] = np.cumsum(new) - 1
    return groups
