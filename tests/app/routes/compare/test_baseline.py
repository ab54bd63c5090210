"""Comparison with a baseline, splits, parallel coordinates, and launching more seeds."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

HTMX = {"HX-Request": "true"}


def deltas(page: Any) -> list[tuple[str, str]]:
    """Return (better or worse, text) of every difference to the baseline, in page order."""
    return [(way.strip(), words) for way, words in re.findall(r'<span class="delta([^"]*)">([^<]*)', page.html)]


def test_every_figure_of_a_run_has_its_difference_to_the_baseline(client: Any, look: Any, trained: Any) -> None:
    one, two = trained(level=0.5), trained(level=0.9)
    address = f"/compare?runs={one},{two}"
    plain = look(client.get(address))
    assert deltas(plain) == []
    page = look(client.get(plain.one("a", id=f"pin-{one}")["href"]))
    assert deltas(page)[:2] == [("better", "+40.00"), ("better", "+40.00")]
    assert page.one("a", id=f"pin-{one}")["class"] == "pin pinned"
    assert page.one("a", id=f"pin-{one}")["href"] == address
    other = look(client.get(f"{address}&baseline={two}"))
    assert deltas(other)[0] == ("worse", "−40.00")
    # One that is not among them is none.
    assert deltas(look(client.get(f"{address}&baseline=r_nothing"))) == []


def test_a_difference_of_groups_has_an_interval_and_is_better_only_if_it_excludes_zero(
    client: Any, look: Any, trained: Any
) -> None:
    mlp = [trained(level=level, seed=seed) for seed, level in enumerate((0.70, 0.72, 0.71), 1)]
    cnn = [trained(family="simple_cnn", level=level, seed=seed) for seed, level in enumerate((0.90, 0.92, 0.91), 1)]
    close = [trained(lr=0.5, level=level, seed=seed) for seed, level in enumerate((0.72, 0.73, 0.69), 1)]
    ids = ",".join([*mlp, *cnn, *close])
    page = look(client.get(f"/compare?runs={ids}&baseline={mlp[1]}"))
    found = deltas(page)
    assert found[0] == ("better", "+20.00 ± 2.27")
    # The other variant lies as close as chance.
    assert [way for way, words in found if words.startswith("+0.33 ± ")] == ["", ""]
    by_key = look(client.get(f"/compare?runs={ids}&baseline=g1"))
    assert deltas(by_key) == found
    assert page.one("a", id=f"pin-{mlp[0]}")["class"] == "pin pinned"


def test_the_baseline_stays_while_a_run_is_live(client: Any, look: Any, trained: Any, runs: Any) -> None:
    one, alive = trained(), runs.add()
    page = look(client.get(f"/compare?runs={one},{alive}&baseline={one}&settings=all"))
    address = page.one("div", id="compare-figures")["hx-get"]
    assert address == f"/compare/figures?runs={one},{alive}&baseline={one}&settings=all"
    assert "pin pinned" in look(client.get(address, headers=HTMX)).html


def test_all_settings_are_shown_where_they_are_asked_for(client: Any, look: Any, trained: Any) -> None:
    ids = f"{trained(lr=0.1)},{trained()}"
    page = look(client.get(f"/compare?runs={ids}"))
    assert '<th scope="row">optimizer</th>' not in page.html
    page = look(client.get(page.one("a", id="all-settings")["href"].partition("#")[0]))
    assert '<tr class="soft"><th scope="row">optimizer</th>' in page.html
    assert '<tr class="differs"><th scope="row">lr</th>' in page.html
    assert "1 of " in page.html


def test_runs_that_continue_one_another_show_where_their_curves_split(
    client: Any, look: Any, trained: Any, runs: Any
) -> None:
    first, fork, again, alone = trained(), trained(lr=0.1), trained(lr=0.2), trained()
    runs.set(fork, parent=first, relation="fork", parent_step=100)
    runs.set(again, parent=first, relation="fork", parent_step=150)
    page = look(client.get(f"/compare?runs={first},{fork},{alone}&by=none"))
    assert "#2 forks from #1 at step 100 (epoch 1)." in page.words["splits"]
    assert '"step":100' in page.html
    page = look(client.get(f"/compare?runs={fork},{again}"))
    assert "#2 continues from the same run as #3, from step 100 (epoch 1); #3 continues" in page.words["splits"]
    assert 'id="splits"' not in look(client.get(f"/compare?runs={fork},{alone}")).html


def test_groups_of_forks_say_where_their_means_split(client: Any, look: Any, trained: Any, runs: Any) -> None:
    first = [trained(seed=seed) for seed in (1, 2)]
    forks = [trained(seed=seed, lr=0.1) for seed in (1, 2)]
    for parent, fork in zip(first, forks, strict=True):
        runs.set(fork, parent=parent, relation="fork", parent_step=100)

    def said(*ids: str) -> str:
        return str(look(client.get(f"/compare?runs={','.join(ids)}&by=variant")).words.get("splits", ""))

    assert re.fullmatch(r".* lr 0\.1 forks from .* lr 0\.\d+ at step 100 \(epoch 1\)\.", said(*first, *forks))
    assert '"owner":"g2"' in client.get(f"/compare?runs={','.join([*first, *forks])}&by=variant").text
    # Without their parents they are runs like any other, and a group of which one run is no fork begins nowhere.
    assert said(*forks) == ""
    assert said(*first, *forks, trained(seed=3, lr=0.1)) == ""
    runs.set(forks[1], parent_step=150)
    assert "at steps 100 to 150" in said(*first, *forks)
    others = [trained(seed=seed, lr=0.2) for seed in (1, 2)]
    for parent, fork in zip(first, others, strict=True):
        runs.set(fork, parent=parent, relation="fork", parent_step=50)
    assert re.search(r"lr 0\.2 continues from the same runs as .* lr 0\.1, from step 50", said(*forks, *others))


def test_parallel_coordinates_have_an_axis_for_what_differs_and_a_table_beside(
    client: Any, look: Any, trained: Any
) -> None:
    one, two, three = trained(lr=0.001, level=0.5), trained(lr=0.1, level=0.9), trained(lr=0.01, outcome="failed")
    page = look(client.get(f"/compare?runs={one},{two},{three}&by=none"))
    axes = re.findall(r'<text class="title"[^>]*>([^<]+)<', page.html)
    assert axes == ["lr", "best val/acc", "test/acc"]
    lines = [found["data-heights"] for found in page.all("polyline") if "data-heights" in found]
    # A wide range of positive values lies on an axis by its powers, and what has no value on no axis.
    assert lines == ["96.00,96.00,96.00", "4.00,4.00,4.00", "50.00,4.00,"]
    table = page.html[page.html.index('id="parallel-table"') :]
    assert all(words in table for words in ("0.001", "90.00%", "89.00%"))
    assert "data-parallel" not in look(client.get(f"/compare?runs={one}")).html


def test_more_seeds_are_launched_with_one_click(client: Any, look: Any, trained: Any, runs: Any) -> None:
    said = [{"family": "simple_mlp", "lr": lr} for lr in (0.001, 0.002)]
    levels = ((0.900, 0.904, 0.910), (0.901, 0.912, 0.911))
    ids = [
        trained(level=level, seed=seed, **each)
        for each, found in zip(said, levels, strict=True)
        for seed, level in enumerate(found, 1)
    ]
    page = look(client.get("/compare?runs=" + ",".join(ids)))
    assert "do not differ significantly in test/acc" in page.html
    more = int(page.one("input", name="more")["value"])
    assert f"Launch {more} more seed" in page.html
    variants = [each["value"] for each in page.all("input", name="variants")]
    assert [set(each.split(",")) for each in variants] == [set(ids[3:]), set(ids[:3])]
    form = {"runs": ",".join(ids), "more": 2, "variants": variants, "by": ""}
    answer = client.post("/compare/seeds", data=form, follow_redirects=False)
    assert answer.status_code == 303
    made = runs.sql("SELECT id, seed, lr, status FROM run WHERE sweep IS NOT NULL ORDER BY lr, seed")
    assert [row[1:] for row in made] == [(seed, lr, "queued") for lr in (0.001, 0.002) for seed in (4, 5)]
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert set(query["runs"][0].split(",")) == {*ids, *(row[0] for row in made)}
    assert query["by"] == ["variant"]
    assert "Comparing 10 runs" in look(client.get(answer.headers["location"])).html
    # While a seed of them waits or trains, nobody is asked to launch more.
    runs.set(ids[0], status="running")
    assert not look(client.get("/compare?runs=" + ",".join(ids))).all("button", id="more-seeds")


def test_seeds_of_nothing_or_too_many_are_refused(client: Any, runs: Any) -> None:
    run = runs.add()
    assert client.post("/compare/seeds", data={"more": 2, "variants": [" "]}).status_code == 422
    assert client.post("/compare/seeds", data={"more": 51, "variants": [run]}).status_code == 422
    assert client.post("/compare/seeds", data={"more": 1, "variants": ["r_nothing"]}).status_code == 404
    assert runs.sql("SELECT count(*) FROM sweep") == [(0,)]
