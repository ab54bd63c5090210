"""From a dataset's files to tensors: prepares them, splits them, measures them, keeps both for the next run."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.contract.datasets import Dataset, dataset
from worker.data.image_measures import bin_edges, bin_values, columns
from worker.data.official import Labeled, Unavailable, digits, training_and_test
from worker.data.parallel_measuring import MeasuringError, measure_all
from worker.data.tensor_cache import Kept, digest
from worker.reporting.error_text import reason
from worker.reporting.progress import Progress, ProgressReporter, Say

Part = Literal["train", "validation", "test"]
PARTS: Final[tuple[Part, ...]] = ("train", "validation", "test")

SPLIT_SEED: Final = 0

_PREPARED_VERSION: Final = "1"
"""Goes up whenever the same files would be prepared differently."""

_MEASURED_VERSION: Final = "1"
"""Goes up whenever the same images would measure differently."""


class DatasetError(Exception):
    """A dataset cannot be had. The message is one sentence for the user: what, why, what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """images: uint8 [N, C, H, W]; targets: by name, int64 [N].

    auxiliary: the dataset's scalars as they were measured, float32 [N, n], or None when they were not asked for.
    """

    images: Tensor
    targets: dict[str, Tensor]
    auxiliary: Tensor | None = None

    def __len__(self) -> int:
        return int(self.images.shape[0])


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset's facts and its three splits, on the CPU.

    auxiliary_mean, auxiliary_std: of each scalar over the training split, in the scalars' units; empty when they were
    not asked for. The deviation of a scalar that never varies is given as 1. The tensors may be mapped from the
    prepared copy, so that several runs on one machine hold its pages only once.
    """

    dataset: Dataset
    train: Split
    validation: Split
    test: Split
    _: KW_ONLY
    auxiliary_mean: tuple[float, ...] = ()
    auxiliary_std: tuple[float, ...] = ()

    def split(self, part: Part) -> Split:
        """The split of this name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]


def load(
    name: str,
    targets: Sequence[str],
    folder: Path,
    say: Say,
    *,
    auxiliary: bool = False,
    progress: Progress | None = None,
) -> Data:
    """Reads a dataset, fetching, preparing and measuring it first where that has not been done.

    targets: which of the dataset's targets to bring, at least one. folder: where datasets are kept; made if missing.
    say: told in a sentence of everything that takes time or went wrong and was mended. auxiliary: whether to bring the
    dataset's scalars. progress: told every half second what takes time and which share of it is done. What `say` or
    `progress` raises ends the work, which a later call begins again. Measuring uses as many cores as torch may.

    Raises UnknownDataset or UnknownTarget for a name that does not exist, ValueError when no target is asked for or the
    dataset has no scalars, DatasetError when the dataset cannot be had.
    """
    facts = dataset(name)
    if not targets:
        raise ValueError(f"no target was asked for; targets: {', '.join(t.name for t in facts.targets)}")
    if auxiliary and not facts.auxiliary:
        raise ValueError(f"{name} offers no auxiliary scalars")
    chosen = [facts.target(target) for target in targets]
    tell = ProgressReporter(say, progress)
    try:
        tensors = _prepared(facts, folder).get(lambda: _prepare(facts, folder, tell), tell)
        if auxiliary or any(target.measured for target in chosen):
            tensors = tensors | _measured(facts, folder, tensors, tell)
    except Unavailable as error:
        raise DatasetError(str(error)) from error
    except MeasuringError as error:
        raise DatasetError(f"{facts.name} could not be measured ({error}); launch again") from error
    except OSError as error:
        raise DatasetError(
            f"{facts.name} could not be read or written under {folder} ({reason(error)}); "
            "see to the folder's free space and permissions, then launch again"
        ) from error
    splits = {
        part: Split(
            tensors[f"{part}.images"],
            {target: tensors[f"{part}.{target}"] for target in targets},
            tensors[f"{part}.auxiliary"] if auxiliary else None,
        )
        for part in PARTS
    }
    mean, std = _spread(splits["train"].auxiliary)
    return Data(facts, splits["train"], splits["validation"], splits["test"], auxiliary_mean=mean, auxiliary_std=std)


