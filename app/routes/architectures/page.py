"""/architectures: the families with their block diagrams, and the cost and measurements of their sizes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from app.analysis.reference import Reference, references
from app.charts.network_diagram import Diagram, draw_blocks
from app.contract.catalog import Catalog, FamilyEntry, SizeEntry
from app.contract.dataset import Dataset
from app.contract.datasets import DATASETS
from app.contract.errors import QueryError, Unavailable
from app.contract.presets import PRESETS
from app.contract.preview import Profile
from app.contract.recipes import recipe_settings
from app.contract.spec import RunSpec, SpecError, resolve
from app.store.database import reading
from app.store.measurements import Measured, measure, measured_devices
from app.web.dependencies import CatalogDep, Parts, PartsDep
from app.web.formatting import format_setting
from app.web.rendering import ROOT, wants_fragment
from app.web.sort_column import Column

pages = APIRouter()

# How long the page waits for costs and diagrams before it is sent without them, and how long each later request that
# fetches the rest waits.
PATIENCE_SECONDS, WAIT_SECONDS = 0.15, 2.0
VIEWS = {"family": "By family", "table": "Single table"}
PRESET_KEYS = ("family", "size", "dataset", "recipe")


@dataclass(frozen=True)
class PageState:
    """The page's state, as encoded in its URL; ``picked``: family -> size whose blocks replace the default's."""

    dataset: Dataset
    device: str
    view: str
    sort: str
    picked: dict[str, str]

    def address(self, **changes: Any) -> str:
        """Return the URL of this page with changes; ``picked`` is merged into the current picks."""
        picked = self.picked | changes.pop("picked", {})
        parameters = {"dataset": self.dataset.name, "device": self.device, "view": self.view, "sort": self.sort}
        parameters |= changes
        blank = {"device": "", "view": "family", "sort": ""}
        query = [(name, value) for name, value in parameters.items() if value != blank.get(name)]
        query += [("blocks", f"{family}/{size}") for family, size in picked.items()]
        return "/architectures?" + urlencode(query, safe="/")

    def drawn(self, family: FamilyEntry) -> str:
        """Return the size of a family whose blocks are drawn."""
        return self.picked.get(family.name, family.default)


@dataclass(frozen=True)
class Row:
    """A size with its cost, if known yet, and its measurements."""

    family: FamilyEntry
    size: SizeEntry
    place: int
    params: int | None
    cost: Profile | None
    measured: Measured
    reference: Reference | None = None

    @property
    def default(self) -> bool:
        """Whether this is the family's default size."""
        return self.size.name == self.family.default


@dataclass(frozen=True)
class RowColumn(Column):
    """A column of the size table and the row value that it sorts by."""

    value: Callable[[Row], float | None] = lambda row: None


COLUMNS = [
    RowColumn("size", "size", value=lambda row: row.place),
    RowColumn("params", "parameters", "n", value=lambda row: row.params),
    RowColumn("flops", "MFLOPs", "n", value=lambda row: row.cost.flops if row.cost else None),
    RowColumn("activations", "activations, MB", "n", value=lambda row: row.cost.activation_bytes if row.cost else None),
    RowColumn("memory", "training memory, MB", "n", value=lambda row: row.cost.memory_bytes if row.cost else None),
    RowColumn("speed", "images/s", "n measured", "-", lambda row: row.measured.samples_per_second.value),
    RowColumn("peak", "peak memory, MB", "n measured", value=lambda row: row.measured.peak_memory_mb.value),
    RowColumn("test_acc", "best test accuracy", "n measured", "-", lambda row: row.measured.test_acc.value),
    RowColumn("reference", "reference", "n references", "-", lambda row: row.reference.mean if row.reference else None),
]


@dataclass(frozen=True)
class PresetRow:
    """A preset; ``note`` lists its settings beyond family, size, dataset and recipe."""

    name: str
    settings: dict[str, Any]
    note: str
    params: int | None


@dataclass
class Costs:
    """The inspector's results: a Profile per size, a diagram per family or the reason why there is none, parameter
    counts of presets that the catalog does not count, and the overall failure."""

    profiles: dict[tuple[str, str], Profile] = field(default_factory=dict)
    diagrams: dict[str, Diagram] = field(default_factory=dict)
    undrawn: dict[str, str] = field(default_factory=dict)
    presets: dict[str, int] = field(default_factory=dict)
    waiting: bool = False
    failure: str = ""


