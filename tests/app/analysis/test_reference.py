"""Reference results: the best recipe of each network, and what the catalog and the leaderboard show of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.analysis import reference
from app.analysis.reference import reference_of, references
from app.contract.datasets import DATASETS
from app.contract.spec import RunSpec, resolve

ROW: dict[str, Any] = {
    "family": "simple_mlp",
    "size": "base",
    "dataset": "digits",
    "recipe": "default",
    "epochs": 10,
    "seeds": 3,
    "mean": 0.9816,
    "half": 0.0005,
    "seconds": 7.2,
    "machine": "2 cores of Acme",
    "date": "2026-11-28",
}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Puts other results in the place of those of this repository: a list of rows, or the text of the file."""

    def write(content: Any) -> None:
        file = tmp_path / "zoo.json"
        file.write_text(content if isinstance(content, str) else json.dumps({"references": content}))
        monkeypatch.setattr(reference, "FILE", file)

    return write


def test_the_recipe_with_the_highest_lower_bound_is_the_reference(written: Any) -> None:
    better = ROW | {"recipe": "fast", "epochs": 5, "mean": 0.983}
    lucky = ROW | {"recipe": "quick", "mean": 0.99, "half": 0.05}
    written([better, ROW, lucky])
    found = references()["simple_mlp", "base", "digits"]
    assert (found.recipe, found.text) == ("fast", "98.30 ± 0.05%")
    assert found.about == (
        "Measured by the Runyard project on 2026-11-28: recipe fast, 5 epochs, 3 seeds;"
        " 7.2 s per run on 2 cores of Acme"
    )


def test_a_run_is_told_the_reference_of_its_own_recipe_if_there_is_one(written: Any, catalog: Any) -> None:
    written([ROW, ROW | {"recipe": "fast", "epochs": 5, "mean": 0.97}])
    network = {"family": "simple_mlp", "size": "base", "dataset": "digits"}
    expected = {"fast": "97.00 ± 0.05%", "default": "98.16 ± 0.05%", "quick": "98.16 ± 0.05%"}
    found = {recipe: reference_of(resolve(RunSpec(**network, recipe=recipe), catalog)) for recipe in expected}
    assert {recipe: each and each.text for recipe, each in found.items()} == expected
    assert reference_of(resolve(RunSpec(**network | {"size": "tiny"}), catalog)) is None


def test_a_lucky_run_without_an_interval_gives_way_to_a_mean_with_one(written: Any) -> None:
    lucky = ROW | {"recipe": "quick", "seeds": 1, "mean": 0.999, "half": None}
    written([lucky, ROW, lucky | {"size": "tiny"}])
    assert references()["simple_mlp", "base", "digits"].recipe == ROW["recipe"]
    assert references()["simple_mlp", "tiny", "digits"].recipe == "quick"


def test_a_time_from_one_epoch_says_so(written: Any) -> None:
    written([ROW | {"seconds": 95.0, "estimated": True}, ROW | {"size": "tiny", "seconds": None}])
    found = references()
    assert (
        "; about 1 min 35 s per run, from the time of one epoch, on 2 cores"
        in found["simple_mlp", "base", "digits"].about
    )
    assert "per run" not in found["simple_mlp", "tiny", "digits"].about


def test_the_same_training_is_launched_by_the_recipe_and_by_epochs_that_are_not_its_own(written: Any) -> None:
    written([ROW, ROW | {"dataset": "mnist", "recipe": "fast", "epochs": 3}, ROW | {"size": "tiny", "recipe": "old"}])
    found = references()
    assert found["simple_mlp", "base", "digits"].training == {"recipe": "default"}
    assert found["simple_mlp", "base", "mnist"].training == {"recipe": "fast", "epochs": 3}
    assert found["simple_mlp", "tiny", "digits"].training == {}


def test_a_single_run_has_no_interval_and_other_images_are_named(written: Any) -> None:
    written([ROW | {"seeds": 1, "half": None, "data": "images stored as JPEG"}])
    (found,) = references().values()
    assert found.text == "98.16%"
    assert "10 epochs, 1 seed, images stored as JPEG;" in found.about


def test_a_run_on_a_busy_machine_has_no_time(written: Any) -> None:
    written([ROW | {"seconds": None}])
    (found,) = references().values()
    assert found.about.endswith("10 epochs, 3 seeds on 2 cores of Acme")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"references": [{}]}'])
def test_a_file_that_cannot_be_read_shows_nothing_and_says_so_in_the_log(
    written: Any, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    written(content)
    assert references() == {}
    assert "cannot read the reference results" in caplog.text


def test_without_a_file_there_are_no_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reference, "FILE", tmp_path / "zoo.json")
    assert references() == {}
    assert caplog.text == ""


def test_the_results_in_this_repository_are_of_networks_and_datasets_that_exist(catalog: Any) -> None:
    found = references()
    assert found
    for (family, size, dataset), each in found.items():
        assert dataset in catalog.families[family].size(size).params
        # An accuracy as a fraction, far above the guesses of a network that learned nothing.
        assert 4 / DATASETS[dataset].targets[0].classes < each.mean <= 1
        assert each.seeds >= 1
