"""What was changed is marked and can be taken back; presets, recipes and clones fill in what they stand for."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.contract.catalog import Catalog
from app.routes.launch.page import fitting
from tests.app.routes.launch.sent import command_of, filled_in

pytestmark = pytest.mark.usefixtures("figures")


def test_a_preset_stays_chosen_and_says_how_much_of_it_was_changed(client: Any, look: Any) -> None:
    page = look(client.get("/launch?preset=mnist_cnn_421k"))
    assert "checked" in page.one("input", name="family", value="simple_cnn")
    assert page.words["plan-params"] == "421,834"
    assert page.words["launch-changes"] == "preset mnist_cnn_421k, unchanged"
    assert command_of(page)[1] == {"preset": "mnist_cnn_421k"}
    page = look(client.get("/launch?preset=vit_mnist_995&epochs=20"))
    assert page.words["launch-changes"] == "1 setting changed from preset vit_mnist_995 · reset to the preset"
    assert page.one("input", name="seed")["placeholder"] == "12345"
    assert page.one("input", name="preset")["value"] == "vit_mnist_995"
    assert (
        "no preset 'nonsense'" in look(client.get("/launch?preset=nonsense&family=vit")).words["error-preset"].lower()
    )


def test_the_page_of_a_preset_launches_the_preset(client: Any, look: Any, runs: Any, catalog: Catalog) -> None:
    for name in ("simple_mlp", "vit_mnist_995", "multihead_cnn_mnist", "cifar100_cnn_64k"):
        form = filled_in(look(client.get(f"/launch?preset={name}")))
        run = client.post("/launch", data=form, follow_redirects=False).headers["location"].rpartition("/")[2]
        by_api = client.post("/api/v1/runs", json={"preset": name}).json()
        assert runs.get(run).config.model_dump() == by_api["spec"]


def test_each_change_has_its_way_back(client: Any, look: Any) -> None:
    asked = "/launch?family=vit&lr=0.5&epochs=3&name=kept&option.pool=mean"
    page = look(client.get(asked))
    assert page.words["launch-changes"].startswith("2 settings changed from recipe default")
    back = page.one("a", data_back="lr")["href"]
    assert dict(parse_qsl(urlsplit(back).query)) == {
        "family": "vit",
        "epochs": "3",
        "name": "kept",
        "option.pool": "mean",
    }
    page = look(client.get(back))
    assert page.words["mark-lr"] == ""
    all_back = look(client.get(page.one("a", data_back="*")["href"]))
    assert all_back.words["launch-changes"] == "recipe default, unchanged"
    assert all_back.one("input", name="name")["value"] == "kept"


def test_the_address_follows_the_form(client: Any, look: Any) -> None:
    form = {"family": "vit", "size": "small", "dataset": "digits", "targets": "digit", "epochs": "7", "flip": "true"}
    answer = client.post("/launch/check", data=form)
    assert answer.headers["hx-replace-url"] == "/launch?family=vit&epochs=7&flip=true"
    assert command_of(look(client.get(answer.headers["hx-replace-url"])))[1] == command_of(look(answer))[1]


def test_a_recipe_for_other_datasets_cannot_be_chosen_and_says_why(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=vit&dataset=digits"))
    assert "disabled" in page.one("option", value="cifar")
    assert "cifar · only for cifar10, cifar100" in page.html
    assert "disabled" not in page.one("option", value="vit_mnist_995")
    page = look(client.post("/launch/fields", data={"family": "vit", "dataset": "digits", "recipe": "cifar"}))
    assert "selected" in page.one("option", value="default")
    assert "Recipe cifar does not support digits; switched to recipe default." in page.html
    # Without JavaScript nothing was put right, so it is said.
    page = look(client.post("/launch", data={"family": "vit", "dataset": "digits", "recipe": "cifar"}), 422)
    assert "supported datasets: cifar10" in page.words["error-recipe"]
    assert "selected" in page.one("option", value="cifar")


def test_a_preset_is_let_go_of_with_its_family(catalog: Catalog) -> None:
    asked = {"preset": ["vit_mnist_995"], "family": ["vit"], "dataset": ["mnist"], "recipe": ["vit_mnist_995"]}
    assert fitting(asked, catalog)[0]["preset"] == ["vit_mnist_995"]
    form, _ = fitting(asked | {"family": ["simple_cnn"], "size": ["small"], "size_of": ["vit"]}, catalog)
    assert "preset" not in form
    assert (form["size"], form["recipe"]) == (["base"], ["vit_mnist_995"])


def test_what_is_folded_away_says_what_is_set_in_it(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=vit&dataset=cifar10&recipe=cifar&rotation=10"))
    assert "random crop 4 · flip · rotation 10 · test-time flip · normalization dataset</span>" in page.html
    assert '<span class="mark">1 changed</span>' in page.html
    # What does not matter with the schedule that is chosen is not said.
    assert "plateau" not in page.words["state-optimization"]
    assert "open" not in page.one("details", id="fold-augmentation")
    page = look(client.get("/launch?family=vit&rotation=300"))
    assert "open" in page.one("details", id="fold-augmentation")
    assert page.words["error-rotation"] == "Rotation must be at most 180."


CLONED: list[dict[str, Any]] = [
    {"family": "simple_mlp", "epochs": 33, "seed": 7, "tags": ["paper", "a, b"], "lr": 0.1 + 0.2},
    {"family": "simple_cnn", "dataset": "mnist", "auxiliary": True, "targets": ["thickness", "digit"]},
    {"family": "vit", "dataset": "mnist", "options": {"pool": "mean", "patch": 7}, "schedule": "one_cycle"},
    {"preset": "vit_mnist_995", "seed": 1, "warmup": 0.1, "notes": "\n two\nlines ", "name": "<b>&amp;</b>"},
    {"preset": "simple_mlp", "dataset": "cifar10", "flip": True, "rotation": 12.5, "normalization": "half"},
    {"family": "vit", "optimizer": "sgd", "momentum": 0.0, "plateau_patience": 3, "early_stopping": 5, "device": "cpu"},
    {"family": "efficientnet", "dataset": "cifar100", "recipe": "cifar_sgd", "flip": False, "deterministic": True},
]


@pytest.mark.parametrize("spec", CLONED, ids=lambda spec: "-".join(spec)[:60])
def test_clone_fills_in_all_that_a_run_was(client: Any, look: Any, runs: Any, spec: dict[str, Any]) -> None:
    run = client.post("/api/v1/runs", json=spec).json()["id"]
    form = filled_in(look(client.get(f"/launch?from={run}")))
    answer = client.post("/launch", data=form, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    again = runs.get(answer.headers["location"].rpartition("/")[2])
    assert again.config == runs.get(run).config


def test_clone_leaves_blank_what_the_recipe_says(client: Any, look: Any, runs: Any) -> None:
    run = runs.add(epochs=33, batch_size=32, tags=["paper"])
    page = look(client.get(f"/launch?from={run}"))
    assert page.one("input", name="epochs")["value"] == "33"
    assert page.one("input", name="tags")["value"] == "paper"
    assert page.one("input", name="batch_size")["value"] == ""
    assert "Not found" in look(client.get("/launch?from=r_nothing"), 404).html


def test_a_batch_of_32_is_a_number_and_a_precision_of_32_has_its_name(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=simple_cnn&dataset=digits&recipe=fast&batch_size=64"))
    assert page.words["mark-batch_size"].startswith("changed from 32 ")
    assert '<option value="" data-means="auto">auto</option>' in page.html
    page = look(client.get("/launch?family=simple_cnn&dataset=digits"))
    assert '<option value="" data-means="32">float32</option>' in page.html
