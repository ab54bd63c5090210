"""Two runs or groups on the same test images: who is right where, and McNemar's exact test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.analysis.mcnemar import Outcomes, outcomes
from app.analysis.picture_selection import Answers
from app.contract.errors import Conflict, NotFound
from app.routes.compare.comparison import Comparison
from app.routes.predictions.picture_query import PictureQuery, open_pictures, voted, why_incomparable
from app.routes.predictions.view import View, ViewQuery, address, view_of, why_not_predicted
from app.web.dependencies import Parts
from app.web.run_summary import RunSummary

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Pair:
    """``names``: of the first and the second. ``reason``: why they cannot be compared image by image, else "";
    ``evaluate``: the page on which a run without predictions can be evaluated, else "".

    ``first``, ``second``: addresses of the images that only one of them gets right. ``voted``: whether a group is
    compared, which predicts by majority vote.
    """

    names: tuple[str, str]
    reason: str = ""
    outcomes: Outcomes | None = None
    sentence: str = ""
    first: str = ""
    second: str = ""
    voted: bool = False
    evaluate: str = ""


class NotPredicted(Conflict):
    """The best checkpoint of a run has not predicted the images; ``run``: its id."""

    def __init__(self, message: str, run: str) -> None:
        super().__init__(message)
        self.run = run


@dataclass(frozen=True)
class NeverRight:
    """``count`` of ``total`` images are right in none of ``runs``; addresses of their gallery, and of a CSV file."""

    runs: int
    count: int
    total: int
    part: str
    gallery: str
    csv: str


def never_right(parts: Parts, comparison: Comparison) -> NeverRight | None:
    """Return where to see what no run gets right; None unless all of several runs have predicted the same images."""
    ids = [each.run.id for each in comparison.summaries]
    if len(ids) < 2:
        return None
    query = PictureQuery(against=",".join(ids[1:]), outcome="none")
    try:
        found = open_pictures(parts, ids[0], query)
    except (Conflict, NotFound):
        return None
    if found.view.epoch is not None:
        return None
    values = {"part": found.view.part, "against": query.against, "outcome": query.outcome}
    return NeverRight(
        len(ids),
        len(found.indices),
        len(found.answers.labels),
        found.view.part,
        address(f"/runs/{ids[0]}/predictions/pictures", values),
        address(f"/api/v1/runs/{ids[0]}/predictions.csv", values),
    )


def wants_two(comparison: Comparison) -> bool:
    """Whether there are too many runs or groups to compare images, so that two have to be chosen."""
    if all(each.run.logged for each in comparison.summaries):
        return False
    sides = len(comparison.summaries) if comparison.groups is None else len(comparison.groups)
    return len(comparison.summaries) > 2 and sides != 2


def pair_of(parts: Parts, comparison: Comparison) -> Pair | None:
    """Compare the two runs or groups of a comparison image by image; None unless there are exactly two."""
    if comparison.groups is not None:
        sides: Sequence[Sequence[RunSummary]] = [group.samples for group in comparison.groups]
        names = [group.title for group in comparison.groups]
    else:
        sides, names = [[each] for each in comparison.summaries], [each.name for each in comparison.summaries]
    if len(sides) != 2:
        return None
    both = names[0], names[1]
    if any(each.run.logged for side in sides for each in side):
        return None
    try:
        view, first = _side(parts, None, sides[0])
        _, second = _side(parts, view, sides[1])
    except NotPredicted as problem:
        return Pair(both, problem.message, evaluate=f"/runs/{problem.run}/predictions")
    except (Conflict, NotFound) as problem:
        return Pair(both, problem.message)
    found = outcomes(first.right, second.right)
    values = {
        "head": view.head,
        "part": view.part,
        "group": ",".join(each.run.id for each in sides[0][1:]),
        "against": ",".join(each.run.id for each in sides[1]),
    }
    gallery = f"/runs/{view.run.id}/predictions/pictures"
    return Pair(
        both,
        "",
        found,
        _sentence(both, found, view.part),
        address(gallery, values | {"outcome": "first"}),
        address(gallery, values | {"outcome": "second"}),
        max(map(len, sides)) > 1,
    )


def _side(parts: Parts, view: View | None, side: Sequence[RunSummary]) -> tuple[View, Answers]:
    """What a side predicts for the images of ``view``, or for those of its own first run. Raises Conflict, NotFound."""
    answers = []
    for summary in side:
        found = parts.predictions.load(summary.run.id)
        if reason := why_not_predicted(summary.run, found):
            raise NotPredicted(f"run #{summary.number}: {reason}", summary.run.id)
        assert found is not None
        if view is None:
            view = view_of(summary.run, found, ViewQuery(part="test" if "test" in found.parts else ""))
        elif reason := why_incomparable(view, summary.run, found):
            raise Conflict(reason)
        kept = found.parts[view.part][view.head]
        answers.append(Answers(kept.labels, kept.predicted, kept.confidence))
    if view is None:
        raise Conflict("a group without runs predicts nothing")
    return view, voted(answers)


def _sentence(names: tuple[str, str], found: Outcomes, part: str) -> str:
    p = found.p
    said = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    better, worse = names if found.first >= found.second else (names[1], names[0])
    more, less = max(found.first, found.second), min(found.first, found.second)
    counts = f"{more:,} against {less:,} {part} images that only one of them gets right"
    if p < SIGNIFICANT:
        return f"On the same images, {better} is better than {worse}: {counts} (McNemar's exact test, {said})."
    same = f"{better} and {worse} do not differ significantly"
    return f"On the same images, {same}: {counts} (McNemar's exact test, {said})."
