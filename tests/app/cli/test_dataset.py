"""`runyard dataset`, against a server whose datasets are described but have no images."""

from __future__ import annotations

import json

import pytest

from app.contract.settings import Settings
from tests.app.cli.conftest import Command
from tests.app.own_dataset import describe_own_dataset

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


@pytest.fixture
def two_versions(url: str, settings: Settings) -> None:
    """The dataset flowers with an older version, and one in use."""
    describe_own_dataset(settings.datasets, version=OLD, side=32)
    describe_own_dataset(settings.datasets, version=NEW, created_at=2.0)


def test_a_dataset_is_shown_with_its_leaks_and_versions(two_versions: None, runyard: Command) -> None:
    done = runyard("dataset", "show", "flowers")
    assert done.exit_code == 0, done.output
    assert "Leak: 1 image is in more than one split." in done.stdout
    assert "Exact duplicates: 0 within a split, 1 across splits." in done.stdout
    assert "  rose/1.jpg (train) = rose/1.jpg (test)" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()[-2:]]
    assert [(row[0], row[-2:]) for row in rows] == [(NEW, ["in", "use"]), (OLD, ["15.4", "MB"])]
    assert "64 × 64 color, crop" in " ".join(rows[0])
    output = json.loads(runyard("dataset", "show", "flowers", "--json").stdout)
    assert [each["version"] for each in output["versions"]] == [NEW, OLD]
    assert output["report"]["duplicates_across"] == 1


def test_a_built_in_dataset_has_no_versions(url: str, runyard: Command) -> None:
    assert runyard("dataset", "show", "digits").stdout.splitlines()[1:] == [
        "10 classes, 1,257 train, 180 validation, 360 test"
    ]
