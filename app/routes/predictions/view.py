"""What of a run's kept predictions a request is about: a head, a split, and the best checkpoint or an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
from fastapi import Depends, Query
from pydantic import BaseModel, BeforeValidator, Field

from app.actions.runs import find_run
from app.analysis.picture_history import right_by_epoch
from app.analysis.picture_selection import Answers
from app.contract.errors import Conflict, NotFound
from app.contract.predictions import HeadPredictions, Predictions
from app.store.removal import why_removed
from app.store.run import RunRecord
from app.web.dependencies import Parts, PartsDep

LABELS = {"test": "test", "validation": "validation"}


def none_if_blank(value: Any) -> Any:
    """Return None for a blank: forms without a script also send the fields that are empty."""
    return None if value == "" else value


Chosen = Annotated[Annotated[int, Field(ge=0, lt=2**31)] | None, BeforeValidator(none_if_blank)]
"""A whole number; nothing or a blank for none."""


class ViewQuery(BaseModel):
    """head: default: the main one. part: test (default) or validation. epoch: of the history instead of the best
    checkpoint, which is only kept for validation images.
    """

    head: str = Field("", max_length=200, description="A target of the run (default: its main one).")
    part: str = Field("", max_length=20, description="test (default) or validation.")
    epoch: Chosen = Field(None, description="After this epoch instead of the best checkpoint; validation only.")


@dataclass(frozen=True, eq=False)
class View:
    """The predictions of one head for one split. ``epoch``: None for the best checkpoint, once that was predicted."""

    run: RunRecord
    predictions: Predictions
    head: str
    part: str
    epoch: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """The class names of the head."""
        return self.predictions.header.targets[self.head]

    @property
    def kept(self) -> HeadPredictions:
        """What the best checkpoint predicted; not with a history alone."""
        return self.predictions.parts[self.part][self.head]

    @property
    def history_only(self) -> bool:
        """Whether nothing but the history is kept: the run still trains, or ended before its images were predicted."""
        return not self.predictions.parts

    @property
    def labels(self) -> npt.NDArray[np.uint16]:
        """The true classes of the images, uint16 [N]."""
        history = self.predictions.history
        return history.labels[self.head] if self.history_only and history is not None else self.kept.labels

    @property
    def parts(self) -> list[str]:
        """The splits with predictions."""
        return parts_of(self.predictions)

    @property
    def has_history(self) -> bool:
        """Whether predictions of validation images are kept by epoch, whatever the split of this view is."""
        history = self.predictions.history
        return history is not None and len(history.epochs) > 0

    @property
    def epochs(self) -> list[int]:
        """The epochs whose predictions are kept for this split."""
        history = self.predictions.history
        return history.epochs.tolist() if history is not None and self.part == "validation" else []

    @cached_property
    def answers(self) -> Answers:
        """The predictions of the checkpoint or of the epoch."""
        history = self.predictions.history
        if self.epoch is None or history is None:
            return Answers(self.kept.labels, self.kept.predicted, self.kept.confidence)
        row = self.epochs.index(self.epoch)
        return Answers(self.labels, history.predicted[self.head][row], history.confidence[self.head][row])

    @cached_property
    def right_by_epoch(self) -> npt.NDArray[np.bool_] | None:
        """Whether the prediction for each image was right after each epoch, bool [E, N]; None if that is not kept."""
        history = self.predictions.history
        if history is None or not self.epochs:
            return None
        return right_by_epoch(history.predicted[self.head], self.labels)

    @property
    def values(self) -> dict[str, Any]:
        """The query parameters of this view."""
        values = {"head": self.head, "part": self.part}
        return values | ({"epoch": self.epoch} if self.epoch is not None else {})

    def address(self, below: str = "", **changes: Any) -> str:
        """The address of this view, or of a page below it; parameters that are None or "" are left out."""
        return address(f"/runs/{self.run.id}/predictions{below}", self.values | changes)


def address(path: str, values: Mapping[str, Any]) -> str:
    """A path with query parameters; those that are None or "" are left out."""
    said = [_parameter(name, str(value)) for name, value in values.items() if value is not None and value != ""]
    return f"{path}?{'&'.join(said)}"


@lru_cache(maxsize=4096)
def _parameter(name: str, value: str) -> str:
    """A page has hundreds of addresses, which differ in a number or two."""
    return urlencode({name: value})


def parts_of(found: Predictions) -> list[str]:
    """The splits with predictions; a history alone is one of the validation images."""
    return [part for part in LABELS if part in found.parts] if found.parts else ["validation"]


def shown(found: Predictions | None) -> Predictions | None:
    """Return predictions that can be shown: of the best checkpoint, or the history of validation images alone."""
    if found is None or found.parts:
        return found
    history = found.history
    known = history is not None and len(history.epochs) > 0 and set(history.labels) == set(found.header.targets)
    return found if known else None


def open_view(parts: Parts, run_id: str, query: ViewQuery) -> View:
    """Return the view that is asked for. Raises NotFound, and Conflict if the run has no predictions."""
    run, _ = find_run(parts, run_id)
    found = shown(parts.predictions.load(run_id))
    if found is None:
        raise Conflict(why_none(run))
    return view_of(run, found, query)


def view_of(run: RunRecord, found: Predictions, query: ViewQuery) -> View:
    """Return the view of loaded predictions that can be `shown`. Raises NotFound."""
    heads = list(found.header.targets)
    head = query.head or heads[0]
    if head not in heads:
        raise NotFound(f"this run does not predict '{head[:60]}'; it predicts: {', '.join(heads)}")
    kept = parts_of(found)
    part = query.part or kept[0]
    if part not in kept:
        raise NotFound(f"no predictions for the split '{part[:20]}'; there are some for: {', '.join(kept)}")
    newest = int(found.history.epochs[-1]) if not found.parts and found.history is not None else None
    view = View(run, found, head, part, newest if query.epoch is None else query.epoch)
    if query.epoch is not None and query.epoch not in view.epochs:
        if part != "validation":
            raise NotFound("predictions after each epoch are kept for validation images only")
        raise NotFound(f"no predictions after epoch {query.epoch}; {_range(view.epochs)}")
    return view


def _range(epochs: list[int]) -> str:
    if not epochs:
        return "none are kept by epoch"
    return f"there are some after {len(epochs)} epochs, {epochs[0]} to {epochs[-1]}"


def why_none(run: RunRecord) -> str:
    """Say why a run has no predictions."""
    if run.logged:
        return "this run was logged by a script or imported, so Runyard has neither its weights nor its predictions"
    if run.live:
        if not run.config.keep_predictions:
            return "this run keeps no predictions (keep_predictions is false); it can be evaluated when it has ended"
        return "predictions are there a few seconds after the first epoch"
    if why := why_removed(run, "predictions"):
        again = "evaluate it again" if run.best_checkpoint or run.checkpoint else "its checkpoints are gone too"
        return f"this run has no predictions any more: {why}; {again}"
    if not run.best_checkpoint and not run.checkpoint:
        if why := why_removed(run, "best_checkpoints", "checkpoints"):
            return f"there is nothing to predict with: {why}; retry the run"
        return "this run ended before its first checkpoint, so there is nothing to predict with; retry it"
    if not run.config.keep_predictions:
        return "this run kept no predictions (keep_predictions is false); evaluate it"
    return "no predictions are kept for this run; evaluate it"


def why_not_predicted(run: RunRecord, found: Predictions | None) -> str:
    """Say why there are no predictions of a run's best checkpoint; "" if there are."""
    if shown(found) is None:
        return why_none(run)
    if found is None or found.parts:
        return ""
    if run.live:
        return "its best checkpoint predicts the images when it has ended"
    if not run.best_checkpoint and not run.checkpoint:
        if why := why_removed(run, "best_checkpoints", "checkpoints"):
            return f"only the history of its validation images is kept: {why}"
        return "it ended without a checkpoint, so only the history of its validation images is kept"
    return "it ended before its best checkpoint predicted the images; evaluate it"


def view(run_id: str, parts: PartsDep, query: Annotated[ViewQuery, Query()]) -> View:
    """The view that a request of the API is about."""
    return open_view(parts, run_id, query)


ViewDep = Annotated[View, Depends(view)]
