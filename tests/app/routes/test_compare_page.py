"""Runs over one another: curves, figures with the best one marked, and what differs."""

from __future__ import annotations

from typing import Any

HTMX = {"HX-Request": "true"}


def test_without_runs_there_is_a_list_to_choose_from(client: Any, look: Any, trained: Any) -> None:
    assert "nothing to compare yet" in look(client.get("/compare")).html
    run = trained()
    page = look(client.get("/compare"))
    assert page.one("input", type="checkbox", name="runs", value=run)
    assert page.one("form", action="/compare", method="get")


def test_the_first_paint_has_curves_figures_and_differences(client: Any, look: Any, trained: Any) -> None:
    one, two = trained(level=0.5, lr=0.1), trained(level=0.9)
    page = look(client.get(f"/compare?runs={one},{two}"))
    charts = [found["data-chart"] for found in page.all("figure") if "data-chart" in found]
    assert charts == ["val-acc", "val-loss", "train-loss"]
    assert len(page.all("polyline", class_="curve c1 d0")) == 3
    assert len(page.all("polyline", class_="curve c2 d0")) == 3
    assert '<td class="n best">90.00 %<' in page.html
    assert '<td class="n">50.00 %<' in page.html
    assert "1 of 29 settings; the other 28 are equal" in page.html
    assert f'href="/runs/{one}"' in page.html


def test_the_verdict_says_which_is_ahead_and_how_sure_that_is(client: Any, look: Any, trained: Any) -> None:
    one, two = trained(level=0.5), trained(level=0.9)
    words = look(client.get(f"/compare?runs={one},{two}")).html
    assert "#2 simple_mlp base · digits is ahead of #1 simple_mlp base · digits by 40.00 points of test/acc." in words
    three = trained(level=0.901)
    assert "cannot be told apart" in look(client.get(f"/compare?runs={two},{three}")).html


def test_equal_runs_have_no_best_and_no_difference(client: Any, look: Any, trained: Any) -> None:
    one, two = trained(), trained()
    page = look(client.get(f"/compare?runs={one},{two}"))
    assert '"n best"' not in page.html
    assert "nothing: all 29 settings are equal" in page.html


def test_a_form_of_checkboxes_leads_to_an_address_that_can_be_shared(client: Any, trained: Any) -> None:
    one, two = trained(), trained()
    answer = client.get(f"/compare?runs={one}&runs={two}&back=/runs", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/compare?runs={one},{two}")


def test_runs_that_are_not_there_are_named(client: Any, look: Any, trained: Any) -> None:
    run = trained()
    page = look(client.get(f"/compare?runs={run},r_nothing,<b>"))
    assert "There are no runs <code>r_nothing</code>, <code>&lt;b&gt;</code>" in page.html
    assert "One run alone compares with nothing." in page.html
    assert "There is no run <code>r_nothing</code>" in look(client.get("/compare?runs=r_nothing")).html


def test_figures_come_anew_only_while_a_run_lives(client: Any, look: Any, trained: Any, runs: Any) -> None:
    ended, alive = trained(), runs.add()
    page = look(client.get(f"/compare?runs={ended},{alive}"))
    address = page.one("div", id="compare-figures")["hx-get"]
    assert address == f"/compare/figures?runs={ended},{alive}"
    assert page.one("body")["data-stream"] == "/api/v1/events"
    assert "90.00 %" in look(client.get(address, headers=HTMX)).html
    still = look(client.get(f"/compare?runs={ended}"))
    assert "hx-get" not in still.one("div", id="compare-figures")
    assert "data-stream" not in still.one("body")


def test_a_run_keeps_its_colour_and_dash_on_every_page(client: Any, look: Any, runs: Any, trained: Any) -> None:
    for _ in range(9):
        runs.add()
    tenth = trained()
    for address in ("/", "/runs", "/compare", f"/runs/{tenth}"):
        assert "c2 d1" in look(client.get(address)).html
    assert "curve c2 d1" in look(client.get(f"/compare?runs={tenth}")).html


def test_more_runs_than_can_be_told_apart_are_left_out_with_a_word(client: Any, look: Any, runs: Any) -> None:
    added = [runs.add() for _ in range(34)]
    page = look(client.get("/compare?runs=" + ",".join(added)))
    assert "Only the first 32 runs are shown; 2 more were named." in page.html
    assert "None of these runs has points yet." in page.html
