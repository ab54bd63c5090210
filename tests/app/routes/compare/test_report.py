"""The report: a comparison as a single HTML file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.testclient import TestClient

from tests.app.routes.conftest import Page
from tests.conftest import Runs

if TYPE_CHECKING:
    from collections.abc import Callable

    Trained = Callable[..., str]


def report(client: TestClient, query: str) -> Page:
    answer = client.get(f"/compare/report?{query}")
    assert answer.status_code == 200, answer.text[:300]
    return Page(answer.text)


def test_a_report_holds_all_it_needs_and_fetches_nothing(client: TestClient, trained: Trained) -> None:
    ids = ",".join(trained(seed=seed) for seed in (1, 2))
    page = report(client, f"runs={ids}&by=none")
    assert page.all("script") == page.all("link") == page.all("img") == page.all("form") == []
    assert "@import" not in page.html
    assert "url(" not in re.sub(r"url\((['\"]?)data:", "", page.html)
    assert page.html.lstrip().startswith("<!doctype html>")
    assert len(page.all("polyline")) > 1
    assert page.all("style")


def test_its_links_lead_back_to_the_server(client: TestClient, trained: Trained) -> None:
    run, other = trained(), trained(seed=2)
    page = report(client, f"runs={run},{other}&by=none")
    links = [each["href"] for each in page.all("a")]
    assert f"http://127.0.0.1/runs/{run}" in [link.replace(":8000", "") for link in links]
    assert all(link.startswith("http://127.0.0.1") for link in links)
    assert any(link.endswith(f"/compare?runs={run},{other}&by=none") for link in links)


def test_groups_are_shown_as_means_with_intervals(client: TestClient, trained: Trained) -> None:
    ids = [trained(lr=lr, seed=seed) for lr in (0.1, 0.2) for seed in (1, 2, 3)]
    page = report(client, f"runs={','.join(ids)}&by=variant")
    assert "±" in page.words["groups"]
    assert "0.1" in page.words["differences"]
    assert page.words["each-run"].count("succeeded") == 6 or "status" in page.words["each-run"]


def test_a_report_of_equal_runs_has_no_differences(client: TestClient, trained: Trained) -> None:
    page = report(client, f"runs={trained()},{trained()}&by=none")
    assert "Differences" in page.words["differences"]
    assert "no differences" in page.words["differences"]


def test_more_runs_than_fit_on_paper_stand_below_one_another(client: TestClient, trained: Trained) -> None:
    ids = [trained(lr=number / 100, name=f"trial {number}") for number in range(1, 9)]
    page = report(client, f"runs={','.join(ids)}&by=none")
    for section in ("each-run", "differences"):
        found = page.html.partition(f'id="{section}"')[2].partition("</section>")[0]
        tables = [table.split("<tr")[1:] for table in found.split("<table>")[1:]]
        # The names of the rows stand before six runs, and again before the other two.
        assert [{len(re.findall("<t[hd]", row)) for row in rows} for rows in tables] == [{7}, {3}], section
        assert [len(re.findall("#[1-8]\\b", rows[0])) for rows in tables] == [6, 2]


def test_it_is_a_download_that_may_style_itself_and_no_more(client: TestClient, trained: Trained) -> None:
    answer = client.get(f"/compare/report?runs={trained()}")
    assert answer.headers["content-disposition"] == 'attachment; filename="runyard-comparison-1.html"'
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_report_of_nothing_is_refused(client: TestClient, runs: Runs) -> None:
    assert client.get("/compare/report").status_code == 404
    assert client.get("/compare/report?runs=nobody").status_code == 404


def test_names_cannot_get_out_of_the_text(client: TestClient, trained: Trained) -> None:
    page = report(client, f"runs={trained(name='<script>alert(1)</script>')}")
    assert page.all("script") == []


def test_the_page_has_a_button_for_it(client: TestClient, trained: Trained) -> None:
    run = trained()
    page = Page(client.get(f"/compare?runs={run}&by=none").text)
    assert page.all("a", id="report")[0]["href"] == f"/compare/report?runs={run}&by=none"
