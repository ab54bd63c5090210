"""Predictions in a browser: 60,000 images in 10 classes, 50,000 in 1,000, epochs by the scrubber, a long gallery."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import Browser, sync_playwright
from safetensors.numpy import save_file

from app.contract.events import PredictionsKept
from app.contract.predictions import FILE, Header, HeadPredictions, History, Predictions
from app.store.database import writing
from app.store.prediction_file import record_file
from app.store.run import insert_run
from bench.report import Row, row, save
from bench.server_process import ServerProcess
from bench.stream_entries import BEGAN, any_config
from tests.chromium import get_chromium

REPEATS = 7
IMAGES = 60_000
EPOCHS = 20
SCREENS = 60

SHOWN = """() => new Promise((done) => {
  const look = () => (document.querySelector("#matrix, #gallery .picture .tile")
    ? requestAnimationFrame(() => done(performance.now()))
    : requestAnimationFrame(look));
  look();
})"""
# Milliseconds until another epoch is shown.
SCRUB = """(place) => new Promise((done) => {
  const range = document.querySelector("#epoch-range");
  const before = document.querySelector("#view > .figures");
  const began = performance.now();
  range.value = place;
  range.dispatchEvent(new Event("input", { bubbles: true }));
  const look = () => (document.querySelector("#view > .figures") !== before
    ? requestAnimationFrame(() => done(performance.now() - began))
    : requestAnimationFrame(look));
  look();
})"""
# Milliseconds of the frames while scrolling a screen and a half at a time.
SCROLL = """(screens) => new Promise((done) => {
  const found = [];
  let last = performance.now();
  let at = 0;
  const next = () => {
    const now = performance.now();
    found.push(now - last);
    last = now;
    if (at === screens) return done(found.slice(1));
    at += 1;
    window.scrollTo(0, at * 300);
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})"""


def main() -> None:
    """Write predictions of two runs and open their pages repeatedly."""
    program = get_chromium()
    with ServerProcess() as server:
        ten = write_predictions(server, IMAGES, 10)
        thousand = write_predictions(server, 50_000, 1000)
        write_images(server)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            rows = [
                *_first(browser, server, f"/runs/{ten}/predictions", f"{IMAGES:,} × 10", "<= 1000"),
                *_first(browser, server, f"/runs/{thousand}/predictions", "50,000 × 1,000", "<= 1000"),
                *_first(browser, server, f"/runs/{thousand}/predictions?order=cluster", "50,000 × 1,000, clustered"),
                *_first(browser, server, f"/runs/{ten}/predictions/pictures", f"gallery of {IMAGES:,}", "<= 1000"),
                _scrubbed(browser, server, f"/runs/{ten}/predictions?part=validation"),
                _scrolled(browser, server, f"/runs/{ten}/predictions/pictures"),
            ]
            browser.close()
    save("predictions_page", rows)


def write_predictions(server: ServerProcess, images: int, classes: int) -> str:
    """Keep random predictions, of which nine in ten are right, for a new run: its id."""
    chance = np.random.default_rng(classes)
    with writing(server.engine) as connection:
        run = insert_run(connection, any_config(), {}, None, BEGAN)
    labels = chance.integers(0, classes, images)
    logits = chance.normal(0, 1, (images, classes)).astype(np.float32)
    likely = np.where(chance.random(images) < 0.9, labels, chance.integers(0, classes, images))
    logits[np.arange(images), likely] += chance.uniform(4, 12, images).astype(np.float32)
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    head = HeadPredictions.of(exponents / exponents.sum(1, keepdims=True), labels)
    past = np.where(chance.random((EPOCHS, images)) < 0.8, labels, chance.integers(0, classes, (EPOCHS, images)))
    history = History(
        np.arange(1, EPOCHS + 1, dtype=np.int32),
        {"digit": past.astype(np.uint16)},
        {"digit": chance.random((EPOCHS, images)).astype(np.float16)},
    )
    names = tuple(f"{number}" if classes == 10 else f"class {number}" for number in range(classes))
    header = Header(run=run, fence=1, epoch=9, step=9, dataset="mnist", targets={"digit": names}, created_at=BEGAN)
    found = Predictions(header, {"validation": {"digit": head}, "test": {"digit": head}}, history)
    content, path = found.to_bytes(), f"{run}/1/{FILE}"
    file = server.folder / "artifacts" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    kept = PredictionsKept(path=path, kind="final", epoch=9, step=9, bytes=len(content))
    with writing(server.engine) as connection:
        record_file(connection, run, 1, kept, BEGAN)
    return run


def write_images(server: ServerProcess) -> None:
    """Write random images where the server looks for those of MNIST."""
    images = np.random.default_rng(1).integers(0, 256, (IMAGES, 1, 28, 28), np.uint8)
    folder = server.settings.datasets / "prepared"
    folder.mkdir(parents=True)
    save_file({"test.images": images, "validation.images": images}, folder / "mnist.safetensors")


def _first(browser: Browser, server: ServerProcess, path: str, what: str, target: str = "") -> list[Row]:
    size = len(server.get(path)) / 1000
    shown: list[float] = []
    for _ in range(REPEATS):
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.goto(f"http://127.0.0.1:{server.port}{path}")
        shown.append(page.evaluate(SHOWN))
        page.context.close()
    return [row(f"{what}: page, kB", [size]), row(f"{what}: time until it is shown, ms", shown, target)]


def _scrubbed(browser: Browser, server: ServerProcess, path: str) -> Row:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"http://127.0.0.1:{server.port}{path}")
    page.evaluate(SHOWN)
    times = [page.evaluate(SCRUB, place) for place in range(EPOCHS)]
    page.context.close()
    return row(f"{IMAGES:,} × 10: time until another epoch is shown, ms", times, "<= 150")


def _scrolled(browser: Browser, server: ServerProcess, path: str) -> Row:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"http://127.0.0.1:{server.port}{path}")
    page.evaluate(SHOWN)
    frames = page.evaluate(SCROLL, SCREENS)
    page.context.close()
    return row(f"gallery of {IMAGES:,}: frame time while scrolling, ms", frames, "<= 50", "p95")
