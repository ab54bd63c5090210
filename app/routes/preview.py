"""/api/v1/preview: a run's size, cost and expected duration, without launching it."""

from __future__ import annotations

from fastapi import APIRouter

from app.actions.preview import preview
from app.contract.preview import Preview
from app.contract.spec import RunSpec, resolve
from app.web.dependencies import CatalogDep, PartsDep

api = APIRouter(tags=["runs"])


@api.post("/preview")
async def post_preview(spec: RunSpec, parts: PartsDep, catalog: CatalogDep) -> Preview:
    """Preview a run: exact parameter count, operations, memory, layers, and expected time per epoch.

    Operations (``flops``) are those of matrix products, convolutions and attention for the forward pass of one image; a
    multiply-add counts as 2. Memory covers the network, its optimizer and one batch; a device needs slightly more.
    """
    return await preview(parts, catalog, resolve(spec, catalog))
