"""Names and example bodies of API operations on trained models."""

from __future__ import annotations

from typing import Any

from app.web.openapi_operation import Operation

RUN_ID, JOB_ID = "r_1kf3t8v0a2mzq4c", "j_1kf3t9x2k4d8rwt"
QUEUED_JOB: dict[str, Any] = {
    "id": JOB_ID,
    "run": RUN_ID,
    "kind": "evaluate",
    "options": {},
    "status": "queued",
    "share": 0.0,
    "reason": "",
    "result": {},
    "created": "2026-11-20T10:12:00Z",
    "started": None,
    "ended": None,
}
JOB: dict[str, Any] = QUEUED_JOB | {
    "status": "succeeded",
    "share": 1.0,
    "result": {
        "path": f"{RUN_ID}/1/predictions.safetensors",
        "kind": "final",
        "epoch": 18,
        "step": 162,
        "bytes": 21480,
        "accuracy": {"validation": {"digit": 0.9944}, "test": {"digit": 0.9889}},
    },
    "started": "2026-11-20T10:12:00.100Z",
    "ended": "2026-11-20T10:12:06.900Z",
}

EXPORT: dict[str, Any] = {
    "name": "model.onnx",
    "format": "onnx",
    "preprocessing": True,
    "bytes": 290580,
    "difference": 3.3e-07,
    "pictures": 256,
    "epoch": 18,
    "made": "2026-11-20T10:12:06.900Z",
    "url": f"/api/v1/runs/{RUN_ID}/exports/model.onnx",
}
PREDICTIONS: dict[str, Any] = {
    "run": RUN_ID,
    "dataset": "digits",
    "heads": {"digit": ["0", "1"]},
    "parts": ["test", "validation"],
    "head": "digit",
    "part": "test",
    "epoch": 18,
    "epochs": [],
    "images": 360,
    "accuracy": 0.9889,
    "calibration_error": 0.0121,
    "matrix": [[178, 2], [2, 178]],
    "classes": [
        {"label": "0", "precision": 0.9889, "recall": 0.9889, "f1": 0.9889, "support": 180},
        {"label": "1", "precision": 0.9889, "recall": 0.9889, "f1": 0.9889, "support": 180},
    ],
    "confusions": [{"true": 0, "predicted": 1, "count": 2, "of": 180}],
}
PICTURES: dict[str, Any] = {
    "total": 4,
    "offset": 0,
    "sheet": "/datasets/digits/sheet.png?part=test&indices=17",
    "pictures": [
        {
            "index": 17,
            "true": 0,
            "predicted": 1,
            "confidence": 0.9312,
            "true_probability": 0.0688,
            "top": [[1, 0.9312], [0, 0.0688]],
            "others": [],
            "history": None,
            "file": "",
        }
    ],
}

CARD: dict[str, Any] = {
    "title": "simple_cnn small on digits",
    "sections": [
        {
            "title": "Metrics",
            "facts": [{"name": "test/acc", "value": "98.89% (95% interval 97.2 to 99.6%, n = 360)"}],
            "sentences": ["One seed: how much the accuracy varies between seeds was not measured."],
            "headings": [],
            "rows": [],
            "code": "",
        }
    ],
    "markdown": "# simple_cnn small on digits\n",
}

DISK_USE = {
    "checkpoints": 31_400_000,
    "predictions": 52_000,
    "exports": 948_000,
    "files": 0,
    "histograms_and_texts": 0,
    "unknown": 0,
    "total": 32_400_000,
}

DISKS = {
    "disks": [
        {
            "host": "lab",
            "folder": "/srv/runyard",
            "free": 3_200_000_000,
            "total": 500_000_000_000,
            "needed": 5_368_709_120,
            "state": "low",
        }
    ]
}

FILES: dict[str, Any] = {
    "files": [
        {
            "path": "plots/roc.png",
            "source": "script",
            "kind": "image",
            "bytes": 18204,
            "created": "2026-11-20T10:12:06.900Z",
            "url": f"/api/v1/runs/{RUN_ID}/files/plots/roc.png?v=5b1e0c9d2f4a7788",
        }
    ],
    "bytes": 18204,
}

MODEL_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/runs/{run_id}/disk"): Operation("read_disk_use", None, DISK_USE),
    ("GET", "/disk"): Operation("read_disk_use_of_all_runs", None, DISK_USE),
    ("GET", "/disks"): Operation("list_disks", None, DISKS),
    ("POST", "/runs/{run_id}/jobs"): Operation("create_job", {"kind": "evaluate"}, QUEUED_JOB),
    ("GET", "/runs/{run_id}/jobs"): Operation("list_jobs", None, {"jobs": [JOB]}),
    ("GET", "/runs/{run_id}/exports"): Operation("list_exports", None, {"exports": [EXPORT]}),
    ("GET", "/runs/{run_id}/exports/{name}"): Operation("export_file"),
    ("GET", "/runs/{run_id}/files"): Operation("list_files", None, FILES),
    ("PUT", "/runs/{run_id}/files/{path}"): Operation("create_run_file"),
    ("GET", "/runs/{run_id}/files.zip"): Operation("export_files"),
    ("GET", "/runs/{run_id}/files/{path}"): Operation("export_run_file"),
    ("GET", "/runs/{run_id}/card"): Operation("read_model_card", None, CARD),
    ("GET", "/runs/{run_id}/card.md"): Operation("export_model_card"),
    ("GET", "/jobs/{job_id}"): Operation("read_job", None, JOB),
    ("DELETE", "/jobs/{job_id}"): Operation("cancel_job", None, QUEUED_JOB | {"status": "cancelled"}),
    ("GET", "/runs/{run_id}/predictions"): Operation("read_predictions", None, PREDICTIONS),
    ("GET", "/runs/{run_id}/predictions/pictures"): Operation("list_predicted_pictures", None, PICTURES),
    ("GET", "/runs/{run_id}/predictions.csv"): Operation("export_predictions", None, None),
}
