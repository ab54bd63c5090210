"""A person asks to be told, and is: by a webhook and on the desktop."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page, expect

# A headless browser has no desktop: what would be shown there is kept in the page instead.
DESKTOP = """
window.shown = [];
window.Notification = class {
  static permission = "granted";
  static requestPermission = async () => "granted";
  constructor(title, options) { window.shown.push(options.body); }
};
"""


@pytest.fixture
def heard() -> Iterator[tuple[str, list[Any]]]:
    """An address, and what was posted to it."""
    posts: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", posts
    server.shutdown()
    server.server_close()


def test_a_run_that_ends_is_told_to_a_webhook_and_on_the_desktop(
    page: Page, yard: Any, heard: tuple[str, list[Any]]
) -> None:
    address, posts = heard
    page.add_init_script(DESKTOP)
    page.goto(f"{yard.address}/notifications")
    page.get_by_label("URL").fill(address)
    page.get_by_label("a run is cancelled").uncheck()
    page.get_by_role("button", name="Add webhook").click()
    expect(page.get_by_role("cell", name=address)).to_be_visible()
    kinds = "a run succeeds, a run fails, a run matches a rule, a disk fills up or has room again"
    expect(page.get_by_role("cell", name=kinds)).to_be_visible()

    page.get_by_label("metric").fill("val/acc")
    page.get_by_label("value").fill("0.0001")
    page.get_by_role("button", name="Add rule").click()
    expect(page.get_by_role("cell", name="val/acc above 0.0001")).to_be_visible()

    page.get_by_label("Show desktop notifications").check()
    expect(page.locator("[data-desktop-state]")).to_have_text("On while a Runyard tab is open")
    yard.until(lambda: page.evaluate("localStorage.getItem('runyard-heard') !== null"))

    run = yard.launch(family="simple_mlp", dataset="digits", epochs=2)
    number = yard.wait_for(run, "succeeded")["number"]
    yard.until(lambda: any(post["kind"] == "succeeded" and post["run"]["id"] == run for post in posts))
    sentence = f"#{number} simple_mlp base · digits succeeded"
    expect(page.get_by_role("link", name=sentence)).to_be_visible()
    yard.until(lambda: sentence in page.evaluate("window.shown"))
    shown = page.evaluate("window.shown")
    assert len(shown) == len(set(shown))

    # Others may have rules here as well.
    row = page.get_by_role("row")
    row.filter(has_text=address).get_by_role("button", name="Delete").click()
    expect(page.get_by_role("cell", name=address)).to_have_count(0)
    row.filter(has_text="val/acc above 0.0001").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("cell", name="val/acc above 0.0001")).to_have_count(0)
