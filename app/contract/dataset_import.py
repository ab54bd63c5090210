"""Importing a user's images: the request, the choices, the progress and the report, shared by server and worker.

An import is a folder in ``datasets/imports``; every file in it is written atomically. The server writes the request and
its wishes, a worker the rest, and whichever dies is replaced by one that goes on from the files:

- ``request.json``: an ImportRequest. An import without one was broken off while it was uploaded.
- ``upload/``: what was uploaded, if it is not a path of this machine.
- ``choices.json``: the Choices of the user, once made; with ``keep`` they become a dataset.
- ``state.json``: an ImportState.
- ``report.json``: a Report on what was found, for the choices of which `ImportState.shown` has the number.
- ``draft/``: the worker's own files.
- ``cancel``: exists once the user has cancelled.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

SIDES: Final = (28, 32, 48, 64, 96, 128, 224)
"""Sides to which images can be scaled, in pixels."""

DATASET_NAME: Final = re.compile(r"^[a-z0-9][a-z0-9_-]{0,39}$")
DATASET_NAME_RULE: Final = "a name has up to 40 lowercase letters, digits, - and _, and starts with a letter or digit"

Part = Literal["train", "validation", "test"]
Color = Literal["rgb", "gray"]
Fit = Literal["crop", "squash", "pad"]
"""How an image becomes a square: crop cuts off what is longer, squash distorts, pad adds black."""

Status = Literal["waiting", "reading", "preview", "keeping", "ready", "failed", "cancelled"]
"""preview: waits for the user's choices. keeping: writes the dataset. ready, failed, cancelled: ended."""

ENDED: Final = ("ready", "failed", "cancelled")

REQUEST: Final = "request.json"
CHOICES: Final = "choices.json"
STATE: Final = "state.json"
REPORT: Final = "report.json"
UPLOAD: Final = "upload"
CANCEL: Final = "cancel"

ClassName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Choices(_Model):
    """What to make of the images. ``side``, ``color``: by default what suits them.

    ``classes``: new name of each class to rename; two with the same name are merged, an empty name leaves a class out.
    ``shares``: of training, validation and test images where the source has no such split; ``seed``: of this split.
    """

    side: Literal[28, 32, 48, 64, 96, 128, 224] | None = None
    color: Color | None = None
    fit: Fit = "crop"
    classes: dict[str, ClassName] = Field(default_factory=dict, max_length=100_000)
    validation_share: float = Field(0.1, ge=0.01, le=0.5, allow_inf_nan=False)
    test_share: float = Field(0.1, ge=0.01, le=0.5, allow_inf_nan=False)
    seed: int = Field(0, ge=0, lt=2**32)


class ImportRequest(_Model):
    """``source``: the file or folder to read, absolute. ``original``: what the user called it.

    ``keep``: make the dataset at once, without waiting for choices. ``created_at``: seconds since 1970.
    """

    id: str
    name: str
    source: str
    original: str
    keep: bool
    choices: Choices
    created_at: float


class ChoicesMade(_Model):
    """Choices with a number that rises each time the user changes them. ``keep``: make the dataset of them."""

    number: int
    choices: Choices
    keep: bool = False


class ImportState(_Model):
    """``task``: what is done now, with ``done`` of ``total`` images (or bytes; total 0: not known yet).

    ``shown``: number of the choices that the report is for; 0: those of the request. ``reason``: why it failed, or why
    no dataset can be made with these choices: the report is for earlier ones then. ``version``: of the dataset that was
    made. ``previewed``: whether a preview has been shown.
    """

    status: Status
    task: str = ""
    done: int = 0
    total: int = 0
    shown: int = 0
    reason: str = ""
    version: str = ""
    previewed: bool = False
    updated_at: float = 0.0


class ClassCount(_Model):
    """Number of images of a class in each split. ``name``: after the choices; ``found``: its names in the source."""

    name: str
    found: list[str]
    train: int
    validation: int
    test: int

    @property
    def total(self) -> int:
        """Images in all splits."""
        return self.train + self.validation + self.test


class SkippedFile(_Model):
    """A file that is not used. ``path``: within the source. ``kind``: a few words; ``reason``: a sentence fragment."""

    path: str
    kind: Literal["hidden", "not an image", "empty", "unreadable", "too large", "unsafe", "unlabeled", "limit"]
    reason: str


class Occurrence(_Model):
    """An image of the draft or dataset. ``index``: its place in the images of its split."""

    path: str
    label: str
    part: Part
    index: int


class DuplicateGroup(_Model):
    """Images with exactly the same pixels. ``across``: in several splits. ``labels_differ``: in several classes."""

    images: list[Occurrence]
    count: int
    across: bool
    labels_differ: bool


class Outlier(_Model):
    """An image that differs most from the others of its class. ``distance``: in standard deviations."""

    image: Occurrence
    distance: float


class SizeCount(_Model):
    """Images of one size, before scaling, in pixels."""

    width: int
    height: int
    images: int


class Report(_Model):
    """What was found in the source, with `Choices` that have no open question.

    ``layout``: how splits and classes were found, in one sentence. ``split``: where the splits come from. ``sizes``:
    the most frequent ones, at most 20; ``smallest``, ``largest``: by area. ``modes``: number of images by the picture
    format's color mode, such as "RGB". ``duplicates``: at most 50 groups, leaks first; ``duplicates_within`` and
    ``duplicates_across``: number of surplus images in one split, and of images that are in several splits.
    ``skipped``: at most 1,000 files; ``skipped_kinds``: number of all by kind. ``near_empty``: classes with fewer than
    10 training images. ``imbalance``: training images of the largest class for one of the smallest. ``leaks``: a
    sentence for each two splits with images in common; reports of earlier versions have them in ``notes``, sentences on
    what else was noticed.
    """

    layout: str
    split: str
    choices: Choices
    images: int
    classes: list[ClassCount]
    sizes: list[SizeCount]
    smallest: SizeCount | None
    largest: SizeCount | None
    modes: dict[str, int]
    outliers: list[Outlier]
    duplicates: list[DuplicateGroup]
    duplicates_within: int
    duplicates_across: int
    skipped: list[SkippedFile]
    skipped_kinds: dict[str, int]
    near_empty: list[str]
    imbalance: float
    leaks: list[str] = []
    notes: list[str]
