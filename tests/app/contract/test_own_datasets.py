"""The user's own datasets: found in their folder, by name and by version, as soon as they are there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS, UnknownDataset, dataset
from app.contract.own_datasets import DESCRIPTION, NEWEST, version_folder
from app.contract.spec import RunSpec, SpecError, resolve
from tests.app.own_dataset import CLASSES, describe_own_dataset

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of datasets, open."""
    DATASETS.open(tmp_path)
    return tmp_path


def test_an_own_dataset_stands_after_the_built_in_ones(folder: Path) -> None:
    describe_own_dataset(folder, "animals")
    assert list(DATASETS)[-2:] == ["cifar100", "animals"]
    assert len(DATASETS) == 6
    found = dataset("animals")
    assert (found.key, found.side, found.train, found.targets[0].labels) == (f"animals@{OLD}", 64, 1_000, CLASSES)
    assert found.offline


def test_a_dataset_is_seen_as_soon_as_it_is_there_and_no_longer_once_it_is_gone(folder: Path) -> None:
    assert "flowers" not in DATASETS
    describe_own_dataset(folder)
    assert "flowers" in DATASETS
    shutil.rmtree(folder / "own" / "flowers")
    assert "flowers" not in DATASETS


def test_the_newest_version_is_used_unless_another_one_is_named(folder: Path) -> None:
    describe_own_dataset(folder, version=OLD, created_at=1.0)
    describe_own_dataset(folder, version=NEW, created_at=2.0)
    assert dataset("flowers").version == NEW
    assert dataset(f"flowers@{OLD}").version == OLD
    (folder / "own" / "flowers" / NEWEST).write_text(OLD)
    assert dataset("flowers").version == OLD
    assert DATASETS.own is not None
    assert [each.version for each in DATASETS.own.versions("flowers")] == [OLD, NEW]


def test_half_a_version_and_hidden_folders_are_no_datasets(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    describe_own_dataset(folder, ".importing-1")
    (version_folder(folder, "empty", OLD)).mkdir(parents=True)
    broken = version_folder(folder, "broken", OLD)
    broken.mkdir(parents=True)
    (broken / DESCRIPTION).write_text("{")
    assert list(DATASETS) == list(DATASETS.builtin)
    assert "cannot read the dataset" in caplog.text


def test_what_does_not_exist_is_answered_with_what_does(folder: Path) -> None:
    describe_own_dataset(folder)
    for key in ("flower", "flowers@cccccccccccc", "digits@aaaaaaaaaaaa"):
        with pytest.raises(UnknownDataset, match=r"cifar100, flowers$"):
            dataset(key)


def test_a_run_names_the_version_that_it_trains_on(folder: Path, catalog: Catalog) -> None:
    describe_own_dataset(folder, version=OLD)
    config = resolve(RunSpec(family="simple_mlp", dataset="flowers"), catalog)
    assert (config.dataset, config.dataset_name, config.targets) == (f"flowers@{OLD}", "flowers", ["class"])
    assert config.title == "simple_mlp base · flowers"
    describe_own_dataset(folder, version=NEW, created_at=2.0)
    again = resolve(RunSpec(family="simple_mlp", dataset=config.dataset), catalog)
    assert again == config
    assert resolve(RunSpec(family="simple_mlp", dataset="flowers"), catalog).dataset == f"flowers@{NEW}"


@pytest.mark.parametrize(("images", "batch"), [(100_000, 128), (1_000, 16), (300, 8), (5, 5)])
def test_a_small_dataset_has_smaller_batches_by_default(
    folder: Path, catalog: Catalog, images: int, batch: int
) -> None:
    describe_own_dataset(folder, train=images)
    assert resolve(RunSpec(family="simple_mlp", dataset="flowers"), catalog).batch_size == batch
    assert resolve(RunSpec(family="simple_mlp", dataset="flowers", batch_size=2), catalog).batch_size == 2


def test_recipes_for_photographs_take_own_color_images_and_recipes_for_one_dataset_do_not(
    folder: Path, catalog: Catalog
) -> None:
    describe_own_dataset(folder)
    assert resolve(RunSpec(family="simple_mlp", dataset="flowers", recipe="cifar"), catalog).crop_padding == 4
    with pytest.raises(SpecError, match="recipe speedrun does not support flowers; supported datasets: mnist"):
        resolve(RunSpec(family="simple_mlp", dataset="flowers", recipe="speedrun"), catalog)


def test_the_default_patch_of_a_vit_follows_the_size_of_the_images(folder: Path, catalog: Catalog) -> None:
    describe_own_dataset(folder, side=224)
    spec = {"family": "vit", "dataset": "flowers"}
    assert resolve(RunSpec.model_validate(spec), catalog).options == {"patch": 16}
    # Stored, since runs from before this default have no patch in their options, and have 4.
    assert resolve(RunSpec.model_validate(spec | {"options": {"patch": 16}}), catalog).options == {"patch": 16}
    assert resolve(RunSpec.model_validate(spec | {"options": {"patch": 4}}), catalog).options == {}


@pytest.mark.parametrize(
    ("side", "patch"), [(28, 4), (32, 4), (48, 4), (64, 4), (96, 8), (128, 8), (160, 16), (224, 16)]
)
def test_a_vit_has_at_most_256_patches_by_default(catalog: Catalog, side: int, patch: int) -> None:
    (option,) = [each for each in catalog.families["vit"].options if each.name == "patch"]
    assert option.default_at(side) == patch
    assert (side // patch) ** 2 <= 256
    assert option.why_not(patch, side) == ""
