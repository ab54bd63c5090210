"""Names and example bodies of all API operations, by method and path."""

from __future__ import annotations

from typing import Any

from app.web.openapi_command_examples import command_operations
from app.web.openapi_dataset_examples import DATASET_OPERATIONS
from app.web.openapi_inference_examples import INFERENCE_OPERATIONS
from app.web.openapi_model_examples import MODEL_OPERATIONS
from app.web.openapi_notification_examples import NOTIFICATION_OPERATIONS
from app.web.openapi_operation import Operation
from app.web.openapi_people_examples import PEOPLE_OPERATIONS
from app.web.openapi_script_examples import SCRIPT_OPERATIONS
from app.web.openapi_sweep_examples import SWEEP_OPERATIONS

RUN_ID, OTHER_ID = "r_1kf3t8v0a2mzq4c", "r_1kf3t8v0b7xw9ne"
CREATED, STARTED, ENDED = "2026-11-20T09:30:00Z", "2026-11-20T09:30:00.400Z", "2026-11-20T09:30:41.500Z"

BASIS = "the same network, dataset and batch size"
SPEC: dict[str, Any] = {"family": "simple_cnn", "size": "base", "dataset": "digits", "epochs": 20}
CONFIG: dict[str, Any] = {
    **SPEC,
    "targets": ["digit"],
    "recipe": "default",
    "batch_size": 128,
    "optimizer": "adam",
    "lr": 0.001,
    "weight_decay": 0.0,
    "momentum": 0.9,
    "schedule": "plateau",
    "lr_min": 0.0,
    "label_smoothing": 0.0,
    "clip_norm": 0.0,
    "crop_padding": 0,
    "flip": False,
    "precision": "auto",
    "deterministic": False,
    "seed": 1,
}
SUMMARY: dict[str, Any] = {
    "last": 0.9944,
    "last_step": 180,
    "best": 0.9944,
    "best_step": 162,
    "min": 0.8167,
    "max": 0.9944,
    "points": 20,
    "not_finite": 0,
}
QUEUED: dict[str, Any] = {
    "id": RUN_ID,
    "number": 12,
    "url": f"/runs/{RUN_ID}",
    "title": "simple_cnn base · digits",
    "status": "queued",
    "reason": "",
    "attempt": 0,
    "params": 421834,
    "spec": CONFIG,
    "asked": SPEC,
    "tags": [],
    "progress": {},
    "summary": {},
    "environment": {},
    "worker": "",
    "device": "",
    "parent": None,
    "relation": "",
    "parent_step": None,
    "sweep": None,
    "sweep_values": {},
    "created": CREATED,
    "started": None,
    "ended": None,
    "seconds": None,
}
RUN: dict[str, Any] = QUEUED | {
    "status": "succeeded",
    "attempt": 1,
    "progress": {"epoch": 20, "epochs": 20, "step": 180, "steps": 180, "samples_per_second": 4200.0},
    "summary": {"val/acc": SUMMARY},
    "device": "NVIDIA H100",
    "started": STARTED,
    "ended": ENDED,
    "seconds": 41.1,
}
AGAIN: dict[str, Any] = QUEUED | {"id": OTHER_ID, "number": 13, "url": f"/runs/{OTHER_ID}", "parent": RUN_ID}
CURVE = {"step": [9, 18, 27], "value": [0.8167, 0.9056, 0.9333], "time": [1795512602.1, 1795512604.0, 1795512605.9]}

