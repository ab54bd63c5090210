"""/architectures/launch: launch all sizes of one or all families on a dataset, after a plan to confirm."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy import Connection, text
from starlette.concurrency import run_in_threadpool

from app.actions.sweeps import extend_sweep, find_sweep, launch_sweep
from app.contract.catalog import Catalog, FamilyEntry
from app.contract.datasets import DATASETS
from app.contract.errors import to_field_errors
from app.contract.recipes import RECIPES, recipe_settings
from app.contract.spec import FieldError, RunSpec, SpecError, resolve
from app.contract.sweep import SweepSpec
from app.routes.architectures.page import default_batch
from app.store.database import reading
from app.store.measurements import measure, measured_devices
from app.store.sweep import find_by_key
from app.store.worker import list_workers
from app.sweeps.expand import Expansion, expand
from app.web.dependencies import CatalogDep, Parts, PartsDep
from app.web.formatting import format_duration, upper_first

pages = APIRouter()

# The default limit when launching all families, so that huge networks do not delay the others.
MOST_PARAMS_OF_ALL = 5_000_000
FIELDS = ("family", "dataset", "recipe", "epochs", "most", "tag")


@dataclass(frozen=True)
class Candidate:
    """A requested size; ``why_not``: why it is skipped, blank if it is launched."""

    family: str
    size: str
    params: int | None
    spec: RunSpec | None
    seconds: float | None
    why_not: str

    @property
    def title(self) -> str:
        """Family and size."""
        return f"{self.family} {self.size}"


@dataclass
class Plan:
    """The launch that a form requests: chosen and skipped sizes, errors, duration."""

    form: dict[str, str]
    chosen: list[Candidate] = field(default_factory=list)
    left_out: list[Candidate] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    epochs: int | None = None
    duration: str = ""

    @property
    def planned(self) -> str:
        """The sizes to launch as one string, which the confirmation repeats: only a displayed plan is launched."""
        how = [self.form[name] for name in ("dataset", "recipe", "epochs")]
        return " ".join(["/".join(how), *(f"{size.family}/{size.size}" for size in self.chosen)])


def read_form(given: Mapping[str, Any]) -> dict[str, str]:
    """Read the text of each field; blank if it is missing or a file."""
    values = {name: given.get(name, "") for name in FIELDS}
    form = {
        name: value.strip()[:200].encode("utf-8", "replace").decode() if isinstance(value, str) else ""
        for name, value in values.items()
    }
    form["dataset"] = form["dataset"] or "digits"
    form["recipe"] = form["recipe"] or "default"
    if "most" not in given:
        form["most"] = "0" if form["family"] else f"{MOST_PARAMS_OF_ALL:,}"
    return form


async def refused(parts: Parts, catalog: Catalog, form: dict[str, str]) -> dict[tuple[str, str], str]:
    """Return why sizes of user-defined families cannot be trained; built-in families are checked in the catalog."""
    refusals = {}
    for family in _requested_families(catalog, form):
        for size in family.sizes if family.source else ():
            spec, _, _ = _checked(form, family.name, size.name, catalog)
            try:
                if spec is not None:
                    await parts.inspector.check(resolve(spec, catalog))
            except SpecError as error:
                refusals[family.name, size.name] = str(error)
    return refusals


def make_plan(parts: Parts, catalog: Catalog, form: dict[str, str], refused: Mapping[tuple[str, str], str]) -> Plan:
    """Plan every requested size, smallest first: launched, or skipped with a reason."""
    plan = Plan(dict(form))
    dataset = DATASETS.get(form["dataset"])
    if dataset is None:
        plan.errors["dataset"] = f"No dataset '{form['dataset'][:40]}'. Datasets: {', '.join(DATASETS)}."
        return plan
    if form["family"] not in ("", *catalog.families):
        names = ", ".join(catalog.families)
        plan.errors["family"] = f"No family '{form['family'][:40]}'. Families: {names}."
        return plan
    most = _whole(form["most"] or "0")
    if most is None:
        plan.errors["most"] = "The maximum number of parameters must be a whole number; 0 means no limit."
    if not form["tag"]:
        plan.errors["tag"] = "Enter a tag so you can find these runs later."
    with reading(parts.engine) as connection:
        epoch_seconds = _epoch_seconds(connection, dataset.name)
        slots = sum(w.slots for w in list_workers(connection, time.time(), parts.settings.lease_seconds))
    refusals: list[list[FieldError]] = []
    candidates = []
    for family in _requested_families(catalog, form):
        for size in family.sizes:
            spec, epochs, errors = _checked(form, family.name, size.name, catalog)
            params = size.params.get(dataset.name)
            why_not = "; ".join(error.message for error in errors) or refused.get((family.name, size.name), "")
            if not why_not and params is None:
                why_not = f"not supported on {dataset.name}"
            elif not why_not and most and params is not None and params > most:
                why_not = f"more than {most:,} parameters"
            per_epoch = epoch_seconds.get((family.name, size.name))
            seconds = per_epoch * epochs if per_epoch is not None and epochs is not None else None
            plan.epochs = plan.epochs or epochs
            refusals.append(errors)
            candidates.append(Candidate(family.name, size.name, params, spec, seconds, why_not))
    # An error of every size is an error of the form.
    for error in refusals[0] if refusals else []:
        name = "tag" if error.field == "tags" else error.field
        if name in FIELDS and all(error in errors for errors in refusals):
            plan.errors[name] = f"{upper_first(error.message)}."
    if not plan.errors:
        candidates.sort(key=lambda candidate: candidate.params or 0)
        plan.chosen = [candidate for candidate in candidates if not candidate.why_not]
        plan.left_out = [candidate for candidate in candidates if candidate.why_not]
        plan.duration = _duration(plan.chosen, slots)
    return plan


def _requested_families(catalog: Catalog, form: dict[str, str]) -> list[FamilyEntry]:
    return [family for name, family in catalog.families.items() if form["family"] in ("", name)]


def _whole(typed: str) -> int | None:
    digits = typed.replace(",", "").replace("_", "").replace(" ", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else None


def _checked(
    form: dict[str, str], family: str, size: str, catalog: Catalog
) -> tuple[RunSpec | None, int | None, list[FieldError]]:
    values: dict[str, Any] = {"family": family, "size": size, "dataset": form["dataset"]}
    values |= {"tags": [form["tag"]]} if form["tag"] else {}
    values |= {"recipe": form["recipe"]} if form["recipe"] != "default" else {}
    values |= {"epochs": form["epochs"]} if form["epochs"] else {}
    try:
        spec = RunSpec.model_validate(values)
        return spec, resolve(spec, catalog).epochs, []
    except ValidationError as error:
        return None, None, to_field_errors(error.errors(include_url=False))
    except SpecError as error:
        return None, None, error.errors


def next_tag(connection: Connection, family: str, dataset: str) -> str:
    """Return the first tag such as all-sizes-digits-1 that no run has, including runs in the trash."""
    base = "-".join(part for part in ("all-sizes", family[:20], dataset) if part)
    taken = set(connection.execute(text("SELECT DISTINCT tag FROM run_tag WHERE tag LIKE 'all-sizes-%'")).scalars())
    return next(tag for i in range(1, len(taken) + 2) if (tag := f"{base}-{i}") not in taken)


def _epoch_seconds(connection: Connection, dataset: str) -> dict[tuple[str, str], float]:
    device = next(iter(measured_devices(connection, dataset)), "")
    target = DATASETS[dataset].targets[0].name
    measurements = measure(connection, dataset, target, device, default_batch(dataset))
    return {
        key: measured.epoch_seconds.value
        for key, measured in measurements.items()
        if measured.epoch_seconds.value is not None
    }


def _duration(chosen: list[Candidate], slots: int) -> str:
    known = [candidate.seconds for candidate in chosen if candidate.seconds is not None]
    if not known:
        return ""
    total = format_duration(sum(known))
    text = f"{total} of training"
    if slots > 1:
        text = f"{format_duration(sum(known) / slots)} on {slots} slots ({text})"
    duration = f"about {text}, based on earlier runs"
    unknown = len(chosen) - len(known)
    return f"{duration}; {unknown} of {len(chosen)} runs not estimated" if unknown else duration


def _values(catalog: Catalog, plan: Plan, key: str = "") -> dict[str, Any]:
    dataset, recipe = plan.form["dataset"], plan.form["recipe"]
    info = DATASETS.get(dataset)
    known = recipe in RECIPES and info is not None
    return {
        "plan": plan,
        "families": [("", f"All {len(catalog.families)} families"), *((name, name) for name in catalog.families)],
        "datasets": [(name, name) for name in DATASETS],
        "recipes": [(choice.name, choice.name) for choice in RECIPES.values() if info is None or choice.fits(info)],
        "blank_epochs": recipe_settings(recipe, plan.form["family"], dataset)["epochs"] if known else "",
        "key": key[:80] or secrets.token_urlsafe(12),
        "changed": False,
    }


# Routes --------------------------------------------------------------------------------------------------------------


@pages.get("/architectures/launch")
async def launch_plan_page(request: Request, parts: PartsDep, catalog: CatalogDep) -> HTMLResponse:
    """Show the plan; nothing is launched yet."""
    form = read_form(request.query_params)
    if "tag" not in request.query_params:
        form["tag"] = await run_in_threadpool(_next_tag, parts, form)
    plan = await _plan(parts, catalog, form)
    values = _values(catalog, plan)
    return await run_in_threadpool(parts.templates.page, request, "architectures_launch.html", **values)


@pages.get("/architectures/launch/plan")
async def launch_plan(request: Request, parts: PartsDep, catalog: CatalogDep) -> HTMLResponse:
    """Return the updated plan while the user changes the form."""
    plan = await _plan(parts, catalog, read_form(request.query_params))
    # Keep the key: a page restored from the browser history is still the one that launched.
    values = _values(catalog, plan, request.query_params.get("key", ""))
    return parts.templates.fragment(request, "_architectures_plan.html", **values)


@pages.post("/architectures/launch")
async def post_launch_all(request: Request, parts: PartsDep, catalog: CatalogDep) -> Response:
    """Launch the confirmed plan, or show the plan again if the form no longer matches it."""
    async with request.form(max_files=0, max_fields=40) as posted:
        typed = {name: value for name, value in posted.items() if isinstance(value, str)}
    plan = await _plan(parts, catalog, read_form(typed))
    key = typed.get("key", "")
    if not plan.chosen or plan.planned != typed.get("planned", ""):
        values = _values(catalog, plan, key) | {"changed": not plan.errors and bool(plan.chosen)}
        return await run_in_threadpool(parts.templates.page, request, "architectures_launch.html", 422, **values)
    sweep = await run_in_threadpool(_launch, parts, catalog, plan, key)
    return RedirectResponse(f"/sweeps/{sweep}", 303)


def _next_tag(parts: Parts, form: dict[str, str]) -> str:
    with reading(parts.engine) as connection:
        return next_tag(connection, form["family"], form["dataset"])


async def _plan(parts: Parts, catalog: Catalog, form: dict[str, str]) -> Plan:
    refusals = await refused(parts, catalog, form)
    return await run_in_threadpool(make_plan, parts, catalog, form, refusals)


def _launch(parts: Parts, catalog: Catalog, plan: Plan, key: str) -> str:
    """Launch the plan as one sweep, so that its runs can be compared from the start; returns the sweep's ID."""
    spec = _sweep(plan)
    order = {(candidate.family, candidate.size): i for i, candidate in enumerate(plan.chosen)}
    runs = [run for run in expand(spec, catalog).runs if (run.config.family, run.config.size) in order]
    runs.sort(key=lambda run: order[run.config.family, run.config.size])
    expansion = Expansion(runs, [f"{candidate.title}: {candidate.why_not}" for candidate in plan.left_out])
    token = _key(key, plan)
    with reading(parts.engine) as connection:
        before = find_by_key(connection, token) if token else None
    if before is None:
        return launch_sweep(parts, catalog, spec, expansion, token)
    # Launched again from the browser history with other sizes: add the missing ones.
    if find_sweep(parts, before).asked != spec.model_dump(mode="json", exclude_unset=True):
        extend_sweep(parts, catalog, before, spec, expansion)
    return before


def _sweep(plan: Plan) -> SweepSpec:
    base: dict[str, Any] = {"dataset": plan.form["dataset"], "tags": [plan.form["tag"]]}
    base |= {"recipe": plan.form["recipe"]} if plan.form["recipe"] != "default" else {}
    base |= {"epochs": int(plan.form["epochs"])} if plan.form["epochs"] else {}
    families = list(dict.fromkeys(candidate.family for candidate in (*plan.chosen, *plan.left_out)))
    spec: dict[str, Any] = {"base": base, "grid": {"family": families, "size": ["all"]}, "name": plan.form["tag"]}
    most = _whole(plan.form["most"] or "0")
    return SweepSpec(**spec, **({"most_params": most} if most else {}))


def _key(key: str, plan: Plan) -> str | None:
    """Return an idempotency key: pressing the button twice launches once; a new form launches again."""
    if not key:
        return None
    content = json.dumps([key, {name: plan.form[name] for name in FIELDS if name != "most"}], sort_keys=True).encode()
    return f"zoo-{hashlib.sha256(content).hexdigest()}"
