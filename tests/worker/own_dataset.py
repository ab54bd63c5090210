"""Makes a dataset of the user's own, as an import leaves it."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from app.contract.dataset_import import Choices, Report
from app.contract.own_datasets import DESCRIPTION, TENSORS, OwnDataset, version_folder

COUNTS = {"train": 200, "validation": 40, "test": 30}


def report() -> Report:
    """A report that found nothing."""
    return Report(
        layout="",
        split="",
        choices=Choices(),
        images=0,
        classes=[],
        sizes=[],
        smallest=None,
        largest=None,
        modes={},
        outliers=[],
        duplicates=[],
        duplicates_within=0,
        duplicates_across=0,
        skipped=[],
        skipped_kinds={},
        near_empty=[],
        imbalance=1.0,
        notes=[],
    )


def make_own_dataset(
    datasets: Path, name: str = "flowers", version: str = "0123456789ab", side: int = 28, seed: int = 0
) -> dict[str, Tensor]:
    """Write a dataset of noise with three classes into a folder of datasets; returns its tensors."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for part, count in COUNTS.items():
        tensors[f"{part}.images"] = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
        tensors[f"{part}.class"] = torch.randint(3, (count,), generator=generator)
    folder = version_folder(datasets, name, version)
    folder.mkdir(parents=True)
    save_file(tensors, folder / TENSORS)
    described = OwnDataset.model_validate(
        {
            "name": name,
            "version": version,
            "source": "flowers.zip",
            "source_sha256": "",
            "created_at": 1.0 + seed,
            "channels": 3,
            "side": side,
            "classes": ("daisy", "rose", "tulip"),
            "images": COUNTS,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.3, 0.3, 0.3),
            "bytes": (folder / TENSORS).stat().st_size,
            "choices": Choices(),
            "report": report(),
        }
    )
    (folder / DESCRIPTION).write_text(described.model_dump_json())
    return tensors
