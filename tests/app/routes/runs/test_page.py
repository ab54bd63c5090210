"""A run's page is complete before any script runs, and right in every state."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from app.analysis.curves import smoothed
from app.contract.events import Checkpoint
from app.contract.settings import Settings
from app.store.database import next_commit, writing
from app.store.metric import Curve, add_points
from tests.app.own_dataset import describe_own_dataset

HTMX = {"HX-Request": "true"}


def points_of(page: Any) -> dict[str, Any]:
    """The points that the page carries."""
    found = re.search(r'<script type="application/json" id="points">(.*?)</script>', page.html, re.S)
    assert found
    read: dict[str, Any] = json.loads(found[1])
    return read


def test_the_first_paint_is_complete(client: Any, look: Any, trained: Any) -> None:
    run = trained(epochs=7)
    page = look(client.get(f"/runs/{run}"))
    for words in ("90.00%", "89.00%", "182k", "2 min 10 s", "epoch 1 &lt;done&gt;", "made-up cpu", "1,000"):
        assert words in page.html
    assert [found["data-chart"] for found in page.all("figure") if "data-chart" in found] == ["loss", "acc", "lr"]
    # Raw and smoothed train/loss, val/loss, val/acc, train/lr.
    assert len(page.all("polyline")) == 5
    assert page.one("figure", data_chart="loss")["data-points"] == "202"
    assert "recipe: 10" in page.html


def test_the_best_epoch_is_that_of_the_weights_that_were_tested(
    client: Any, look: Any, trained: Any, runs: Any
) -> None:
    """Of equally accurate epochs it is the one with the lowest loss, which no curve of accuracy tells."""
    run = trained(epochs=7)
    kept = Checkpoint(path=f"{run}/1/best.safetensors", epoch=6, step=600, best=True)
    runs.set(run, best_checkpoint=kept.model_dump_json())
    assert "best validation accuracy 90.00% after epoch 6;" in look(client.get(f"/runs/{run}")).html


def test_the_points_carry_the_commit_from_which_the_stream_goes_on(
    client: Any, look: Any, trained: Any, runs: Any
) -> None:
    run = trained(outcome=None)
    page = look(client.get(f"/runs/{run}"))
    said = points_of(page)
    assert said["commit"] == runs.commit()
    assert page.one("body")["data-after"] == str(said["commit"])
    assert page.one("body")["data-stream"] == f"/api/v1/runs/{run}/events"
    assert said["points"]["train/loss"]["value"][50] is None
    assert len(said["points"]["train/loss"]["step"]) == 200
    assert "coarse" not in said["points"]["train/loss"]


def test_a_run_that_has_ended_opens_no_stream(client: Any, look: Any, trained: Any) -> None:
    assert "data-stream" not in look(client.get(f"/runs/{trained()}")).one("body")


def test_a_long_run_is_reduced_and_its_smoothed_curve_is_made_from_all_points(
    client: Any, look: Any, trained: Any
) -> None:
    run = trained(points=12_000)
    said = points_of(look(client.get(f"/runs/{run}?smoothing=0.9")))["points"]["train/loss"]
    assert said["coarse"]
    assert len(said["step"]) <= 5000
    every = client.get(f"/runs/{run}/points?points=0").json()["points"]["train/loss"]
    assert "coarse" not in every
    assert len(every["step"]) == 12_000
    whole = smoothed(np.array([np.nan if value is None else value for value in every["value"]]), 0.9)
    assert len(said["even"]["step"]) <= 5000
    for step, value in zip(said["even"]["step"], said["even"]["value"], strict=True):
        assert value is None or value == pytest.approx(whole[step])
    assert said["even"]["total"] / said["even"]["share"] == pytest.approx(whole[-1])


def test_a_part_of_a_long_run_has_finer_points_and_the_average_of_the_whole_curve(client: Any, trained: Any) -> None:
    run = trained(points=12_000)
    every = client.get(f"/runs/{run}/points?points=0").json()["points"]["train/loss"]
    whole = smoothed(np.array([np.nan if value is None else value for value in every["value"]]), 0.8)
    asked = "first=6000&last=6400&points=1000&smoothing=0.8&names=train/loss"
    part = client.get(f"/runs/{run}/points/part?{asked}").json()["points"]
    assert list(part) == ["train/loss"]
    assert part["train/loss"]["step"] == list(range(6000, 6401))
    assert "coarse" not in part["train/loss"]
    wide = client.get(f"/runs/{run}/points/part?{asked.replace('last=6400', 'last=11000')}").json()["points"]
    assert wide["train/loss"]["coarse"]
    even = wide["train/loss"]["even"]
    assert even["step"][0] >= 6000
    assert even["value"] == pytest.approx([whole[step] for step in even["step"]])


@pytest.mark.parametrize("first", [-1_000_000, 1_764_000_000_000])
def test_a_part_has_the_average_of_the_whole_curve_wherever_its_steps_begin(
    client: Any, trained: Any, engine: Engine, first: int
) -> None:
    run = trained()
    steps = first + 10 * np.arange(12_000)
    values = np.sin(np.arange(12_000) * 7.0)
    with writing(engine) as connection:
        curve = Curve(steps, values, np.array(1000.0 + np.arange(12_000), np.float64))
        add_points(connection, run, "train/noise", curve, next_commit(connection))
    whole = smoothed(values, 0.8)
    asked = f"first={first + 60_000}&last={first + 110_000}&points=1000&smoothing=0.8&names=train/noise"
    even = client.get(f"/runs/{run}/points/part?{asked}").json()["points"]["train/noise"]["even"]
    assert even["step"][0] >= first + 60_000
    assert even["value"] == pytest.approx([whole[(step - first) // 10] for step in even["step"]])


def test_nan_is_reported_and_never_the_best(client: Any, look: Any, trained: Any) -> None:
    assert "1 value was NaN or infinite." in look(client.get(f"/runs/{trained()}")).html


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("queued", "Next in the queue"),
        ("starting", "Starting"),
        ("finishing", "testing the best checkpoint"),
        ("cancelling", "Stopping"),
        ("lost", "Lost:"),
        ("failed", "Failed:"),
        ("cancelled", "Cancelled"),
        ("succeeded", "succeeded"),
    ],
)
def test_every_state_has_a_page(client: Any, look: Any, runs: Any, status: str, words: str) -> None:
    run = runs.add()
    runs.set(run, status=status, reason="a reason")
    page = look(client.get(f"/runs/{run}"))
    assert words in page.html
    ended = status in ("failed", "cancelled", "succeeded")
    assert bool(page.all("form", action=f"/runs/{run}/delete")) == ended
    assert bool(page.all("form", action=f"/runs/{run}/cancel")) != ended
    assert ('No data<span class="yet"> yet<' in page.html, "No data</span>" in page.html) == (not ended, ended)
    assert look(client.get(f"/runs/{run}/head", headers=HTMX)).html.split()[0] in page.html


@pytest.mark.parametrize(
    ("reason", "started", "sentence"),
    [
        ("stopped at step 100 of 390", 1000.0, "<b>Stopped</b> at step 100 of 390."),
        ("stopped while queued", None, "<b>Cancelled</b> while queued."),
        ("stopped; its worker was lost", 1000.0, "<b>Stopped</b>; its worker was lost."),
        ("its worker did not stop it in time", 1000.0, "<b>Stopped</b>: its worker did not stop it in time."),
        ("", 1000.0, "<b>Stopped</b>."),
    ],
)
def test_the_reason_of_a_stop_does_not_repeat_the_word(
    client: Any, look: Any, runs: Any, reason: str, started: float | None, sentence: str
) -> None:
    run = runs.add()
    runs.set(run, status="cancelled", reason=reason, started_at=started, ended_at=1100.0)
    assert sentence in look(client.get(f"/runs/{run}")).html


def test_clipping_says_that_it_hides_both_ends(client: Any, trained: Any) -> None:
    assert "Ignores the top 2% and bottom 2% of visible values" in client.get(f"/runs/{trained()}").text


def test_the_update_is_made_of_the_same_parts(client: Any, trained: Any) -> None:
    run = trained()
    update = client.get(f"/runs/{run}/head", headers=HTMX).text
    head = update.partition('<div class="stack" id="run-side"')[0].strip()
    assert head in client.get(f"/runs/{run}").text
    assert 'id="chart-' not in update


def test_chart_controls_are_in_the_address(client: Any, look: Any, trained: Any) -> None:
    run = trained()
    page = look(client.get(f"/runs/{run}?x=epoch&smoothing=0&log=1"))
    assert "checked" in page.one("input", type="radio", name="x", value="epoch")
    assert "checked" in page.one("input", type="checkbox", name="log")
    assert len(page.all("polyline")) == 4  # no longer the smoothed one
    look(client.get(f"/runs/{run}?x=color&smoothing=nan&log=x"))
    look(client.get(f"/runs/{run}?x=time&smoothing=0.9"))


def test_nothing_in_the_points_can_end_their_element(client: Any, look: Any, trained: Any) -> None:
    run = trained(name="</script><script>alert(1)</script>", notes="<b>bold</b>")
    page = look(client.get(f"/runs/{run}"))
    assert "</script><script>alert" not in page.html
    assert "<b>bold" not in page.html
    compared = look(client.get(f"/compare?runs={run}"))
    assert "</script><script>alert" not in compared.html


def test_stop_and_delete_work_without_a_script(client: Any, look: Any, runs: Any) -> None:
    run = runs.add()
    page = look(client.post(f"/runs/{run}/cancel"))
    assert page.one("form", action=f"/runs/{run}/delete")
    assert "1 run deleted." in look(client.post(f"/runs/{run}/delete")).html
    assert "Not found" in look(client.get(f"/runs/{run}"), 404).html
    assert client.get(f"/runs/{run}/points").status_code == 404


def test_a_run_that_is_stopped_before_it_has_started_can_be_brought_back_from_its_own_page(
    client: Any, look: Any, runs: Any
) -> None:
    run = runs.add()
    page = look(client.post(f"/runs/{run}/cancel"))
    assert "1 run cancelled." in page.html
    undo = {name: page.one("input", type="hidden", name=name)["value"] for name in ("undo", "back")}
    page = look(client.post("/queue/restore", data=undo))
    assert "1 run is back in the queue at its previous position." in page.html
    [(again,)] = runs.sql("SELECT id FROM run WHERE status = 'queued' AND deleted_at IS NULL")
    assert again != run
    assert page.one("body")["data-run"] == again


def test_every_head_has_metrics_and_the_page_names_the_first_head(
    client: Any, look: Any, runs: Any, engine: Engine
) -> None:
    run = runs.add(family="simple_cnn", dataset="digits", targets=["digit", "thickness"])
    runs.set(run, status="running", fence=1, started_at=1000.0)
    steps, times = np.array([9, 18], dtype=np.int64), np.array([1001.0, 1002.0])
    figures = {"val/digit/acc": [0.9, 0.8], "val/thickness/acc": [0.5, 0.6], "test/thickness/acc": [0.1, 0.55]}
    with writing(engine) as connection:
        commit = next_commit(connection)
        for name, values in figures.items():
            add_points(connection, run, name, Curve(steps, np.array(values), times), commit)
    page = look(client.get(f"/runs/{run}"))
    rows = "".join(page.words["heads"].split())
    assert rows == "targetclassesbestval/acctest/accdigit1090.00%–thickness560.00%55.00%"
    assert "best val/digit/acc" in page.html
    single = runs.add(family="simple_cnn", dataset="digits")
    assert not look(client.get(f"/runs/{single}")).all("div", id="heads")


def test_a_long_start_shows_its_phase_and_progress(client: Any, look: Any, runs: Any) -> None:
    run = runs.add()
    phase = {"epoch": 0, "epochs": 10, "step": 0, "steps": 0, "phase": "fetching mnist", "share": 0.425}
    runs.set(run, status="starting", progress=json.dumps(phase))
    page = look(client.get(f"/runs/{run}"))
    assert "fetching mnist, 42% done" in page.html
    assert page.one("progress")["value"] == "0.4250"


@pytest.mark.parametrize(
    ("worker", "place"), [("", "cpu"), (f"{socket.gethostname()}-1a2b3c", "cpu"), ("gpu-box-1a2b3c", "gpu-box (cpu)")]
)
def test_a_run_on_another_host_than_the_server_names_it(client: Any, runs: Any, worker: str, place: str) -> None:
    run = runs.add(worker="gpu-box-")
    runs.set(run, status="running", worker=worker, device="cpu")
    page = client.get(f"/runs/{run}").text
    assert f"<b>Running</b> on {place}: the first validation" in page
    assert re.findall("<dt>worker</dt><dd>(.*?)</dd>", page)[-1] == "gpu-box"


def test_peak_memory_is_a_figure_and_no_curve(client: Any, look: Any, runs: Any, engine: Engine) -> None:
    run = runs.add()
    runs.set(run, status="running", fence=1, started_at=1000.0)
    with writing(engine) as connection:
        curve = Curve(np.array([9, 18], dtype=np.int64), np.array([510.0, 532.0]), np.array([1001.0, 1002.0]))
        add_points(connection, run, "system/peak_memory_mb", curve, next_commit(connection))
    page = look(client.get(f"/runs/{run}"))
    assert "<span>peak memory</span><b>532 MB<" in page.html
    assert "system/peak_memory_mb" not in {found.get("data-chart") for found in page.all("figure")}


def test_the_number_of_a_run_leads_to_it(client: Any, runs: Any) -> None:
    run = runs.add()
    answer = client.get("/runs/1", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, f"/runs/{run}")
    assert client.get("/runs/2").status_code == 404
    assert client.get(f"/runs/{'9' * 40}").status_code == 404


def test_the_configuration_leads_to_the_dataset_while_it_exists(
    client: Any, look: Any, runs: Any, settings: Settings
) -> None:
    described = describe_own_dataset(settings.datasets)
    own, builtin = runs.add(dataset=f"flowers@{described.version}"), runs.add(dataset="digits")
    address = f"/datasets/flowers?version={described.version}"
    assert look(client.get(f"/runs/{own}")).one("a", href=address)
    assert look(client.get(f"/runs/{own}/head")).one("a", href=address)
    assert look(client.get(f"/runs/{builtin}")).one("a", href="/datasets/digits")
    runs.finish(own)
    client.post("/datasets/flowers/delete")
    page = look(client.get(f"/runs/{own}"))
    assert f"flowers@{described.version}" in page.html
    assert address not in page.html
