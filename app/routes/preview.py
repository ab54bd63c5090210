"""/api/v1/preview: what a run would be and what it would cost, without launching it."""

from __future__ import annotations

from fastapi import APIRouter

from app.actions.preview import preview
from app.contract.preview import Preview
from app.contract.spec import RunSpec, resolve
from app.web.dependencies import CatalogDep, PartsDep

api = APIRouter(tags=["runs"])


@api.post("/preview")
async def post_preview(spec: RunSpec, parts: PartsDep, catalog: CatalogDep) -> Preview:
    """The exact parameter count of a run, its operations, memory and layers, and how long an epoch will take.

    Operations (``flops``) are those of matrix products, convolutions and attention for one image forward, a
    multiply-add counting as 2. Memory is what the network, its optimizer and one batch need; a device needs some more.
    """
    return await preview(parts, catalog, resolve(spec, catalog))