def stratified_split(
    labels: npt.NDArray[np.int64], take: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Takes `take` of the N labels at random, from each class its share (to within one), and says which: (rest, taken).

    Both are ascending indices; together they are 0..N-1. A fixed function of its arguments: numpy has promised never to
    change the numbers that RandomState draws. Raises ValueError unless 0 <= take <= N.
    """
    n = len(labels)
    if not 0 <= take <= n:
        raise ValueError(f"cannot take {take} of {n}")
    order = np.random.RandomState(seed).permutation(n)
    order = order[np.argsort(labels[order], kind="stable")]
    # Every (n/take)-th of the shuffled items that stand class by class: any run of k items holds k·take/n of them,
    # give or take less than one.
    ticks = (np.arange(n + 1, dtype=np.int64) * take + n // 2) // max(n, 1)
    taken = np.diff(ticks) > 0
    return np.sort(order[~taken]), np.sort(order[taken])


# The prepared copy


def _prepared(facts: Dataset, folder: Path) -> Kept:
    stored = [target.name for target in facts.targets if not target.measured]
    return Kept(
        folder / "prepared" / f"{facts.name}.safetensors",
        _PREPARED_VERSION,
        frozenset(f"{part}.{column}" for part in PARTS for column in ("images", *stored)),
        source="",
        title=f"the prepared copy of {facts.name}",
        waiting=f"fetch {facts.name}",
        making="preparing it again",
    )


def _prepare(facts: Dataset, folder: Path, tell: ProgressReporter) -> dict[str, Tensor]:
    if facts.name == "digits":
        training, test = _without(digits(), facts.test)
    else:
        training, test = training_and_test(facts, folder, tell)
    n = len(training.images)
    # Fewer images than the official ones have: somebody's own small files in the same format.
    take = facts.validation if n >= facts.train + facts.validation else max(1, n // 12)
    train, validation = _without(training, take)
    tensors = {}
    for part, labeled in zip(PARTS, (train, validation, test), strict=True):
        tensors[f"{part}.images"] = labeled.images.contiguous()
        tensors |= {f"{part}.{name}": values.contiguous() for name, values in labeled.targets.items()}
    return tensors


def _without(labeled: Labeled, take: int) -> tuple[Labeled, Labeled]:
    labels = next(iter(labeled.targets.values())).numpy()
    rest, taken = stratified_split(labels, take, SPLIT_SEED)
    return labeled.at(rest), labeled.at(taken)


# What is measured


def _measured(facts: Dataset, folder: Path, prepared: dict[str, Tensor], tell: ProgressReporter) -> dict[str, Tensor]:
    """The dataset's measured targets, int64 [N], and its scalars as "auxiliary", float32 [N, n], of each split."""
    images: dict[str, Tensor] = {part: prepared[f"{part}.images"] for part in PARTS}
    kept = Kept(
        folder / "prepared" / f"{facts.name}.measured.safetensors",
        _MEASURED_VERSION,
        frozenset(PARTS),
        source=digest(images),
        title=f"what was measured of {facts.name}",
        waiting=f"measure {facts.name}",
        making="measuring it again",
    )

    def make() -> dict[str, Tensor]:
        gray = torch.cat([images[part][:, 0] for part in PARTS]).numpy()
        found = torch.from_numpy(measure_all(gray, tell, f"measuring {facts.name}", torch.get_num_threads()))
        return dict(zip(PARTS, torch.split(found, [len(images[part]) for part in PARTS]), strict=True))

    measures = {part: values.numpy() for part, values in kept.get(make, tell).items()}
    scalars = [scalar.name for scalar in facts.auxiliary]
    tensors = {f"{part}.auxiliary": torch.from_numpy(columns(scalars, measures[part])) for part in PARTS}
    for target in facts.targets:
        if target.measured:
            # The validation and test images have no say in where the classes meet.
            edges = bin_edges(target.name, target.classes, measures["train"])
            for part in PARTS:
                tensors[f"{part}.{target.name}"] = torch.from_numpy(bin_values(target.name, measures[part], edges))
    return tensors


def _spread(scalars: Tensor | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each column, none for no scalars."""
    if scalars is None:
        return (), ()
    exact = scalars.double()
    deviations = exact.std(0, correction=0).tolist()
    # The deviation of equal numbers comes out a little above 0 when their mean is rounded.
    varies = (scalars.amax(0) > scalars.amin(0)).tolist()
    stds = tuple(std if vary else 1.0 for std, vary in zip(deviations, varies, strict=True))
    return tuple(exact.mean(0).tolist()), stds
