"""`runyard architectures`: exact counts of every size, and messages about wrong ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import models
from app.cli import architectures
from tests.app.cli.conftest import Command

NET = """
from torch import nn

from models import Family, Heads, Shape, Size, register


class Net(nn.Module):
    def __init__(self, shape, width):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.side**2, width))
        self.heads = Heads(width, shape.heads)

    def forward(self, images, auxiliary=None):
        return self.heads(self.body(images))


register(Family("my_net", "Small [bold].", "In tests.", Net, (Size("tiny", {"width": 2}, COUNTS),), "tiny"))
"""
RIGHT = "(1600, 6176, 6446)"
SIZES = sum(len(family.sizes) for family in models.families().values())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one architecture, set as RUNYARD_MODELS_PATH."""
    found = tmp_path / "nets"
    found.mkdir()
    (found / "my_net.py").write_text(NET.replace("COUNTS", RIGHT))
    monkeypatch.setenv("RUNYARD_MODELS_PATH", str(found))
    return found


def test_every_size_is_a_line_with_its_counts_and_a_recount_finds_them_right(folder: Path) -> None:
    # As a program, in a folder that contains a package with the name of one of ours.
    (folder / "models").mkdir()
    (folder / "models" / "__main__.py").write_text("raise RuntimeError('this is not the catalog')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "app.cli", "architectures", "--check"],
        cwd=folder,
        env=os.environ | {"RUNYARD_MODELS_PATH": ".", "PYTHONPATH": str(architectures.ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 2 + SIZES + 1 + 1
    for family in models.families().values():
        for size in family.sizes:
            (line,) = [line for line in lines if line.split()[:2] == [family.name, size.name]]
            assert line.split()[-3:] == [f"{count:,}" for count in size.counts]
            assert ("(default)" in line) == (size.name == family.default)
    assert lines[-1] == f"OK: all {3 * (SIZES + 1)} parameter counts match"


def test_a_dataset_is_counted_for_and_what_is_broken_is_told(folder: Path, runyard: Command, capfd: Any) -> None:
    (folder / "broken.py").write_text("import nothing_like_it")
    done = runyard("architectures", "--dataset", "cifar100", "--json")
    output = json.loads(done.stdout)
    assert done.exit_code == 0
    assert list(output["broken"]) == ["broken"]
    assert done.stderr.startswith("runyard: broken could not be loaded: ModuleNotFoundError: ")
    listed = {(each["family"], each["size"]): each for each in output["architectures"]}
    assert listed["my_net", "tiny"]["actual"] == {"cifar100": 6446}
    assert listed["my_net", "tiny"]["source"] == str(folder / "my_net.py")
    assert listed["vit", "large"]["actual"] == {"cifar100": 14_437_348}
    assert not any("registered" in each for each in output["architectures"])


def test_a_check_fails_on_a_file_with_wrong_counts_and_says_the_right_ones(folder: Path, runyard: Command) -> None:
    (folder / "my_net.py").write_text(NET.replace("COUNTS", "(1601, 6176, 6446)"))
    done = runyard("architectures", "--check")
    assert done.exit_code == 1
    assert done.stderr == (
        "runyard: my_net could not be loaded: my_net/tiny has 1,600 parameters for MNIST, not 1,601;"
        f" use counts={RIGHT}\n"
    )
    assert "OK" not in done.stdout


def fake_catalog(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Replace the output of `python -m models` by one size."""
    row = {"family": "vit", "size": "tiny", "default": True, "definition": "width 32", "source": "models/vit.py"}
    catalog = {
        "columns": ["MNIST", "CIFAR-10"],
        "rows": [row | {"registered": [1000, 2], "actual": []} | fields],
        "broken": {},
    }
    monkeypatch.setattr(architectures, "_read", lambda check, dataset: catalog)


def test_a_check_fails_on_every_count_that_differs_and_names_it(
    runyard: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_catalog(monkeypatch, actual=[1001, 3])
    done = runyard("architectures", "--check")
    assert done.exit_code == 1
    assert done.stderr == (
        "runyard: vit/tiny has 1,001 parameters on MNIST, but 1,000 are registered; "
        "vit/tiny has 3 parameters on CIFAR-10, but 2 are registered\n"
    )


def test_without_a_recount_the_counts_are_those_of_the_registration(
    runyard: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_catalog(monkeypatch)
    done = runyard("architectures")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].split() == ["vit", "tiny", "(default)", "width", "32", "1,000", "2"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--dataset", "minst"], "runyard: no dataset 'minst'; datasets: digits, mnist, "),
        (["--dataset", "mnist", "--check"], "runyard: --check cannot be combined with --dataset"),
    ],
)
def test_what_cannot_be_asked_is_said(runyard: Command, words: list[str], sentence: str) -> None:
    done = runyard("architectures", *words)
    assert done.exit_code == 2
    assert done.stderr.startswith(sentence)
    assert done.stdout == ""


def test_networks_that_cannot_be_looked_at_are_said(runyard: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    done = runyard("architectures")
    assert done.exit_code == 1
    assert done.stderr == "runyard: could not load the architectures; see the error above\n"
