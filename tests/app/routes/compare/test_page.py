"""The comparison page: overlaid curves, metrics with the best one marked, and differing settings."""

from __future__ import annotations

import re
from typing import Any

import pytest

from app.web.run_summary import settings_of

HTMX = {"HX-Request": "true"}


def test_without_runs_there_is_a_list_to_choose_from(client: Any, look: Any, trained: Any) -> None:
    assert "Nothing to compare yet" in look(client.get("/compare")).html
    run = trained()
    page = look(client.get("/compare"))
    assert page.one("input", type="checkbox", name="runs", value=run)
    assert page.one("form", action="/compare", method="get")


def test_the_first_paint_has_curves_figures_and_differences(client: Any, look: Any, trained: Any, runs: Any) -> None:
    one, two = trained(level=0.5, lr=0.1), trained(level=0.9)
    page = look(client.get(f"/compare?runs={one},{two}"))
    charts = [found["data-chart"] for found in page.all("figure") if "data-chart" in found]
    assert charts == ["val-acc", "val-loss", "train-loss"]
    assert len(page.all("polyline", class_="curve c1 d0")) == 3
    assert len(page.all("polyline", class_="curve c2 d0")) == 3
    assert '<td class="n best">90.00%<' in page.html
    assert '<td class="n">50.00%<' in page.html
    settings = len(settings_of(runs.get(one).config))
    assert f"1 of {settings} settings differ" in page.html
    assert f'href="/runs/{one}"' in page.html


def test_the_verdict_says_which_is_ahead_and_how_sure_that_is(client: Any, look: Any, trained: Any) -> None:
    one, two = trained(level=0.5), trained(level=0.9)
    words = look(client.get(f"/compare?runs={one},{two}")).html
    assert "#2 simple_mlp base · digits leads #1 simple_mlp base · digits by 40.00 pp in test/acc." in words
    three = trained(level=0.901)
    words = look(client.get(f"/compare?runs={two},{three}")).html
    assert "do not differ significantly in test/acc" in words
    # The API, and so the terminal, says the same of one run each.
    assert client.get(f"/api/v1/compare?runs={two},{three}&by=none").json()["sentence"] in words
    assert "do not differ" in client.get(f"/api/v1/compare?runs={two},{three}&by=none").json()["sentence"]


def test_the_verdict_says_in_how_many_settings_the_two_differ(client: Any, look: Any, trained: Any) -> None:
    one = trained(level=0.5, epochs=3, cutmix=1.0, erasing=0.25, ema_decay=0.99)
    two = trained(level=0.9)
    differing = "The two differ in 4 settings: epochs, erasing, cutmix and ema decay"
    page = look(client.get(f"/compare?runs={one},{two}"))
    assert f'<a href="#differences"><u>{differing}</u></a>.' in page.html
    assert "epochs 2 · erasing 0 + 2 more leads #1" in page.html
    assert f"{differing}." in client.get(f"/compare/report?runs={one},{two}").text
    # The API, and so the terminal, says the same, of groups too.
    assert client.get(f"/api/v1/compare?runs={one},{two}").json()["sentence"].endswith(f"{differing}.")
    more = trained(level=0.91, seed=2)
    assert f"{differing}." in client.get(f"/api/v1/compare?runs={one},{two},{more}").json()["sentence"]
    # Even with the same seed, runs that are not to be grouped stay apart, and are named as on the page.
    groups = client.get(f"/api/v1/compare?runs={one},{two}&by=none").json()["groups"]
    assert [group["title"] for group in groups] == [
        "#1 simple_mlp base · digits · epochs 3 · erasing 0.25 + 2 more",
        "#2 simple_mlp base · digits · epochs 2 · erasing 0 + 2 more",
    ]
    # A single setting is in the names already.
    assert "The two differ" not in look(client.get(f"/compare?runs={two},{trained(level=0.8, lr=0.3)}")).html


def test_runs_with_the_same_title_are_named_by_their_differing_settings(client: Any, look: Any, trained: Any) -> None:
    said: list[dict[str, Any]] = [{"lr": 0.1, "seed": 1}, {"lr": 0.1, "seed": 2}, {"lr": 0.3, "seed": 1}]
    ids = [trained(**each) for each in (*said, {"name": "another", "epochs": 7})]
    page = look(client.get(f"/compare?runs={','.join(ids)}&by=none"))
    named = dict(re.findall(r'<a class="cut" href="/runs/(\w+)" title="(#[^":]+)"', page.html))
    assert [named[run] for run in ids] == [
        "#1 simple_mlp base · digits · lr 0.1 · seed 1",
        "#2 simple_mlp base · digits · lr 0.1 · seed 2",
        "#3 simple_mlp base · digits · lr 0.3",
        "#4 another",
    ]


