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

MODEL_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/runs/{run_id}/jobs"): Operation("create_job", {"kind": "evaluate"}, QUEUED_JOB),
    ("GET", "/runs/{run_id}/jobs"): Operation("list_jobs", None, {"jobs": [JOB]}),
    ("GET", "/runs/{run_id}/exports"): Operation("list_exports", None, {"exports": [EXPORT]}),
    ("GET", "/runs/{run_id}/exports/{name}"): Operation("download_export"),
    ("GET", "/jobs/{job_id}"): Operation("read_job", None, JOB),
    ("DELETE", "/jobs/{job_id}"): Operation("cancel_job", None, QUEUED_JOB | {"status": "cancelled"}),
}
