"""Names and example bodies of the API operations on models: predictions and aliases, by method and path."""

from __future__ import annotations

from typing import Any

from app.web.openapi_operation import Operation

RUN = "r_1kf3t8v0e5bq2wd"
PROBABILITIES = {"0": 0.0, "1": 0.0, "2": 0.0, "3": 0.0, "4": 0.0, "5": 0.0, "6": 0.0, "7": 0.98, "8": 0.0, "9": 0.02}
PREDICTIONS: dict[str, Any] = {
    "run": RUN,
    "number": 12,
    "model": "",
    "checkpoint": "best",
    "epoch": 9,
    "step": 3870,
    "dataset": "mnist",
    "predictions": [
        {
            "name": "seven.png",
            "label": "7",
            "probability": 0.98,
            "heads": {"digit": {"label": "7", "index": 7, "probability": 0.98, "probabilities": PROBABILITIES}},
        }
    ],
}
MODEL: dict[str, Any] = {
    "name": "digits-production",
    "run": RUN,
    "number": 12,
    "title": "simple_cnn base · mnist",
    "dataset": "mnist",
    "moved": "2025-11-20T09:30:00Z",
    "predict": "/api/v1/models/digits-production/predict",
    "warning": "",
    "history": [{"at": "2025-11-20T09:30:00Z", "before": 8, "after": 12, "by": "ada"}],
}

INFERENCE_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/runs/{run_id}/predict"): Operation("predict_with_run", None, PREDICTIONS),
    ("GET", "/models"): Operation("list_models", None, {"models": [MODEL]}),
    ("GET", "/models/{name}"): Operation("read_model", None, MODEL),
    ("PUT", "/models/{name}"): Operation("change_model", {"run": RUN, "by": "ada"}, MODEL),
    ("DELETE", "/models/{name}"): Operation("delete_model"),
    ("POST", "/models/{name}/predict"): Operation(
        "predict_with_model", None, PREDICTIONS | {"model": "digits-production"}
    ),
}
