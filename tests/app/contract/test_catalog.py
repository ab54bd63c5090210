"""Catalog entries are complete and consistent."""

from __future__ import annotations

from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS


def test_every_size_has_a_parameter_count_for_every_dataset(catalog: Catalog) -> None:
    assert set(catalog.families) >= {"simple_dense_net", "simple_mlp", "simple_cnn", "convnext_v2", "vit"}
    for family in catalog.families.values():
        assert family.sizes
        for size in family.sizes:
            assert set(size.params) == set(DATASETS)
            assert all(count > 0 for count in size.params.values())


def test_the_default_of_a_family_is_one_of_its_sizes(catalog: Catalog) -> None:
    for family in catalog.families.values():
        assert family.size(family.default) is not None
        assert family.size("no such size") is None


def test_the_default_of_an_option_is_one_of_its_choices(catalog: Catalog) -> None:
    options = [option for family in catalog.families.values() for option in family.options]
    assert options
    assert all(option.default in option.choices for option in options)


def test_nothing_in_the_zoo_is_broken(catalog: Catalog) -> None:
    assert catalog.broken == {}
