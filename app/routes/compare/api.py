"""/api/v1/compare: figures of groups of runs as means, and whether one is really better."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.analysis.groups import Standing, fields_of_grouping, grouped
from app.contract.errors import Invalid, NotFound
from app.contract.spec import FieldError
from app.routes.compare.figures import FIGURES, decisive, standings_of
from app.routes.compare.verdict import verdict_of_groups
from app.store.database import reading
from app.store.search.query import runs_by_id
from app.web.dependencies import PartsDep
from app.web.run_summary import summarize_run

api = APIRouter(tags=["compare"])

MOST_RUNS = 500


class AgainstOut(BaseModel):
    """The best group's mean minus this one's; ``half``: half the width of the 95 % interval; ``p``: of Welch's t-test.

    ``p_corrected`` is corrected for all groups (Holm). ``seeds_to_decide``: with so many seeds each, this difference
    would stand out at this spread.
    """

    difference: float
    half: float | None
    p: float | None
    p_corrected: float | None
    p_permutation: float | None
    seeds_to_decide: int | None


class MeanOut(BaseModel):
    """A figure over the runs of a group that have it; ``half``: half the width of the 95 % interval of the mean."""

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
    """Groups in the order of their first runs; ``sentence`` says whether the best is really better than the next."""

    by: list[str]
    groups: list[GroupOut]
    sentence: str | None
    behind: str | None


@api.get("/compare")
def compare_runs(
    parts: PartsDep,
    runs: Annotated[list[str], Query(description="Ids of runs, by comma or several times.", max_length=MOST_RUNS)],
    by: Annotated[
        str, Query(max_length=400, description="variant: all settings but the seed; or names of settings by comma.")
    ] = "variant",
) -> ComparisonOut:
    """Compare groups of runs by their means, with 95 % intervals over the seeds."""
    wanted = list(dict.fromkeys(part.strip() for value in runs for part in value.split(",") if part.strip()))
    with reading(parts.engine) as connection:
        rows = runs_by_id(connection, wanted[:MOST_RUNS])
    missing = sorted(set(wanted[:MOST_RUNS]) - {row.run.id for row in rows})
    if missing:
        raise NotFound(f"no run '{missing[0][:40]}'")
    shown = [summarize_run(row) for row in rows]
    try:
        fields = fields_of_grouping(by, shown)
    except ValueError as error:
        raise Invalid(str(error), [FieldError("by", str(error))]) from error
    # Each run by itself: as groups of one, since nothing else is like it.
    groups = grouped(shown, fields if fields is not None else ("seed",)) if shown else []
    found = standings_of(groups)
    verdict = verdict_of_groups(found[decisive(found)], decisive(found)) if groups else None
    return ComparisonOut(
        by=list(fields or ()),
        groups=[
            GroupOut(
                title=group.title,
                runs=[each.run.id for each in group.runs],
                live=group.live,
                figures={
                    figure.name: _mean(standing)
                    for figure in FIGURES
                    if (standing := found[figure.name][place]).mean is not None
                },
            )
            for place, group in enumerate(groups)
        ],
        sentence=verdict.sentence if verdict else None,
        behind=verdict.behind if verdict else None,
    )


def _mean(standing: Standing) -> MeanOut:
    mean, against = standing.mean, standing.against
    if mean is None:
        raise ValueError("a group without a figure has no mean of it")
    return MeanOut(
        mean=mean.mean,
        half=mean.half,
        n=mean.n,
        values=standing.values,
        best=standing.best,
        against_best=None
        if against is None
        else AgainstOut(
            difference=against.behind.difference,
            half=against.behind.half,
            p=against.behind.welch,
            p_corrected=against.p,
            p_permutation=against.behind.permutation,
            seeds_to_decide=against.more_seeds,
        ),
    )