# Costs and diagrams --------------------------------------------------------------------------------------------------

_looking: set[asyncio.Task[None]] = set()


async def look(parts: Parts, catalog: Catalog, state: PageState, patience_seconds: float) -> Costs:
    """Return the costs and diagrams that are ready in time; the rest is still computed for the next request."""
    costs = Costs()
    task = asyncio.create_task(_fill(costs, parts, catalog, state))
    _looking.add(task)
    task.add_done_callback(_looking.discard)
    await asyncio.wait({task}, timeout=patience_seconds)
    if task.done():
        task.result()
    # Copies, since the task continues to fill its own dictionaries.
    results = {name: dict(getattr(costs, name)) for name in ("profiles", "diagrams", "undrawn", "presets")}
    return Costs(**results, waiting=not task.done(), failure=costs.failure)


async def _fill(costs: Costs, parts: Parts, catalog: Catalog, state: PageState) -> None:
    """Compute diagrams first: the costs of all sizes take longest."""
    image = [state.dataset.channels, state.dataset.side, state.dataset.side]
    try:
        for name, family in catalog.families.items() if state.view == "family" else ():
            try:
                blocks = await parts.inspector.diagram(name, state.drawn(family), state.dataset.name)
                costs.diagrams[name] = draw_blocks(blocks, image)
            except SpecError as error:
                costs.undrawn[name] = str(error)
        for name in PRESETS:
            if counted(catalog, name) is None:
                # A preset whose family is missing is listed without a count.
                with suppress(SpecError):
                    config = resolve(RunSpec(preset=name), catalog)
                    costs.presets[name] = (await parts.inspector.profile(config)).params
        costs.profiles = await parts.inspector.zoo(state.dataset.name)
    except Unavailable as error:
        costs.failure = error.message


# Template values -----------------------------------------------------------------------------------------------------


def read_address(
    catalog: Catalog,
    dataset: str = "digits",
    device: str = "",
    view: str = "",
    sort: str = "",
    blocks: Iterable[str] = (),
) -> PageState:
    """Read the page's state from its URL. Raises QueryError that lists the valid names."""
    if dataset not in DATASETS:
        raise QueryError("dataset", f"no dataset '{dataset[:40]}'; datasets: {', '.join(DATASETS)}")
    if view not in ("", *VIEWS):
        raise QueryError("view", f"no view '{view[:40]}'; views: {', '.join(VIEWS)}")
    keys = [column.key for column in COLUMNS]
    if sort.removeprefix("-") not in ("", *keys):
        raise QueryError("sort", f"cannot sort by '{sort[:40]}'; columns: {', '.join(keys)}")
    picked = {}
    for name, _, size in (each.partition("/") for each in blocks):
        family = catalog.families.get(name)
        if family is None:
            raise QueryError("blocks", f"no family '{name[:40]}'; families: {', '.join(catalog.families)}")
        if family.size(size) is None:
            sizes = ", ".join(known.name for known in family.sizes)
            raise QueryError("blocks", f"no size '{size[:40]}' for {name}; sizes: {sizes}")
        if size != family.default:
            picked[name] = size
    return PageState(DATASETS[dataset], device, view or "family", sort, picked)


def rows_of(
    catalog: Catalog, state: PageState, profiles: dict[tuple[str, str], Profile], measured: dict[Any, Measured]
) -> list[Row]:
    """Return all sizes in the requested order; sizes without a value come last in either direction."""
    sizes = [(family, size) for family in catalog.families.values() for size in family.sizes]
    rows = [
        Row(
            family,
            size,
            place,
            size.params.get(state.dataset.name),
            profiles.get((family.name, size.name)),
            measured.get((family.name, size.name), Measured()),
            references().get((family.name, size.name, state.dataset.name)),
        )
        for place, (family, size) in enumerate(sizes)
    ]
    column = next((each for each in COLUMNS if each.key == state.sort.removeprefix("-")), COLUMNS[0])
    sign = -1 if state.sort.startswith("-") else 1

    def order(row: Row) -> float:
        value = column.value(row)
        return math.inf if value is None else sign * value

    return sorted(rows, key=order)


