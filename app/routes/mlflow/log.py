"""/api/2.0/mlflow/runs/log-…: logging of points, parameters and tags, singly or in batches."""

from __future__ import annotations

import math
import time
from typing import Any

from app.actions import tracking as acts
from app.actions.tracking import LogBatch, Points
from app.contract.errors import Invalid
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.routes.mlflow.protocol import Answer, Arguments, call, whole
from app.store.logged_model import ModelPoint, Role, UsedModel
from app.web.dependencies import Parts

MOST_METRICS, MOST_PARAMETERS, MOST_TAGS, MOST_IN_ALL = 1000, 100, 100, 1000
LONGEST_KEY, LONGEST_VALUE = 250, 6000
_NOT_FINITE = {"nan": math.nan, "infinity": math.inf, "inf": math.inf, "-infinity": -math.inf, "-inf": -math.inf}


@call("/runs/log-metric")
def log_metric(parts: Parts, args: Arguments) -> Answer:
    """Log a point."""
    batch = LogBatch(points=points_of([args.values]), model_points=_model_points(args.run, [args.values]))
    acts.log(parts, args.run, batch)
    return {}


@call("/runs/log-batch")
def log_batch(parts: Parts, args: Arguments) -> Answer:
    """Log many points, parameters and tags; all of them or none."""
    metrics = args.items("metrics", MOST_METRICS)
    parameters = args.parts("params", MOST_PARAMETERS)
    tags = args.parts("tags", MOST_TAGS)
    if len(metrics) + len(parameters) + len(tags) > MOST_IN_ALL:
        raise Invalid(f"a batch can have at most {MOST_IN_ALL:,} entries")
    batch = LogBatch(
        points_of(metrics),
        _parameters(parameters),
        {each.text("key", most=LONGEST_KEY): _value(each) for each in tags},
        model_points=_model_points(args.run, metrics),
    )
    acts.log(parts, args.run, batch)
    return {}


def points_of(metrics: list[Any]) -> dict[str, Points]:
    """Return the points by metric, in the order received."""
    points: dict[str, Points] = {}
    now = round(time.time() * 1000)
    for entry in metrics:
        if not isinstance(entry, dict):
            raise Invalid("metrics must be a list of objects")
        key, value, step, at = entry.get("key"), entry.get("value"), entry.get("step"), entry.get("timestamp")
        if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY:
            raise Invalid(f"the key of a metric must be text of 1 to {LONGEST_KEY} characters")
        if type(value) is not float:
            value = _number(key, value)
        if type(step) is not int:
            step = 0 if step is None else whole(step)
        if step is None or not SMALLEST_STEP <= step <= LARGEST_STEP:
            raise Invalid(
                f"the step of metric '{key[:60]}' must be a whole number from {SMALLEST_STEP:,} to {LARGEST_STEP:,}"
            )
        if type(at) is not int:
            at = now if at is None else whole(at)
        if at is None or not 0 <= at < 2**53:
            raise Invalid(f"the timestamp of metric '{key[:60]}' must be milliseconds since 1970")
        if key not in points:
            # Reject lone surrogates, which cannot be stored; one check per metric is enough.
            Arguments(entry).text("key")
            points[key] = Points()
        points[key].add(step, value, at / 1000)
    return points


def _model_points(run: str, metrics: list[Any]) -> list[ModelPoint]:
    """Return the points that say something of a model; all of them have passed ``points_of``."""
    points = []
    for entry in metrics:
        if not entry.get("model_id"):
            continue
        args = Arguments(entry)
        [(key, curve)] = points_of([entry]).items()
        model, dataset = args.text("model_id", most=80), args.text("dataset_name", "", most=500)
        digest = args.text("dataset_digest", "", most=100)
        points.append(ModelPoint(model, key, run, dataset, digest, curve.values[0], curve.steps[0], curve.times[0]))
    return points


def _number(key: str, value: Any) -> float:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1023:
        return float(value)
    if isinstance(value, str):
        if value.lower() in _NOT_FINITE:
            return _NOT_FINITE[value.lower()]
        try:
            return float(value)
        except ValueError:
            pass
    raise Invalid(f"the value of metric '{key[:60]}' must be a number")


def _parameters(entries: list[Arguments]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for entry in entries:
        key, value = entry.text("key", most=LONGEST_KEY), _value(entry)
        if not key:
            raise Invalid("the key of a parameter must not be empty")
        if parameters.get(key, value) != value:
            raise Invalid(f"parameter '{key}' has two different values in one batch")
        parameters[key] = value
    return parameters


def _value(args: Arguments) -> str:
    return args.text("value", "", most=LONGEST_VALUE)


@call("/runs/log-parameter")
def log_parameter(parts: Parts, args: Arguments) -> Answer:
    """Log a parameter; its value can never change."""
    acts.log(parts, args.run, LogBatch(parameters=_parameters([args])))
    return {}


@call("/runs/set-tag")
def set_tag(parts: Parts, args: Arguments) -> Answer:
    """Set a tag of a run, even after it ended."""
    acts.tag(parts, args.run, {args.text("key", most=LONGEST_KEY): args.text("value", "", most=8000)})
    return {}


@call("/runs/delete-tag")
def delete_tag(parts: Parts, args: Arguments) -> Answer:
    """Remove a tag from a run."""
    acts.untag(parts, args.run, args.text("key", most=LONGEST_KEY))
    return {}


@call("/runs/log-inputs")
def log_inputs(parts: Parts, args: Arguments) -> Answer:
    """Log the datasets and the models that a run uses."""
    inputs = [each.values for each in args.parts("datasets", 100)]
    acts.log(parts, args.run, LogBatch(inputs=inputs, models=_models(args, "input")))
    return {}


@call("/runs/outputs")
def log_outputs(parts: Parts, args: Arguments) -> Answer:
    """Log the models that a run made."""
    acts.log(parts, args.run, LogBatch(models=_models(args, "output")))
    return {}


def _models(args: Arguments, role: Role) -> list[UsedModel]:
    return [
        UsedModel(
            args.run,
            each.text("model_id", most=80),
            role,
            each.whole("step", 0, least=SMALLEST_STEP, most=LARGEST_STEP),
        )
        for each in args.parts("models", 100)
    ]


@call("/runs/log-model")
def log_model(parts: Parts, args: Arguments) -> Answer:
    """Accept what an older client says of a model, whose files it logs as files of the run: a sign of life."""
    acts.log(parts, args.run, LogBatch())
    return {}
