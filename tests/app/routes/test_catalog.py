"""The catalog of choices, as a script reads it."""

from __future__ import annotations

from starlette.testclient import TestClient

from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES


def test_every_size_of_every_family_is_listed_with_its_exact_parameters(client: TestClient, catalog: Catalog) -> None:
    said = client.get("/api/v1/architectures").json()
    assert said["broken"] == {}
    listed = {(each["family"], each["size"]): each for each in said["architectures"]}
    assert set(listed) == {(name, size.name) for name, f in catalog.families.items() for size in f.sizes}
    assert len(said["architectures"]) == len(listed)
    for (family, size), each in listed.items():
        entry = catalog.families[family]
        found = entry.size(size)
        assert found is not None
        assert each["params"] == found.params
        assert each["default"] == (size == entry.default)
    assert listed["vit", "small"]["options"] == {
        "pool": ["cls", "mean"],
        "patch": [4, 7, 8, 14, 16, 32],
        "init": ["scaled", "trunc_normal_002"],
    }


def test_every_dataset_is_listed_with_its_targets(client: TestClient) -> None:
    said = client.get("/api/v1/datasets").json()["datasets"]
    assert [each["name"] for each in said] == list(DATASETS)
    cifar = next(each for each in said if each["name"] == "cifar10")
    assert (cifar["channels"], cifar["side"], cifar["train"]) == (3, 32, 45_000)
    assert {target["name"]: target["classes"] for target in cifar["targets"]} == {
        "class": 10,
        "domain": 2,
        "mobility": 3,
        "size": 3,
    }


def test_every_recipe_is_listed_with_what_it_sets_for_each_family(client: TestClient, catalog: Catalog) -> None:
    said = client.get("/api/v1/recipes").json()["recipes"]
    assert [each["name"] for each in said] == list(RECIPES)
    for each in said:
        assert set(each["settings"]) == set(catalog.families)
    assert said[1]["settings"]["vit"]["epochs"] == 5


def test_every_preset_that_is_listed_can_be_launched(client: TestClient) -> None:
    said = client.get("/api/v1/presets").json()["presets"]
    assert said == {name: dict(preset) for name, preset in PRESETS.items()}
    for name, preset in said.items():
        answer = client.post("/api/v1/runs", json={"preset": name})
        assert answer.status_code == 201
        assert preset.items() <= answer.json()["spec"].items()
