"""An own dataset as an import leaves it, without its images: what the server knows of one is in a text file."""

from __future__ import annotations

from pathlib import Path

from app.contract.dataset_import import Choices, ClassCount, DuplicateGroup, Occurrence, Report
from app.contract.own_datasets import DESCRIPTION, ITEMS, OwnDataset, version_folder

CLASSES = ("daisy", "rose", "tulip")


def report(**changes: object) -> Report:
    """What an import found: a leak, a small class, a file that is no image."""
    image = {"path": "rose/1.jpg", "label": "rose", "index": 0}
    leak = [Occurrence.model_validate(image | {"part": part}) for part in ("train", "test")]
    fields = {
        "layout": "one folder per class",
        "split": "split at random: 10% for validation and 10% for test",
        "choices": Choices(side=64, color="rgb"),
        "images": 1_250,
        "classes": [
            ClassCount(name="daisy", found=["daisy"], train=500, validation=60, test=60),
            ClassCount(name="rose", found=["rose", "Rose"], train=495, validation=60, test=60),
            ClassCount(name="tulip", found=["tulip"], train=5, validation=5, test=5),
        ],
        "sizes": [{"width": 640, "height": 480, "images": 1_250}],
        "smallest": {"width": 640, "height": 480, "images": 1_250},
        "largest": {"width": 640, "height": 480, "images": 1_250},
        "modes": {"RGB": 1_240, "CMYK": 10},
        "outliers": [{"image": leak[0], "distance": 9.5}],
        "duplicates": [DuplicateGroup(images=leak, count=2, across=True, labels_differ=False)],
        "duplicates_within": 0,
        "duplicates_across": 1,
        "skipped": [{"path": "rose/notes.txt", "kind": "not an image", "reason": "is not a readable image"}],
        "skipped_kinds": {"not an image": 1},
        "near_empty": ["tulip"],
        "imbalance": 100.0,
        "leaks": ["1 image is in train and test: test accuracy will be too high"],
        "notes": ["class 'tulip' has few images"],
    }
    return Report.model_validate(fields | changes)


def describe_own_dataset(
    datasets: Path,
    name: str = "flowers",
    version: str = "aaaaaaaaaaaa",
    *,
    created_at: float = 1.0,
    train: int = 1_000,
    side: int = 64,
) -> OwnDataset:
    """Write the description of a version into a folder of datasets."""
    described = OwnDataset(
        name=name,
        version=version,
        source="flowers.zip",
        source_sha256="0" * 64,
        created_at=created_at,
        channels=3,
        side=side,
        classes=CLASSES,
        images={"train": train, "validation": 125, "test": 125},
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        bytes=15_360_000,
        choices=Choices(side=side, color="rgb"),
        report=report(),
    )
    folder = version_folder(datasets, name, version)
    folder.mkdir(parents=True)
    (folder / ITEMS).write_text("split,index,label,path\ntrain,0,rose,rose/1.jpg\n")
    (folder / DESCRIPTION).write_text(described.model_dump_json())
    return described