PREVIEW: dict[str, Any] = {
    "family": "simple_cnn",
    "size": "base",
    "dataset": "digits",
    "params": 421834,
    "flops": 13022208,
    "batch_size": 128,
    "activation_bytes": 90112000,
    "memory_bytes": 103014400,
    "steps_per_epoch": 9,
    "steps": 180,
    "layers": [
        {"path": "body.0", "kind": "Conv2d", "about": "32 × 3×3", "shape": [32, 28, 28], "params": 320, "flops": 451584}
    ],
    "predictions": [
        {"device": "NVIDIA H100", "epoch_seconds": 0.4, "runs": 3, "basis": "the same network, dataset and batch size"}
    ],
}
WAITING: dict[str, Any] = {
    "run": {
        **{name: QUEUED[name] for name in ("id", "number", "url", "title", "status", "attempt", "parent", "relation")},
        **{name: CONFIG[name] for name in ("family", "size", "dataset", "epochs", "batch_size", "seed")},
        **{"device": "auto", "worker": "", "priority": 0, "sweep": None, "created": CREATED},
    },
    "position": 1,
    "why": "the only slot is busy",
    "expected_start": ENDED,
    "start_why": "",
    "expected_seconds": 41.0,
    "estimate": f"from 3 successful runs: {BASIS}",
}
CHANGE: dict[str, Any] = {
    "id": 3,
    "kind": "lr_factor",
    "value": 0.3,
    "state": "waiting",
    "step": None,
    "epochs": None,
    "reason": "",
    "via": "API",
    "inherited": False,
    "sentence": "Multiplies the learning rate for the rest of the plateau schedule.",
    "asked": STARTED,
    "settled": None,
}
APPLIED: dict[str, Any] = {"state": "applied", "step": 90, "epochs": 20, "settled": ENDED}
MARK: dict[str, Any] = {"id": 8, "kind": "change", "step": 90, "time": 1795512611.2, "text": "learning rate × 0.3"}
RELATIVE: dict[str, Any] = {
    **{name: RUN[name] for name in ("id", "number", "title", "status", "parent", "relation", "parent_step")},
    "step": 180,
    "deleted": False,
}
MEAN: dict[str, Any] = {
    "mean": 0.9861,
    "half": 0.0069,
    "n": 3,
    "values": [0.9833, 0.9861, 0.9889],
    "best": True,
    "against_best": None,
}
COMPARISON: dict[str, Any] = {
    "by": ["family", "size", "dataset"],
    "groups": [{"title": "simple_cnn tiny", "runs": [RUN_ID, OTHER_ID], "live": False, "figures": {"test/acc": MEAN}}],
    "sentence": None,
    "behind": None,
}
ARCHITECTURE: dict[str, Any] = {
    "family": "simple_cnn",
    "size": "base",
    "default": True,
    "definition": "32-64 channels, 128 hidden",
    "params": {"digits": 421834, "cifar10": 545098},
    "summary": "Convolutions, pooling, one hidden layer.",
    "when": "A good first choice for small images.",
    "reference": "",
    "options": {"pool": ["max", "mean"]},
    "source": "",
    "smallest_batch": 1,
    "takes_auxiliary": True,
}
RECIPE: dict[str, Any] = {
    "name": "quick",
    "about": "Like default, with 5 epochs; for a first try",
    "datasets": ["digits", "mnist"],
    "dataset": "digits",
    "settings": {"simple_cnn": {"optimizer": "adam", "lr": 0.001, "epochs": 5}},
}
WORKER: dict[str, Any] = {
    "id": "trainbox-4711",
    "host": "trainbox",
    "pid": 4711,
    "slots": 1,
    "free_slots": 0,
    "device": "NVIDIA H100",
    "device_kind": "cuda",
    "device_index": 0,
    "memory_bytes": 85899345920,
    "cores": 16,
    "versions": {"runyard": "0.2.0", "torch": "2.14.1"},
    "first_seen": CREATED,
    "last_seen": ENDED,
    "runs": [RUN_ID],
    "protocol": 1,
    "refusal": "",
    "commands": True,
}
SPREAD = {"mean": 0.9861, "half": 0.0025, "median": 0.986, "min": 0.985, "max": 0.9873, "n": 2}
RUN_GROUP: dict[str, Any] = {
    "values": ["simple_cnn base digits"],
    "runs": [OTHER_ID, RUN_ID],
    "figures": {"test/acc": SPREAD},
}
LEADERBOARD: dict[str, Any] = {
    "leaders": [
        {
            "family": "simple_cnn",
            "size": "base",
            "dataset": "digits",
            "mean": 0.9861,
            "half": 0.0025,
            "n": 2,
            "recipe": "default",
            "epochs": 20,
            "configurations": 1,
            "runs": [RUN_ID, OTHER_ID],
        }
    ],
    "missing": [{"family": "vit", "size": "tiny", "dataset": "digits"}],
    "references": [
        {
            "family": "simple_cnn",
            "size": "base",
            "dataset": "mnist",
            "recipe": "fast",
            "epochs": 5,
            "seeds": 3,
            "mean": 0.9931,
            "half": 0.0008,
            "seconds": 62.0,
            "machine": "2 cores of AMD EPYC",
            "date": "2026-11-28",
            "data": "",
        }
    ],
}
VIEW: dict[str, Any] = {"name": "the best of mnist", "question": "q=dataset%3Amnist&sort=-test%2Facc"}
VIEW_OUT: dict[str, Any] = {
    **VIEW,
    "id": "v_1kf3t8v0a2mzq4c",
    "url": f"/runs?{VIEW['question']}",
    "created": CREATED,
}

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/runs"): Operation("launch_run", SPEC, QUEUED),
    ("GET", "/runs"): Operation("list_runs", None, {"runs": [RUN], "next": None, "total": 1}),
    ("GET", "/runs/{run_id}"): Operation("read_run", None, RUN),
    ("PATCH", "/runs/{run_id}"): Operation("edit_run", {"name": "first try", "tags": ["a"]}, RUN),
    ("DELETE", "/runs/{run_id}"): Operation("delete_run"),
    ("POST", "/runs/{run_id}/restore"): Operation("restore_run", None, RUN),
    ("GET", "/runs/{run_id}/metrics"): Operation("read_metrics", None, {"val/acc": CURVE}),
    ("GET", "/runs/{run_id}/logs"): Operation(
        "read_log",
        None,
        {"lines": [{"id": 1, "time": 1795512600.6, "level": "info", "text": "421,834 parameters", "attempt": 1}]},
    ),
    ("GET", "/runs/{run_id}/events"): Operation("follow_run"),
    ("GET", "/events"): Operation("follow_changes"),
    ("POST", "/runs/{run_id}/cancel"): Operation("cancel_run", None, RUN | {"status": "cancelling"}),
    ("POST", "/runs/cancel"): Operation(
        "cancel_runs", {"runs": [RUN_ID, OTHER_ID]}, {"cancelled": [OTHER_ID], "stopping": [RUN_ID]}
    ),
    ("POST", "/runs/restore-queued"): Operation(
        "restore_queued_runs", {"runs": [RUN_ID]}, {"runs": [{"was": RUN_ID, "id": OTHER_ID}]}
    ),
    ("POST", "/runs/{run_id}/retry"): Operation("retry_run", None, AGAIN | {"relation": "retry"}),
    ("POST", "/runs/{run_id}/resume"): Operation(
        "resume_run", {"epochs": 40}, AGAIN | {"relation": "extend", "parent_step": 180}
    ),
    ("POST", "/runs/{run_id}/clone"): Operation("clone_run", {"lr": 0.0003}, AGAIN | {"relation": "clone"}),
    ("POST", "/runs/{run_id}/fork"): Operation(
        "fork_run",
        {"epoch": 10, "changes": {"lr": 0.0001}},
        AGAIN | {"relation": "fork", "parent_step": 90},
    ),
    ("POST", "/runs/{run_id}/verify"): Operation("verify_run", None, AGAIN | {"relation": "verify"}),
    ("GET", "/runs/{run_id}/verify"): Operation(
        "read_verdict",
        None,
        {
            "state": "identical",
            "sentence": "#13 reruns #12; all curves are bit-identical.",
            "run": RUN_ID,
            "rerun": OTHER_ID,
            "metric": None,
            "step": None,
        },
    ),
    ("POST", "/runs/{run_id}/changes"): Operation("create_change", {"kind": "lr_factor", "value": 0.3}, CHANGE),
    ("GET", "/runs/{run_id}/changes"): Operation("list_changes", None, {"changes": [CHANGE | APPLIED]}),
    ("GET", "/runs/{run_id}/marks"): Operation("list_marks", None, {"marks": [MARK]}),
    ("GET", "/runs/{run_id}/lineage"): Operation("read_lineage", None, {"runs": [RELATIVE], "kept": [10, 20]}),
    ("GET", "/runs/{run_id}/environment"): Operation("read_environment", None, {"python": "3.11.7", "torch": "2.14.1"}),
    ("POST", "/preview"): Operation("preview_run", SPEC, PREVIEW),
    **SWEEP_OPERATIONS,
    **command_operations(QUEUED),
    ("GET", "/queue"): Operation(
        "read_queue",
        None,
        {"paused": False, "paused_since": None, "held": "", "total": 1, "next": None, "runs": [WAITING]},
    ),
    ("POST", "/queue/pause"): Operation("pause_queue", None, {"paused": True}),
    ("POST", "/queue/resume"): Operation("resume_queue", None, {"paused": False}),
    ("POST", "/queue/move"): Operation("move_run", {"run": RUN_ID, "to": "first"}, {"position": 1}),
    ("GET", "/compare"): Operation("compare_runs", None, COMPARISON),
    ("GET", "/architectures"): Operation("list_architectures", None, {"architectures": [ARCHITECTURE], "broken": {}}),
    **DATASET_OPERATIONS,
    **MODEL_OPERATIONS,
    **SCRIPT_OPERATIONS,
    **NOTIFICATION_OPERATIONS,
    **PEOPLE_OPERATIONS,
    ("GET", "/recipes"): Operation("list_recipes", None, {"recipes": [RECIPE]}),
    ("GET", "/presets"): Operation(
        "list_presets",
        None,
        {"presets": {"mnist_cnn_8k": {"family": "simple_cnn", "size": "tiny", "dataset": "mnist"}}},
    ),
    **INFERENCE_OPERATIONS,
    ("GET", "/workers"): Operation("list_workers", None, {"workers": [WORKER]}),
    ("GET", "/groups"): Operation("list_groups", None, {"groups": [RUN_GROUP], "capped": False}),
    ("GET", "/leaderboard"): Operation("read_leaderboard", None, LEADERBOARD),
    ("GET", "/runs.{format}"): Operation("export_runs"),
    ("GET", "/runs/{run_id}/curves.{format}"): Operation("export_curves"),
    ("GET", "/views"): Operation("list_views", None, {"views": [VIEW_OUT]}),
    ("POST", "/views"): Operation("create_view", VIEW, VIEW_OUT),
    ("DELETE", "/views/{view_id}"): Operation("delete_view"),
}