def test_equal_runs_have_no_best_and_no_difference(client: Any, look: Any, trained: Any) -> None:
    one, two = trained(), trained()
    page = look(client.get(f"/compare?runs={one},{two}"))
    assert '"n best"' not in page.html
    assert re.search(r"No differences in \d+ settings", page.html)


def test_a_form_of_checkboxes_leads_to_an_address_that_can_be_shared(client: Any, trained: Any) -> None:
    one, two = trained(), trained()
    answer = client.get(f"/compare?runs={one}&runs={two}&back=/runs", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/compare?runs={one},{two}")


def test_missing_runs_are_named(client: Any, look: Any, trained: Any) -> None:
    run = trained()
    page = look(client.get(f"/compare?runs={run},r_nothing,<b>"))
    assert "Runs <code>r_nothing</code>, <code>&lt;b&gt;</code> not found" in page.html
    assert "Only one run selected. <a" in page.html
    assert "Run <code>r_nothing</code> not found" in look(client.get("/compare?runs=r_nothing")).html


def test_tables_refresh_only_while_a_run_is_live(client: Any, look: Any, trained: Any, runs: Any) -> None:
    ended, alive = trained(), runs.add()
    page = look(client.get(f"/compare?runs={ended},{alive}"))
    address = page.one("div", id="compare-figures")["hx-get"]
    assert address == f"/compare/figures?runs={ended},{alive}"
    assert page.one("body")["data-stream"] == "/api/v1/events"
    assert "90.00%" in look(client.get(address, headers=HTMX)).html
    still = look(client.get(f"/compare?runs={ended}"))
    assert "hx-get" not in still.one("div", id="compare-figures")
    assert "data-stream" not in still.one("body")


def test_a_run_keeps_its_color_and_dash_on_every_page(client: Any, look: Any, runs: Any, trained: Any) -> None:
    for _ in range(9):
        runs.add()
    tenth = trained()
    for address in ("/", "/runs", "/compare", f"/runs/{tenth}"):
        assert "c2 d1" in look(client.get(address)).html
    assert "curve c2 d1" in look(client.get(f"/compare?runs={tenth}")).html


def test_too_many_runs_are_cut_with_a_notice(client: Any, look: Any, runs: Any) -> None:
    added = [runs.add() for _ in range(52)]
    page = look(client.get("/compare?runs=" + ",".join(added)))
    assert "Only the first 50 runs are shown; 2 more were requested." in page.html
    assert "No points yet." in page.html


def by_seed(trained: Any) -> list[str]:
    """Three seeds of each of two variants, the second one clearly better."""
    levels = {"mlp": (0.70, 0.72, 0.71), "cnn": (0.90, 0.92, 0.91)}
    families = {"mlp": {}, "cnn": {"family": "simple_cnn"}}
    return [
        trained(level=level, seed=seed, **families[name])
        for name, found in levels.items()
        for seed, level in enumerate(found, 1)
    ]


def test_several_seeds_form_one_group_with_mean_and_interval(client: Any, look: Any, trained: Any) -> None:
    ids = by_seed(trained)
    page = look(client.get("/compare?runs=" + ",".join(ids)))
    assert "2 groups, mean ± 95% CI over seeds" in page.html
    assert "90.00 ± 2.48%" in page.html
    assert "−20.00 ± 2.27" in page.html
    words = "simple_cnn base is better than simple_mlp base by 20.00 ± 2.27 pp in test/acc (3 seeds each)."
    assert words in page.html
    assert "gap to best, test/acc (pp)" in page.html
    assert len(page.all("polygon", class_="band c4 d0")) == 3
    assert page.one("details", id="each-run")
    assert all(page.one("a", id=f"group-{run}") for run in ids)
    assert f'href="/compare?runs={",".join(ids)}&amp;by=none"' in page.html


def test_a_viewer_can_look_at_each_run_or_group_by_a_setting(client: Any, look: Any, trained: Any) -> None:
    ids = ",".join(by_seed(trained))
    alone = look(client.get(f"/compare?runs={ids}&by=none"))
    assert len(alone.all("polyline", class_="curve c6 d0")) == 3
    assert "polygon" not in alone.html
    together = look(client.get(f"/compare?runs={ids}&by=dataset"))
    assert "1 group, mean" in together.html
    wrong = look(client.get(f"/compare?runs={ids}&by=color"))
    assert "Cannot group by &#39;color&#39;; choices: none, variant, family" in wrong.html


def test_live_groups_refresh_as_groups(client: Any, look: Any, trained: Any, runs: Any) -> None:
    ids = ",".join([*by_seed(trained), runs.add(seed=4)])
    page = look(client.get(f"/compare?runs={ids}&by=variant"))
    address = page.one("div", id="compare-figures")["hx-get"]
    assert address == f"/compare/figures?runs={ids}&by=variant"
    assert "3 of 4" in look(client.get(address, headers=HTMX)).html
    points = client.get(f"/compare/points?runs={ids}&by=variant").json()["points"]
    assert set(points) >= {"g1:val/acc", "g2:val/acc"}
    assert points["g1:val/acc"]["low"][0] < points["g1:val/acc"]["value"][0] < points["g1:val/acc"]["high"][0]


def test_the_api_says_means_intervals_and_the_verdict(client: Any, trained: Any) -> None:
    ids = by_seed(trained)
    said = client.get("/api/v1/compare", params={"runs": ",".join(ids)}).json()
    assert [group["title"] for group in said["groups"]] == ["simple_mlp base", "simple_cnn base"]
    mlp, cnn = (group["figures"]["test/acc"] for group in said["groups"])
    assert (cnn["best"], cnn["n"], mlp["best"]) == (True, 3, False)
    assert mlp["against_best"]["difference"] == pytest.approx(0.2)
    assert mlp["against_best"]["p"] < 0.001
    assert mlp["against_best"]["p_permutation"] == pytest.approx(0.1)
    assert "is better than" in said["sentence"]
    refused = client.get("/api/v1/compare", params={"runs": ids[0], "by": "color"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "by")
    assert client.get("/api/v1/compare", params={"runs": "r_nothing"}).status_code == 404


def test_close_groups_cannot_be_distinguished_and_the_needed_seeds_are_shown(
    client: Any, look: Any, trained: Any
) -> None:
    ids = [
        trained(level=level, seed=seed, lr=lr)
        for lr, levels in ((0.1, (0.80, 0.84)), (0.2, (0.81, 0.86)))
        for seed, level in enumerate(levels, 1)
    ]
    words = look(client.get("/compare?runs=" + ",".join(ids))).html
    assert "do not differ significantly in test/acc (difference: 1.50 ± 14." in words
    assert "more seeds per configuration should be enough to decide." in words


def test_groups_of_one_seed_are_ranked_with_a_warning(client: Any, look: Any, trained: Any) -> None:
    ids = [trained(level=level, lr=lr) for level, lr in ((0.8, 0.1), (0.9, 0.2))]
    words = look(client.get(f"/compare?runs={','.join(ids)}&by=variant")).html
    assert "by 10.00 pp in test/acc." in words
    assert "One seed each. Run more seeds of both to see whether the difference holds." in words


def test_the_gap_to_the_best_names_the_metric_once(client: Any, look: Any, trained: Any, runs: Any) -> None:
    ids = [trained(outcome="failed", level=level, lr=lr) for level, lr in ((0.8, 0.1), (0.9, 0.2))]
    page = look(client.get(f"/compare?runs={','.join(ids)}&by=variant"))
    assert "gap to best, val/acc (pp)" in page.html
    assert "best best" not in page.html


def test_compared_runs_are_preselected_in_the_list(client: Any, look: Any, trained: Any) -> None:
    one, two, three = trained(), trained(lr=0.1), trained(lr=0.2)
    page = look(client.get(f"/compare?runs={one},{two}"))
    (link,) = [each["href"] for each in page.all("a") if each.get("href", "").startswith("/compare?picked=")]
    page = look(client.get(link))
    chosen = [each["value"] for each in page.all("input", name="runs") if "checked" in each]
    assert chosen == [one, two] or chosen == [two, one]
    assert len(page.all("input", name="runs")) == 3
    page = look(client.get(f"/compare?runs={three}"))
    assert f'href="/compare?picked={three}"' in page.html
