"""A journey in a real Chromium: a program's form launches a sweep of four, and its best run shows images and a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.system.test_browser_access import missed_by_tab
from tests.system.test_browser_command_sweeps import faults_of
from tests.system.test_programs import add, cli

TRAIN = """
    import argparse

    import numpy as np

    from runyard import Runyard

    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    parser.add_argument("--optimizer")
    options = parser.parse_args()
    with Runyard().start("rates") as run:
        report = ["step,score"]
        for step in range(4):
            score = (1 - abs(options.lr - 0.3)) * (step + 1) / 4
            run.log({"score": score}, step=step)
            run.log_image("samples", np.full((32, 32), 60 * step, np.uint8), step=step)
            report.append(f"{step},{score:.2f}")
        path = f"report-{options.lr}.csv"
        with open(path, "w") as file:
            file.write("\\n".join(report))
        run.log_file(path, "tables/report.csv")
    """
PROGRAM = f"""
about = "Trains on nothing at all"
command = ["{sys.executable}", "show.py", "--lr={{lr}}", "--optimizer={{optimizer}}"]

[fields]
lr = {{type = "float", default = 0.1, min = 0, max = 1, help = "peak learning rate"}}
optimizer = {{type = "choice", choices = ["sgd", "adamw"], default = "sgd"}}
"""


@pytest.fixture
def program(yard: Any, tmp_path: Path) -> Iterator[None]:
    """The program "rates"; removed at the end, since other tests look at a yard without programs."""
    yard.wait_for_worker()
    add(yard, tmp_path, TRAIN, PROGRAM, "rates")
    yield
    assert cli(yard, "rm", "--yes", "rates").returncode == 0


@pytest.mark.usefixtures("program")
def test_a_form_launches_a_sweep_of_four_whose_best_run_shows_its_images_and_its_file(page: Page, yard: Any) -> None:
    page.goto(f"{yard.address}/programs/rates")
    page.wait_for_load_state()
    expect(page.locator(".sweep-fields")).to_be_hidden()
    # Four values, of which one does not fit at first; then how they are compared.
    page.get_by_label("Lr").focus()
    page.keyboard.type("0.1, 0.3, 0.5, 9")
    expect(page.locator("#error-v-lr")).to_have_text("Lr must be at most 1, not 9.0.")
    expect(page.locator("#launch-button")).to_have_text("Launch sweep")
    page.keyboard.press("Backspace")
    page.keyboard.type("0.9")
    expect(page.locator("#error-v-lr")).to_be_empty()
    expect(page.locator("#launch-button")).to_have_text("Launch 4 runs")
    expect(page.locator("#sweep-sum")).to_have_text("4 runs · every combination")
    expect(page.locator("#mark-v-lr")).to_contain_text("4 values")
    expect(page.locator("#filled-command")).to_contain_text("--lr={lr} --optimizer=sgd")
    page.locator("#also-v-optimizer summary").click()
    page.get_by_role("group", name="Also try for optimizer").get_by_label("adamw").check()
    expect(page.locator("#launch-button")).to_have_text("Launch 8 runs")
    page.locator("#mark-v-optimizer a").click()
    expect(page.get_by_role("group", name="Also try for optimizer").get_by_label("adamw")).not_to_be_checked()
    page.get_by_label("Objective").fill("score")
    page.get_by_label("Goal").select_option("maximize")
    expect(page.locator("#launch-button")).to_have_text("Launch 4 runs")
    expect(page.locator("#command-curl")).to_contain_text('"direction": "maximize"')
    assert missed_by_tab(page) == []
    assert faults_of(page) == []
    page.locator("#launch-button").press("Enter")

    # The page of the sweep: four runs, and the best of them.
    expect(page.locator("h1")).to_have_text("rates · lr")
    expect(page.locator("#sweep-command pre")).to_contain_text("show.py --lr={lr} --optimizer=sgd")
    expect(page.locator("#sweep-ended")).to_have_text("4 of 4 runs ended", timeout=180_000)
    expect(page.locator("#sweep-status")).to_have_text("finished")
    expect(page.locator("#sweep-best")).to_have_text("1")
    expect(page.locator("#scatter-lr circle")).to_have_count(4)
    expect(page.locator("#sweep-runs tbody tr")).to_have_count(4)
    expect(page.locator("#sweep-runs tbody tr").first).to_contain_text("0.3")
    assert faults_of(page) == []

    # The files of the best run: images by step with a slider, and a table.
    page.locator(".best-run a").first.click()
    expect(page.locator("h1")).to_contain_text("rates · lr 0.3")
    page.get_by_role("link", name="Files", exact=True).click()
    expect(page.locator("#preview-title")).to_have_text("samples")
    expect(page.locator("#step-shown")).to_have_text("step 3")
    # The script that moves the slider listens then.
    page.wait_for_load_state()
    page.locator("#step").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#step-shown")).to_have_text("step 2")
    page.keyboard.press("Home")
    expect(page.locator("#step-shown")).to_have_text("step 0")
    yard.until(lambda: page.evaluate("document.querySelector('#frame').naturalWidth") == 32)
    assert faults_of(page) == []
    page.locator("#tree summary", has_text="tables/").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#preview-title")).to_have_text("tables/report.csv")
    expect(page.locator("#preview td")).to_have_text(["0", "0.25", "1", "0.50", "2", "0.75", "3", "1.00"])
