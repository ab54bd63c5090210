"""What is named on the command line becomes runs, all of them checked before the first is launched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.cli.launch_plan import Plan, make_plan, read_catalogue
from app.contract.catalog import Catalogue
from app.contract.datasets import DATASETS
from app.contract.spec import SpecError


def titles(plan: Plan) -> list[str]:
    return [each.title for each in plan.runs]


def refused(said: dict[str, Any], catalogue: Catalogue) -> list[str]:
    with pytest.raises(SpecError) as refusal:
        make_plan(said, catalogue)
    return [each.message for each in refusal.value.errors]


def test_the_catalogue_that_the_api_tells_is_the_catalogue(client: TestClient, catalogue: Catalogue) -> None:
    told = read_catalogue(client.get("/api/v1/architectures").json())
    assert list(told.families) == list(catalogue.families)
    for name, family in catalogue.families.items():
        known = told.families[name]
        assert (known.sizes, known.default) == (family.sizes, family.default)
        assert (known.smallest_batch, known.takes_auxiliary) == (family.smallest_batch, family.takes_auxiliary)
        assert [(each.name, each.choices) for each in known.options] == [
            (each.name, each.choices) for each in family.options
        ]


def test_a_family_alone_is_one_run_of_its_default_size(catalogue: Catalogue) -> None:
    (planned,) = make_plan({"family": ["vit"]}, catalogue).runs
    assert planned.title == "vit small · digits"
    assert planned.params == 210_058
    assert planned.spec.model_fields_set == {"family"}


def test_all_sizes_are_those_of_each_family(catalogue: Catalogue) -> None:
    plan = make_plan({"family": ["vit", "simple_mlp"], "size": ["all"]}, catalogue)
    assert titles(plan) == [
        *(f"vit {size} · digits" for size in ("tiny", "small", "base", "large")),
        *(f"simple_mlp {size} · digits" for size in ("tiny", "small", "base")),
    ]


def test_everything_is_every_size_of_every_family_on_every_dataset(catalogue: Catalogue) -> None:
    plan = make_plan({"family": ["all"], "size": ["all"], "dataset": ["all"]}, catalogue)
    sizes = sum(len(family.sizes) for family in catalogue.families.values())
    assert len(plan.runs) == len(set(titles(plan))) == sizes * len(DATASETS)
    for each in plan.runs:
        size = catalogue.families[each.config.family].size(each.config.size)
        assert size is not None
        assert each.params == size.params[each.config.dataset]


@given(st.integers(min_value=0, max_value=20_000_000))
def test_what_is_larger_than_asked_is_left_out_and_known(catalogue: Catalogue, most: int) -> None:
    plan = make_plan({"family": ["all"], "size": ["all"]}, catalogue, most)
    assert all(each.params <= most for each in plan.runs)
    assert all(each.params > most for each in plan.too_large)
    assert len(plan.runs) + len(plan.too_large) == sum(len(family.sizes) for family in catalogue.families.values())


def test_a_size_that_one_of_several_families_lacks_is_told_with_what_it_has(catalogue: Catalogue) -> None:
    said = {"family": ["simple_cnn", "vit", "efficientnet"], "size": ["tiny", "mini"]}
    assert refused(said, catalogue) == [
        "no size 'mini' for simple_cnn; sizes: tiny, small, base, large, large_pool4",
        "no size 'mini' for vit; sizes: tiny, small, base, large",
    ]


def test_what_is_wrong_with_every_run_is_told_once(catalogue: Catalogue) -> None:
    said = {"family": ["simple_cnn", "vit"], "size": ["all"], "epochs": "many", "lr": "-1"}
    assert refused(said, catalogue) == ["epochs must be a whole number", "lr must be greater than 0"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "name a family or a preset; families: simple_dense_net, "),
        ({"size": ["all"]}, "name a family or a preset; families: "),
        ({"family": ["vitt"], "size": ["all"]}, "no family 'vitt'; families: "),
        ({"family": ["all", "vit"]}, "no family 'all'; families: "),
        ({"family": ["vit"], "dataset": ["minst"]}, "no dataset 'minst'; datasets: digits, mnist"),
        (
            {"family": ["vit"], "targets": ["class"]},
            "no target 'class' in digits; targets: digit, thickness, smoothness",
        ),
        ({"family": ["vit"], "options": {"pol": "cls"}}, "no option 'pol' for vit; options: pool, patch"),
        ({"family": ["vit"], "options": {"patch": "5"}}, "no choice '5' for option patch of vit; choices: 4, 7"),
        ({"family": ["vit"], "auxiliary": True}, "vit takes no auxiliary scalars; families that do: simple_cnn"),
        ({"family": ["simple_dense_net"], "batch_size": "1"}, "so its batch size is at least 2"),
        ({"family": ["vit"], "recipe": "cifar", "dataset": ["mnist"]}, "recipe cifar is made for cifar10, cifar100"),
        ({"preset": "mnist"}, "no preset 'mnist'; presets: "),
        ({"family": ["vit"], "optimizer": "lion"}, "optimizer must be "),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(
    catalogue: Catalogue, said: dict[str, Any], sentence: str
) -> None:
    (told,) = refused(said, catalogue)
    assert sentence in told


def test_a_preset_is_one_run_and_another_dataset_or_size_varies_it(catalogue: Catalogue) -> None:
    assert titles(make_plan({"preset": "multihead_cnn_mnist"}, catalogue)) == ["simple_cnn base · mnist"]
    plan = make_plan({"preset": "mnist_vit_38k", "size": ["all"], "dataset": ["digits", "mnist"]}, catalogue)
    assert titles(plan) == [
        f"vit {size} · {dataset}" for dataset in ("digits", "mnist") for size in ("tiny", "small", "base", "large")
    ]
    assert all(each.config.preset == "mnist_vit_38k" for each in plan.runs)


def test_a_choice_that_is_typed_is_the_choice_of_the_family(catalogue: Catalogue) -> None:
    (planned,) = make_plan({"family": ["vit"], "options": {"patch": "7", "pool": "MEAN"}}, catalogue).runs
    assert planned.config.options == {"patch": 7, "pool": "mean"}
