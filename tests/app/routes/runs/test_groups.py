"""The table of groups: means with intervals, medians and extremes of the selected metrics."""

from __future__ import annotations

import re
from typing import Any

import pytest

from app.routes.runs import groups


def seeds(trained: Any) -> dict[str, list[str]]:
    """Three seeds of each of two sizes, and one run of another family."""
    found = {
        size: [trained(size=size, seed=seed, level=level + seed / 100) for seed in (1, 2, 3)]
        for size, level in (("tiny", 0.5), ("small", 0.8))
    }
    return found | {"vit": [trained(family="vit", size="tiny", level=0.7)]}


def table(page: Any) -> list[list[str]]:
    """The cell texts of each group."""
    body = page.html[page.html.index("<tbody>") : page.html.index("</tbody>")]
    return [
        [re.sub(r"<[^>]+>|\s+", " ", cell).strip() for cell in re.findall(r'<td class="n[^>]*>(.*?)</td>', row, re.S)]
        for row in body.split("<tr ")[1:]
    ]


def test_groups_have_mean_with_interval_median_and_extremes(client: Any, look: Any, trained: Any) -> None:
    ids = seeds(trained)
    page = look(client.get("/runs?group=family,size&columns=val/acc,val/loss.last&sort=-val/acc@mean"))
    assert "7 runs in 3 groups" in page.html
    assert [found["data-run"] for found in page.all("tr") if "data-group" in found] == [
        ",".join(ids["small"][::-1]),
        ids["vit"][0],
        ",".join(ids["tiny"][::-1]),
    ]
    small, vit, tiny = table(page)
    assert small == ["3", "82.00 ± 2.48%", "82.00%", "81.00%", "83.00%", "0.4", "0.4", "0.4", "0.4"]
    assert vit[:2] == ["1", "70.00%"]
    assert tiny[2:5] == ["52.00%", "51.00%", "53.00%"]
    assert "last val/loss" in page.html
    assert all(page.html.count(f'href="/runs/{run}"') for run in ids["small"])
    assert f'href="/compare?runs={",".join(ids["small"][::-1])}"' in page.html


@pytest.mark.parametrize(
    ("sort", "first"),
    [("val/acc@max", "tiny"), ("-val/acc@min", "small"), ("n", "vit"), ("-group", "vit"), ("val/acc@median", "tiny")],
)
def test_groups_are_sorted_by_any_part_of_any_figure(
    client: Any, look: Any, trained: Any, sort: str, first: str
) -> None:
    ids = seeds(trained)
    page = look(client.get("/runs", params={"group": "family,size", "sort": sort}))
    assert next(each["data-run"] for each in page.all("tr") if "data-group" in each).split(",")[-1] == ids[first][0]


def test_a_variant_ignores_the_seed_and_is_titled_by_its_distinguishing_settings(
    client: Any, look: Any, trained: Any
) -> None:
    for lr in (0.001, 0.01):
        for seed in (1, 2):
            trained(lr=lr, seed=seed, name=f"s{seed}", tags=[str(seed)])
    page = look(client.get("/runs?group=variant"))
    assert "4 runs in 2 groups" in page.html
    assert "simple_mlp base digits · lr 0.01" in page.html


def test_groups_are_of_what_matches_and_of_the_newest_where_there_are_many(
    client: Any, look: Any, trained: Any, monkeypatch: Any
) -> None:
    seeds(trained)
    assert "3 runs in 1 group" in look(client.get("/runs?group=family&q=size:small")).html
    monkeypatch.setattr(groups, "MOST_RUNS", 4)
    monkeypatch.setattr(groups, "MOST_GROUPS", 1)
    page = look(client.get("/runs?group=size"))
    assert "4 runs in 2 groups (newest 5,000 matching runs only)" in page.html
    assert "1 more group not shown" in page.html


def test_an_invalid_grouping_or_sort_is_reported(client: Any, look: Any, runs: Any) -> None:
    runs.add()
    page = look(client.get("/runs?group=color"))
    assert "Cannot group by &#39;color&#39;; fields: variant, status" in page.html
    assert "Cannot sort groups by &#39;params&#39;" in look(client.get("/runs?group=family&sort=params")).html
    assert "No matching runs." in look(client.get("/runs?group=family&q=nowhere")).html


def test_selecting_a_group_selects_all_of_its_runs(client: Any, look: Any, trained: Any, runs: Any) -> None:
    ids = seeds(trained)
    page = look(client.get("/runs?group=family,size"))
    [value] = [
        each["value"] for each in page.all("input", type="checkbox", name="runs") if ids["tiny"][0] in each["value"]
    ]
    client.post("/runs/tag", data={"runs": [value], "tagged": "small ones"})
    assert [runs.get(run).tags for run in (*ids["tiny"], *ids["vit"])] == [["small ones"]] * 3 + [[]]


def test_the_api_gives_the_same_groups(client: Any, trained: Any) -> None:
    ids = seeds(trained)
    asked = {"by": "size", "figures": "val/acc,val/loss.last", "q": "family:simple_mlp", "sort": "-val/acc@mean"}
    said = client.get("/api/v1/groups", params=asked).json()
    assert [group["values"] for group in said["groups"]] == [["small"], ["tiny"]]
    small = said["groups"][0]
    assert small["runs"] == ids["small"][::-1]
    assert small["figures"]["val/acc"]["n"] == 3
    assert small["figures"]["val/acc"]["median"] == pytest.approx(0.82)
    assert small["figures"]["val/acc"]["half"] == pytest.approx(0.0248, abs=1e-4)
    refused = client.get("/api/v1/groups", params={"by": "color"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "group")
    assert client.get("/api/v1/groups").json()["capped"] is False


def test_the_same_training_twice_is_one_sample_of_a_group(client: Any, trained: Any) -> None:
    for seed, level in ((1, 0.90), (1, 0.90), (2, 0.80), (1, 0.90)):
        trained(seed=seed, level=level)
    trained(None, seed=2, level=0.10)
    (group,) = client.get("/api/v1/groups?by=variant&columns=val/acc").json()["groups"]
    figure = group["figures"]["val/acc"]
    assert (len(group["runs"]), figure["n"]) == (5, 2)
    assert figure["mean"] == pytest.approx(0.85)


def test_one_other_run_does_not_lengthen_the_names_of_all_variants(client: Any, look: Any, trained: Any) -> None:
    trained(family="vit", size="tiny")
    trained(lr=0.1)
    trained(lr=0.2)
    page = look(client.get("/runs?group=variant"))
    assert "vit tiny digits<" in page.html.replace(" <", "<")
    assert "lr 0.2" in page.html
