"""The leaderboard: best results of every variant on every dataset, and links to launch missing ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.analysis import reference

pytestmark = pytest.mark.both_databases


def cell(page: Any, family: str, size: str, place: int) -> str:
    """The text of a cell, counted from the parameters column."""
    row = page.html[page.html.index(f'{family} <span class="soft">{size}</span>') :]
    found = re.findall(r"<td.*?</td>", row, re.S)[place]
    return " ".join(re.sub(r"<[^>]+>", " ", found).split())


def test_a_cell_is_the_mean_over_the_seeds_of_the_best_configuration(client: Any, look: Any, trained: Any) -> None:
    good = [trained(level=level, seed=seed, lr=0.01) for seed, level in enumerate((0.90, 0.92, 0.91), 1)]
    for seed in (1, 2):
        trained(level=0.5, seed=seed)
    # A single lucky run of another configuration says less than three.
    trained(level=0.99, lr=0.5)
    trained(level=0.97, outcome="failed", lr=0.01, seed=9)
    trained(level=0.98, targets=["thickness"])
    page = look(client.get("/leaderboard"))
    assert re.match(r"90\.00 ± 2\.48% +best +n = 3", cell(page, "simple_mlp", "base", 1))
    assert f'href="/compare?runs={",".join(sorted(good))}"' in page.html or all(run in page.html for run in good)
    assert "n = 3 · default, 2 epochs best of 3 configurations" in cell(page, "simple_mlp", "base", 1)
    assert cell(page, "simple_mlp", "base", 0) == "235,146"


@pytest.mark.usefixtures("measured")
def test_an_empty_cell_leads_to_the_form_that_fills_it(client: Any, look: Any) -> None:
    page = look(client.get("/leaderboard"))
    href = "/launch?family=vit&size=tiny&dataset=mnist&seeds=3"
    assert page.one("a", href=href)
    assert cell(page, "vit", "tiny", 2).startswith("launch vit tiny on mnist")
    form = look(client.get(href))
    assert form.one("input", name="seeds")["value"] == "3"
    assert "0 cells have results" in page.html


def test_the_table_is_sorted_by_a_dataset_and_keeps_what_is_not_in_the_catalog(
    client: Any, look: Any, trained: Any
) -> None:
    trained(family="vit", size="tiny", level=0.7)
    trained(level=0.9)
    trained(family="gone", size="by", level=0.8)
    page = look(client.get("/leaderboard?dataset=digits"))
    names = re.findall(r'<th scope="row">(\w+) ', page.html)
    assert names[:3] == ["simple_mlp", "gone", "vit"]
    assert "no longer in the catalog" in page.html
    assert [each["aria-sort"] for each in page.all("th") if each.get("aria-sort") == "descending"] == ["descending"]
    assert re.findall(r'<th scope="row">(\w+) ', look(client.get("/leaderboard?sort=digits")).html)[0] == "vit"
    assert client.get("/leaderboard?sort=nothing").status_code == 200


def names(page: Any) -> list[str]:
    return [
        f"{family} {size}" for family, size in re.findall(r'<th scope="row">(\w+) <span class="soft">(\w+)', page.html)
    ]


def test_the_board_ranks_on_the_dataset_with_most_results_and_other_headings_sort_it(
    client: Any, look: Any, trained: Any, catalog: Any
) -> None:
    trained(family="vit", size="tiny", dataset="mnist", level=0.7)
    trained(family="simple_cnn", size="tiny", dataset="mnist", level=0.9)
    trained(family="simple_mlp", size="tiny", dataset="digits", level=0.95)
    page = look(client.get("/leaderboard"))
    assert names(page)[:2] == ["simple_cnn tiny", "vit tiny"]
    assert page.one("th", aria_sort="descending")
    assert page.one("a", href="/leaderboard?sort=mnist")
    assert page.one("a", href="/leaderboard?sort=-digits")
    assert names(look(client.get("/leaderboard?sort=-digits")))[0] == "simple_mlp tiny"
    in_catalog = [f"{family.name} {size.name}" for family in catalog.families.values() for size in family.sizes]
    assert names(look(client.get("/leaderboard?sort=architecture"))) == in_catalog
    largest = max(
        (size.params["mnist"], f"{family.name} {size.name}")
        for family in catalog.families.values()
        for size in family.sizes
    )[1]
    assert names(look(client.get("/leaderboard?sort=-params")))[0] == largest


@pytest.mark.usefixtures("measured")
def test_rows_with_a_reference_alone_follow_those_with_a_result(client: Any, look: Any, trained: Any) -> None:
    assert names(look(client.get("/leaderboard")))[0] == "simple_mlp base"
    trained(family="vit", size="tiny", level=0.5)
    for sort in ("", "?sort=digits"):
        assert names(look(client.get(f"/leaderboard{sort}")))[:2] == ["vit tiny", "simple_mlp base"]


def test_the_board_is_reached_from_the_comparison_and_the_architectures(client: Any, look: Any) -> None:
    assert look(client.get("/compare")).all("a", href="/leaderboard")
    assert look(client.get("/architectures")).all("a", href="/leaderboard?dataset=digits")


def test_the_api_says_what_was_reached_and_what_is_missing(client: Any, trained: Any) -> None:
    runs = [trained(level=level, seed=seed) for seed, level in enumerate((0.90, 0.92), 1)]
    said = client.get("/api/v1/leaderboard").json()
    [leader] = said["leaders"]
    assert (leader["family"], leader["size"], leader["dataset"], leader["n"]) == ("simple_mlp", "base", "digits", 2)
    assert abs(leader["mean"] - 0.90) < 1e-9
    assert set(leader["runs"]) == set(runs)
    assert {"family": "vit", "size": "tiny", "dataset": "digits"} in said["missing"]
    assert {"family": "simple_mlp", "size": "base", "dataset": "digits"} not in said["missing"]


def test_the_same_training_twice_counts_once(client: Any, trained: Any) -> None:
    for level in (0.70, 0.90):
        trained(level=level, seed=1)
    kept = trained(level=0.91, seed=1)
    other = trained(level=0.89, seed=2)
    trained("failed", level=0.5, seed=2)
    (leader,) = client.get("/api/v1/leaderboard").json()["leaders"]
    assert (leader["n"], leader["runs"]) == (2, [kept, other])
    assert leader["mean"] == pytest.approx(0.89)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference result of simple_mlp base on digits."""
    row: dict[str, Any] = {"family": "simple_mlp", "size": "base", "dataset": "digits", "recipe": "fast", "epochs": 5}
    row |= {"seeds": 3, "mean": 0.9816, "half": 0.0005, "seconds": 7.2, "machine": "2 cores", "date": "2026-11-28"}
    (tmp_path / "zoo.json").write_text(json.dumps({"references": [row]}))
    monkeypatch.setattr(reference, "FILE", tmp_path / "zoo.json")


