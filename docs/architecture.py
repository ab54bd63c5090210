"""Redraw docs/architecture.svg, the folders of the code and their imports: ``python -m docs.architecture``.

A test fails if the picture differs from the imports, so run this after adding a folder or an import between folders.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from html import escape
from typing import Final

from docs.imports import ROOT, folder_graph, folder_of, modules

FILE: Final = ROOT / "docs" / "architecture.svg"

UNIT, GAP = 66, 12
"""Width of a column including its gap, and of the gap; the server has 12 columns and the worker 3."""
BOX, PITCH = 46, 76
"""Height of a box, and distance between the tops of two rows."""
LEFT, TOP = 40, 68
PAD, INNER_PAD = 20, 10
"""Distance between a frame and its boxes: of server and worker, and of the routes."""
TITLE = 20
WORKER_LEFT = LEFT + 12.5 * UNIT + 2 * PAD
SHARED = frozenset({"models", "app.contract"})
FRAMED = "app.routes"
LETTER = 6.4
"""Width of a character in a box's second line, in a wide font."""


@dataclass(frozen=True)
class Box:
    """A folder with its row and the columns that it spans."""

    folder: str
    row: int
    first: float
    last: float
    name: str
    caption: str = ""

    @property
    def left(self) -> float:
        return self._x(self.first)

    @property
    def right(self) -> float:
        return self._x(self.last) - GAP

    def _x(self, column: float) -> float:
        return (WORKER_LEFT if self.folder.startswith("worker") else LEFT) + column * UNIT

    @property
    def top(self) -> float:
        return row_top(self.row)

    @property
    def bottom(self) -> float:
        return self.top + BOX


def row_top(row: int) -> float:
    """The y of a row, with extra space where the frames around rows 2 to 4 and 0 to 10 begin and end."""
    return TOP + PITCH * row + 14 * (row > 1) + 18 * (row > 4) + 14 * (row > 10)


BOXES: Final = (
    Box("app.cli", 0, 0, 12, "cli", "the runyard command"),
    Box("app", 1, 0, 12, "app: loose files", "main.py builds the web server"),
    Box("app.routes", 2, 2, 12, "routes: loose files", "pages and API, one file for each first path segment"),
    Box("app.routes.mlflow", 3, 0, 2, "mlflow"),
    Box("app.routes.notifications", 3, 2, 4, "notifications"),
    Box("app.routes.datasets", 4, 0, 4, "datasets", "own images"),
    Box("app.routes.runs", 3, 4, 6, "runs"),
    Box("app.routes.sweeps", 3, 6, 8, "sweeps"),
    Box("app.routes.architectures", 3, 8, 10, "architectures"),
    Box("app.routes.compare", 3, 10, 12, "compare"),
    Box("app.routes.launch", 4, 4, 8, "launch", "the launch form"),
    Box("app.routes.predictions", 4, 8, 10, "predictions"),
    Box("app.routes.people", 4, 10, 12, "people"),
    Box("app.actions", 5, 0, 4, "actions", "launch, stop, resume, …"),
    Box("app.charts", 5, 4, 8, "charts", "data, drawings, overlays"),
    Box("app.analysis", 6, 0, 8, "analysis", "statistics, groups, forecasts"),
    Box("app.formats", 6, 8, 12, "formats", "import and export"),
    Box("app.web", 7, 0, 12, "web", "shared by all routes: errors, security, rendering"),
    Box("app.services", 8, 5, 12, "services", "recorder, live events, alerts"),
    Box("app.store.migrations", 9, 0, 3, "store/migrations"),
    Box("app.store.search", 9, 3, 6, "store/search", "run table"),
    Box("app.sweeps", 9, 6, 8, "sweeps"),
    Box("app.inspection", 9, 8, 12, "inspection", "networks, with torch"),
    Box("app.store", 10, 0, 8, "store: loose files", "database tables and queries"),
    Box("worker.model_jobs", 4, 0, 3, "model_jobs", "trained networks"),
    Box("worker.inference", 5, 0, 1.5, "inference"),
    Box("worker.exporting", 5, 1.5, 3, "exporting"),
    Box("worker.training", 6, -0.5, 3, "training", "Lightning loop"),
    Box("worker.data", 7, 0, 1.5, "data"),
    Box("worker.commands", 7, 1.5, 3, "commands"),
    Box("worker.data.importing", 8, 0, 3, "data/importing", "own images"),
    Box("worker", 9, 0, 3, "worker: loose files", "supervisor"),
    Box("worker.reporting", 10, 0, 3, "reporting", "spool"),
    Box("models", 11, 10, 13 + PAD / UNIT, "models", "the networks"),
    Box(
        "app.contract",
        12,
        -PAD / UNIT,
        15.5 + 3 * PAD / UNIT,
        "app/contract",
        "shared by server and worker: settings, runs, events, catalog",
    ),
)
PLACES: Final = {box.folder: box for box in BOXES}


