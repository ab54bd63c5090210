"""A run's card is a page, a document and an answer of the API; it works for every kind of run."""

from __future__ import annotations

from typing import Any


def test_the_three_forms_of_a_card_say_the_same(client: Any, look: Any, trained: Any) -> None:
    run = trained(dataset="digits")
    page = look(client.get(f"/runs/{run}/card"))
    card = client.get(f"/api/v1/runs/{run}/card").json()
    document = client.get(f"/runs/{run}/card.md")
    assert document.headers["content-type"].startswith("text/markdown")
    assert document.headers["content-disposition"] == 'attachment; filename="run-1-card.md"'
    assert document.text == client.get(f"/api/v1/runs/{run}/card.md").text == card["markdown"]
    for section in card["sections"]:
        assert f"## {section['title']}" in document.text
        assert section["title"] in page.html
    assert "89.00%" in page.html
    metrics = next(each for each in card["sections"] if each["title"] == "Metrics")
    assert ["test/acc", "89.00%", "85.22% to 91.73%", ""] in metrics["rows"]
    reproduce = card["sections"][-1]
    assert reproduce["code"].startswith("runyard launch ")
    details = {each["name"]: each["value"] for each in card["sections"][0]["facts"]}
    for name in ("training started", "training ended"):
        assert f"- **{name}**: {details[name]}" in document.text
        assert f'<time datetime="{details[name]}" data-shown="date">' in page.html


def test_a_run_logged_by_a_script_says_what_is_not_known(client: Any, look: Any) -> None:
    points = {"offset": 0, "step": [1], "value": [0.5], "time": [2.0]}
    head = {"key": "0123456789abcdef", "experiment": "mine", "name": "one", "started": 1.0, "ended": 9.0}
    answer = client.post("/api/v1/import", json=head | {"curves": {"val/acc": points}})
    assert answer.status_code in (200, 201), answer.text
    page = look(client.get(f"/runs/{answer.json()['id']}/card"))
    assert "Not known: this run was logged by a script" in page.html


def test_a_run_of_a_dataset_that_is_gone_still_has_a_card(client: Any, look: Any, trained: Any, runs: Any) -> None:
    run = trained()
    config = runs.get(run).config.model_copy(update={"dataset": "gone"})
    runs.set(run, config=config.model_dump_json(), dataset="gone")
    assert "the dataset gone is no longer here" in look(client.get(f"/runs/{run}/card")).html


def test_a_run_that_does_not_exist_has_no_card(client: Any) -> None:
    for path in ("/runs/r_none/card", "/runs/r_none/card.md", "/api/v1/runs/r_none/card"):
        assert client.get(path).status_code == 404
