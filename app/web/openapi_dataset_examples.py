"""Names and example bodies of the API operations on datasets and their imports, by method and path."""

from __future__ import annotations

from typing import Any

from app.web.openapi_operation import Operation

VERSION = "afbd2d108481"
DATASET: dict[str, Any] = {
    "name": "flowers",
    "title": "flowers",
    "channels": 3,
    "side": 64,
    "targets": [{"name": "class", "classes": 2, "weight": 1.0, "labels": ["rose", "tulip"]}],
    "train": 1600,
    "validation": 200,
    "test": 200,
    "source": "imported from flowers.zip",
    "offline": True,
    "megabytes": 0.0,
    "own": True,
    "version": VERSION,
}
CHOICES: dict[str, Any] = {"side": 64, "color": "rgb", "fit": "crop", "classes": {"Rose": "rose"}}
IMPORT: dict[str, Any] = {
    "id": "i_1kf3t8v0e5bq2wd",
    "name": "flowers",
    "status": "reading",
    "task": "reading images",
    "done": 512,
    "total": 2000,
    "reason": "",
    "version": "",
    "url": "/datasets/imports/i_1kf3t8v0e5bq2wd",
}
SIZE = {"width": 640, "height": 480, "images": 2000}
REPORT: dict[str, Any] = {
    "layout": "a folder for each class",
    "split": "split at random: 10% for validation and 10% for test",
    "choices": CHOICES,
    "images": 2000,
    "classes": [
        {"name": "rose", "found": ["rose", "Rose"], "train": 800, "validation": 100, "test": 100},
        {"name": "tulip", "found": ["tulip"], "train": 800, "validation": 100, "test": 100},
    ],
    "sizes": [SIZE],
    "smallest": SIZE,
    "largest": SIZE,
    "modes": {"RGB": 2000},
    "outliers": [],
    "duplicates": [],
    "duplicates_within": 0,
    "duplicates_across": 0,
    "skipped": [{"path": "rose/notes.txt", "kind": "not an image", "reason": "has an unsupported file type (.txt)"}],
    "skipped_kinds": {"not an image": 1},
    "near_empty": [],
    "imbalance": 1.0,
    "notes": [],
}
DETAILS: dict[str, Any] = {
    "name": "flowers",
    "status": "ready",
    "reason": "",
    "dataset": DATASET,
    "versions": [
        {
            "version": VERSION,
            "created_at": 1763631000.0,
            "bytes": 24576000,
            "channels": 3,
            "side": 64,
            "classes": ["rose", "tulip"],
            "images": {"train": 1600, "validation": 200, "test": 200},
            "source": "flowers.zip",
            "source_sha256": "62bb116dd3841f026b9154226487078e587040c085c6b119e0eb48127d54cef8",
            "choices": CHOICES,
        }
    ],
    "imports": [],
    "report": REPORT,
    "url": "/datasets/flowers",
}

DATASET_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/datasets"): Operation("list_datasets", None, {"datasets": [DATASET]}),
    ("POST", "/datasets"): Operation("import_dataset", None, IMPORT | {"status": "waiting", "done": 0, "total": 0}),
    ("GET", "/datasets/{name}"): Operation("read_dataset", None, DETAILS),
    ("GET", "/datasets/{name}/items.csv"): Operation("export_dataset_items"),
    ("POST", "/datasets/{name}/use"): Operation("use_dataset_version", {"version": VERSION}, DETAILS),
    ("DELETE", "/datasets/{name}"): Operation("delete_dataset"),
    ("POST", "/datasets/{name}/restore"): Operation("restore_dataset", None, DETAILS),
    ("GET", "/dataset-imports/{number}"): Operation("read_dataset_import", None, IMPORT),
    ("GET", "/dataset-imports/{number}/report"): Operation("read_dataset_import_report", None, REPORT),
    ("POST", "/dataset-imports/{number}/choices"): Operation(
        "change_dataset_choices", {"choices": CHOICES, "keep": True}, IMPORT
    ),
    ("DELETE", "/dataset-imports/{number}"): Operation("cancel_dataset_import", None, IMPORT),
}