@pytest.mark.usefixtures("measured")
def test_what_the_project_measured_stands_apart_from_the_users_own_results(
    client: Any, look: Any, trained: Any
) -> None:
    page = look(client.get("/leaderboard"))
    assert re.match(r"launch .*reference 98\.16 ± 0\.05%", cell(page, "simple_mlp", "base", 1))
    assert "0 cells have results" in page.html
    assert "98.16 ± 0.05% fast, 5 epochs, 3 seeds" in cell(page, "simple_mlp", "base", 1)
    assert "recipe fast, 5 epochs, 3 seeds; 7.2 s per run on 2 cores" in page.html
    # What has no result is launched as the reference was.
    assert page.one("a", href="/launch?family=simple_mlp&size=base&dataset=digits&recipe=fast&seeds=3")
    assert "reference" not in cell(page, "simple_mlp", "tiny", 1)
    trained(level=0.5)
    own = cell(look(client.get("/leaderboard")), "simple_mlp", "base", 1)
    assert re.match(r"49\.00% +best +n = 1 · default, 2 epochs +reference 98\.16 ± 0\.05%", own)
    answer = client.get("/api/v1/leaderboard").json()
    assert [(each["family"], each["mean"]) for each in answer["references"]] == [("simple_mlp", 0.9816)]
    assert [each["mean"] for each in answer["leaders"]] == [0.49]


@pytest.mark.usefixtures("measured")
def test_the_catalog_has_a_column_of_what_the_project_measured(client: Any, look: Any) -> None:
    page = look(client.get("/architectures?view=table&sort=-reference"))
    first = page.html[page.html.index("<tbody>") :]
    assert first.index("98.16 ± 0.05%") < first.index("</tr>")
    assert first.index("fast, 5 epochs, 3 seeds") < first.index("</tr>")
    assert page.one("a", href="/launch?family=simple_mlp&size=base&dataset=digits&recipe=fast")
    assert page.one("a", href="/launch?family=simple_mlp&size=tiny&dataset=digits")
    assert "98.16" not in look(client.get("/architectures?view=table&dataset=mnist")).html
