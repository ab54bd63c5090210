"""/launch: the form that says what to train, and what would follow from it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.actions.lineage import launched
from app.actions.runs import launch
from app.actions.sweeps import check_expansion, launch_sweep
from app.contract.catalog import Catalog, FamilyEntry
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES
from app.contract.spec import SpecError
from app.routes.launch.commands import commands_of
from app.routes.launch.cost import PATIENCE_SECONDS, WAIT_SECONDS, Cost, look_at_cost
from app.routes.launch.fields import SOURCE, address, fields_of_page
from app.routes.launch.form import OPTION, Draft, Form, add_errors, form_of, read_draft
from app.routes.launch.multiple_values import ALSO
from app.routes.launch.plan import plan_of
from app.routes.launch.prefill import differences, source_of
from app.routes.launch.sweep_plan import add_sweep_errors, how_of, plan_of_sweep, sweep_of
from app.store.run import Origin
from app.web.dependencies import CatalogDep, Parts, PartsDep

pages = APIRouter()

LONGEST_ADDRESS = 4000


# Reading what was sent -----------------------------------------------------------------------------------------------


def _gathered(pairs: Iterable[tuple[str, Any]]) -> Form:
    form: Form = {}
    for name, value in pairs:
        if isinstance(value, str):
            form.setdefault(name, []).append(value.encode("utf-8", "replace").decode())
    return form


async def _posted(request: Request) -> Form:
    async with request.form(max_files=0, max_fields=200) as posted:
        return _gathered(posted.multi_items())


def _with_family(form: Form, catalog: Catalog) -> Form:
    """A form in which a family is chosen: the first one where nothing says another."""
    named = any(form.get("family", [])) or any(name in PRESETS for name in form.get("preset", []))
    return form if named else form | {"family": [next(iter(catalog.families), "")]}


def _own_size(form: Form, catalog: Catalog) -> Form:
    """A form that was sent without JavaScript: the size that stood there for another family was not chosen."""
    before = catalog.families.get(next(iter(form.get("size_of", [])), ""))
    if before and form.get("family") != [before.name] and form.get("size") == [before.default]:
        return {name: values for name, values in form.items() if name != "size"}
    return form


def fitting(form: Form, catalog: Catalog) -> tuple[Form, str]:
    """A form whose family, dataset or recipe was just changed: what the new one does not have is blank again.

    The sentence says what was let go of, where its user had chosen it and would not see that it is gone.
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
            # Its recipe and dataset stand in their own fields; what is let go of is its name and its settings.
            form.pop("preset")
    if dataset:
        offered = {target.name for target in dataset.targets}
        form["targets"] = [name for name in form.get("targets", []) if name in offered] or [dataset.targets[0].name]
        recipe = RECIPES.get(next(iter(form.get("recipe", [])), ""))
        if recipe and not recipe.fits(dataset.name):
            form["recipe"] = ["default"]
            made_for = ", ".join(recipe.datasets)
            message = f"Recipe {recipe.name} is made for {made_for}, so default stands instead for {dataset.name}."
    if (family and not family.takes_auxiliary) or (dataset and not dataset.auxiliary):
        form.pop("auxiliary", None)
    return form, message


def _fitting_also(form: Form, family: FamilyEntry, catalog: Catalog) -> Form:
    """A form in which only such sizes are to be tried as well as one of its families has."""
    families = [
        family,
        *(catalog.families[name] for name in form.get("also.family", []) if name in catalog.families),
    ]
    offered = {size.name for each in families for size in each.sizes}
    sizes = [name for name in form.get("also.size", []) if name in offered]
    return form | ({"also.size": sizes} if "also.size" in form else {})


# Answering -----------------------------------------------------------------------------------------------------------


