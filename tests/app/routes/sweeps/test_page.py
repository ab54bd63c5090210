"""The pages of sweeps: how far one is, what is best, what matters; stopped, brought back and extended by a button."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

GRID = {"base": {"family": "simple_mlp"}, "grid": {"lr": [0.1, 0.01, 0.0001]}}


def launched(client: Any, **said: Any) -> Any:
    answer = client.post("/api/v1/sweeps", json=said)
    assert answer.status_code == 201, answer.text
    return answer.json()


def status_of(page: Any) -> str:
    (found,) = [each["data-status"] for each in page.all("div") if "data-status" in each]
    return str(found)


def test_without_sweeps_the_list_says_how_to_make_one(client: Any, look: Any) -> None:
    page = look(client.get("/sweeps"))
    assert "No sweeps yet." in page.html
    assert page.one("a", href="/sweeps")["aria-current"] == "page"


def test_the_list_shows_progress_and_the_best(client: Any, look: Any, reached: Any) -> None:
    sweep = launched(client, **GRID, name="rates")
    reached(sweep["runs"][1], 0.8)
    page = look(client.get("/sweeps"))
    assert page.words[f"open-{sweep['id']}"] == "rates"
    assert "1 of 3" in page.html
    assert "80.00%" in page.html
    assert "rates" in client.get("/sweeps/list").text


def test_the_list_is_paged(client: Any, look: Any) -> None:
    for _ in range(31):
        launched(client, base={"family": "vit"}, seeds=2)
    page = look(client.get("/sweeps"))
    (older,) = [found["href"] for found in page.all("a") if found.get("href", "").startswith("/sweeps?after=")]
    assert "#1</span>" in look(client.get(older)).html


def test_a_new_sweep_has_its_comparison_from_the_first_second(client: Any, look: Any) -> None:
    sweep = launched(client, **GRID)
    page = look(client.get(f"/sweeps/{sweep['id']}"))
    assert page.one("a", id="sweep-compare")["href"] == sweep["compare_url"]
    assert page.words["sweep-ended"] == "0 of 3 runs ended"
    assert page.words["sweep-best"] == "–"
    assert status_of(page) == "running"
    assert page.one("div", id="sweep")["hx-trigger"] == "yard-changed from:body"
    assert client.get(sweep["compare_url"]).status_code == 200


def test_best_so_far_pictures_and_importances_come_as_runs_end(client: Any, look: Any, reached: Any) -> None:
    sweep = launched(client, **GRID, seeds=2)
    for number, run in enumerate(sweep["runs"]):
        reached(run, 0.5 + 0.1 * (number % 3) + 0.01 * (number // 3), began=1_700_000_000.0 + number)
    page = look(client.get(f"/sweeps/{sweep['id']}"))
    assert page.words["sweep-best"] == "71.00%"
    assert page.words["sweep-best-mean"].startswith("70.50% ±")
    assert "lr 1e-04, seed 2" in page.html or "lr 0.0001, seed 2" in page.html
    assert "log scale" in page.words["scatter-lr"]
    assert len(page.all("circle")) == 12
    assert "one-way ANOVA" in page.words["importances"]
    assert page.words["configurations"].count("2 of 2") == 3


def test_when_it_ends_is_told_from_its_own_runs_and_what_stands_before_them(
    client: Any, look: Any, runs: Any, reached: Any
) -> None:
    other = launched(client, base={"family": "vit"}, seeds=2)
    sweep = launched(client, **GRID)["id"]
    assert "ETA unknown" in look(client.get(f"/sweeps/{sweep}")).html
    reached(client.get(f"/api/v1/sweeps/{sweep}").json()["runs"][0], 0.5)
    page = look(client.get(f"/sweeps/{sweep}"))
    assert page.words["sweep-left"] == "About 20 s of training left, after 2 other runs"
    client.post(f"/api/v1/sweeps/{other['id']}/stop")
    assert look(client.get(f"/sweeps/{sweep}")).words["sweep-left"] == "Ends in about 20 s"
    client.post("/api/v1/queue/pause")
    page = look(client.get(f"/sweeps/{sweep}/board"))
    assert page.words["sweep-left"].startswith("Queue paused; about 20 s")


def test_a_field_of_words_and_one_metric_that_is_lower_are_drawn_too(client: Any, look: Any, reached: Any) -> None:
    said = {"grid": {"family": ["simple_mlp", "vit"], "targets": [["digit"], ["digit", "thickness"]]}}
    sweep = launched(client, **said, metric="val/loss")
    for run in sweep["runs"]:
        reached(run, 0.5)
    page = look(client.get(f"/sweeps/{sweep['id']}"))
    assert page.words["sweep-best"] == "–"
    assert "digit, thickness" in page.html


def test_a_pruned_run_says_why_in_the_table_and_on_its_page(client: Any, look: Any, runs: Any) -> None:
    sweep = launched(client, **GRID)
    reason = "pruned at epoch 4: val/acc 31.2% is below the median of 52.0% over 7 runs"
    runs.set(sweep["runs"][0], status="cancelled", stop_reason=reason, reason=reason, ended_at=2.0)
    page = look(client.get(f"/sweeps/{sweep['id']}"))
    assert "at epoch 4: val/acc 31.2% is below the median" in page.words["sweep-runs"]
    run = look(client.get(f"/runs/{sweep['runs'][0]}"))
    assert reason in run.html
    assert run.one("a", id="of-sweep")["href"] == f"/sweeps/{sweep['id']}"
    assert run.words["of-sweep"] == f"sweep #{sweep['number']}"


def test_stop_all_can_be_undone_for_what_had_not_started(client: Any, look: Any, runs: Any) -> None:
    sweep = launched(client, **GRID)["id"]
    answer = client.post(f"/sweeps/{sweep}/stop", follow_redirects=False)
    assert answer.status_code == 303
    page = look(client.get(answer.headers["location"]))
    assert "3 runs cancelled." in page.words["undo-notice"]
    assert status_of(page) == "stopped"
    undo = parse_qs(urlsplit(answer.headers["location"]).query)["undo"][0]
    back = client.post(f"/sweeps/{sweep}/restore", data={"undo": undo}, follow_redirects=False)
    page = look(client.get(back.headers["location"]))
    assert "3 runs are back in the queue" in page.html
    assert status_of(page) == "running"
    found = client.get(f"/api/v1/sweeps/{sweep}").json()
    assert found["counts"] == {"queued": 3}
    assert found["configurations"][0]["values"] == {"lr": 0.1}


def test_cancelling_a_sweeps_runs_stops_the_sweep(client: Any) -> None:
    space = {"lr": {"low": 0.001, "high": 0.1}}
    sweep = launched(client, base={"family": "vit"}, method="tpe", space=space, draws=4)["id"]
    assert client.post("/api/v1/runs/cancel", json={"sweep": sweep}).status_code == 200
    assert client.get(f"/api/v1/sweeps/{sweep}").json()["status"] == "stopped"


def test_the_form_extends_and_says_what_is_wrong(client: Any, look: Any, runs: Any) -> None:
    sweep = launched(client, **GRID)["id"]
    answer = client.post(f"/sweeps/{sweep}/extend", data={"seeds": "2", "grid.lr": "0.5, 0.1"}, follow_redirects=False)
    assert answer.status_code == 303
    assert runs.sql("SELECT count(*) FROM run") == [(8,)]
    page = look(client.post(f"/sweeps/{sweep}/extend", data={"seeds": "1"}), 422)
    assert page.words["extend-error-seeds"] == "Seeds can only be increased; this sweep already has 2."
    assert page.one("input", id="extend-seeds")["value"] == "1"
    page = look(client.post(f"/sweeps/{sweep}/extend", data={"grid.lr": "fast"}), 422)
    assert "must be a number" in page.words["extend-error-grid.lr"]
    for wrong in ("-1", "x", "5000", "²"):
        assert look(client.post(f"/sweeps/{sweep}/extend", data={"seeds": wrong}), 422).words["extend-error-seeds"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seeds", "000000001" + "9" * 5000),
        ("grid.lr", ", ".join(str(i / 1e5) for i in range(1, 3000))),
        ("grid." + "x" * 3000, "1"),
        ("grid.", "1"),
    ],
)
def test_a_form_that_no_page_has_is_refused_in_a_sentence(client: Any, name: str, value: str) -> None:
    sweep = launched(client, **GRID)["id"]
    assert client.post(f"/sweeps/{sweep}/extend", data={name: value}).status_code == 422


def test_a_sweep_that_is_not_there_is_said(client: Any) -> None:
    for path in ("/sweeps/s_nothing", "/sweeps/s_nothing/board"):
        assert client.get(path).status_code == 404
    assert client.post("/sweeps/s_nothing/extend", data={"seeds": "2"}).status_code == 404


def test_a_large_sweep_shows_its_best_and_compares_them(client: Any, look: Any) -> None:
    sweep = launched(client, base={"family": "simple_mlp"}, grid={"lr": [i / 1000 for i in range(1, 151)]})
    page = look(client.get(f"/sweeps/{sweep['id']}"))
    assert page.words["sweep-compare"] == "Compare best 32 runs"
    assert page.html.count("data-run=") == 100
    assert look(client.get(f"/sweeps/{sweep['id']}?rows=all")).html.count("data-run=") == 150


def test_of_very_many_runs_only_the_best_is_linked_in_the_pictures(client: Any, look: Any, reached: Any) -> None:
    sweep = launched(client, base={"family": "simple_mlp"}, grid={"lr": [i / 1000 for i in range(1, 302)]})
    for number, run in enumerate(sweep["runs"]):
        reached(run, 0.2 + number / 1000)
    page = look(client.get(f"/sweeps/{sweep['id']}"))
    assert len(page.all("circle")) == 602
    assert page.words["sweep-compare"] == "Compare best 32 runs"
    assert page.one("a", id="sweep-compare")["href"].startswith(f"/compare?runs={sweep['runs'][-1]}")


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_draws_have_a_field_of_their_own(client: Any, look: Any, method: str) -> None:
    space = {"lr": {"low": 0.001, "high": 0.1}}
    sweep = launched(client, base={"family": "vit"}, method=method, space=space, draws=4)["id"]
    page = look(client.get(f"/sweeps/{sweep}"))
    assert page.one("input", id="extend-draws")["placeholder"] == "4"
    assert page.words["sweep-ended"] == "0 of 4 runs ended"
