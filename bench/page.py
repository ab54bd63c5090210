"""Pages in a browser: a run of ten million points, a run of fifty curves, and a comparison of fifty runs.

The page of the long run contains few of its points. Zooming in loads finer ones, and the server computes the smoothed
curve from all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from app.store.database import next_commit, writing
from app.store.metric import Curve, add_curves, merge_chunks
from app.store.run import insert_run
from bench.curves import FLUSH, LONG, filled_run
from bench.report import Row, row, save
from bench.server_process import ServerProcess
from bench.stream_entries import BEGAN, NAMES, Array, any_config
from tests.chromium import get_chromium

REPEATS = 9
MANY = 50
POINTS_OF_MANY = 2000
POINTS_OF_COMPARED = 10_000
MANY_CHARTS = f"{MANY} charts of {POINTS_OF_MANY:,} points"
MANY_RUNS = f"{MANY} runs of {len(NAMES)} curves of {POINTS_OF_COMPARED:,} points, compared"
SECONDS = 60_000

# Milliseconds from navigation to the first chart drawn by its script, and to the page's first contents.
FIRST = """() => new Promise((done) => {
  const look = () => (Object.keys(window.runyard?.charts ?? {}).length
    ? done([performance.now(), performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN])
    : requestAnimationFrame(look));
  look();
})"""
# Milliseconds from the zoom until the finer points are drawn.
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
# Milliseconds to redraw all visible charts, as when points arrive; and of the frames while zooming.
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
    """Fill a database and open its pages repeatedly."""
    program = get_chromium()
    with ServerProcess() as server:
        values = np.random.default_rng(4).normal(size=(1, LONG)).cumsum(1)
        long = filled_run(server.engine, values, 1000, ended=True)
        many_curves = _run_with_many_curves(server)
        noise = np.random.default_rng(9).normal(size=(MANY, len(NAMES), POINTS_OF_COMPARED)).cumsum(2)
        compared = [filled_run(server.engine, values, FLUSH, ended=True) for values in noise]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            rows = _long(browser, server, long) + _many_charts(browser, server, f"/runs/{many_curves}", MANY_CHARTS)
            rows += _many_charts(browser, server, f"/compare?runs={','.join(compared)}&by=none&x=step", MANY_RUNS)
            browser.close()
    save("page", rows)


def _run_with_many_curves(server: ServerProcess) -> str:
    """Write a run with MANY curves, each in its own chart."""
    steps = np.arange(POINTS_OF_MANY, dtype=np.int64)
    values: Array = np.random.default_rng(6).normal(size=(MANY, POINTS_OF_MANY)).cumsum(1)
    with writing(server.engine) as connection:
        run = insert_run(connection, any_config(), {}, None, BEGAN)
        commit = next_commit(connection)
        curves = {
            (run, f"layer{i:02}/norm"): Curve(steps, values[i], BEGAN + steps.astype(np.float64)) for i in range(MANY)
        }
        add_curves(connection, curves, commit)
        merge_chunks(connection, run, commit, ended=True)
    return run


def _open(browser: Browser, address: str) -> tuple[Page, list[float]]:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(SECONDS)
    page.goto(address)
    return page, list(page.evaluate(FIRST))


def _long(browser: Browser, server: ServerProcess, run: str) -> list[Row]:
    size = len(server.get(f"/runs/{run}")) / 1000
    firsts, paints, zooms, smooths = [], [], [], []
    random = np.random.default_rng(8)
    for _ in range(REPEATS):
        page, (first, paint) = _open(browser, f"http://127.0.0.1:{server.port}/runs/{run}?smoothing=0.9")
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
        row(f"{what}: time to first paint, ms", paints),
        row(f"{what}: time to first chart, ms", firsts, "<= 1000"),
        row(f"{what}: time to the curve smoothed from all points, ms", smooths),
        row(f"{what}: time from a zoom to 200,000 points to the finer points, ms", zooms, "<= 500"),
    ]


def _many_charts(browser: Browser, server: ServerProcess, path: str, what: str) -> list[Row]:
    size = len(server.get(path)) / 1000
    firsts: list[float] = []
    paints: list[float] = []
    frames: list[float] = []
    for _ in range(REPEATS):
        page, (first, _paint) = _open(browser, f"http://127.0.0.1:{server.port}{path}")
        firsts.append(first)
        for _ in range(5):
            paints.append(page.evaluate(PAINT))
        frame_times: Any = page.evaluate(FRAMES)
        frames += frame_times
        page.context.close()
    return [
        row(f"{what}: page, kB", [size]),
        row(f"{what}: time to first chart, ms", firsts, "<= 1500"),
        row(f"{what}: redraw, ms", paints, "<= 50"),
        row(f"{what}: frame time while zooming, ms", frames, "<= 50"),
    ]
