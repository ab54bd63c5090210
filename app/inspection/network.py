"""Inspects networks: builds, traces and counts them, or explains why they cannot be trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import models
from app.contract.catalog import Catalog, FamilyEntry, OptionEntry, SizeEntry
from app.contract.dataset import Dataset
from app.contract.datasets import DATASETS
from app.contract.preview import Layer
from app.contract.spec import RunConfig
from app.inspection import Refusal, Traced
from app.inspection.blocks import draw
from app.inspection.layer_names import describe_part
from app.inspection.trace import Part, Trace, trace

LABEL_BYTES = 8


class Refused(Exception):
    """A network cannot be trained with these settings."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def catalog(broken: dict[str, str], known: Iterable[FamilyEntry] = ()) -> Catalog:
    """The catalog of everything that can be trained, built from the network definitions.

    known: entries of built-in families from an earlier catalog, used as they are.
    """
    entries = {entry.name: entry for entry in known}
    families = {}
    for family in models.families().values():
        source = family.source if Path(family.source).is_absolute() else ""
        entry = None if source else entries.get(family.name)
        families[family.name] = entry or _entry(family, source)
    return Catalog(families=families, broken=broken)


def _entry(family: models.Family, source: str) -> FamilyEntry:
    return FamilyEntry(
        name=family.name,
        summary=family.summary,
        when=family.when,
        reference=family.reference,
        default=family.default,
        sizes=[SizeEntry(name=s.name, definition=s.definition, params=_counts(family, s)) for s in family.sizes],
        options=[
            OptionEntry(
                name=option.name,
                default=option.default,
                choices=list(option.choices),
                about=option.about,
                larger=list(option.larger),
                divides_side=option.divides_side,
            )
            for option in family.options
        ],
        smallest_batch=family.smallest_batch,
        takes_auxiliary=family.takes_auxiliary,
        source=source,
    )


def _counts(family: models.Family, size: models.Size) -> dict[str, int]:
    """Parameters by dataset, for those datasets for which the network can be built."""
    counts: dict[str, int] = {}
    of_shape: dict[tuple[int, int, int], int] = {}
    for dataset in DATASETS.builtin.values():
        key = (dataset.channels, dataset.side, dataset.targets[0].classes)
        if key not in of_shape:
            count = _count(family, size, *key)
            if count is None:
                continue
            of_shape[key] = count
        counts[dataset.name] = of_shape[key]
    return counts


def count_on(channels: int, side: int, classes: int) -> dict[str, dict[str, int]]:
    """Parameters of every network by family and size, for those that can be built for such images and classes."""
    counts: dict[str, dict[str, int]] = {}
    for family in models.families().values():
        for size in family.sizes:
            count = _count(family, size, channels, side, classes)
            if count is not None:
                counts.setdefault(family.name, {})[size.name] = count
    return counts


def _count(family: models.Family, size: models.Size, channels: int, side: int, classes: int) -> int | None:
    try:
        with torch.device("meta"):
            network = models.build(family.name, size.name, models.Shape(channels, side, {"class": classes}))
            return models.count_parameters(network)
    except Exception:  # a request for this size on this dataset gets the reason
        return None


def inspect(config: RunConfig) -> Traced:
    """Trace the network of ``config``. Raises Refused if it cannot be built or cannot process a batch."""
    try:
        traced = _traced(config)
    except Exception as error:  # a user's network can raise anything; the refusal says what
        raise Refused(_refusal(config, error)) from error
    shape = _shape(config)
    parameters, buffers = list(traced.network.parameters()), list(traced.network.buffers())
    pixels = shape.channels * shape.side**2 + shape.auxiliary
    return Traced(
        params=sum(tensor.numel() for tensor in parameters),
        flops=sum(part.flops for part in traced.parts),
        weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in [*parameters, *buffers]),
        trained_bytes=sum(tensor.numel() * tensor.element_size() for tensor in parameters if tensor.requires_grad),
        kept_bytes=traced.kept_bytes,
        kept_bytes_per_image=traced.kept_bytes_per_image,
        image_bytes=4 * pixels + LABEL_BYTES * len(shape.heads),
        layers=_layers(traced),
        blocks=draw(traced),
    )


def _layers(traced: Trace) -> list[Layer]:
    """Parts that compute something or have parameters themselves, in order of first use."""
    rows = [
        part
        for part in traced.parts
        if part.params or part.flops or (part.module is not None and not _inner(part.module) and part.entered)
    ]

    def order(part: Part) -> float:
        first = part.entered if part.worked is None or not _inner(part.module) else part.worked
        return float("inf") if first is None else float(first)

    return [
        Layer(
            path=part.path or part.kind,
            kind=part.kind,
            about=describe_part(part),
            shape=part.shape,
            params=part.params,
            flops=part.flops,
        )
        for part in sorted(rows, key=order)
    ]


def _inner(module: nn.Module | None) -> bool:
    return module is not None and next(module.children(), None) is not None


# Refusals ------------------------------------------------------------------------------------------------------------


def _shape(config: RunConfig) -> models.Shape:
    dataset = DATASETS[config.dataset]
    heads = {name: dataset.target(name).classes for name in config.targets}
    return models.Shape(dataset.channels, dataset.side, heads, len(dataset.auxiliary) if config.auxiliary else 0)


def _traced(config: RunConfig) -> Trace:
    shape = _shape(config)
    return trace(
        lambda: models.build(config.family, config.size, shape, dict(config.options)), shape, config.precision == "bf16"
    )


def _fits(config: RunConfig) -> bool:
    try:
        _traced(config)
    except Exception:  # a user's network can raise anything; each means that it does not fit
        return False
    return True


def _refusal(config: RunConfig, error: Exception) -> Refusal:
    """Find the field that has to change, by trying changes one after the other."""
    dataset = DATASETS[config.dataset]
    message = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    if not isinstance(error, ValueError):
        message = f"cannot train {config.family} {config.size} with these settings: {type(error).__name__}: {message}"
    for name, choices in _other_choices(config):
        if choices:
            return Refusal(
                field="options",
                message=f"{message}; values of {name} that work with {dataset.name}: {', '.join(choices)}",
            )
    return Refusal(field=_field(config, dataset), message=message)


def _other_choices(config: RunConfig) -> Iterator[tuple[str, list[str]]]:
    """For each option that was set, its choices with which the network can be trained."""
    for option in models.get(config.family).options:
        if option.name in config.options:
            variants = [config.options | {option.name: choice} for choice in option.choices]
            tried = [config.model_copy(update={"options": options}) for options in variants]
            yield option.name, [str(candidate.options[option.name]) for candidate in tried if _fits(candidate)]


def _field(config: RunConfig, dataset: Dataset) -> str:
    blanks: dict[str, Any] = {
        "options": {},
        "auxiliary": False,
        "targets": [dataset.targets[0].name],
        "size": models.get(config.family).default,
    }
    for name, blank in blanks.items():
        if getattr(config, name) != blank and _fits(config.model_copy(update={name: blank})):
            return name
    return "dataset"
