"""`runyard dataset`, against a server whose datasets are described but have no images."""

from __future__ import annotations

import json
from pathlib import Path

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
    assert "Leak: 1 image is in train and test: test accuracy will be too high." in done.stdout
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


def test_a_version_is_shown_by_its_name(two_versions: None, runyard: Command, url: str) -> None:
    assert runyard("dataset", "show", f"flowers@{OLD}").stdout.splitlines()[0] == (
        f"flowers: 32 × 32 color, version {OLD}  {url}/datasets/flowers?version={OLD}"
    )
    assert runyard("dataset", "show", "flowers@cccccccccccc").stderr.startswith("runyard: no dataset 'flowers@ccc")


def test_a_dataset_is_deleted_with_all_its_versions_and_restored(two_versions: None, runyard: Command) -> None:
    done = runyard("dataset", "rm", f"flowers@{OLD}")
    assert (done.exit_code, done.stderr) == (
        1,
        "runyard: a version cannot be deleted alone; delete flowers with all its versions\n",
    )
    done = runyard("dataset", "rm", "flowers")
    assert done.stdout == "flowers deleted, with 2 versions; `runyard dataset restore flowers` restores it\n"
    assert "no dataset 'flowers'" in runyard("dataset", "rm", "flowers").stderr
    assert runyard("dataset", "restore", "flowers").stdout == "flowers restored\n"
    done = runyard("dataset", "rm", "flowers", "--json")
    assert json.loads(done.stdout) == {"deleted": "flowers", "versions": [NEW, OLD]}
    assert "digits comes with Runyard" in runyard("dataset", "rm", "digits").stderr


def test_links_out_of_a_folder_are_named(url: str, runyard: Command, tmp_path: Path) -> None:
    (tmp_path / "flowers" / "rose").mkdir(parents=True)
    (tmp_path / "flowers" / "rose" / "1.jpg").write_bytes(b"content")
    (tmp_path / "flowers" / "rose" / "2.jpg").symlink_to(__file__)
    done = runyard("dataset", "add", str(tmp_path / "flowers"), "--name", "flowers", "--no-wait")
    assert done.exit_code == 0, done.output
    assert done.stderr == "runyard: not uploaded, because it leads out of the folder: rose/2.jpg\n"
    assert done.stdout.startswith(f"{url}/datasets/imports/i_")
