"""/api/2.0/mlflow/runs/log-…: points, parameters and tags, one by one or a thousand at a time."""

from __future__ import annotations

import math
import time
from typing import Any

from app.actions import tracking as acts
from app.actions.tracking import LARGEST_STEP, LogBatch, Points
from app.contract.errors import Invalid
from app.routes.mlflow.protocol import Answer, Arguments, call, whole
from app.web.dependencies import Parts

MOST_METRICS, MOST_PARAMETERS, MOST_TAGS, MOST_IN_ALL = 1000, 100, 100, 1000
LONGEST_KEY, LONGEST_VALUE = 250, 6000
_NOT_FINITE = {"nan": math.nan, "infinity": math.inf, "inf": math.inf, "-infinity": -math.inf, "-inf": -math.inf}


@call("/runs/log-metric")
def log_metric(parts: Parts, args: Arguments) -> Answer:
    """One point."""
    acts.log(parts, args.run, LogBatch(points=points_of([args.values])))
    return {}


@call("/runs/log-batch")
def log_batch(parts: Parts, args: Arguments) -> Answer:
    """Many points, parameters and tags; all of them are taken, or none."""
    metrics = args.items("metrics", MOST_METRICS)
    parameters = args.parts("params", MOST_PARAMETERS)
    tags = args.parts("tags", MOST_TAGS)
    if len(metrics) + len(parameters) + len(tags) > MOST_IN_ALL:
        raise Invalid(f"a batch can have {MOST_IN_ALL:,} entries at most")
    words = LogBatch(
        points_of(metrics), _parameters(parameters), {each.text("key", most=LONGEST_KEY): _value(each) for each in tags}
    )
    acts.log(parts, args.run, words)
    return {}


def points_of(metrics: list[Any]) -> dict[str, Points]:
    """Points by metric, in the order in which they were args."""
    found: dict[str, Points] = {}
    now = round(time.time() * 1000)
    for each in metrics:
        if not isinstance(each, dict):
            raise Invalid("metrics must be a list of objects")
        key, value, step, at = each.get("key"), each.get("value"), each.get("step"), each.get("timestamp")
        if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY:
            raise Invalid(f"key of a metric must be text of 1 to {LONGEST_KEY} characters")
        if type(value) is not float:
            value = _number(key, value)
        if type(step) is not int:
            step = 0 if step is None else whole(step)
        if step is None or not 0 <= step <= LARGEST_STEP:
            raise Invalid(f"step of metric '{key[:60]}' must be a whole number from 0 to {LARGEST_STEP:,}")
        if type(at) is not int:
            at = now if at is None else whole(at)
        if at is None or not 0 <= at < 2**53:
            raise Invalid(f"timestamp of metric '{key[:60]}' must be milliseconds since 1970")
        if key not in found:
            # A lone surrogate cannot be stored; once for each metric is enough.
            Arguments(each).text("key")
            found[key] = Points()
        found[key].add(step, value, at / 1000)
    return found


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
    raise Invalid(f"value of metric '{key[:60]}' must be a number")


def _parameters(entries: list[Arguments]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in entries:
        key, value = each.text("key", most=LONGEST_KEY), _value(each)
        if not key:
            raise Invalid("key of a parameter must not be empty")
        if found.get(key, value) != value:
            raise Invalid(f"parameter '{key}' is args twice in one batch, with two values")
        found[key] = value
    return found


def _value(args: Arguments) -> str:
    return args.text("value", "", most=LONGEST_VALUE)


@call("/runs/log-parameter")
def log_parameter(parts: Parts, args: Arguments) -> Answer:
    """One parameter; it never changes."""
    acts.log(parts, args.run, LogBatch(parameters=_parameters([args])))
    return {}


@call("/runs/set-tag")
def set_tag(parts: Parts, args: Arguments) -> Answer:
    """Set a tag of a run, whether it has ended or not."""
    acts.tag(parts, args.run, {args.text("key", most=LONGEST_KEY): args.text("value", "", most=8000)})
    return {}


@call("/runs/delete-tag")
def delete_tag(parts: Parts, args: Arguments) -> Answer:
    """Take a tag from a run."""
    acts.untag(parts, args.run, args.text("key", most=LONGEST_KEY))
    return {}


@call("/runs/log-inputs")
def log_inputs(parts: Parts, args: Arguments) -> Answer:
    """The datasets that a run was given."""
    acts.log(parts, args.run, LogBatch(inputs=[each.values for each in args.parts("datasets", 100)]))
    return {}


@call("/runs/outputs")
def log_outputs(parts: Parts, args: Arguments) -> Answer:
    """Models that came of a run: that there are some is heard, and no more."""
    acts.log(parts, args.run, LogBatch())
    return {}


@call("/runs/log-model")
def log_model(parts: Parts, args: Arguments) -> Answer:
    """The same from an older client."""
    acts.log(parts, args.run, LogBatch())
    return {}
