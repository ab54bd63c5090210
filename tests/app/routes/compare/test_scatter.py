"""The scatter plot of accuracy against cost and its Pareto front."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.routes.compare.scatter import pareto
from app.web.formatting import format_short

POINTS = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1, max_size=30)


@given(points=POINTS)
def test_nothing_beats_a_run_of_the_front_and_something_is_as_good_as_every_other(
    points: list[tuple[int, int]],
) -> None:
    front = pareto(points)
    for i in front:
        assert not any(cost < points[i][0] and gain >= points[i][1] for cost, gain in points)
        assert not any(cost <= points[i][0] and gain > points[i][1] for cost, gain in points)
    for cost, gain in points:
        assert any(points[i][0] <= cost and points[i][1] >= gain for i in front)
    assert [points[i][1] for i in front] == sorted({points[i][1] for i in front})


def test_runs_are_plotted_by_parameters_or_another_chosen_cost(client: Any, look: Any, trained: Any, runs: Any) -> None:
    small, large = trained(level=0.8), trained(level=0.9, family="simple_cnn")
    runs.set(small, params=1000)
    runs.set(large, params=100_000)
    page = look(client.get(f"/compare?runs={small},{large}"))
    assert "test/acc vs. parameters" in page.html
    assert "#1 simple_mlp base · digits: test/acc 79.00%, parameters 1k" in page.html
    assert len(page.all("circle", class_="c1 d0 best")) == len(page.all("circle", class_="c2 d0 best")) == 1
    page = look(client.get(f"/compare?runs={small},{large}&cost=duration"))
    assert "test/acc vs. duration" in page.html
    # Both took as long, so that only the better one is of the front.
    assert page.all("circle", class_="c1 d0 best") == []


def test_flops_are_computed_only_on_request(client: Any, look: Any, trained: Any) -> None:
    ids = [trained(level=level, size=size) for level, size in ((0.8, "tiny"), (0.9, "base"))]
    page = look(client.get(f"/compare?runs={','.join(ids)}&cost=FLOPs"))
    assert "test/acc vs. FLOPs per image" in page.html
    said = [
        client.post("/api/v1/preview", json={"family": "simple_mlp", "size": size}).json() for size in ("tiny", "base")
    ]
    assert said[0]["flops"] < said[1]["flops"]
    for each in said:
        assert f"FLOPs per image {format_short(each['flops'])}" in page.html


def test_a_cost_that_is_not_known_leaves_the_choice_of_another(client: Any, look: Any, trained: Any) -> None:
    page = look(client.get(f"/compare?runs={trained(level=0.8)},{trained(level=0.9)}&cost=memory"))
    assert "Known for fewer than two of these runs, so there is nothing to plot" in page.html
    assert page.one("a", id="cost-parameters")
    assert page.all("circle") == []


def test_one_run_alone_has_no_picture(client: Any, look: Any, trained: Any, runs: Any) -> None:
    one = trained()
    assert "scatter" not in look(client.get(f"/compare?runs={one},{runs.add()}")).html
