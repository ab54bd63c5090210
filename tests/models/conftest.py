from collections.abc import Iterator

import pytest
import torch

from models import Family, Shape, _files, _registry


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks run no faster on more threads, and other test processes need the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def own_catalog(monkeypatch: pytest.MonkeyPatch) -> dict[str, Family]:
    """A copy of the catalog, so that a test's registrations disappear afterwards."""
    copy = dict(_registry._families)
    monkeypatch.setattr(_registry, "_families", copy)
    monkeypatch.setattr(_registry, "_unloaded", {})
    monkeypatch.setattr(_files, "_results", {})
    return copy


@pytest.fixture(scope="session")
def mnist() -> Shape:
    return Shape(1, 28, {"digit": 10})


@pytest.fixture(scope="session")
def cifar10() -> Shape:
    return Shape(3, 32, {"class": 10})


@pytest.fixture(scope="session")
def cifar100() -> Shape:
    return Shape(3, 32, {"fine": 100})
