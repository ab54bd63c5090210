"""The main path through Runyard on PostgreSQL with workers on two other hosts, in a Chromium on a fourth."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.hub import PERSON, Hub, points
from tests.system.test_browser_access import WIDE, faults_of
from tests.system.test_browser_people import sign_in, someone

EPOCHS = 24
STEPS = 39 * EPOCHS
WITHOUT_TLS = "The Cross-Origin-Opener-Policy header has been ignored"
"""What Chromium says of every page that comes from another host without TLS."""
TOLERANCES = {"test/acc": 5e-5, "best val/acc": 5e-5, "best val/loss": 5e-5}
"""How far a rounded number on a page may be from the API's."""


def drawn(page: Page, words: str) -> Any:
    """What an expression says of the chart of the loss, ``u``; None as long as there is none."""
    return page.evaluate(f"(() => {{ const u = window.runyard?.charts?.loss; return u ? {words} : null; }})()")


def watch(hub: Hub, page: Page, run: str) -> None:
    """Open a run that is trained, and see its curve grow while nobody does anything."""
    page.goto(f"{hub.address}/runs/{run}")
    began = int(hub.until(lambda: drawn(page, "u.data[0].length")))
    hub.until(lambda: drawn(page, "u.data[0].length") >= began + 10)


def figures(page: Page, name: str) -> list[float]:
    """The numbers in a row of the table of compared runs; percentages from 0 to 1."""
    row = page.locator("#compare-figures tr", has=page.get_by_role("rowheader", name=name, exact=True)).first
    found = [re.findall(r"([\d.]+)(%?)", cell)[0] for cell in row.locator("td").all_inner_texts()]
    return [float(number) / (100 if percent else 1) for number, percent in found]


def test_runs_are_launched_watched_stopped_resumed_on_the_other_host_and_compared(browser: Browser, hub: Hub) -> None:
    with someone(browser, WITHOUT_TLS) as page:
        sign_in(page, hub, PERSON)
        expect(page.locator("#yard")).to_contain_text("2 workers")

        # Two runs, so that both hosts work.
        page.goto(f"{hub.address}/launch?family=simple_cnn&size=base&dataset=digits&epochs={EPOCHS}&seed=7")
        page.locator("#field-lr").fill("0.001, 0.003")
        page.get_by_role("button", name="Launch 2 runs").click()
        page.wait_for_url(re.compile(r"/sweeps/s_\w+$"))
        whole, run = (str(found["id"]) for found in hub.call("/runs")["runs"])
        for each in (whole, run):
            hub.wait_for_step(each, 20)
        there, here = (str(hub.call(f"/runs/{each}")["environment"]["host"]) for each in (whole, run))
        assert {there, here} == {"east", "west"}

        # What each host reports is drawn while it comes.
        for each, host in ((whole, there), (run, here)):
            watch(hub, page, each)
            expect(page.locator(".reason")).to_contain_text(f"Running on {host} (cpu)")

        # It is stopped here, and goes on there as soon as the only slot is free.
        page.locator("button[id^=stop-]").click()
        expect(page.locator(".page-head[data-status=cancelled]")).to_be_visible()
        stopped = hub.call(f"/runs/{run}")["progress"]["step"]
        assert 20 <= stopped < STEPS
        expect(page.get_by_label("Resume on")).to_have_value(f"{there}-")
        assert faults_of(page) == []
        page.set_viewport_size(WIDE)
        page.locator("#act-resume-on").click()
        page.wait_for_url(lambda address: run not in address)
        resumed = page.url.rsplit("/", 1)[1]
        expect(page.locator(".lineage li[aria-current]")).to_contain_text(f"resumed from step {stopped}")
        expect(page.locator(".page-head[data-status=succeeded]")).to_be_visible(timeout=180_000)
        expect(page.locator("#run-environment")).to_contain_text(f"{there}-")
        assert hub.call(f"/runs/{resumed}")["environment"]["host"] == there

        # Every step is there once, and the page has drawn what the API says, to the last bit.
        losses = points(hub, resumed)
        assert [step for step, _ in losses] == list(range(1, STEPS + 1))
        assert losses[:stopped] == points(hub, run)
        hub.until(lambda: drawn(page, "u.data[0].length") == STEPS)
        assert drawn(page, "[u.data[0], u.data[1]]") == [list(column) for column in zip(*losses, strict=True)]

        page.goto(f"{hub.address}/runs")
        for each in (resumed, whole):
            page.locator(f"#row-{each} input[type=checkbox]").check()
        page.get_by_role("button", name="Compare").click()
        page.wait_for_url(re.compile(r"/compare\?runs="))
        compared = re.findall(r"r_\w+", page.url)
        assert sorted(compared) == sorted((resumed, whole))
        answers = [hub.wait_for(each, "succeeded")["summary"] for each in compared]
        for name, tolerance in TOLERANCES.items():
            extreme = "best" if name.startswith("best") else "last"
            wanted = [answer[name.removeprefix("best ")][extreme] for answer in answers]
            assert figures(page, name) == pytest.approx(wanted, abs=tolerance), name
        assert figures(page, "epochs trained") == [EPOCHS, EPOCHS]
        hub.until(lambda: page.evaluate("Object.keys(window.runyard?.charts ?? {}).length") >= 3)
        assert faults_of(page) == []
