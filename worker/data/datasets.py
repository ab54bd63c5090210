"""Loads datasets as tensors: prepares, splits and measures them, and caches the result for the next run."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor

from app.contract.builtin_datasets import prepared_file
from app.contract.dataset import Dataset
from app.contract.datasets import dataset
from app.contract.own_datasets import TARGET, TENSORS, version_folder
from worker.data.dataset_readers import Labeled, Unavailable, digits, training_and_test
from worker.data.image_measures import bin_edges, bin_values, columns
from worker.data.importing.stratified_split import stratified_split
from worker.data.mapped_tensors import InvalidFile, map_tensors
from worker.data.parallel_measuring import MeasuringError, measure_all
from worker.data.tensor_cache import TensorCache, digest
from worker.reporting.error_text import reason
from worker.reporting.progress import LogFunction, ProgressFunction, ProgressReporter

Part = Literal["train", "validation", "test"]
PARTS: Final[tuple[Part, ...]] = ("train", "validation", "test")

SPLIT_SEED: Final = 0

_PREPARED_VERSION: Final = "1"
"""Increase it whenever the same files would be prepared differently."""

_MEASURED_VERSION: Final = "1"
"""Increase it whenever the same images would measure differently."""


class DatasetError(Exception):
    """A dataset is not available. The message is one sentence for the user: what, why, what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """images: uint8 [N, C, H, W]; targets: by name, int64 [N].

    auxiliary: the dataset's scalars as measured, float32 [N, n], or None if they were not requested.
    """

    images: Tensor
    targets: dict[str, Tensor]
    auxiliary: Tensor | None = None

    def __len__(self) -> int:
        return int(self.images.shape[0])


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset's description and its three splits, on the CPU.

    auxiliary_mean, auxiliary_std: of each scalar over the training split, in the scalars' units; empty if they were not
    requested. The deviation of a scalar that never varies is given as 1. The tensors may be mapped from a file, so that
    several runs on one machine share its pages; do not write to them.
    """

    dataset: Dataset
    train: Split
    validation: Split
    test: Split
    _: KW_ONLY
    auxiliary_mean: tuple[float, ...] = ()
    auxiliary_std: tuple[float, ...] = ()

    def split(self, part: Part) -> Split:
        """The split with this name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]


