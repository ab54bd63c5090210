"""Valid and invalid specs of runs; errors name the field and the existing values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.recipes import RECIPES
from app.contract.spec import RunConfig, RunSpec, SpecError, resolve


def refused(catalog: Catalog, **fields: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        resolve(RunSpec.model_validate({"family": "simple_mlp"} | fields), catalog)
    return {error.field: error.message for error in caught.value.errors}


def test_a_family_alone_is_enough(catalog: Catalog) -> None:
    found = resolve(RunSpec(family="simple_cnn"), catalog)
    assert (found.size, found.dataset, found.targets) == ("base", "digits", ["digit"])
    assert (found.recipe, found.epochs, found.batch_size, found.seed) == ("default", 10, 32, 1)


def test_every_recipe_fills_every_blank_of_every_family(catalog: Catalog) -> None:
    for family in catalog.families:
        for recipe in RECIPES:
            found = resolve(RunSpec(family=family, recipe=recipe), catalog)
            assert (found.family, found.recipe) == (family, recipe)


def test_what_is_said_wins_over_preset_and_recipe(catalog: Catalog) -> None:
    fields = {"preset": "cifar10_vit_210k", "recipe": "quick", "epochs": 3, "lr": 0.5, "size": "tiny", "lr_min": 0.1}
    found = resolve(RunSpec.model_validate(fields), catalog)
    assert (found.family, found.size, found.dataset) == ("vit", "tiny", "cifar10")
    assert (found.recipe, found.epochs, found.lr) == ("quick", 3, 0.5)
    assert found.optimizer == "adamw"


def test_a_blank_named_null_is_a_blank(catalog: Catalog) -> None:
    blanks = {name: None for name, field in RunSpec.model_fields.items() if field.default is None}
    assert resolve(RunSpec.model_validate(blanks | {"family": "vit"}), catalog) == resolve(
        RunSpec(family="vit"), catalog
    )


@pytest.mark.parametrize(
    ("fields", "field", "exists"),
    [
        ({"family": "resnet"}, "family", ["resnet", "simple_cnn", "vit"]),
        ({"size": "giant"}, "size", ["giant", "tiny", "base"]),
        ({"dataset": "imagenet"}, "dataset", ["imagenet", *DATASETS]),
        ({"recipe": "slow"}, "recipe", ["slow", *RECIPES]),
        ({"preset": "mnist_cnn_9k"}, "preset", ["mnist_cnn_9k", "mnist_cnn_8k", "`runyard presets`"]),
        ({"targets": ["color"]}, "targets", ["color", "digit"]),
        ({"dataset": "cifar10", "targets": ["class", "fine"]}, "targets", ["fine", "domain", "mobility"]),
        ({"family": "vit", "options": {"pol": "cls"}}, "options", ["pol", "pool", "patch"]),
        ({"family": "vit", "options": {"pool": "max"}}, "options", ["max", "cls", "mean"]),
        ({"family": "vit", "options": {"patch": 4.0}}, "options", ["4.0", "4, 7, 8, 14, 16, 32"]),
        ({"family": "vit", "options": {"patch": True}}, "options", ["True", "4, 7, 8, 14, 16, 32"]),
        ({"options": {"pool": "cls"}}, "options", ["pool", "simple_mlp", "none"]),
    ],
)
def test_a_name_that_does_not_exist_is_answered_with_those_that_do(
    catalog: Catalog, fields: dict[str, Any], field: str, exists: list[str]
) -> None:
    found = refused(catalog, **fields)
    assert list(found) == [field]
    assert all(name in found[field] for name in exists), found


def test_every_wrong_field_is_named_at_once(catalog: Catalog) -> None:
    found = refused(catalog, size="giant", dataset="imagenet", recipe="slow", preset="none")
    assert set(found) == {"size", "dataset", "recipe", "preset"}


def test_neither_family_nor_preset_is_answered_with_the_families(catalog: Catalog) -> None:
    with pytest.raises(SpecError, match="simple_cnn") as caught:
        resolve(RunSpec(), catalog)
    assert [error.field for error in caught.value.errors] == ["family"]


def test_a_family_that_could_not_be_imported_says_why(catalog: Catalog) -> None:
    broken = catalog.model_copy(update={"broken": {"mine": "SyntaxError: line 3"}})
    assert "SyntaxError: line 3" in refused(broken, family="mine")["family"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"targets": ["digit", "digit"]}, "targets"),
        ({"auxiliary": True}, "auxiliary"),
        ({"family": "efficientnet", "batch_size": 1}, "batch_size"),
        ({"batch_size": 2000}, "batch_size"),
        ({"schedule": "cosine", "lr": 0.001, "lr_min": 0.01}, "lr_min"),
    ],
)
def test_what_cannot_be_trained_is_refused(catalog: Catalog, fields: dict[str, Any], field: str) -> None:
    assert list(refused(catalog, **fields)) == [field]


def test_a_long_wrong_name_is_shown_cut(catalog: Catalog) -> None:
    assert len(refused(catalog, family="x" * 80)["family"]) < 200


WHOLE = ["seed", "priority", "epochs", "batch_size", "crop_padding", "plateau_patience", "early_stopping"]
NUMBERS = [
    "lr",
    "weight_decay",
    "momentum",
    "lr_min",
    "warmup",
    "plateau_factor",
    "label_smoothing",
    "clip_norm",
    "random_crop_scale",
    "rotation",
    "color_jitter",
]


@pytest.mark.parametrize("field", WHOLE + NUMBERS)
@pytest.mark.parametrize("value", [True, False, "x", [], {}, float("nan"), float("inf"), -(10**30), 10**400])
def test_a_number_is_a_number_within_its_limits(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        RunSpec.model_validate({"family": "vit", field: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


def test_whatever_is_a_number_is_no_whole_number() -> None:
    for field in WHOLE:
        with pytest.raises(ValidationError):
            RunSpec.model_validate({field: 1.5})


def fits(spec: RunSpec) -> bool:
    """Whether the recipe supports the dataset."""
    return spec.dataset is None or RECIPES[spec.recipe].fits(DATASETS[spec.dataset])


@given(
    spec=st.builds(
        RunSpec,
        family=st.sampled_from(["simple_mlp", "simple_cnn", "vit", "convnext_v2"]),
        dataset=st.sampled_from([None, *DATASETS]),
        recipe=st.sampled_from(list(RECIPES)),
        epochs=st.none() | st.integers(1, 100_000),
        batch_size=st.none() | st.integers(1, 1257),
        lr=st.none() | st.floats(1e-5, 1000),
        optimizer=st.sampled_from([None, "adam", "adamw", "sgd"]),
        momentum=st.none() | st.floats(0, 1, exclude_max=True),
        seed=st.integers(0, 2**32 - 1),
        flip=st.none() | st.booleans(),
        rotation=st.none() | st.floats(0, 180),
        schedule=st.sampled_from([None, "constant", "plateau", "one_cycle"]),
        early_stopping=st.none() | st.integers(0, 100),
    ).filter(fits)
)
def test_what_was_said_stands_in_the_configuration(catalog: Catalog, spec: RunSpec) -> None:
    found = resolve(spec, catalog)
    for name, value in spec.model_dump(exclude_none=True, exclude_unset=True).items():
        assert getattr(found, name) == value
    assert RunConfig.model_validate_json(found.model_dump_json()) == found


def test_a_run_is_called_by_its_name_or_by_what_it_trains(catalog: Catalog) -> None:
    assert resolve(RunSpec(family="vit", name=" mine "), catalog).title == "mine"
    assert resolve(RunSpec(family="vit"), catalog).title == "vit small · digits"


def test_an_option_said_as_it_is_anyway_makes_the_same_configuration(catalog: Catalog) -> None:
    family = next(each for each in catalog.families.values() if each.options)
    option = family.options[0]
    fields = resolve(RunSpec(family=family.name, options={option.name: option.default}), catalog)
    assert fields == resolve(RunSpec(family=family.name), catalog)
    other = next(choice for choice in option.choices if choice != option.default)
    assert resolve(RunSpec(family=family.name, options={option.name: other}), catalog).options == {option.name: other}


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:15"])
def test_a_run_asks_for_any_device_or_for_one_gpu(device: str) -> None:
    assert RunSpec(family="vit", device=device, worker=" trainbox ").worker == "trainbox"


@pytest.mark.parametrize("device", ["", "tpu", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "cuda:1\n", "CUDA", "cuda:123"])
def test_no_other_device_is_taken(device: str) -> None:
    with pytest.raises(ValidationError, match="must be auto, cpu, cuda, or one GPU by its index, such as cuda:1"):
        RunSpec(family="vit", device=device)
