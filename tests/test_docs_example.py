"""The example in docs/networks.md works: it is loaded from a folder, counted and trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models import REFERENCES, Shape, _files, _registry, build, count_parameters, families, get, load_path

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "networks.md").read_text()
NAME = "two_convs"


def example() -> str:
    section = PAGE.partition("## Add an architecture\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    assert f"`~/nets/{NAME}.py`" in section
    return str(code)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example; the catalog is restored after the test."""
    monkeypatch.setattr(_registry, "_families", dict(_registry._families))
    monkeypatch.setattr(_registry, "_unloaded", {})
    monkeypatch.setattr(_files, "_results", {})
    (tmp_path / f"{NAME}.py").write_text(example())
    return tmp_path


def test_the_example_is_short() -> None:
    assert len([line for line in example().splitlines() if line.strip()]) <= 20


def test_the_example_joins_the_catalog_with_the_exact_counts_of_its_networks(folder: Path) -> None:
    assert load_path(folder) == {}
    family = get(NAME)
    assert NAME in families()
    assert family.source == str(folder / f"{NAME}.py")
    for size in family.sizes:
        counted = [count_parameters(build(NAME, size.name, shape)) for shape in REFERENCES.values()]
        assert counted == list(size.counts)


def test_the_example_learns(folder: Path) -> None:
    load_path(folder)
    torch.manual_seed(0)
    network = build(NAME, "tiny", Shape(1, 28, {"digit": 10, "thickness": 5}))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    images, digits, thickness = torch.rand(16, 1, 28, 28), torch.arange(16) % 10, torch.arange(16) % 5

    def loss() -> Tensor:
        logits = network(images)
        return F.cross_entropy(logits["digit"], digits) + F.cross_entropy(logits["thickness"], thickness)

    before = float(loss().detach())
    for _ in range(5):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(loss().detach()) < before


def test_a_wrong_count_is_refused_with_the_correct_numbers(folder: Path) -> None:
    file = folder / f"{NAME}.py"
    file.write_text(example().replace("(1418, 1562, 3092)", "(0, 0, 0)"))
    assert load_path(folder) == {
        NAME: f"{NAME}/tiny has 1,418 parameters for MNIST, not 0, 1,562 parameters for CIFAR-10, not 0,"
        " 3,092 parameters for CIFAR-100, not 0; use counts=(1418, 1562, 3092)"
    }
    assert NAME not in families()


def test_a_broken_file_is_reported_and_does_not_affect_the_example(folder: Path) -> None:
    (folder / "broken.py").write_text("import torch\nnn.Linear(1, 2)\n")
    assert load_path(folder) == {"broken": "NameError: name 'nn' is not defined (line 2)"}
    assert NAME in families()
