"""A program in a real Chromium: added on the command line, launched by the form, and watched."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.system.test_browser_access import AXE, FAULTS, NARROW, missed_by_tab
from tests.system.test_mlflow import QUIET
from tests.system.test_programs import add, cli

TRAIN = """
import argparse

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--steps", type=int)
parser.add_argument("--optimizer")
parser.add_argument("--seed", type=int)
parser.add_argument("--fast", action="store_true")
options = parser.parse_args()
with mlflow.start_run():
    # As scripts write what they were given: 0.5 and True.
    mlflow.log_params(vars(options))
    for step in range(options.steps):
        mlflow.log_metric("val/acc", options.lr * (step + 1) / options.steps, step=step)
print("trained with", options.optimizer)
"""
PROGRAM = f"""
about = "Trains on nothing at all"
command = [
  "{sys.executable}", "show.py", "--lr={{lr}}", "--steps", "{{steps}}", "--optimizer={{optimizer}}", "{{fast}}",
  "--seed={{seed}}",
]

[env]
{os.linesep.join(f'{name} = "{value}"' for name, value in QUIET.items())}

[fields]
lr = {{type = "float", default = 0.1, min = 0, max = 1, help = "peak learning rate"}}
steps = {{type = "int", default = 20, min = 2}}
optimizer = {{type = "choice", choices = ["sgd", "adamw"], default = "sgd"}}
fast = {{type = "bool", default = false, if_true = "--fast", if_false = ""}}
seed = {{type = "int", default = 0}}
"""


@pytest.fixture
def program(yard: Any, tmp_path: Path) -> Any:
    """A program that logs with MLflow's own client."""
    yard.wait_for_worker()
    add(yard, tmp_path, TRAIN, PROGRAM, "train")
    yield "train"
    assert cli(yard, "rm", "--yes", "train").returncode == 0


def faults(page: Page) -> list[str]:
    page.evaluate(AXE.read_text())
    found = [str(each) for each in page.evaluate(FAULTS, None)]
    wide = page.evaluate("document.documentElement.scrollWidth")
    return found + ([f"{wide} px wide"] if wide > page.evaluate("window.innerWidth") else [])


def test_without_programs_the_page_says_how_to_add_one(page: Page, yard: Any) -> None:
    page.goto(f"{yard.address}/launch")
    page.get_by_role("link", name="Programs").click()
    expect(page.locator("#programs-none")).to_contain_text("runyard program add tune.toml")
    assert missed_by_tab(page) == []
    assert faults(page) == []
    page.set_viewport_size(NARROW)
    assert faults(page) == []


def test_a_program_is_launched_by_its_form_and_its_curve_and_values_are_seen(
    page: Page, yard: Any, program: str
) -> None:
    page.goto(f"{yard.address}/programs")
    page.get_by_role("link", name="Launch train").click()
    expect(page.locator("h1")).to_have_text("Launch train")
    # Scripts that follow the page listen then.
    page.wait_for_load_state()
    # By keyboard: an error beside its field, which says what is expected, and the mark of a change.
    page.get_by_label("Lr").focus()
    page.keyboard.type("7")
    expect(page.locator("#error-v-lr")).to_have_text("Lr must be at most 1, not 7.0.")
    expect(page.get_by_label("Lr")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#filled-command")).to_contain_text("once the form is valid")
    page.keyboard.press("Backspace")
    page.keyboard.type("0.5")
    expect(page.locator("#error-v-lr")).to_be_empty()
    expect(page.locator("#mark-v-lr")).to_contain_text("changed from 0.1")
    page.get_by_label("Optimizer", exact=True).select_option("adamw")
    page.get_by_label("Fast", exact=True).select_option("yes")
    expect(page.locator("#filled-command")).to_contain_text("--lr=0.5 --steps 20 --optimizer=adamw --fast --seed=0")
    expect(page.locator("#launch-changes")).to_contain_text("3 fields changed from the program's defaults")
    page.locator("#mark-v-fast a").click()
    expect(page.locator("#filled-command")).not_to_contain_text("--fast")
    page.get_by_label("Fast", exact=True).select_option("yes")
    expect(page.locator("#command-curl")).to_contain_text('"fast": true')
    expect(page).to_have_url(f"{yard.address}/programs/train?v-lr=0.5&v-optimizer=adamw&v-fast=true")
    page.locator("#launch-button").press("Enter")
    # Its page: the values, the curve that its script logs, and its end.
    expect(page.locator("h1")).to_have_text("train · lr 0.5, optimizer adamw, fast true")
    expect(page.locator("#run-command").get_by_role("link", name="train")).to_be_visible()
    expect(page.locator("dd").filter(has_text="adamw")).to_be_visible()
    expect(page.locator(".badge").first).to_have_attribute("data-status", "succeeded", timeout=180_000)
    expect(page.locator("#chart-acc .plot")).to_be_visible()
    expect(page.locator("#log-lines")).to_contain_text("trained with adamw")
    assert faults(page) == []
    found = yard.call(f"/runs/{page.url.rpartition('/')[2]}")
    assert (found["summary"]["val/acc"]["best"], found["summary"]["val/acc"]["points"]) == (0.5, 20)
    # The script's own spelling replaces what was chosen.
    assert (found["parameters"]["fast"], found["command"]["values"]["fast"]) == ("True", "true")


def test_a_run_is_launched_again_with_other_values_and_several_seeds(page: Page, yard: Any, program: str) -> None:
    run = yard.call("/programs/train/runs", {"values": {"lr": 0.25, "steps": 3}})["runs"][0]
    yard.wait_for(run["id"], "succeeded")
    page.goto(f"{yard.address}/runs/{run['id']}")
    page.get_by_role("link", name="Launch it with other values").click()
    expect(page.get_by_label("Lr")).to_have_value("0.25")
    page.wait_for_load_state()
    expect(page.locator("#launch-differs")).to_have_text(f"Same as #{run['number']}.")
    page.get_by_label("Steps").fill("4")
    expect(page.locator("#launch-differs")).to_contain_text("steps 3 → 4")
    page.get_by_label("Seeds").fill("3")
    expect(page.locator("#launch-button")).to_have_text("Launch 3 runs")
    page.set_viewport_size(NARROW)
    assert faults(page) == []
    page.locator("#launch-button").click()
    expect(page).to_have_url(f"{yard.address}/runs?q=program:train")
    expect(page.get_by_role("link", name="train · lr 0.25, steps 4, seed 2")).to_be_visible()
    found = yard.call("/runs?q=program:train%20param.steps:4")["runs"]
    assert {(each["parent"], each["relation"]) for each in found} == {(run["id"], "clone")}
    for each in found:
        yard.wait_for(each["id"], "succeeded")
    # Three seeds of one configuration are one group: the mean of their curves, and no command lines.
    page.goto(f"{yard.address}/compare?runs={','.join(each['id'] for each in found)}")
    expect(page.locator("main")).to_contain_text("Comparing 3 runs")
    expect(page.locator("main")).to_contain_text("1 group")
    expect(page.locator("main")).not_to_contain_text("show.py")
