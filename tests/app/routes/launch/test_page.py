"""The launch form: what is wrong stands beside its field, and what would follow stands beside the form."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.analysis.reference import references
from app.contract.builtin_datasets import prepared_file
from app.contract.settings import Settings
from app.contract.spec import RunSpec
from app.routes.launch.multiple_values import OWN
from tests.app.own_dataset import describe_own_dataset
from tests.app.routes.launch.sent import command_of, filled_in

pytestmark = pytest.mark.usefixtures("figures")


def test_the_form_is_filled_in_by_its_address(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=simple_cnn&size=base&dataset=mnist&epochs=3"))
    assert "checked" in page.one("input", name="family", value="simple_cnn")
    assert "checked" in page.one("input", name="size", value="base")
    assert page.words["plan-params"] == "421,834"
    assert page.words["plan-steps"] == "429 per epoch, 1,287 total"
    assert page.one("input", name="epochs")["value"] == "3"
    assert page.words["mark-epochs"].startswith("changed from 10")
    assert page.words["launch-changes"] == "1 setting changed from recipe default · reset to the recipe"
    assert page.one("input", name="batch_size")["placeholder"] == "128"
    assert page.words["mark-batch_size"] == ""


def test_the_plan_says_which_accuracy_to_expect(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=simple_mlp&size=base&dataset=digits&recipe=default"))
    expected = references()["simple_mlp", "base", "digits"]
    assert page.words["plan-reference"].startswith(f"{expected.text} {expected.brief} {expected.about}")
    for other in (
        "family=vit&size=large&dataset=digits",  # not measured
        "family=simple_mlp&size=base&dataset=digits&targets=thickness",  # measured with another target
        "family=simple_cnn&size=base&dataset=digits&auxiliary=true",
        "family=vit&size=small&dataset=digits&option.pool=mean",
    ):
        assert "plan-reference" not in look(client.get(f"/launch?{other}")).words, other


def test_a_speedrun_is_told_its_own_reference(client: Any, look: Any) -> None:
    page = look(client.get("/launch?preset=speedrun_mnist_994"))
    assert "speedrun, 5 epochs, crop padding 1, 5 seeds" in page.words["plan-reference"]


def test_a_form_without_a_target_is_refused(client: Any, look: Any) -> None:
    form = filled_in(look(client.get("/launch?family=simple_mlp&dataset=digits")))
    refused = client.post("/launch", data={name: values for name, values in form.items() if name != "targets"})
    assert look(refused, 422).words["error-targets"] == "Choose at least one target."
    assert client.get("/api/v1/runs").json()["runs"] == []


def test_a_plan_of_several_networks_says_that_its_figures_are_those_of_the_first(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=simple_cnn&also.family=simple_mlp&dataset=digits"))
    assert page.words["plan-first"] == "With the first values: simple_cnn base on digits"
    assert "plan-first" not in look(client.get("/launch?family=simple_cnn&dataset=digits&seeds=3")).words
    ranged = look(client.get("/launch?family=simple_cnn&dataset=digits&lr=log 1e-4 .. 1e-2"))
    assert ranged.words["launch-changes"].startswith("1 setting changed from recipe default")


def test_an_invalid_form_does_not_claim_that_no_worker_is_connected(client: Any, look: Any, present: Any) -> None:
    present(time.time())
    page = look(client.get("/launch?family=simple_mlp&dataset=digits&seeds=0"))
    assert "no workers connected" not in page.html


def test_the_command_says_only_what_differs_and_survives_a_shell(client: Any, look: Any) -> None:
    page = look(client.get("/launch", params={"family": "vit", "seed": "1", "lr": "0.004", "name": "it's $HOME `x`"}))
    address, body = command_of(page)
    assert address == "http://127.0.0.1:8000/api/v1/runs"
    assert body == {"family": "vit", "lr": 0.004, "name": "it's $HOME `x`"}


def test_the_command_launches_the_same_run_as_the_form(client: Any, look: Any, runs: Any) -> None:
    form = {
        "family": "vit",
        "option.pool": "mean",
        "option.patch": "7",
        "dataset": "mnist",
        "tags": "a, b",
        "flip": "true",
    }
    _, body = command_of(look(client.get("/launch", params=form)))
    by_command = client.post("/api/v1/runs", json=body).json()
    by_form = client.post("/launch", data=form, follow_redirects=False).headers["location"].rpartition("/")[2]
    assert runs.get(by_form).config.model_dump() == by_command["spec"]
    assert by_command["spec"]["options"] == {"pool": "mean", "patch": 7}


def test_a_posted_form_launches_without_a_script(client: Any, look: Any, runs: Any) -> None:
    page = look(client.get("/launch"))
    key = page.one("input", name="key")["value"]
    form = {
        "key": key,
        "family": "simple_mlp",
        "size": "base",
        "dataset": "digits",
        "epochs": "2",
        "lr": "",
        "notes": "",
    }
    answer = client.post("/launch", data=form, follow_redirects=False)
    assert answer.status_code == 303
    run = answer.headers["location"].removeprefix("/runs/")
    assert runs.get(run).config.epochs == 2
    # The button pressed twice launches one run.
    assert client.post("/launch", data=form, follow_redirects=False).headers["location"] == f"/runs/{run}"
    other = client.post("/launch", data=form | {"epochs": "3"}, follow_redirects=False).headers["location"]
    assert other != f"/runs/{run}"


def test_errors_stand_beside_their_fields_and_nothing_typed_is_lost(client: Any, look: Any, runs: Any) -> None:
    form = {"family": "simple_cnn", "batch_size": "0", "lr": "abc", "epochs": "4", "name": "<b>kept</b>"}
    page = look(client.post("/launch", data=form), 422)
    assert page.words["error-batch_size"] == "Batch size must be at least 1."
    assert page.words["error-lr"] == "Learning rate must be a number."
    assert page.one("input", name="batch_size")["aria-invalid"] == "true"
    assert page.one("input", name="batch_size")["value"] == "0"
    assert page.one("input", name="name")["value"] == "<b>kept</b>"
    assert page.words["error-epochs"] == ""
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


def test_invalid_fields_are_listed_beside_the_button_and_the_first_one_gets_the_focus(client: Any, look: Any) -> None:
    form = {"family": "simple_cnn", "priority": "high", "mixup": "-1", "epochs": "4"}
    page = look(client.post("/launch", data=form), 422)
    assert page.words["launch-invalid"].split("\n")[1:3] == [
        "  2 fields need attention",
        "  Mixup must be at least 0.Priority must be a whole number.",
    ]
    assert [link["href"] for link in page.all("a") if link["href"].startswith("#field-")] == [
        "#field-mixup",
        "#field-priority",
    ]
    assert [field["id"] for field in page.all("input") if "autofocus" in field] == ["field-mixup"]
    assert "open" in page.one("details", id="fold-augmentation")
    # While someone types, the list comes along and the focus stays where it is.
    for typed in (client.post("/launch/check", data=form), client.post("/launch/fields", data=form)):
        assert "2 fields need attention" in look(typed).words["launch-invalid"]
        assert "autofocus" not in typed.text
    valid = look(client.post("/launch/check", data=form | {"priority": "2", "mixup": "0.2"}))
    assert valid.words["launch-invalid"].strip() == ""


def test_the_list_of_invalid_fields_stays_short(client: Any, look: Any) -> None:
    form = {"family": "vit", "size": "hug", "epochs": "0", "batch_size": "0", "lr": "abc", "option.pool": "no_such"}
    page = look(client.post("/launch", data=form), 422)
    shown = page.words["launch-invalid"]
    assert "5 fields need attention" in shown
    assert "No size 'hug'" in shown
    assert shown.strip().endswith("Epochs must be at least 1.and 2 more")
    assert "autofocus" in page.one("input", id="size-tiny")


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"family": "no_such"}, "family"),
        ({"family": "vit", "size": "no_such"}, "size"),
        ({"family": "vit", "dataset": "no_such"}, "dataset"),
        ({"family": "vit", "targets": "no_such"}, "targets"),
        ({"family": "vit", "recipe": "no_such"}, "recipe"),
        ({"family": "vit", "option.pool": "no_such"}, "options"),
        ({"family": "vit", "batch_size": "60000"}, "batch_size"),
        ({"family": "vit", "lr_min": "1"}, "lr_min"),
        ({"family": "vit", "optimizer": "no_such"}, "optimizer"),
        ({"family": "vit", "seed": "1e999"}, "seed"),
        ({"family": "vit", "epochs": "2.5"}, "epochs"),
        ({"family": "vit", "priority": "high"}, "priority"),
        ({"family": "vit", "name": "x" * 300}, "name"),
    ],
)
def test_whatever_is_wrong_is_said_where_it_is_wrong(client: Any, look: Any, form: dict[str, str], field: str) -> None:
    if field == "family":
        page = look(client.post("/launch", data=form), 422)
        assert page.words["error-family"]
        return
    for page in (look(client.post("/launch", data=form), 422), look(client.post("/launch/check", data=form))):
        assert page.words[f"error-{field}"], page.words


def test_all_errors_are_said_at_once(client: Any, look: Any) -> None:
    page = look(client.post("/launch/check", data={"family": "vit", "epochs": "0", "dataset": "no_such"}))
    assert page.words["error-epochs"]
    assert page.words["error-dataset"]
    assert "once the form is valid" in page.html


def test_another_family_takes_along_only_what_it_has(client: Any, look: Any) -> None:
    page = look(
        client.post("/launch/fields", data={"family": "simple_mlp", "size": "huge", "option.pool": "mean", "lr": "abc"})
    )
    assert not page.all("input", name="option.pool")
    assert "checked" in page.one("input", name="size", value="base")
    assert page.one("input", name="lr")["value"] == "abc"
    assert page.words["error-size"] == ""


def test_another_dataset_brings_its_targets_and_counts(client: Any, look: Any) -> None:
    page = look(client.post("/launch/fields", data={"family": "simple_cnn", "dataset": "cifar10", "targets": "digit"}))
    assert [found["value"] for found in page.all("input", name="targets")] == [
        "class",
        "domain",
        "mobility",
        "size",
    ]
    assert "checked" in page.one("input", name="targets", value="class")


def test_several_targets_are_counted_exactly(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=simple_cnn&dataset=cifar10&targets=class&targets=domain"))
    assert page.words["plan-params"] == "422,866"
    assert command_of(page)[1]["targets"] == ["class", "domain"]


def test_every_field_of_a_run_can_be_reached(client: Any, look: Any) -> None:
    sent = set(filled_in(look(client.get("/launch?preset=mnist_cnn_421k&auxiliary=true"))))
    sent |= set(filled_in(look(client.get("/launch?family=vit"))))
    options = {name for name in sent if name.startswith("option.")}
    assert options == {"option.pool", "option.patch", "option.init"}
    assert set(RunSpec.model_fields) - {"options"} == sent - options - {"key", "size_of", "targets_of", *OWN}


def test_auxiliary_scalars_are_offered_where_they_can_be_had(client: Any, look: Any, runs: Any) -> None:
    page = look(client.get("/launch?family=simple_cnn&dataset=mnist"))
    assert "checked" not in page.one("input", name="auxiliary")
    assert page.words["hint-auxiliary"].strip() == "area, stroke length, thickness, slant, height to width"
    for other in ("family=vit&dataset=mnist", "family=simple_cnn&dataset=cifar10"):
        assert not look(client.get(f"/launch?{other}")).all("input", name="auxiliary")
    form = {"family": "simple_cnn", "dataset": "mnist", "auxiliary": "true"}
    run = client.post("/launch", data=form, follow_redirects=False).headers["location"].rpartition("/")[2]
    assert runs.get(run).config.auxiliary
    page = look(client.post("/launch", data=form | {"dataset": "cifar10"}), 422)
    assert "has no auxiliary scalars" in page.words["error-auxiliary"]
    assert not look(client.post("/launch/fields", data=form | {"dataset": "cifar10"})).all("input", name="auxiliary")


def test_the_page_says_when_the_run_would_start(client: Any, look: Any, runs: Any, present: Any) -> None:
    assert look(client.get("/launch")).words["plan-starts"] == "when a worker connects"
    present(time.time(), slots=2)
    assert look(client.get("/launch")).words["plan-starts"] == "immediately (2 free slots)"
    assert look(client.get("/launch?device=cuda")).words["plan-starts"] == "when a worker with cuda connects"
    for query, words in (("worker=box", "worker box"), ("worker=box&device=cuda", "worker box with cuda")):
        assert look(client.get(f"/launch?{query}")).words["plan-starts"] == f"when {words} connects"
    for _ in range(3):
        runs.add()
    assert look(client.get("/launch")).words["plan-starts"] == "after 3 queued runs"
    assert look(client.get("/launch?priority=5")).words["plan-starts"] == "immediately (2 free slots)"


def test_half_of_a_surrogate_pair_breaks_nothing(client: Any) -> None:
    assert client.get("/launch?name=%ED%A0%80").status_code == 200
    assert client.post("/launch", data={"family": "%ED%A0%80", "name": "\x00"}).status_code in (200, 422)


def test_another_family_comes_at_its_own_default_size(client: Any, look: Any, runs: Any) -> None:
    asked = {"family": "simple_cnn", "size": "small", "size_of": "simple_dense_net"}
    page = look(client.post("/launch/fields", data=asked))
    assert "checked" in page.one("input", name="size", value="base")
    assert page.words["plan-params"] == "421,834"
    # Without JavaScript the form still shows the sizes of the family that it was made for.
    sent = client.post("/launch", data=asked, follow_redirects=False)
    assert client.get("/api/v1" + sent.headers["location"]).json()["spec"]["size"] == "base"
    chosen = client.post("/launch", data=asked | {"size": "tiny"}, follow_redirects=False)
    assert client.get("/api/v1" + chosen.headers["location"]).json()["spec"]["size"] == "tiny"


def test_a_run_that_waits_for_a_device_nobody_has_holds_nobody_up(
    client: Any, look: Any, runs: Any, present: Any
) -> None:
    present(time.time())
    client.post("/api/v1/runs", json={"family": "vit", "device": "cuda"})
    assert look(client.get("/launch")).words["plan-starts"].startswith("immediately")


def test_the_patches_offered_follow_the_images_and_the_rest_say_why_not(
    client: Any, look: Any, settings: Settings
) -> None:
    describe_own_dataset(settings.datasets, side=64)
    page = look(client.get("/launch?family=vit&dataset=flowers"))
    offered = page.all("input", name="option.patch")
    assert [found["value"] for found in offered] == ["", "7", "8", "14", "16", "32"]
    assert [found["value"] for found in offered if "disabled" in found] == ["7", "14"]
    assert "Not offered: 7, 14 (flowers has 64 px)." in page.words["hint-option-patch"]
    # A default is sent blank: with larger images, it becomes another one.
    posted = {"family": "vit", "dataset": "cifar10", "option.patch": ""}
    assert (
        look(client.post("/launch/fields", data=posted))
        .one("input", name="option.patch", value="")["id"]
        .endswith("-1")
    )
    describe_own_dataset(settings.datasets, "birds", side=224)
    page = look(client.post("/launch/fields", data=posted | {"dataset": "birds"}))
    assert "checked" in page.one("input", name="option.patch", value="")
    assert page.one("input", name="option.patch", value="")["id"] == "option-patch-5"


def test_a_dataset_is_downloaded_on_first_use_unless_it_is_there(client: Any, look: Any, settings: Settings) -> None:
    assert "11.6 MB, downloaded on first use" in look(client.get("/launch?family=vit&dataset=mnist")).html
    file = prepared_file(settings.datasets, "mnist")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert "11.6 MB, already downloaded" in look(client.get("/launch?family=vit&dataset=mnist")).html
    assert "downloaded" not in look(client.get("/launch?family=vit&dataset=digits")).html
