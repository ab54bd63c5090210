"""Time from the log call in the trainer to an event-stream client and to the pixels of a browser, for every point.

A point has the time of its log call. All processes run on this machine, so one clock is enough to compute its age.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request

from bench.instance import Instance
from bench.report import row, save
from tests.chromium import get_chromium

RUN = {"family": "simple_cnn", "size": "base", "epochs": 60}
WATCHED_SECONDS = 15.0

# In addition to the page's own listener: the age of every point once the frame that draws it is on the screen.
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
    """Watch one run with a stream client and the next with a browser."""
    with Instance() as instance:
        instance.wait(instance.call("/runs", {"family": "simple_mlp", "epochs": 1})["id"], "succeeded")
        stream = _stream_ages(instance)
        browser = _browser_ages(instance)
    save(
        "latency",
        [
            row("log call -> event-stream client, ms", [1000 * age for age in stream], "<= 300", "p95"),
            row("log call -> painted by Chromium, ms", [1000 * age for age in browser], "<= 300", "p95"),
        ],
    )


def _launch(instance: Instance) -> str:
    run = str(instance.call("/runs", RUN)["id"])
    instance.wait(run, "running")
    return run


def _stream_ages(instance: Instance) -> list[float]:
    run = _launch(instance)
    ages: list[float] = []
    done = threading.Event()

    def read() -> None:
        with urllib.request.urlopen(f"{instance.address}/api/v1/runs/{run}/events") as stream:
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
    instance.call(f"/runs/{run}/cancel", {})
    done.wait(10)
    # Points from before the client connected were not live.
    return [age for age in ages[20:] if age < 30]


def _browser_ages(instance: Instance) -> list[float]:
    from playwright.sync_api import sync_playwright

    program = get_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.add_init_script(SPY)
        run = _launch(instance)
        page.goto(f"{instance.address}/runs/{run}")
        # Not wait_for_function, which needs eval: the page's content security policy forbids it.
        while page.evaluate("window.ages.length") < 20:
            time.sleep(0.1)
        page.evaluate("window.ages.length = 0")
        time.sleep(WATCHED_SECONDS)
        ages: list[float] = page.evaluate("window.ages")
        instance.call(f"/runs/{run}/cancel", {})
        browser.close()
    return ages