def best_of(rows: list[Row]) -> dict[str, float]:
    """Return the best speed and accuracy, if there are at least two to compare."""
    best = {}
    for column in COLUMNS:
        values = [value for row in rows if (value := column.value(row)) is not None]
        if column.key in ("speed", "test_acc") and len(set(values)) > 1:
            best[column.key] = max(values)
    return best


def preset_rows(catalog: Catalog, counts: dict[str, int]) -> list[PresetRow]:
    """Return all presets; ``counts``: parameters of those that the catalog does not count."""
    rows = []
    for name, settings in PRESETS.items():
        more = {key: value for key, value in settings.items() if key not in PRESET_KEYS}
        note = "; ".join(f"{key.replace('_', ' ')} {format_setting(value)}" for key, value in more.items())
        rows.append(PresetRow(name, dict(settings), note, counts.get(name, counted(catalog, name))))
    return rows


def counted(catalog: Catalog, preset: str) -> int | None:
    """Return the catalog's parameter count of a preset; None if it changes the heads or a family option."""
    return catalog.params_of(PRESETS[preset])


def _file(name: str, outside: Path | None) -> str:
    """Return the path of a broken module's file; the name itself if there is no file."""
    if (ROOT / "models" / f"{name}.py").exists():
        return f"models/{name}.py"
    path = outside.expanduser() / f"{name}.py" if outside else None
    return str(path) if path is not None and path.exists() else name


def megas(value: float) -> str:
    """Format a number in millions with three digits: 0.421, 35.1, 1,240."""
    return f"{value / 1e6:,.0f}" if value >= 999.5e6 else f"{value / 1e6:.3g}"


def default_batch(dataset: str) -> int:
    """Return the default recipe's batch size, for which costs and measurements are shown."""
    return int(recipe_settings("default", "", dataset)["batch_size"])


def view(parts: Parts, catalog: Catalog, state: PageState, costs: Costs) -> dict[str, Any]:
    """Return the template values of the page."""
    batch = default_batch(state.dataset.name)
    target = state.dataset.targets[0].name
    with reading(parts.engine) as connection:
        devices = measured_devices(connection, state.dataset.name)
        device = state.device if state.device in devices else next(iter(devices), "")
        measured = measure(connection, state.dataset.name, target, device, batch)
    rows = rows_of(catalog, state, costs.profiles, measured)
    return {
        "state": state,
        "costs": costs,
        "datasets": list(DATASETS.values()),
        "devices": devices,
        "device": device,
        "batch_size": batch,
        "target": target,
        "views": VIEWS,
        "columns": COLUMNS,
        "families": list(catalog.families.values()),
        "rows": rows,
        "best": best_of(rows),
        "broken": {_file(name, parts.settings.models_path): why for name, why in catalog.broken.items()},
        "presets": preset_rows(catalog, costs.presets),
        "megas": megas,
    }


# Routes --------------------------------------------------------------------------------------------------------------


@pages.get("/architectures")
async def architectures_page(
    request: Request,
    parts: PartsDep,
    catalog: CatalogDep,
    dataset: Annotated[str, Query(max_length=80)] = "digits",
    device: Annotated[str, Query(max_length=200)] = "",
    view: Annotated[str, Query(max_length=20)] = "",
    sort: Annotated[str, Query(max_length=40)] = "",
    blocks: Annotated[list[str], Query(max_length=200)] = [],
    wait: Annotated[str, Query(max_length=1)] = "",
) -> HTMLResponse:
    """Show the page; htmx gets only the part that depends on the URL. ?wait=1 waits longer for costs and diagrams."""
    state = read_address(catalog, dataset, device, view, sort, blocks)
    costs = await look(parts, catalog, state, WAIT_SECONDS if wait else PATIENCE_SECONDS)
    return await run_in_threadpool(_page, request, parts, catalog, state, costs)


def _page(request: Request, parts: Parts, catalog: Catalog, state: PageState, costs: Costs) -> HTMLResponse:
    values = view(parts, catalog, state, costs)
    if wants_fragment(request):
        return parts.templates.fragment(request, "_architectures.html", **values)
    return parts.templates.page(request, "architectures.html", **values)