def picture() -> str:
    """The SVG of the code as it is now."""
    graph, files = drawn_folders()
    missing = sorted(set(graph) ^ set(PLACES))
    if missing:
        raise ValueError(f"BOXES in docs/architecture.py and the folders of the code differ: {', '.join(missing)}")
    width, height = PLACES["app.contract"].right + PAD, PLACES["app.contract"].bottom + PAD
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
            f' height="{height:g}" font-family="system-ui, sans-serif" text-anchor="middle" role="img">',
            "<title>The folders of Runyard and what they import</title>",
            STYLE,
            f'<rect class="paper" x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="10"/>',
            *frames(files),
            *(line for a, b in arrows(graph) for line in arrow(a, b)),
            *(line for box in BOXES for line in drawn(box, files[box.folder])),
            "</svg>",
            "",
        ]
    )


NOTES: Final = (
    "Arrows are imports; implied",
    "imports are omitted.",
    "An arrow from a frame stands",
    "for the folders in it.",
    "Loose files are directly in a",
    "folder that has subfolders.",
)

STYLE: Final = """\
<style>
.paper { fill: #fbfbfa; stroke: #d5d8de }
.frame { fill: #eef3fd; stroke: #b9c8ee }
.inner { fill: #e2eafb; stroke: #a9bbea }
.worker { fill: #ecf6ef; stroke: #b0d6bd }
.box { fill: #fff; stroke: #3b5bdb; stroke-width: 1.2 }
.box.w { stroke: #1a7044 }
.box.s { fill: #fff8e6; stroke: #8a6100 }
.name { font-size: 14px; font-weight: 600; fill: #191b1f }
.about { font-size: 12px; fill: #4a4e57 }
.title { font-size: 13px; font-weight: 600; fill: #2b45ad; text-anchor: start }
.title.w { fill: #14593a }
.note { font-size: 12px; fill: #4a4e57; text-anchor: start }
.arrow { stroke: #565a63; stroke-width: 1.4 }
.head { fill: #565a63 }
</style>"""


# Folders and imports --------------------------------------------------------------------------------------------------


def drawn_folders() -> tuple[dict[str, set[str]], Counter[str]]:
    """The graph of the folders, and their numbers of Python files that are not empty.

    ``app.store.migrations`` includes the folder with the migrations themselves.
    """

    def shown(folder: str) -> str:
        return folder.removesuffix(".versions")

    graph: dict[str, set[str]] = {}
    for folder, imported in folder_graph().items():
        graph.setdefault(shown(folder), set()).update({shown(each) for each in imported} - {shown(folder)})
    files = Counter(shown(folder_of(module)) for module, path in modules().items() if path.stat().st_size)
    return graph, files


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The graph without imports that follow from others."""
    reachable: dict[str, set[str]] = {}
    for node in TopologicalSorter(graph).static_order():
        reachable[node] = set().union(*({below} | reachable[below] for below in graph.get(node, ())))
    return {
        node: {each for each in below if not any(each in reachable[other] for other in below)}
        for node, below in graph.items()
    }


def arrows(graph: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Pairs of folders with an arrow. One frame stands for all routes where they import other folders."""
    pairs = {(a, b) for a, below in reduced(graph).items() for b in below}
    outwards = {(a, b) for a, b in pairs if a.startswith(FRAMED) and not b.startswith(FRAMED)}
    targets = reduced({**graph, "frame": {b for _, b in outwards}})["frame"]
    return sorted((pairs - outwards) | {("frame", b) for b in targets})