def load(
    name: str,
    targets: Sequence[str],
    folder: Path,
    log: LogFunction,
    *,
    auxiliary: bool = False,
    progress: ProgressFunction | None = None,
) -> Data:
    """Load a dataset; download, prepare and measure it first if that has not been done.

    name: of the dataset, or NAME@VERSION; a user's own one is mapped from its file, whatever its size. targets: names
    of the dataset's targets to load, at least one. folder: where datasets are stored; created if missing. log: receives
    a sentence about everything that takes time or went wrong and was fixed. auxiliary: whether to load the dataset's
    scalars. progress: receives the current task and the share of it that is done, several times a second. Whatever
    `log` or `progress` raises ends the work, and a later call starts it again. Measuring uses as many cores as torch
    may.

    Raises UnknownDataset or UnknownTarget for a name that does not exist, ValueError if no target is requested or the
    dataset has no scalars, DatasetError if the dataset is not available.
    """
    info = dataset(name)
    if not targets:
        raise ValueError(f"specify at least one target; targets: {', '.join(t.name for t in info.targets)}")
    if auxiliary and not info.auxiliary:
        raise ValueError(f"{name} has no auxiliary scalars")
    chosen = [info.target(target) for target in targets]
    reporter = ProgressReporter(log, progress)
    try:
        if info.version:
            tensors = _own(info, folder)
        else:
            tensors = _prepared(info, folder).get(lambda: _prepare(info, folder, reporter), reporter)
        if auxiliary or any(target.measured for target in chosen):
            tensors = tensors | _measured(info, folder, tensors, reporter)
    except Unavailable as error:
        raise DatasetError(str(error)) from error
    except MeasuringError as error:
        raise DatasetError(f"could not measure the images of {info.name} ({error}); retry the run") from error
    except OSError as error:
        raise DatasetError(
            f"could not read or write {info.key} in {folder} ({reason(error)}); "
            "check the folder's permissions and free space, then retry the run"
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
    return Data(info, splits["train"], splits["validation"], splits["test"], auxiliary_mean=mean, auxiliary_std=std)


# The user's own datasets


def _own(info: Dataset, folder: Path) -> dict[str, Tensor]:
    path = version_folder(folder, info.name, info.version) / TENSORS
    images = {"train": info.train, "validation": info.validation, "test": info.test}
    shapes: dict[str, tuple[int, ...]] = {}
    for part, count in images.items():
        shapes[f"{part}.images"] = (count, info.channels, info.side, info.side)
        shapes[f"{part}.{TARGET}"] = (count,)
    try:
        return map_tensors(path, shapes)
    except FileNotFoundError as error:
        raise DatasetError(
            f"the images of {info.key} are missing: there is no {path}; import the dataset again"
        ) from error
    except InvalidFile as error:
        raise DatasetError(
            f"the images of {info.key} are unusable: {path} {error}; import the dataset again"
        ) from error


# The prepared copy


def _prepared(info: Dataset, folder: Path) -> TensorCache:
    stored = [target.name for target in info.targets if not target.measured]
    return TensorCache(
        prepared_file(folder, info.name),
        _PREPARED_VERSION,
        frozenset(f"{part}.{column}" for part in PARTS for column in ("images", *stored)),
        source="",
        title=f"the prepared copy of {info.name}",
        waiting=f"download {info.name}",
        repair="preparing it again",
    )


def is_prepared(name: str, folder: Path) -> bool:
    """Whether `load` needs no download, because the dataset was prepared before or comes with Runyard."""
    info = dataset(name)
    return info.offline or _prepared(info, folder).path.exists()


def save_prepared(info: Dataset, folder: Path, training: Labeled, test: Labeled) -> None:
    """Save a prepared copy made from these images, as if they had been read from the dataset's own files."""
    _prepared(info, folder).get(lambda: _split(info, training, test), ProgressReporter(lambda text: None))


def _prepare(info: Dataset, folder: Path, reporter: ProgressReporter) -> dict[str, Tensor]:
    if info.name == "digits":
        training, test = _without(digits(), info.test)
    else:
        training, test = training_and_test(info, folder, reporter)
    return _split(info, training, test)


def _split(info: Dataset, training: Labeled, test: Labeled) -> dict[str, Tensor]:
    n = len(training.images)
    # Fewer images than the official dataset: a user's small files in the same format.
    take = info.validation if n >= info.train + info.validation else max(1, n // 12)
    train, validation = _without(training, take)
    tensors = {}
    for part, labeled in zip(PARTS, (train, validation, test), strict=True):
        tensors[f"{part}.images"] = labeled.images.contiguous()
        tensors |= {f"{part}.{name}": values.contiguous() for name, values in labeled.targets.items()}
    return tensors


def _without(labeled: Labeled, take: int) -> tuple[Labeled, Labeled]:
    labels = next(iter(labeled.targets.values())).numpy()
    rest, taken = stratified_split(labels, take, SPLIT_SEED)
    return labeled.select(rest), labeled.select(taken)


# Measurements


def _measured(
    info: Dataset, folder: Path, prepared: dict[str, Tensor], reporter: ProgressReporter
) -> dict[str, Tensor]:
    """The dataset's measured targets, int64 [N], and its scalars as "auxiliary", float32 [N, n], of each split."""
    images: dict[str, Tensor] = {part: prepared[f"{part}.images"] for part in PARTS}
    cache = TensorCache(
        folder / "prepared" / f"{info.name}.measured.safetensors",
        _MEASURED_VERSION,
        frozenset(PARTS),
        source=digest(images),
        title=f"the measurement cache of {info.name}",
        waiting=f"measure {info.name}",
        repair="measuring it again",
    )

    def make() -> dict[str, Tensor]:
        gray = torch.cat([images[part][:, 0] for part in PARTS]).numpy()
        measures = torch.from_numpy(measure_all(gray, reporter, f"measuring {info.name}", torch.get_num_threads()))
        return dict(zip(PARTS, torch.split(measures, [len(images[part]) for part in PARTS]), strict=True))

    measures = {part: values.numpy() for part, values in cache.get(make, reporter).items()}
    scalars = [scalar.name for scalar in info.auxiliary]
    tensors = {f"{part}.auxiliary": torch.from_numpy(columns(scalars, measures[part])) for part in PARTS}
    for target in info.targets:
        if target.measured:
            # Only the training images decide where the classes meet.
            edges = bin_edges(target.name, target.classes, measures["train"])
            for part in PARTS:
                tensors[f"{part}.{target.name}"] = torch.from_numpy(bin_values(target.name, measures[part], edges))
    return tensors


def _spread(scalars: Tensor | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column; empty without scalars."""
    if scalars is None:
        return (), ()
    exact = scalars.double()
    deviations = exact.std(0, correction=0).tolist()
    # The computed deviation of equal numbers is slightly above 0 when their mean is rounded.
    varies = (scalars.amax(0) > scalars.amin(0)).tolist()
    stds = tuple(std if vary else 1.0 for std, vary in zip(deviations, varies, strict=True))
    return tuple(exact.mean(0).tolist()), stds
