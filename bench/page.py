"""Pages of curves in a browser: a run of ten million points, one of fifty curves, and fifty runs that are compared.

The long run's page carries few points of it; zooming in brings the finer ones, and the smoothed curve is made by the
server from all of them.
"""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from app.store.database import next_commit, writing
from app.store.metric import Curve, add_curves, merge_chunks
from app.store.run import insert_run
from bench.curves import FLUSH, LONG, _filled
from bench.record import Row, keep, row
from bench.recording import BEGAN, NAMES, Array, any_config
from bench.served import Served

REPEATS = 9
MANY = 50
POINTS_OF_MANY = 2000
POINTS_OF_COMPARED = 10_000
MANY_CHARTS = f"{MANY} charts of {POINTS_OF_MANY:,} points"
MANY_RUNS = f"{MANY} runs of {len(NAMES)} curves of {POINTS_OF_COMPARED:,} points, compared"
SECONDS = 60_000

# From the navigation on, in ms: when the first chart was drawn by its script, and the page's first contents.
FIRST = """() => new Promise((done) => {
  const look = () => (Object.keys(window.runyard?.charts ?? {}).length
    ? done([performance.now(), performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN])
    : requestAnimationFrame(look));
  look();
})"""
# From the zoom on: until the finer points are drawn.
ZOOM = """([low, high]) => new Promise((done) => {
  const { board, charts } = window.runyard;
  board.zoomTo(null);
  for (const held of Object.values(board.curves)) delete held.part;
  requestAnimationFrame(() => {
    const began = performance.now();
    board.zoomTo([low, high]);
    const u = charts.loss;
    const look = () => (board.curves["train/loss"].part && u.data[0].filter((x) => x >= low && x <= high).length > 900
      ? done(performance.now() - began)
      : requestAnimationFrame(look));
    look();
  });
})"""
SMOOTH = """() => new Promise((done) => {
  const { board } = window.runyard;
  const held = board.curves["train/loss"];
  const look = () => (board.curves["train/loss"].even ? done(performance.now()) : requestAnimationFrame(look));
  look();
})"""
# Of drawing all charts in sight anew, as when points have come; and of the frames while the zoom moves.
PAINT = """() => { const began = performance.now(); window.runyard.board.draw(); return performance.now() - began; }"""
FRAMES = """() => new Promise((done) => {
  const { board } = window.runyard;
  const found = [];
  let last = performance.now();
  let at = 0;
  const next = () => {
    const now = performance.now();
    found.push(now - last);
    last = now;
    if (at === 40) return done(found.slice(1));
    board.zoomTo([at * 20, 1000 + at * 20]);
    at += 1;
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})"""


def main() -> None:
    """Fill a database, and open the two pages again and again."""
    with Served() as served:
        values = np.random.default_rng(4).normal(size=(1, LONG)).cumsum(1)
        long = _filled(served.engine, values, 1000, ended=True)
        many = _many(served)
        noise = np.random.default_rng(9).normal(size=(MANY, len(NAMES), POINTS_OF_COMPARED)).cumsum(2)
        compared = [_filled(served.engine, values, FLUSH, ended=True) for values in noise]
        with sync_playwright() as playwright:
            program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            rows = _long(browser, served, long) + _fifty(browser, served, f"/runs/{many}", MANY_CHARTS)
            rows += _fifty(browser, served, f"/compare?runs={','.join(compared)}&by=none&x=step", MANY_RUNS)
            browser.close()
    keep("page", rows)


def _many(served: Served) -> str:
    """A run with so many curves, each in a chart of its own."""
    steps = np.arange(POINTS_OF_MANY, dtype=np.uint32)
    values: Array = np.random.default_rng(6).normal(size=(MANY, POINTS_OF_MANY)).cumsum(1)
    with writing(served.engine) as connection:
        run = insert_run(connection, any_config(), {}, None, BEGAN)
        commit = next_commit(connection)
        curves = {
            (run, f"layer{i:02}/norm"): Curve(steps, values[i], BEGAN + steps.astype(np.float64)) for i in range(MANY)
        }
        add_curves(connection, curves, commit)
        merge_chunks(connection, run, commit, ended=True)
    return run


def _opened(browser: Browser, address: str) -> tuple[Page, list[float]]:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(SECONDS)
    page.goto(address)
    return page, list(page.evaluate(FIRST))


def _long(browser: Browser, served: Served, run: str) -> list[Row]:
    size = len(served.get(f"/runs/{run}")) / 1000
    firsts, paints, zooms, smooths = [], [], [], []
    random = np.random.default_rng(8)
    for _ in range(REPEATS):
        page, (first, paint) = _opened(browser, f"http://127.0.0.1:{served.port}/runs/{run}?smoothing=0.9")
        firsts.append(first)
        paints.append(paint)
        smooths.append(page.evaluate(SMOOTH))
        for _ in range(3):
            low = int(random.integers(0, LONG - 200_000))
            zooms.append(page.evaluate(ZOOM, [low, low + 200_000]))
        page.context.close()
    what = f"one run of {LONG:,} points"
    return [
        row(f"{what}: page, kB", [size], "<= 1000"),
        row(f"{what}: to the first paint, ms", paints),
        row(f"{what}: to the first chart, ms", firsts, "<= 1000"),
        row(f"{what}: until it is smoothed from all points, ms", smooths),
        row(f"{what}: zoom to 200,000 points until the finer ones are drawn, ms", zooms, "<= 500"),
    ]


def _fifty(browser: Browser, served: Served, path: str, what: str) -> list[Row]:
    size = len(served.get(path)) / 1000
    firsts: list[float] = []
    paints: list[float] = []
    frames: list[float] = []
    for _ in range(REPEATS):
        page, (first, _paint) = _opened(browser, f"http://127.0.0.1:{served.port}{path}")
        firsts.append(first)
        for _ in range(5):
            paints.append(page.evaluate(PAINT))
        found: Any = page.evaluate(FRAMES)
        frames += found
        page.context.close()
    return [
        row(f"{what}: page, kB", [size]),
        row(f"{what}: to the first chart, ms", firsts, "<= 1500"),
        row(f"{what}: drawn anew, ms", paints, "<= 50"),
        row(f"{what}: a frame while the zoom moves, ms", frames, "<= 50"),
    ]
