"""Applies the user's choices to a draft: classes, splits, side and color."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.contract.dataset_import import Choices, Color, Part
from app.contract.own_datasets import PARTS
from worker.data.importing.catalog import class_name, sorted_classes
from worker.data.importing.draft import Draft
from worker.data.importing.errors import ImportFailed
from worker.data.importing.names import NO_PART, TEST, TRAIN, VALIDATION
from worker.data.importing.splitting import duplicate_groups, split


@dataclass(frozen=True, eq=False)
class Arrangement:
    """A dataset as it would be made of a draft.

    ``choices``: without open questions. ``classes``: names in the order of the labels, and ``found`` those of each in
    the source. ``rows``: of the draft, in the order of the dataset, for each part; ``labels``: their labels, int64 [N].
    ``split``: as in `Report`; ``taken``: the part that was taken from the source's training images. ``groups``: the
    same number for equal images, int64 [rows of the draft].
    """

    draft: Draft
    choices: Choices
    classes: list[str]
    found: list[list[str]]
    rows: dict[Part, npt.NDArray[np.int64]]
    labels: dict[Part, npt.NDArray[np.int64]]
    split: str
    taken: Part | None
    groups: npt.NDArray[np.int64]

    @property
    def color(self) -> Color:
        """Of the images."""
        assert self.choices.color is not None
        return self.choices.color


def arrange(draft: Draft, choices: Choices) -> Arrangement:
    """Raises ImportFailed if no dataset can be made with these choices."""
    unknown = sorted(set(choices.classes) - set(draft.classes))
    if unknown:
        raise ImportFailed(f"no class '{unknown[0]}' to rename; classes: {', '.join(draft.classes[:20])}")
    names = [class_name(choices.classes.get(each, each)) for each in draft.classes]
    new: dict[str, int] = {}
    ids = np.array([new.setdefault(name, len(new)) for name in names], np.int64)
    usable = draft.usable()
    if not usable.any():
        raise ImportFailed(f"none of the {len(draft.paths):,} images can be read{_first_reason(draft)}")
    # A class of which no image can be read is skipped.
    kept = usable & (np.array([bool(name) for name in names])[draft.labels])
    rows = np.flatnonzero(kept)
    present, labels = np.unique(ids[draft.labels[rows]], return_inverse=True)
    by_id = list(new)
    classes, labels = sorted_classes([by_id[each] for each in present], labels.reshape(-1).astype(np.int64))
    if len(classes) < 2:
        only = f"found only '{classes[0]}'" if classes else "all classes are skipped"
        raise ImportFailed(f"at least two classes are needed; {only}")
    groups = duplicate_groups(draft.found["pixels"])
    parts, sentence, taken = _parts(draft.parts[rows], labels, groups[rows], choices)
    for place, part in enumerate(PARTS):
        if not (parts == place).any():
            raise ImportFailed(
                f"too few images ({len(rows):,}) for {len(classes):,} classes: the {part} split would be empty"
            )
    gray = bool(draft.found["gray"][kept].all())
    found: dict[str, list[str]] = {name: [] for name in classes}
    for original, name in zip(draft.classes, names, strict=True):
        if name in found:
            found[name].append(original)
    return Arrangement(
        draft,
        choices.model_copy(update={"side": draft.side, "color": choices.color or ("gray" if gray else "rgb")}),
        classes,
        [found[name] for name in classes],
        {part: rows[parts == place] for place, part in enumerate(PARTS)},
        {part: labels[parts == place] for place, part in enumerate(PARTS)},
        sentence,
        taken,
        groups,
    )


def _first_reason(draft: Draft) -> str:
    files = draft.skipped.files()
    return f"; {files[0].path} {files[0].reason}" if files else ""


def _parts(
    given: npt.NDArray[np.int8], labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], choices: Choices
) -> tuple[npt.NDArray[np.int8], str, Part | None]:
    """The part of each image, where it comes from, and which was taken from training."""
    known = set(np.unique(given).tolist()) - {NO_PART}
    validation, test = choices.validation_share, choices.test_share
    if TRAIN not in known or len(known) == 1:
        parts = split(labels, groups, validation=validation, test=test, seed=choices.seed)
        return parts, f"split at random: {validation:.0%} for validation and {test:.0%} for test", None
    parts = np.where(given == NO_PART, TRAIN, given).astype(np.int8)
    if VALIDATION in known and TEST in known:
        return parts, "all splits come from the source", None
    training = np.flatnonzero(parts == TRAIN)
    missing, share = (VALIDATION, validation) if TEST in known else (TEST, test)
    shares = {"validation": share, "test": 0.0} if missing == VALIDATION else {"validation": 0.0, "test": share}
    parts[training] = split(labels[training], groups[training], **shares, seed=choices.seed)
    given_name = "test" if missing == VALIDATION else "validation"
    sentence = (
        f"training and {given_name} splits come from the source; "
        f"{share:.0%} of the training images were moved to {PARTS[missing]}"
    )
    return parts, sentence, PARTS[missing]
