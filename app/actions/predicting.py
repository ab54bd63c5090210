"""Predictions with the checkpoints of runs, and with what aliases point to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from starlette.concurrency import run_in_threadpool

from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.events import Checkpoint
from app.contract.playground import Center
from app.contract.spec import FieldError
from app.services.inference import Batch, Upload, Weights
from app.store.alias import ALIAS, find_alias, list_aliases
from app.store.database import reading
from app.store.removal import why_removed
from app.store.run import RunRecord, load_run
from app.web.dependencies import Parts

MOST_PICTURES: Final = 512
MOST_PICTURE_BYTES: Final = 16 * 2**20

Which = Literal["best", "last"]


@dataclass(frozen=True)
class Predicted:
    """Predictions of a run's checkpoint."""

    run: RunRecord
    which: Which
    checkpoint: Checkpoint
    batch: Batch


def checkpoint_of(run: RunRecord, which: Which) -> Checkpoint:
    """A checkpoint of a run. Raises Conflict if there is none."""
    written = run.best_checkpoint if which == "best" else run.checkpoint
    if written:
        return Checkpoint.model_validate_json(written)
    if run.logged:
        raise Conflict(f"run #{run.number} was logged by a script, so there is no checkpoint to predict with")
    if why := why_removed(run, "best_checkpoints" if which == "best" else "checkpoints"):
        raise Conflict(f"run #{run.number} has no {which} checkpoint any more: {why}")
    if which == "best" and run.checkpoint:
        raise Conflict(
            f"run #{run.number} has no best checkpoint yet; use checkpoint=last, or wait for the first epoch"
        )
    ended = {"cancelled": "was stopped"}.get(run.status, run.status)
    when = "the first one is saved after the first epoch" if run.live else f"it {ended} before the first was saved"
    raise Conflict(f"run #{run.number} has no checkpoint{' yet' if run.live else ''}; {when}")


def check_pictures(pictures: Sequence[Upload]) -> None:
    """Raises Invalid for too few or too many pictures, and for too large ones."""
    wrong = ""
    if not pictures:
        wrong = "send at least one image"
    elif len(pictures) > MOST_PICTURES:
        wrong = f"send at most {MOST_PICTURES} images at once, not {len(pictures):,}"
    for place, picture in enumerate(pictures):
        size, name = len(picture.content), picture.name[:80] or f"image {place + 1}"
        if size > MOST_PICTURE_BYTES:
            wrong = (
                wrong or f"{name} has {size / 2**20:,.0f} MiB; at most {MOST_PICTURE_BYTES // 2**20} MiB are allowed"
            )
        elif not size:
            wrong = wrong or f"{name} is empty"
    if wrong:
        raise Invalid(wrong, [FieldError("pictures", wrong)])


async def predict(parts: Parts, run_id: str, pictures: Sequence[Upload], which: Which, center: Center) -> Predicted:
    """Predict the classes of pictures with a run's checkpoint. Raises NotFound, Invalid, Conflict, Unavailable."""
    found: list[tuple[RunRecord, Checkpoint]] = []

    def weights() -> Weights:
        with reading(parts.engine) as connection:
            run = load_run(connection, run_id)
        if run is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        checkpoint = checkpoint_of(run, which)
        found[:] = [(run, checkpoint)]
        return Weights(checkpoint.path, checkpoint.step)

    first = await run_in_threadpool(weights)
    check_pictures(pictures)
    batch = await parts.inference.predict(first, weights, pictures, center)
    run, checkpoint = found[0]
    return Predicted(run, which, checkpoint, batch)


def run_of_alias(parts: Parts, name: str) -> str:
    """The id of the run that an alias points to. Raises NotFound."""
    with reading(parts.engine) as connection:
        found = find_alias(connection, name)
        if found is None:
            names = ", ".join(each.name for each in list_aliases(connection)[:20]) or "none yet"
            raise NotFound(f"no model '{name[:60]}'; models: {names}")
    return found.run


def check_alias(name: str) -> None:
    """Raises Invalid for what cannot be an alias."""
    if len(name) > 60 or not ALIAS.fullmatch(name):
        sentence = (
            "a model's name must be lower-case letters and digits, joined by single '-', '_' or '.', begin with a"
            " letter, and have at most 60 characters"
        )
        raise Invalid(sentence, [FieldError("name", sentence)])
