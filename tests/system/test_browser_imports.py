"""A folder of TensorBoard event files becomes runs, which come onto the page and lie over those trained here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.system.running_yard import OFFLINE, ROOT


def test_an_imported_run_comes_onto_the_page_and_lies_over_the_one_that_it_was_taken_from(
    page: Page, yard: Any, tmp_path: Path
) -> None:
    run = yard.launch(dataset="digits", family="simple_mlp", size="tiny", epochs=3, tags=["origin"])
    yard.wait_for(run, "succeeded")
    page.goto(f"{yard.address}/runs/{run}")
    with page.expect_download() as download:
        page.locator("#take-along").get_by_text("TensorBoard").click()
    folder = tmp_path / "taken from here"
    folder.mkdir()
    download.value.save_as(folder / download.value.suggested_filename)

    page.goto(f"{yard.address}/runs")
    brought = subprocess.run(
        [sys.executable, "-m", "app.cli", "import", str(tmp_path), "--url", yard.address],
        cwd=ROOT,
        env={**os.environ, **OFFLINE},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert brought.returncode == 0, brought.stderr
    # The page was not loaded again by hand.
    link = page.locator("tbody").get_by_role("link", name="taken from here", exact=True).first
    expect(link).to_be_visible()
    link.click()
    expect(page.locator("h1")).to_have_text("taken from here")
    imported = page.url.rpartition("/")[2]
    expect(page.locator("canvas").first).to_be_visible()

    page.goto(f"{yard.address}/compare?runs={run},{imported}&x=step&smoothing=0")
    expect(page.locator("#chart-val-acc canvas")).to_be_visible()
    held = page.evaluate("window.runyard.charts['val-acc'].data")
    logged = yard.call(f"/runs/{run}/metrics?names=val/acc&points=0")["val/acc"]
    assert held[0] == logged["step"]
    # An event file holds single precision.
    assert all(abs(one - other) < 1e-6 for one, other in zip(held[1], held[2], strict=True))
    assert held[1] == logged["value"]
