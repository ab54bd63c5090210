"""Pictures in a request: files of a multipart form, JSON with base64, or the body itself; and their predictions."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile

from app.contract.errors import Invalid, to_field_errors
from app.contract.events import Checkpoint
from app.contract.playground import Center
from app.contract.spec import FieldError
from app.services.inference import Batch, Upload

MOST_FILES = 2000
"""Files of a form that are read at all; how many may be predicted is said in a better sentence."""

CenterQuery = Annotated[
    Center,
    Query(
        description="Whether drawings are scaled and centered as the dataset's digits were: auto (unless an image has"
        " the dataset's size already), on or off."
    ),
]
TopQuery = Annotated[
    int, Query(ge=0, le=100_000, description="Only the most probable classes, this many; 0: all, in their order.")
]


class Pictures(BaseModel):
    """A JSON request: image files in base64. ``names``: theirs, which errors say; may be left out."""

    model_config = ConfigDict(extra="forbid")

    pictures: Annotated[list[str], Field(max_length=MOST_FILES)]
    names: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=MOST_FILES)] = []

    @model_validator(mode="after")
    def _one_for_each(self) -> Pictures:
        if self.names and len(self.names) != len(self.pictures):
            raise ValueError("names must be as many as pictures, or none")
        return self


_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "Image files."}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": {"file": _FILES}}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["pictures"],
                    "properties": {
                        "pictures": {
                            "type": "array",
                            "items": {"type": "string", "format": "byte"},
                            "description": "Image files in base64.",
                        },
                        "names": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "Names of the files, for error messages.",
                        },
                    },
                }
            },
        },
    }
}
"""How OpenAPI describes the body, which is read by `sent_pictures`."""


class HeadPrediction(BaseModel):
    """What one head says of a picture: its most probable class, and the probabilities of the classes by name."""

    label: str
    index: int
    probability: float
    probabilities: dict[str, float]


class PicturePrediction(BaseModel):
    """What is said of a picture: ``label`` and ``probability`` are those of the main head, the first one."""

    name: str
    label: str
    probability: float
    heads: dict[str, HeadPrediction]


class PredictedPicturesOut(BaseModel):
    """Predictions, in the order of the pictures. ``step`` and ``epoch``: of the ``checkpoint``, best or last."""

    run: str
    number: int
    model: str = ""
    checkpoint: str
    epoch: int
    step: int
    dataset: str
    predictions: list[PicturePrediction]


async def sent_pictures(request: Request) -> list[Upload]:
    """The pictures of a request, in their order. Raises Invalid."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=MOST_FILES) as form:
            return [
                Upload(each.filename or "", await each.read())
                for _, each in form.multi_items()
                if isinstance(each, UploadFile)
            ]
    if kind == "application/json":
        try:
            sent = Pictures.model_validate_json(await request.body())
            return decoded(sent.pictures, sent.names)
        except ValidationError as error:
            errors = to_field_errors(error.errors())
            raise Invalid("; ".join(each.message for each in errors), errors) from error
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [Upload("", await request.body())]
    raise Invalid("send images as a multipart form, as JSON with base64, or one as the body of an image type")


def decoded(pictures: Sequence[str], names: Sequence[str] = ()) -> list[Upload]:
    """Pictures from base64, also as data URLs. Raises Invalid."""
    found = []
    for place, text in enumerate(pictures):
        name = names[place] if names else ""
        try:
            found.append(
                Upload(name, base64.b64decode(text.partition(",")[2] if text[:5] == "data:" else text, validate=True))
            )
        except (binascii.Error, ValueError) as error:
            sentence = f"{name[:80] or f'image {place + 1}'} is not encoded as base64"
            raise Invalid(sentence, [FieldError("pictures", sentence)]) from error
    return found


def predictions_of(batch: Batch, names: Sequence[str], top: int) -> list[PicturePrediction]:
    """A batch as the API shows it. ``top``: number of classes of each head, 0 for all."""
    found = []
    for place, name in enumerate(names):
        heads = {
            head: _head(batch.labels[head], probabilities[place], top)
            for head, probabilities in batch.probabilities.items()
        }
        main = next(iter(heads.values()))
        found.append(PicturePrediction(name=name, label=main.label, probability=main.probability, heads=heads))
    return found


def _head(labels: Sequence[str], probabilities: Sequence[float], top: int) -> HeadPrediction:
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    order: Sequence[int] = range(len(probabilities))
    if top:
        order = sorted(order, key=lambda place: -probabilities[place])[:top]
    return HeadPrediction(
        label=labels[best],
        index=best,
        probability=probabilities[best],
        probabilities={labels[place]: probabilities[place] for place in order},
    )


def checkpoint_fields(checkpoint: Checkpoint) -> dict[str, int]:
    """Where a checkpoint was saved."""
    return {"epoch": checkpoint.epoch, "step": checkpoint.step}
