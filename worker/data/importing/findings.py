"""Makes the report on what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from app.contract.dataset_import import (
    ClassCount,
    DuplicateGroup,
    Occurrence,
    Outlier,
    Part,
    Report,
    SizeCount,
)
from app.contract.own_datasets import PARTS
from worker.data.importing.arrangement import Arrangement
from worker.data.importing.outliers import outliers

_SIZES: Final = 20
_GROUPS: Final = 50
_IN_GROUP: Final = 10
"""Images shown of a group of equal ones."""
_NEAR_EMPTY: Final = 10
_NAMED: Final = 5
"""Classes that a note names."""

Integers = npt.NDArray[np.int64]


class _All:
    """The images of all splits, one after the other: their rows, labels, places of their splits and places in them."""

    def __init__(self, arrangement: Arrangement) -> None:
        self._arrangement = arrangement
        self.rows = np.concatenate([arrangement.rows[part] for part in PARTS])
        self.labels = np.concatenate([arrangement.labels[part] for part in PARTS])
        counts = [len(arrangement.rows[part]) for part in PARTS]
        self.parts = np.repeat(np.arange(len(PARTS)), counts)
        self.places = np.concatenate([np.arange(count) for count in counts])

    def occurrence(self, each: int) -> Occurrence:
        """One of them."""
        arrangement = self._arrangement
        return Occurrence(
            path=arrangement.draft.paths[self.rows[each]],
            label=arrangement.classes[self.labels[each]],
            part=PARTS[self.parts[each]],
            index=int(self.places[each]),
        )


def report(arrangement: Arrangement, tick: Callable[[], None]) -> Report:
    """tick: called again and again."""
    draft, images = arrangement.draft, _All(arrangement)
    found = draft.found[images.rows]
    tick()
    counts = {part: np.bincount(arrangement.labels[part], minlength=len(arrangement.classes)) for part in PARTS}
    classes = [
        ClassCount(
            name=name,
            found=arrangement.found[place],
            train=int(counts["train"][place]),
            validation=int(counts["validation"][place]),
            test=int(counts["test"][place]),
        )
        for place, name in enumerate(arrangement.classes)
    ]
    sizes = _sizes(found)
    modes, mode_counts = np.unique(found["mode"], return_counts=True)
    duplicates = _Duplicates(arrangement, images)
    tick()
    training = counts["train"]
    return Report(
        layout=draft.layout,
        split=arrangement.split,
        choices=arrangement.choices,
        images=len(images.rows),
        classes=classes,
        sizes=sorted(sizes, key=lambda size: (-size.images, -size.width * size.height, size.width))[:_SIZES],
        smallest=min(sizes, key=lambda size: (size.width * size.height, size.width), default=None),
        largest=max(sizes, key=lambda size: (size.width * size.height, size.width), default=None),
        modes={mode.decode(): int(count) for mode, count in zip(modes, mode_counts, strict=True)},
        outliers=[
            Outlier(image=images.occurrence(each), distance=distance)
            for each, distance in outliers(draft.thumbnails(), images.labels, images.rows, tick)
        ],
        duplicates=duplicates.groups(),
        duplicates_within=duplicates.within,
        duplicates_across=duplicates.across,
        skipped=draft.skipped.files(),
        skipped_kinds=dict(sorted(draft.skipped.kinds.items())),
        near_empty=[each.name for each in classes if each.train < _NEAR_EMPTY],
        imbalance=round(float(training.max() / max(1, training.min())), 3),
        leaks=duplicates.leaks(),
        notes=[*draft.notes, *duplicates.notes(), *_class_notes(arrangement, classes)],
    )


def _sizes(found: npt.NDArray[np.void]) -> list[SizeCount]:
    both = found["width"].astype(np.uint64) << np.uint64(32) | found["height"]
    values, counts = np.unique(both, return_counts=True)
    return [
        SizeCount(width=value >> 32, height=value & 0xFFFFFFFF, images=count)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
    ]


class _Duplicates:
    """Groups of equal images, as many as there are; described are only those to show."""

    def __init__(self, arrangement: Arrangement, images: _All) -> None:
        self._images = images
        groups = arrangement.groups[images.rows]
        counts = np.bincount(groups, minlength=1)
        several = np.flatnonzero(counts[groups] > 1)
        order = several[np.argsort(groups[several], kind="stable")]
        self._members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []
        self._in_part = [np.bincount(images.parts[each], minlength=len(PARTS)) for each in self._members]
        self.within = int(sum(np.maximum(each - 1, 0).sum() for each in self._in_part))
        self._across = [int((each > 0).sum()) > 1 for each in self._in_part]
        self.across = sum(self._across)

    def groups(self) -> list[DuplicateGroup]:
        """The groups to show, leaks first."""
        labels = self._images.labels
        differ = [bool((labels[each] != labels[each[0]]).any()) for each in self._members]
        order = sorted(
            range(len(self._members)),
            key=lambda each: (not self._across[each], not differ[each], -len(self._members[each]), self._first(each)),
        )
        return [
            DuplicateGroup(
                images=[self._images.occurrence(image) for image in self._shown(self._members[each])],
                count=len(self._members[each]),
                across=self._across[each],
                labels_differ=differ[each],
            )
            for each in order[:_GROUPS]
        ]

    def _first(self, group: int) -> int:
        return int(self._images.rows[self._members[group]].min())

    def _shown(self, members: Integers) -> list[int]:
        """At most _IN_GROUP of them, with as many splits and classes as possible."""
        seen: set[tuple[int, int]] = set()
        first: list[int] = []
        rest: list[int] = []
        for each in members[:10_000].tolist():
            kind = (int(self._images.parts[each]), int(self._images.labels[each]))
            (rest if kind in seen else first).append(each)
            seen.add(kind)
        return sorted((first + rest)[:_IN_GROUP])

    def leaks(self) -> list[str]:
        """A sentence for each two splits with images in common."""
        leaks = []
        pairs: tuple[tuple[Part, Part, str], ...] = (
            ("train", "test", "test accuracy will be too high"),
            ("train", "validation", "validation accuracy will be too high"),
            ("validation", "test", "test accuracy may be too high, because models are selected on these images"),
        )
        for one, other, effect in pairs:
            first, second = PARTS.index(one), PARTS.index(other)
            both = sum(bool(each[first] and each[second]) for each in self._in_part)
            if both:
                leaks.append(f"{_images(both)} in {one} and {other}: {effect}")
        return leaks

    def notes(self) -> list[str]:
        """A sentence on images that are in several classes, if there are any."""
        labels = self._images.labels
        differ = sum(bool((labels[each] != labels[each[0]]).any()) for each in self._members)
        return [f"{_images(differ)} in several classes"] if differ else []


def _images(count: int) -> str:
    return f"{count:,} {'image is' if count == 1 else 'images are'}"


def _class_notes(arrangement: Arrangement, classes: Sequence[ClassCount]) -> list[str]:
    notes = []
    for part, word in (("train", "training"), ("validation", "validation"), ("test", "test")):
        empty = [each.name for each in classes if not getattr(each, part)]
        if len(empty) == 1:
            notes.append(f"class '{empty[0]}' has no {word} images")
        elif empty:
            named = ", ".join(f"'{name}'" for name in empty[:_NAMED])
            more = f" and {len(empty) - _NAMED:,} more" if len(empty) > _NAMED else ""
            notes.append(f"{len(empty):,} classes have no {word} images: {named}{more}")
    if arrangement.taken is not None:
        notes.append(f"{arrangement.taken} split taken from the training images")
    return notes
