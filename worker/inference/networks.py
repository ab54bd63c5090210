"""Trained networks, read from the artifact store and kept in memory as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from app.contract.dataset import Dataset
from app.contract.datasets import UnknownDataset, dataset
from models import UnknownArchitecture
from worker.inference.errors import Refused
from worker.training.checkpoint_file import Store, from_bytes
from worker.training.predictor import Predictor


@dataclass(frozen=True)
class Network:
    """A trained network, and the dataset that it was trained on. ``bytes``: of its weights."""

    predictor: Predictor
    dataset: Dataset
    bytes: int

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The class names of each head, the main head first."""
        return {name: self.dataset.target(name).labels for name in self.predictor.config.targets}


class Networks:
    """Networks by the path and the step of their checkpoint; those used last stay, up to ``most_bytes`` together.

    The step is part of the key, since a better checkpoint replaces the best one under the same path.
    """

    def __init__(self, store: Store, models_path: Path | None, most_bytes: int) -> None:
        self._store = store
        self._models_path = models_path
        self._most = most_bytes
        self._kept: OrderedDict[tuple[str, int], Network] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Of all networks that are kept."""
        return sum(network.bytes for network in self._kept.values())

    def get(self, path: str, step: int) -> Network:
        """The network of a checkpoint. Raises Refused."""
        key = (path, step)
        network = self._kept.get(key)
        if network is None:
            for older in [other for other in self._kept if other[0] == path]:
                del self._kept[older]
            network = self._kept[key] = self._read(path)
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and self.bytes > self._most:
            self._kept.popitem(last=False)
        return network

    def _read(self, path: str) -> Network:
        try:
            content = self._store.read(path)
        except FileNotFoundError:
            raise Refused("gone", "the checkpoint is not in the artifact store any more") from None
        try:
            predictor = Predictor.of(from_bytes(content), self._models_path)
            trained_on = dataset(predictor.config.dataset)
        except UnknownDataset:
            raise Refused(
                "network", "the dataset of this run was deleted, and with it the names of the classes"
            ) from None
        except (UnknownArchitecture, ValueError) as error:
            raise Refused("network", str(error)) from error
        except (RuntimeError, TypeError) as error:
            # An own architecture whose file was changed since does not take these weights any more.
            why = str(error).splitlines()[0].rstrip(":.")
            raise Refused("network", f"these weights do not fit the architecture any more: {why}") from error
        states = predictor.network.state_dict().values()
        return Network(predictor, trained_on, sum(value.nbytes for value in states))