# Drawing --------------------------------------------------------------------------------------------------------------


def frames(files: Counter[str]) -> Iterable[str]:
    """The frames of server, routes and worker with their titles, and the notes on arrows."""

    def total(package: str) -> int:
        return sum(count for folder, count in files.items() if folder.split(".")[0] == package)

    def frame(css: str, boxes: list[Box], pad: float = PAD, title: float = TITLE) -> str:
        left, top = min(box.left for box in boxes) - pad, min(box.top for box in boxes) - pad - title
        right, bottom = max(box.right for box in boxes) + pad, max(box.bottom for box in boxes) + pad
        size = f'width="{right - left:g}" height="{bottom - top:g}"'
        return f'<rect class="{css}" x="{left:g}" y="{top:g}" {size} rx="10"/>'

    server = [box for box in BOXES if box.folder.startswith("app") and box.folder not in SHARED]
    worker = [box for box in BOXES if box.folder.startswith("worker")]
    inside = [box for box in BOXES if box.folder.startswith(FRAMED)]
    yield frame("frame", server)
    yield frame("inner", inside, INNER_PAD, 0)
    yield frame("worker", worker)
    yield text("title", LEFT, TOP - 16, f"app/ · {total('app')} files")
    yield text("title", LEFT + 4, PLACES["app.routes.launch"].top + 28, "app/routes/")
    yield text("title w", worker[0].left, worker[0].top - 16, f"worker/ · {total('worker')} files")
    for line, words in enumerate(NOTES):
        yield text("note", worker[0].left, TOP - 16 + 19 * line, words)


def arrow(a: str, b: str) -> Iterable[str]:
    """A vertical arrow if no box is in its way, else a slanted one behind the boxes."""
    target = PLACES[b]
    if a == "frame":
        inside = [box for box in BOXES if box.folder.startswith(FRAMED)]
        left, right = min(box.left for box in inside), max(box.right for box in inside)
        row, bottom = max(box.row for box in inside), max(box.bottom for box in inside) + INNER_PAD
    else:
        source = PLACES[a]
        left, right, row, bottom = source.left, source.right, source.row, source.bottom
    between = [box for box in BOXES if row < box.row < target.row]
    free = widest_gap(max(left, target.left), min(right, target.right), between)
    start = end = sum(free) / 2 if free else 0.0
    if free is None:
        start, end = (left + right) / 2, (target.left + target.right) / 2
    yield f'<path class="arrow" d="M{start:g} {bottom:g}L{end:g} {target.top - 6:g}"/>'
    yield f'<path class="head" d="M{end:g} {target.top - 1:g}l-4.5 -9h9z"/>'


def widest_gap(left: float, right: float, between: Iterable[Box]) -> tuple[float, float] | None:
    """The widest part of an interval that no box covers; None if there is none."""
    gaps = []
    for box in sorted(between, key=lambda box: box.left):
        if box.right > left and box.left < right:
            gaps.append((left, box.left - GAP))
            left = max(left, box.right + GAP)
    gaps.append((left, right))
    width, gap = max((end - start, (start, end)) for start, end in gaps)
    return gap if width >= GAP else None


def drawn(box: Box, count: int) -> Iterable[str]:
    """A box with its name, its number of files, and its caption."""
    kind = " s" if box.folder in SHARED else " w" if box.folder.startswith("worker") else ""
    middle, width = (box.left + box.right) / 2, box.right - box.left
    about = f"{count} file{'' if count == 1 else 's'}" + (f" · {box.caption}" if box.caption else "")
    if len(about) * LETTER > width - 12:
        raise ValueError(f"the caption of {box.folder} does not fit: {about}")
    size = f'width="{width:g}" height="{BOX}"'
    yield f'<rect class="box{kind}" x="{box.left:g}" y="{box.top:g}" {size} rx="6"/>'
    yield text("name", middle, box.top + 19, box.name)
    yield text("about", middle, box.top + 36, about)


def text(css: str, x: float, y: float, words: str) -> str:
    return f'<text class="{css}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


def main() -> int:
    """Redraw the picture; the exit status."""
    FILE.write_text(picture())
    print(f"saved {FILE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
