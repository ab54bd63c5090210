"""The figures of a network stand beside the form, and the page does not wait for them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.routes.launch.conftest import Figures

pytestmark = pytest.mark.usefixtures("figures")


def test_the_figures_of_the_network_stand_beside_the_form(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=simple_cnn&dataset=mnist"))
    assert page.words["plan-flops"] == "8.3 MFLOPs"
    assert page.words["plan-memory"] == "10 MBincluding 3 MB of activations"
    assert "about 25.0 s" not in page.html
    assert "about 25 s, 2.5 s per epoch" in page.html
    assert "based on 12 runs: runs like this one" in page.html
    assert "no successful run on this device yet" in page.html
    assert "32×28×28" in page.html
    assert "3×3, 1 → 32" in page.html


def test_nothing_is_said_about_time_where_nothing_is_known(client: Any, look: Any, figures: Figures) -> None:
    figures.devices = False
    assert "no workers connected and no successful runs" in look(client.get("/launch?family=simple_cnn")).html


def test_the_page_does_not_wait_for_a_cold_inspector(client: Any, look: Any, figures: Figures) -> None:
    figures.warm.clear()
    page = look(client.get("/launch?family=simple_cnn&dataset=mnist"))
    assert page.words["plan-flops"] == "computing…"
    # The catalog knows the plain count.
    assert page.words["plan-params"] == "421,834"
    asked = page.one("div", id="launch-waiting")
    assert asked["hx-trigger"] == "load"
    client.portal.call(figures.warm.set)
    page = look(client.post(asked["hx-post"], data={"family": "simple_cnn", "dataset": "mnist"}))
    assert page.words["plan-flops"] == "8.3 MFLOPs"
    assert not page.all("div", id="launch-waiting")


def test_a_network_that_cannot_be_built_is_refused_beside_its_field(client: Any, look: Any, runs: Any) -> None:
    form = {"family": "vit", "dataset": "cifar10", "option.patch": "7"}
    for page in (
        look(client.get("/launch", params=form)),
        look(client.post("/launch/check", data=form)),
        look(client.post("/launch", data=form), 422),
    ):
        assert page.words["error-options"].strip() == "Patch 7 does not divide 32."
        assert "once the form is valid" in page.words["plan-starts"]
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


def test_the_form_says_why_there_are_no_figures(client: Any, look: Any, figures: Figures) -> None:
    figures.away = True
    page = look(client.get("/launch?family=simple_cnn"))
    assert page.words["plan-reason"] == "Could not inspect the networks; see the server's log."
    assert page.words["plan-steps"].endswith("total")


def test_the_learning_rate_is_drawn(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=vit&schedule=cosine&lr=0.01&warmup=0&batch_size=128"))
    assert "decays from 0.01 to 1e-5" in page.words["plan-rate"]
    assert page.all("polyline", class_="curve")
    assert "without lower validation loss" in look(client.get("/launch?family=vit&schedule=plateau")).words["plan-rate"]
    assert "plan-rate" not in look(client.get("/launch?family=vit&lr=abc")).words
