"""/api/v1/compare: means of groups of runs with intervals, and whether the best one is significantly better."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.analysis.groups import Group, Standing, group_runs, grouping_fields, with_distinct_names
from app.contract.errors import Invalid, NotFound
from app.contract.spec import FieldError
from app.routes.compare.figures import METRICS, deciding_metric, standings_by_metric
from app.routes.compare.verdict import group_verdict, run_verdict
from app.store.database import reading
from app.store.run import resolve_run
from app.store.search.query import runs_by_id
from app.web.dependencies import PartsDep
from app.web.run_summary import summarize_run

api = APIRouter(tags=["compare"])

MOST_RUNS = 500


class AgainstOut(BaseModel):
    """Mean of the best group minus the mean of this one. ``half``: half the width of the 95% interval; ``p``: Welch's
    t-test.

    ``p_corrected``: corrected for all groups (Holm). ``seeds_to_decide``: seeds per group at which this difference
    would be significant at the current spread.
    """

    difference: float
    half: float | None
    p: float | None
    p_corrected: float | None
    p_permutation: float | None
    seeds_to_decide: int | None


class MeanOut(BaseModel):
    """Mean of a metric over the runs of a group that have it. ``half``: half the width of its 95% interval."""

    mean: float
    half: float | None
    n: int
    values: list[float]
    best: bool
    against_best: AgainstOut | None


class GroupOut(BaseModel):
    title: str
    runs: list[str]
    live: bool
    figures: dict[str, MeanOut]


class ComparisonOut(BaseModel):
    """Groups in the order of their first runs. ``sentence``: whether the best is significantly better than the next,
    and in which settings the two differ, if in several."""

    by: list[str]
    groups: list[GroupOut]
    sentence: str | None
    behind: str | None


@api.get("/compare")
def compare_runs(
    parts: PartsDep,
    runs: Annotated[list[str], Query(description="Run IDs or numbers, also comma-separated.", max_length=MOST_RUNS)],
    by: Annotated[
        str,
        Query(
            max_length=400,
            description="variant (all settings that affect the result, except the seed), none, or comma-separated"
            " setting names.",
        ),
    ] = "variant",
) -> ComparisonOut:
    """Compare groups of runs by their means, with 95% intervals over the seeds."""
    requested = list(dict.fromkeys(part.strip() for value in runs for part in value.split(",") if part.strip()))
    with reading(parts.engine) as connection:
        requested = list(dict.fromkeys(resolve_run(connection, run) for run in requested[:MOST_RUNS]))
        rows = runs_by_id(connection, requested)
    missing = sorted(set(requested) - {row.run.id for row in rows})
    if missing:
        raise NotFound(f"no run '{missing[0][:40]}'")
    summaries = with_distinct_names([summarize_run(row) for row in rows])
    try:
        fields = grouping_fields(by, summaries)
    except ValueError as error:
        raise Invalid(str(error), [FieldError("by", str(error))]) from error
    if fields is None:
        groups = [Group(f"g{i + 1}", summary.name, [summary]) for i, summary in enumerate(summaries)]
    else:
        groups = group_runs(summaries, fields) if summaries else []
    by_metric = standings_by_metric(groups)
    # As on the page: with one run each, the images that they were tested on say how much may be chance.
    verdict = run_verdict(summaries) if fields is None or len(groups) == len(summaries) else None
    if verdict is None and groups:
        verdict = group_verdict(by_metric[deciding_metric(by_metric)], deciding_metric(by_metric))
    return ComparisonOut(
        by=list(fields or ()),
        groups=[
            GroupOut(
                title=group.title,
                runs=[summary.run.id for summary in group.runs],
                live=group.live,
                figures={
                    metric.name: _mean_out(standing)
                    for metric in METRICS
                    if (standing := by_metric[metric.name][i]).mean is not None
                },
            )
            for i, group in enumerate(groups)
        ],
        sentence=verdict.text if verdict else None,
        behind=verdict.behind if verdict else None,
    )


def _mean_out(standing: Standing) -> MeanOut:
    mean, to_best = standing.mean, standing.to_best
    if mean is None:
        raise ValueError("a group without a metric has no mean of it")
    return MeanOut(
        mean=mean.mean,
        half=mean.half,
        n=mean.n,
        values=standing.values,
        best=standing.best,
        against_best=None
        if to_best is None
        else AgainstOut(
            difference=to_best.gap.difference,
            half=to_best.gap.half,
            p=to_best.gap.welch,
            p_corrected=to_best.p,
            p_permutation=to_best.gap.permutation,
            seeds_to_decide=to_best.seeds_to_decide,
        ),
    )
