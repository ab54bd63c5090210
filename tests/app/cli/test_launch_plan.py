"""Command-line values become runs, all checked before the first one is launched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.cli.launch_plan import Plan, make_plan, read_catalog
from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.spec import SpecError


def titles(plan: Plan) -> list[str]:
    return [each.title for each in plan.runs]


def refused(fields: dict[str, Any], catalog: Catalog) -> list[str]:
    with pytest.raises(SpecError) as refusal:
        make_plan(fields, catalog)
    return [each.message for each in refusal.value.errors]


def test_the_catalog_that_the_api_tells_is_the_catalog(client: TestClient, catalog: Catalog) -> None:
    answer = read_catalog(client.get("/api/v1/architectures").json())
    assert list(answer.families) == list(catalog.families)
    for name, family in catalog.families.items():
        known = answer.families[name]
        assert (known.sizes, known.default) == (family.sizes, family.default)
        assert (known.smallest_batch, known.takes_auxiliary) == (family.smallest_batch, family.takes_auxiliary)
        assert [(each.name, each.choices) for each in known.options] == [
            (each.name, each.choices) for each in family.options
        ]


def test_a_family_alone_is_one_run_of_its_default_size(catalog: Catalog) -> None:
    (planned,) = make_plan({"family": ["vit"]}, catalog).runs
    assert planned.title == "vit small · digits"
    assert planned.params == 210_058
    assert planned.spec.model_fields_set == {"family"}


def test_all_sizes_are_those_of_each_family(catalog: Catalog) -> None:
    plan = make_plan({"family": ["vit", "simple_mlp"], "size": ["all"]}, catalog)
    assert titles(plan) == [
        *(f"vit {size} · digits" for size in ("tiny", "small", "base", "large")),
        *(f"simple_mlp {size} · digits" for size in ("tiny", "small", "base")),
    ]


def test_everything_is_every_size_of_every_family_on_every_dataset(catalog: Catalog) -> None:
    plan = make_plan({"family": ["all"], "size": ["all"], "dataset": ["all"]}, catalog)
    sizes = sum(len(family.sizes) for family in catalog.families.values())
    assert len(plan.runs) == len(set(titles(plan))) == sizes * len(DATASETS)
    for each in plan.runs:
        size = catalog.families[each.config.family].size(each.config.size)
        assert size is not None
        assert each.params == size.params[each.config.dataset]


@given(st.integers(min_value=0, max_value=20_000_000))
def test_what_is_larger_than_asked_is_left_out_and_known(catalog: Catalog, most: int) -> None:
    plan = make_plan({"family": ["all"], "size": ["all"]}, catalog, most)
    assert all(each.params <= most for each in plan.runs)
    assert all(each.params > most for each in plan.too_large)
    assert len(plan.runs) + len(plan.too_large) == sum(len(family.sizes) for family in catalog.families.values())


def test_a_size_that_one_of_several_families_lacks_is_told_with_what_it_has(catalog: Catalog) -> None:
    fields = {"family": ["simple_cnn", "vit", "efficientnet"], "size": ["tiny", "mini"]}
    assert refused(fields, catalog) == [
        "no size 'mini' for simple_cnn; sizes: tiny, small, base, large, large_pool4",
        "no size 'mini' for vit; sizes: tiny, small, base, large",
    ]


def test_what_is_wrong_with_every_run_is_told_once(catalog: Catalog) -> None:
    fields = {"family": ["simple_cnn", "vit"], "size": ["all"], "epochs": "many", "lr": "-1"}
    assert refused(fields, catalog) == ["epochs must be a whole number", "lr must be greater than 0"]
    beside = refused({"family": ["vit"], "size": ["tiny"], "options": {"pol": "cls"}, "epochs": "many"}, catalog)
    assert [message.split(";")[0] for message in beside] == ["epochs must be a whole number", "no option 'pol' for vit"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "a family or a preset is required; families: simple_dense_net, "),
        ({"size": ["all"]}, "a family or a preset is required; families: "),
        ({"family": ["vitt"], "size": ["all"]}, "no family 'vitt'; families: "),
        ({"family": ["all", "vit"]}, "no family 'all'; families: "),
        ({"family": ["vit"], "dataset": ["minst"]}, "no dataset 'minst'; datasets: digits, mnist"),
        (
            {"family": ["vit"], "targets": ["class"]},
            "no target 'class' in digits; targets: digit, thickness, smoothness",
        ),
        ({"family": ["vit"], "options": {"pol": "cls"}}, "no option 'pol' for vit; options: pool, patch, init"),
        (
            {"family": ["vit"], "options": {"patch": "5"}},
            "no choice '5' for option patch of vit; choices: 4, 7, 8, 14, 16, 32",
        ),
        (
            {"family": ["vit"], "auxiliary": True},
            "vit does not support auxiliary scalars; families that do: simple_cnn",
        ),
        ({"family": ["simple_dense_net"], "batch_size": "1"}, "use a batch size of at least 2"),
        (
            {"family": ["vit"], "recipe": "cifar", "dataset": ["mnist"]},
            "recipe cifar does not support mnist; supported datasets: cifar10, cifar100, your own color images",
        ),
        (
            {"preset": "speedrun_mnist_95"},
            "no preset 'speedrun_mnist_95'; did you mean speedrun_mnist_99? `runyard presets`",
        ),
        ({"family": ["vit"], "optimizer": "lion"}, "optimizer must be "),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(
    catalog: Catalog, fields: dict[str, Any], sentence: str
) -> None:
    (answer,) = refused(fields, catalog)
    assert sentence in answer


def test_a_preset_is_one_run_and_another_dataset_or_size_varies_it(catalog: Catalog) -> None:
    assert titles(make_plan({"preset": "multihead_cnn_mnist"}, catalog)) == ["simple_cnn base · mnist"]
    plan = make_plan({"preset": "mnist_vit_38k", "size": ["all"], "dataset": ["digits", "mnist"]}, catalog)
    assert titles(plan) == [
        f"vit {size} · {dataset}" for dataset in ("digits", "mnist") for size in ("tiny", "small", "base", "large")
    ]
    assert all(each.config.preset == "mnist_vit_38k" for each in plan.runs)


def test_a_choice_that_is_typed_is_the_choice_of_the_family(catalog: Catalog) -> None:
    (planned,) = make_plan({"family": ["vit"], "options": {"patch": "7", "pool": "MEAN"}}, catalog).runs
    assert planned.config.options == {"patch": 7, "pool": "mean"}
