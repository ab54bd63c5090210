"""Which images a gallery shows: query parameters, other runs beside the first, and the images that meet them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import Query
from pydantic import BeforeValidator, Field

from app.analysis.majority_vote import majority_vote
from app.analysis.picture_history import STATES
from app.analysis.picture_selection import Answers, Criteria, Sort, select
from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.predictions import Predictions
from app.contract.spec import FieldError
from app.routes.predictions.view import Chosen, View, ViewQuery, none_if_blank, open_view, why_not_predicted
from app.services.source_files import source_files
from app.store.database import reading
from app.store.run import RunRecord, load_run
from app.web.dependencies import Parts
from app.web.run_selection import MOST_RUNS, split_ids

Outcome = Literal["", "first", "second", "none", "both"]
OUTCOMES: dict[Outcome, str] = {
    "first": "the first right, the others wrong",
    "second": "the first wrong, the others right",
    "both": "all right",
    "none": "none right: possibly wrong labels",
}


class PictureQuery(ViewQuery):
    """Images to show. ``group``: runs that vote together with the run; ``against``: runs that it is compared with."""

    true: Chosen = Field(None, description="Number of the true class.")
    predicted: Chosen = Field(None, description="Number of the predicted class.")
    right: Annotated[bool | None, BeforeValidator(none_if_blank)] = Field(None, description="Only right or wrong ones.")
    low: float = Field(0.0, ge=0, le=1, description="Lowest confidence.")
    high: float = Field(1.0, ge=0, le=1, description="Highest confidence (excluded below 1).")
    state: Literal["", "always", "learned", "forgotten", "never"] = Field(
        "", description="History over epochs; validation images only."
    )
    group: str = Field("", max_length=4000, description="Runs that vote together with this one, comma-separated.")
    against: str = Field("", max_length=4000, description="Runs to compare with, comma-separated.")
    outcome: Outcome = Field(
        "",
        description="first: this run (or its group by majority) is right and the others are wrong; second: the reverse;"
        " both; none: not a single one of the runs is right.",
    )
    sort: Sort = "wrong"

    @property
    def criteria(self) -> Criteria:
        """What the images must be."""
        return Criteria(self.true, self.predicted, self.right, self.low, self.high, self.state, self.sort)

    @property
    def own_values(self) -> dict[str, Any]:
        """The parameters besides those of the view that are not the defaults."""
        return self.model_dump(exclude={"head", "part", "epoch"}, exclude_defaults=True)


PictureQueryDep = Annotated[PictureQuery, Query()]


@dataclass(frozen=True, eq=False)
class Other:
    """Another run beside that of a gallery. ``rival``: whether the first is compared with it, or votes with it."""

    run: RunRecord
    answers: Answers
    rival: bool


@dataclass(frozen=True, eq=False)
class Pictures:
    """The images of a gallery. ``answers``: of the run, or of its group by majority.

    ``files``: the source file of each image of the split, by index; empty unless the dataset is an own one.
    """

    view: View
    query: PictureQuery
    others: list[Other]
    files: tuple[str, ...] = ()

    def file(self, index: int) -> str:
        """The source file of an image, as its dataset's import found it; "" if that is not known."""
        return self.files[index] if index < len(self.files) else ""

    @cached_property
    def answers(self) -> Answers:
        """What the run predicts, or its group by majority vote, with the run's confidence."""
        mates = [other.answers for other in self.others if not other.rival]
        return voted([self.view.answers, *mates]) if mates else self.view.answers

    @cached_property
    def indices(self) -> npt.NDArray[np.int64]:
        """The images in order, int64 [M]."""
        return select(self.answers, self.query.criteria, self.view.right_by_epoch, self._among())

    def _among(self) -> npt.NDArray[np.bool_] | None:
        if not self.query.outcome or not self.others:
            return None
        if self.query.outcome == "none":
            right = [self.view.answers.right, *(other.answers.right for other in self.others)]
            return np.asarray(~np.any(right, 0))
        rivals = [other.answers for other in self.others if other.rival]
        if not rivals:
            return None
        first, second = self.answers.right, voted(rivals).right
        match self.query.outcome:
            case "first":
                return np.asarray(first & ~second)
            case "second":
                return np.asarray(second & ~first)
        return np.asarray(first & second)

    def address(self, below: str = "/pictures", **changes: Any) -> str:
        """The address of this gallery."""
        return self.view.address(below, **(self.query.own_values | changes))


def voted(answers: list[Answers]) -> Answers:
    """What several networks predict by majority vote, with the confidence of the first."""
    if len(answers) == 1:
        return answers[0]
    predicted = majority_vote([each.predicted for each in answers], [each.confidence for each in answers])
    return Answers(answers[0].labels, predicted, answers[0].confidence)


def open_pictures(parts: Parts, run_id: str, query: PictureQuery) -> Pictures:
    """Return the images that are asked for. Raises NotFound, Conflict where runs cannot be compared, and Invalid."""
    view = open_view(parts, run_id, query)
    classes = len(view.names)
    for field, number in (("true", query.true), ("predicted", query.predicted)):
        if number is not None and number >= classes:
            error = f"there are {classes} classes, numbered from 0"
            raise Invalid(error, [FieldError(field, error)])
    if query.state and view.right_by_epoch is None:
        error = f"{', '.join(STATES)} say how validation images were learned, and no history is kept here"
        raise Invalid(error, [FieldError("state", error)])
    mates = [each for each in split_ids(query.group) if each != run_id]
    rivals = [each for each in split_ids(query.against) if each != run_id and each not in mates]
    others = [_other(parts, view, each, each in rivals) for each in [*mates, *rivals][:MOST_RUNS]]
    files = source_files(parts.settings.datasets, view.predictions.header.dataset, view.part)
    return Pictures(view, query, others, files)


def _other(parts: Parts, view: View, run_id: str, rival: bool) -> Other:
    with reading(parts.engine) as connection:
        run = load_run(connection, run_id)
    if run is None:
        raise NotFound(f"no run '{run_id[:40]}'")
    found = parts.predictions.load(run_id)
    if reason := why_incomparable(view, run, found):
        raise Conflict(reason)
    assert found is not None
    kept = found.parts[view.part][view.head]
    return Other(run, Answers(kept.labels, kept.predicted, kept.confidence), rival)


def why_incomparable(view: View, run: RunRecord, found: Predictions | None) -> str:
    """Say why a run's predictions are not for the same images and classes as those of a view; "" if they are."""
    if reason := why_not_predicted(run, found):
        return f"run #{run.number}: {reason}"
    assert found is not None
    header, own = found.header, view.predictions.header
    if header.dataset != own.dataset:
        return f"run #{run.number} is of {header.dataset}, run #{view.run.number} of {own.dataset}"
    if view.head not in header.targets:
        return f"run #{run.number} does not predict {view.head}"
    kept = found.parts.get(view.part, {}).get(view.head)
    if kept is None or not np.array_equal(kept.labels, view.labels):
        return f"run #{run.number} was not evaluated on the same {view.part} images"
    return ""
