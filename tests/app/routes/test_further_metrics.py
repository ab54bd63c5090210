"""Metrics besides the accuracy, wherever metrics are: run page, table, groups, comparison, sweeps, export."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from app.store.database import next_commit, writing
from app.store.metric import Curve, add_points
from tests.app.routes.conftest import BEGAN

Measured = Callable[..., str]


@pytest.fixture
def measured(trained: Any, engine: Engine) -> Measured:
    """Adds a run of which these metrics were reported, each rising by 0.1 until the last epoch."""

    def add(values: dict[str, float], **said: Any) -> str:
        run: str = trained(**said)
        with writing(engine) as connection:
            for name, value in values.items():
                steps = np.array([100, 200], dtype=np.int64)
                curve = Curve(steps, np.array([value - 0.1, value]), BEGAN + steps.astype(np.float64))
                add_points(connection, run, name, curve, next_commit(connection))
        return run

    return add


BOTH = {"val/macro_acc": 0.8, "val/f1": 0.7, "test/macro_acc": 0.75, "test/f1": 0.65}


def test_a_run_page_has_their_curves_and_a_table_of_validation_and_test(
    client: Any, look: Any, measured: Measured, trained: Any
) -> None:
    page = look(client.get(f"/runs/{measured(BOTH)}"))
    assert {"f1", "macro_acc"} <= {found.get("data-chart") for found in page.all("figure")}
    words = " ".join(page.words["further"].split())
    assert "macro_acc80.00%75.00%f10.70.65" in words.replace(" ", "")
    assert not look(client.get(f"/runs/{trained()}")).all("div", id="further")


def test_each_head_has_its_own_rows(client: Any, look: Any, measured: Measured) -> None:
    run = measured({"val/fine/top5": 0.9, "val/coarse/top5": 0.95}, dataset="cifar100", targets=["fine", "coarse"])
    words = "".join(look(client.get(f"/runs/{run}")).words["further"].split())
    assert "fine/top590.00%–coarse/top595.00%–" in words


def test_the_run_table_shows_filters_and_sorts_by_them(client: Any, look: Any, measured: Measured) -> None:
    low, high = measured(BOTH), measured(BOTH | {"val/f1": 0.95})
    page = look(client.get("/runs", params={"columns": "val/macro_acc,val/f1.last,test/f1", "sort": "-val/f1"}))
    assert page.html.index(f'id="row-{high}"') < page.html.index(f'id="row-{low}"')
    row = page.html[page.html.index(f'id="row-{high}"') :]
    assert [f">{value}<" in row for value in ("80.00%", "0.95", "0.65")] == [True] * 3
    assert "val/f1" in page.html[page.html.index('name="column"') :]
    found = look(client.get("/runs", params={"q": "val/f1>0.9"})).html
    assert f'id="row-{high}"' in found
    assert f'id="row-{low}"' not in found
    assert client.get("/api/v1/runs", params={"sort": "val/f1"}).json()["runs"][0]["id"] == low


def test_a_comparison_has_their_lines_and_marks_the_higher_as_the_better(
    client: Any, look: Any, measured: Measured, trained: Any
) -> None:
    ids = [measured(BOTH, lr=0.1), measured(BOTH | {"test/f1": 0.85}), trained(lr=0.3)]
    page = look(client.get(f"/compare?runs={','.join(ids)}&by=none&baseline={ids[0]}"))
    assert '<td class="n best">0.85<' in page.html
    assert '<span class="delta better">+0.2<' in page.html
    assert '<th scope="row">best val/macro_acc</th><td class="n">80.00%<' in page.html
    assert "test/top5" not in page.html
    assert {"val-f1", "val-macro_acc"} <= {found.get("data-chart") for found in page.all("figure")}
    plain = look(client.get(f"/compare?runs={ids[2]},{trained()}")).html
    assert "macro_acc" not in plain


def test_groups_have_means_of_them_on_every_page(client: Any, look: Any, measured: Measured) -> None:
    ids = [measured(BOTH | {"test/f1": value}, seed=seed) for seed, value in ((1, 0.6), (2, 0.7))]
    ids += [measured(BOTH, lr=0.2, seed=seed) for seed in (1, 2)]
    page = look(client.get(f"/compare?runs={','.join(ids)}&by=variant"))
    assert '<th class="n">test/f1</th>' in page.html
    assert "0.65 ± 0.6353" in page.html
    groups = client.get("/api/v1/compare", params={"runs": ",".join(ids), "by": "variant"}).json()["groups"]
    assert groups[0]["figures"]["test/f1"]["mean"] == pytest.approx(0.65)
    assert "test/top5" not in groups[0]["figures"]
    table = look(client.get("/runs?group=variant&columns=test/f1,val/macro_acc")).html
    assert "0.65 ± 0.6353" in table
    assert "80.00%" in table


def test_a_sweep_maximizes_them(client: Any) -> None:
    spec = {"base": {"family": "simple_mlp"}, "grid": {"class_weights": ["off", "balanced"]}, "metric": "val/macro_acc"}
    made = client.post("/api/v1/sweeps", json=spec)
    assert made.status_code == 201, made.text
    assert (made.json()["direction"], made.json()["planned"]) == ("maximize", 2)


def test_an_export_has_a_column_of_each(client: Any, measured: Measured) -> None:
    measured(BOTH, class_weights="balanced", random_crop_scale=0.3)
    (row,) = csv.DictReader(client.get("/api/v1/runs.csv").text.splitlines())
    assert (row["test/f1"], row["val/macro_acc"]) == ("0.65", "0.8")
    assert (row["class_weights"], row["random_crop_scale"]) == ("balanced", "0.3")