def _values(request: Request, parts: Parts, catalog: Catalog, draft: Draft, cost: Cost) -> dict[str, Any]:
    source = source_of(parts, draft)
    sweep = plan_of_sweep(parts, catalog, draft, cost)
    spec = draft.spec if draft.config is not None else None
    asked = sweep.spec if sweep is not None else spec
    return fields_of_page(draft, catalog) | {
        "draft": draft,
        "families": list(catalog.families.values()),
        "broken": catalog.broken,
        "family": draft.family,
        "dataset": draft.dataset,
        "datasets": list(DATASETS.values()),
        "plan": plan_of(parts, catalog, draft, cost),
        "cost": cost,
        "sweep": sweep,
        "how": how_of(draft),
        "commands": commands_of(asked, str(request.base_url), not (sweep and sweep.left_out))
        if asked and spec
        else None,
        "source": source,
        "differs": differences(source, draft),
        "key": secrets.token_urlsafe(12),
    }


async def _page(request: Request, parts: Parts, catalog: Catalog, draft: Draft, status: int = 200) -> HTMLResponse:
    cost = await look_at_cost(parts, catalog, draft, PATIENCE_SECONDS)

    def rendered() -> HTMLResponse:
        values = _values(request, parts, catalog, draft, cost)
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
    draft = read_draft(_with_family(form, catalog), catalog)
    cost = await look_at_cost(parts, catalog, draft, patience)

    def rendered() -> HTMLResponse:
        values = _values(request, parts, catalog, draft, cost)
        answer = parts.templates.fragment(request, name, message=message, **values)
        # The address holds the state of the form, so that it can be loaded again, kept and passed on.
        if len(here := address(draft)) <= LONGEST_ADDRESS:
            answer.headers["HX-Replace-Url"] = here
        return answer

    return await run_in_threadpool(rendered)


@pages.get("/launch")
async def launch_page(request: Request, parts: PartsDep, catalog: CatalogDep) -> HTMLResponse:
    """The form; ?family=…&epochs=… fills it in, ?preset=NAME too, ?from=RUN fills in what another run was."""
    form = _gathered(parse_qsl(request.url.query, keep_blank_values=True))
    if form.get("from"):
        source = await run_in_threadpool(launched, parts, form["from"][0])
        form = form_of(source.config) | {name: values for name, values in form.items() if name != "from"}
        form[SOURCE] = [source.id]
    draft = read_draft(_with_family(form, catalog), catalog)
    return await _page(request, parts, catalog, draft)


@pages.post("/launch/fields")
async def launch_fields(request: Request, parts: PartsDep, catalog: CatalogDep) -> HTMLResponse:
    """The form anew, after a choice on which other fields depend."""
    form, message = fitting(await _posted(request), catalog)
    return await _fragment(request, parts, catalog, form, "_launch_form.html", message=message)


@pages.post("/launch/check")
async def launch_check(request: Request, parts: PartsDep, catalog: CatalogDep, wait: bool = False) -> HTMLResponse:
    """What is wrong and what would follow, while someone types; ``wait`` waits a little for the network's figures.

    Not for long: what is typed meanwhile waits for the answer.
    """
    patience = WAIT_SECONDS if wait else PATIENCE_SECONDS
    return await _fragment(request, parts, catalog, await _posted(request), "_launch_notes.html", patience)


@pages.post("/launch")
async def post_launch(request: Request, parts: PartsDep, catalog: CatalogDep) -> Response:
    """Launch; or the same form again with what is wrong beside each field."""
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
        shown = read_draft(_with_family(form, catalog), catalog)
        shown.errors |= draft.errors
        shown.config = None
        return await _page(request, parts, catalog, shown, 422)
    # The button pressed twice launches one run; the same form filled in anew launches another.
    content = json.dumps([key, sorted(form.items())]).encode()
    token = f"form-{hashlib.sha256(content).hexdigest()}" if key else None
    if sweep is not None and expansion is not None:
        sweep_id = await run_in_threadpool(launch_sweep, parts, catalog, sweep, expansion, token)
        return RedirectResponse(f"/sweeps/{sweep_id}", 303)
    source = await run_in_threadpool(source_of, parts, draft)
    origin = Origin(parent=source.id, relation="clone") if source else None
    run_id = await run_in_threadpool(launch, parts, catalog, draft.spec, token, origin)
    return RedirectResponse(f"/runs/{run_id}", 303)
