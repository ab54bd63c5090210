"""/api/v1/runs/{id}/predict: what a run's checkpoint says of pictures."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.actions.predicting import Which, predict
from app.web.dependencies import PartsDep
from app.web.sent_pictures import (
    BODY,
    CenterQuery,
    PredictedPicturesOut,
    TopQuery,
    checkpoint_fields,
    predictions_of,
    sent_pictures,
)

api = APIRouter(tags=["models"])


@api.post("/runs/{run_id}/predict", openapi_extra=BODY)
async def post_predict(
    run_id: str,
    request: Request,
    parts: PartsDep,
    checkpoint: Annotated[Which, Query(description="best or last.")] = "best",
    center: CenterQuery = "auto",
    top: TopQuery = 0,
) -> PredictedPicturesOut:
    """Predict the classes of images of any size and format with a run's best or last checkpoint."""
    pictures = await sent_pictures(request)
    found = await predict(parts, run_id, pictures, checkpoint, center)
    return PredictedPicturesOut(
        run=found.run.id,
        number=found.run.number,
        checkpoint=found.which,
        dataset=found.batch.dataset,
        predictions=predictions_of(found.batch, [each.name for each in pictures], top),
        **checkpoint_fields(found.checkpoint),
    )
