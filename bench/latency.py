"""From the log call in the trainer to an event-stream client, and to a real browser's pixels: every point of a run.

A point carries the time of its log call; all processes are on this machine, so its age can be read from one clock.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.request

from bench.record import keep, row
from bench.yard import Yard

RUN = {"family": "simple_cnn", "size": "base", "epochs": 60}
WATCHED_SECONDS = 15.0

# Overlays the page's own listener: the age of every point once the frame that draws it is on the screen.
SPY = """
window.ages = [];
const listen = EventSource.prototype.addEventListener;
EventSource.prototype.addEventListener = function (name, act) {
  listen.call(this, name, act);
  if (name === "metrics") listen.call(this, name, (event) => {
    const points = JSON.parse(event.data)["train/loss"];
    if (!points) return;
    requestAnimationFrame(() => setTimeout(() => {
      for (const time of points.time) window.ages.push(Date.now() / 1000 - time);
    }));
  });
};
"""


def main() -> None:
    """Watch one run with a stream client, and the next with a browser."""
    with Yard() as yard:
        yard.wait(yard.call("/runs", {"family": "simple_mlp", "epochs": 1})["id"], "succeeded")
        stream = _stream_ages(yard)
        browser = _browser_ages(yard)
    keep(
        "latency",
        [
            row("log call -> event-stream client, ms", [1000 * age for age in stream], "<= 300", "p95"),
            row("log call -> painted by Chromium, ms", [1000 * age for age in browser], "<= 300", "p95"),
        ],
    )


def _launched(yard: Yard) -> str:
    run = str(yard.call("/runs", RUN)["id"])
    yard.wait(run, "running")
    return run


def _stream_ages(yard: Yard) -> list[float]:
    run = _launched(yard)
    ages: list[float] = []
    done = threading.Event()

    def read() -> None:
        with urllib.request.urlopen(f"{yard.address}/api/v1/runs/{run}/events") as stream:
            event = ""
            for raw in stream:
                line = raw.decode()
                if line.startswith("event: "):
                    event = line[7:].strip()
                elif line.startswith("data: ") and event == "metrics":
                    now = time.time()
                    ages.extend(now - at for at in json.loads(line[6:]).get("train/loss", {"time": []})["time"])
        done.set()

    threading.Thread(target=read, daemon=True).start()
    time.sleep(WATCHED_SECONDS)
    yard.call(f"/runs/{run}/cancel", {})
    done.wait(10)
    # What was there before the client came was not live.
    return [age for age in ages[20:] if age < 30]


def _browser_ages(yard: Yard) -> list[float]:
    from playwright.sync_api import sync_playwright

    program = next(path for name in ("chromium", "google-chrome") if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.add_init_script(SPY)
        run = _launched(yard)
        page.goto(f"{yard.address}/runs/{run}")
        # Not wait_for_function: the page's policy forbids the eval that it needs.
        while page.evaluate("window.ages.length") < 20:
            time.sleep(0.1)
        page.evaluate("window.ages.length = 0")
        time.sleep(WATCHED_SECONDS)
        found: list[float] = page.evaluate("window.ages")
        yard.call(f"/runs/{run}/cancel", {})
        browser.close()
    return found
