"""/launch: the launch form's pages, from filling it in to launching the run or sweep."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any
from urllib.parse import parse_qsl, quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.actions.lineage import launched
from app.actions.runs import launch
from app.actions.sweeps import check_expansion, launch_sweep
from app.contract.builtin_datasets import prepared_file
from app.contract.catalog import Catalog, FamilyEntry
from app.contract.datasets import DATASETS
from app.contract.errors import Conflict
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES
from app.contract.spec import SpecError
from app.routes.launch.augmented import augmented_picture
from app.routes.launch.commands import commands_of
from app.routes.launch.cost import PATIENCE_SECONDS, WAIT_SECONDS, Cost, look_at_cost
from app.routes.launch.fields import SOURCE, address, fields_of_page
from app.routes.launch.form import OPTION, Draft, Form, add_errors, form_of, gathered, read_draft, with_family
from app.routes.launch.invalid_fields import invalid_fields
from app.routes.launch.multiple_values import ALSO
from app.routes.launch.plan import plan_of
from app.routes.launch.prefill import differences, source_of
from app.routes.launch.sweep_plan import add_sweep_errors, how_of, plan_of_sweep, sweep_of
from app.store.run import Origin
from app.web.dependencies import CatalogDep, Parts, PartsDep

pages = APIRouter()

LONGEST_ADDRESS = 4000
UNPROCESSABLE = 422


# Reading the form ----------------------------------------------------------------------------------------------------


async def _posted(request: Request) -> Form:
    async with request.form(max_files=0, max_fields=200) as posted:
        return gathered(posted.multi_items())


def _own_size(form: Form, catalog: Catalog) -> Form:
    """Drop the preselected size of another family from a form that was sent without JavaScript."""
    before = catalog.families.get(next(iter(form.get("size_of", [])), ""))
    if before and form.get("family") != [before.name] and form.get("size") == [before.default]:
        return {name: values for name, values in form.items() if name != "size"}
    return form


def fitting(form: Form, catalog: Catalog) -> tuple[Form, str]:
    """Reset fields that do not fit after a change of family, dataset or recipe.

    The message names a choice of the user that was replaced and that they would not notice otherwise.
    """
    form, message = dict(form), ""
    family = catalog.families.get(next(iter(form.get("family", [])), ""))
    dataset = DATASETS.get(next(iter(form.get("dataset", [])), ""))
    preset = PRESETS.get(next(iter(form.get("preset", [])), ""))
    if family:
        offered = {size.name for size in family.sizes}
        mine = form.get("size_of", [family.name]) == [family.name]
        form["size"] = [size for size in form.get("size", []) if mine and size in offered] or [family.default]
        options = {OPTION + option.name for option in family.options}
        form = {
            name: values
            for name, values in form.items()
            if not name.removeprefix(ALSO).startswith(OPTION) or name.removeprefix(ALSO) in options
        }
        form = _fitting_also(form, family, catalog)
        if preset and preset["family"] != family.name:
            # The preset's recipe and dataset are in their own fields; only its name and settings are dropped.
            form.pop("preset")
    if dataset:
        offered = {target.name for target in dataset.targets}
        form["targets"] = [name for name in form.get("targets", []) if name in offered] or [dataset.targets[0].name]
        recipe = RECIPES.get(next(iter(form.get("recipe", [])), ""))
        if recipe and not recipe.fits(dataset):
            form["recipe"] = ["default"]
            message = f"Recipe {recipe.name} does not support {dataset.name}; switched to recipe default."
    if (family and not family.takes_auxiliary) or (dataset and not dataset.auxiliary):
        form.pop("auxiliary", None)
    return form, message


def _fitting_also(form: Form, family: FamilyEntry, catalog: Catalog) -> Form:
    """Drop additional sizes that none of the chosen families has."""
    families = [
        family,
        *(catalog.families[name] for name in form.get("also.family", []) if name in catalog.families),
    ]
    offered = {size.name for chosen in families for size in chosen.sizes}
    sizes = [name for name in form.get("also.size", []) if name in offered]
    return form | ({"also.size": sizes} if "also.size" in form else {})


# Responses -----------------------------------------------------------------------------------------------------------


def _values(request: Request, parts: Parts, catalog: Catalog, draft: Draft, cost: Cost) -> dict[str, Any]:
    source = source_of(parts, draft)
    sweep = plan_of_sweep(parts, catalog, draft, cost)
    spec = draft.spec if draft.config is not None else None
    launchable = sweep.spec if sweep is not None else spec
    return fields_of_page(draft, catalog) | {
        "draft": draft,
        "families": list(catalog.families.values()),
        "broken": catalog.broken,
        "family": draft.family,
        "dataset": draft.dataset,
        "datasets": list(DATASETS.values()),
        "prepared": draft.dataset is not None and prepared_file(parts.settings.datasets, draft.dataset.name).exists(),
        "plan": plan_of(parts, catalog, draft, cost),
        "cost": cost,
        "augmented": augmented_picture(draft.config, parts.augmented),
        "sweep": sweep,
        "how": how_of(draft),
        "commands": commands_of(launchable, str(request.base_url), not (sweep and sweep.left_out))
        if launchable and spec
        else None,
        "source": source,
        "differs": differences(source, draft),
        "invalid": invalid_fields(draft, catalog),
        "focus": "",
        "key": secrets.token_urlsafe(12),
    }


async def _page(
    request: Request, parts: Parts, catalog: Catalog, draft: Draft, status: int = 200, refusal: str = ""
) -> HTMLResponse:
    """The page; ``refusal``: why a valid form was not launched."""
    cost = await look_at_cost(parts, catalog, draft, PATIENCE_SECONDS)

    def rendered() -> HTMLResponse:
        values = _values(request, parts, catalog, draft, cost)
        if refusal:
            values["unplaced"] = [refusal, *values["unplaced"]]
        elif status == UNPROCESSABLE and values["invalid"]:
            values["focus"] = values["invalid"][0].element
        return parts.templates.page(request, "launch.html", status, message="", **values)

    return await run_in_threadpool(rendered)


async def _fragment(
    request: Request,
    parts: Parts,
    catalog: Catalog,
    form: Form,
    name: str,
    patience: float = PATIENCE_SECONDS,
    message: str = "",
) -> HTMLResponse:
    draft = read_draft(with_family(form, catalog), catalog)
    cost = await look_at_cost(parts, catalog, draft, patience)

    def rendered() -> HTMLResponse:
        values = _values(request, parts, catalog, draft, cost)
        response = parts.templates.fragment(request, name, message=message, **values)
        # The URL has the form's state, so that it can be reloaded, bookmarked and shared.
        if len(url := address(draft)) <= LONGEST_ADDRESS:
            response.headers["HX-Replace-Url"] = url
        return response

    return await run_in_threadpool(rendered)


@pages.get("/launch")
async def launch_page(request: Request, parts: PartsDep, catalog: CatalogDep) -> Response:
    """Show the form. ?family=…&epochs=… or ?preset=NAME fills it in; ?from=RUN copies the fields of a run.

    ?program=NAME leads to the form of a program.
    """
    form = gathered(parse_qsl(request.url.query, keep_blank_values=True))
    if form.get("program"):
        return RedirectResponse(f"/programs/{quote(form['program'][0], safe='')}", 303)
    if form.get("from"):
        source = await run_in_threadpool(launched, parts, form["from"][0])
        form = form_of(source.config) | {name: values for name, values in form.items() if name != "from"}
        form[SOURCE] = [source.id]
    draft = read_draft(with_family(form, catalog), catalog)
    parts.inspector.warm_up()
    return await _page(request, parts, catalog, draft)


@pages.post("/launch/fields")
async def launch_fields(request: Request, parts: PartsDep, catalog: CatalogDep) -> HTMLResponse:
    """Redraw the form after a change that other fields depend on."""
    form, message = fitting(await _posted(request), catalog)
    return await _fragment(request, parts, catalog, form, "_launch_form.html", message=message)


@pages.post("/launch/check")
async def launch_check(request: Request, parts: PartsDep, catalog: CatalogDep, wait: bool = False) -> HTMLResponse:
    """Return errors and the plan while the user types; ``wait`` waits briefly for the network's figures.

    Only briefly: further input waits for this response.
    """
    patience = WAIT_SECONDS if wait else PATIENCE_SECONDS
    return await _fragment(request, parts, catalog, await _posted(request), "_launch_update.html", patience)


@pages.post("/launch")
async def post_launch(request: Request, parts: PartsDep, catalog: CatalogDep) -> Response:
    """Launch, or show the form again with an error next to each invalid field, or why nothing was launched."""
    form = await _posted(request)
    key = form.pop("key", [""])[0]
    form = _own_size(form, catalog)
    form.pop("size_of", None)
    draft = read_draft(form, catalog)
    expansion, sweep = None, sweep_of(draft)
    try:
        if draft.config is not None and sweep is not None:
            expansion = await check_expansion(parts, catalog, sweep)
        elif draft.config is not None:
            await parts.inspector.check(draft.config)
    except SpecError as error:
        (add_errors if sweep is None else add_sweep_errors)(draft, error.errors)
    if draft.spec is None or draft.config is None:
        invalid = read_draft(with_family(form, catalog), catalog)
        invalid.errors |= draft.errors
        invalid.config = None
        return await _page(request, parts, catalog, invalid, UNPROCESSABLE)
    # Pressing the button twice launches one run; filling in the same form again launches another.
    content = json.dumps([key, sorted(form.items())]).encode()
    token = f"form-{hashlib.sha256(content).hexdigest()}" if key else None
    try:
        if sweep is not None and expansion is not None:
            sweep_id = await run_in_threadpool(launch_sweep, parts, catalog, sweep, expansion, token)
            return RedirectResponse(f"/sweeps/{sweep_id}", 303)
        source = await run_in_threadpool(source_of, parts, draft)
        origin = Origin(parent=source.id, relation="clone") if source else None
        run_id = await run_in_threadpool(launch, parts, catalog, draft.spec, token, origin)
        return RedirectResponse(f"/runs/{run_id}", 303)
    except Conflict as error:
        typed = read_draft(with_family(form, catalog), catalog)
        return await _page(request, parts, catalog, typed, error.status, error.sentence)
