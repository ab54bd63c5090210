"""/runs/{id}/predictions/pictures: a gallery of images with what was predicted for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from app.analysis.picture_history import ABOUT, STATES, forgetting_events, states
from app.analysis.picture_selection import SORTS
from app.contract.datasets import DATASETS
from app.routes.predictions.picture_query import OUTCOMES, PictureQueryDep, Pictures, open_pictures
from app.web.dependencies import PartsDep

pages = APIRouter()

PAGE = 60
"""Images on a page without JavaScript."""
SHEET = 100
"""Images that the gallery loads at once, as in static/gallery-layout.js; the page brings the first ones itself."""
LISTED_CLASSES = 1000


@dataclass(frozen=True)
class PictureHistory:
    """``right``: one character for each epoch, "1" where the prediction was right. ``predicted``: the class after each,
    and ``confidence``: its probability.

    ``state``: as in `STATES`; ``forgotten``: how often it was right and wrong after the next epoch.
    """

    right: str
    predicted: list[int]
    confidence: list[float]
    state: str
    forgotten: int


@dataclass(frozen=True)
class Picture:
    """An image of a split. ``top``: the most probable classes with their probabilities, none in a history.

    ``others``: what the other runs predict. ``true_probability``: None in a history. ``file``: what the image of an own
    dataset was made from, else "".
    """

    index: int
    true: int
    predicted: int
    confidence: float
    true_probability: float | None
    top: list[tuple[int, float]]
    others: list[int]
    history: PictureHistory | None
    file: str = ""

    @property
    def right(self) -> bool:
        """Whether the prediction is right."""
        return self.true == self.predicted


def describe_pictures(pictures: Pictures, offset: int, limit: int, top: int = 5) -> list[Picture]:
    """Return some of the images of a gallery, in its order."""
    view, answers = pictures.view, pictures.answers
    chosen = pictures.indices[offset : offset + limit]
    histories: list[PictureHistory | None] = [None] * len(chosen)
    history, right = view.predictions.history, view.right_by_epoch
    if history is not None and right is not None and len(chosen):
        own = right[:, chosen]
        columns = history.predicted[view.head][:, chosen].T.tolist()
        sure = history.confidence[view.head][:, chosen].T.astype(float).round(3).tolist()
        named, events = states(own), forgetting_events(own)
        histories = [
            PictureHistory("".join("01"[hit] for hit in hits), column, probabilities, STATES[state], int(forgotten))
            for hits, column, probabilities, state, forgotten in zip(
                own.T.tolist(), columns, sure, named, events, strict=True
            )
        ]
    found = []
    for index, past in zip(chosen.tolist(), histories, strict=True):
        best = view.epoch is None
        found.append(
            Picture(
                index,
                int(answers.labels[index]),
                int(answers.predicted[index]),
                round(float(answers.confidence[index]), 4),
                round(float(view.kept.true[index]), 4) if best else None,
                _top(pictures, index, top) if best else [],
                [int(other.answers.predicted[index]) for other in pictures.others],
                past,
                pictures.file(index),
            )
        )
    return found


def _top(pictures: Pictures, index: int, count: int) -> list[tuple[int, float]]:
    kept = pictures.view.kept
    row = kept.probabilities[index]
    places = (-row).argsort(kind="stable")[:count]
    classes = places if kept.classes is None else kept.classes[index][places]
    return [(int(label), round(float(row[place]), 4)) for label, place in zip(classes, places, strict=True)]


def image_address(pictures: Pictures, index: int) -> str:
    """The address of an image of the gallery's split."""
    return _of_dataset(pictures, "image.png", index=index)


def sheet_address(pictures: Pictures, offset: int, limit: int) -> str:
    """The address of one picture with some images of the gallery; "" if the dataset is no longer there."""
    indices = pictures.indices[offset : offset + limit].tolist()
    if not indices or pictures.view.predictions.header.dataset not in DATASETS:
        return ""
    return _of_dataset(pictures, "sheet.png", indices=",".join(map(str, indices)))


def _of_dataset(pictures: Pictures, file: str, **values: Any) -> str:
    name, _, version = pictures.view.predictions.header.dataset.partition("@")
    parameters = ({"version": version} if version else {}) | {"part": pictures.view.part} | values
    return f"/datasets/{name}/{file}?{urlencode(parameters, safe=',')}"


def _playground(pictures: Pictures) -> str:
    """The address at which the run looks at an image of the gallery's split, without the index."""
    view = pictures.view
    place = f"{view.predictions.header.dataset}:{view.part}:"
    return f"/playground?{urlencode({'runs': view.run.number, 'picture': place}, safe=':@')}"


@pages.get("/runs/{run_id}/predictions/pictures")
def pictures_page(
    request: Request,
    run_id: str,
    parts: PartsDep,
    query: PictureQueryDep,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> HTMLResponse:
    """Render the gallery; without JavaScript, a page of it."""
    pictures = open_pictures(parts, run_id, query)
    view = pictures.view
    first = describe_pictures(pictures, 0, SHEET)
    shown = first[offset : offset + PAGE] if offset + PAGE <= SHEET else describe_pictures(pictures, offset, PAGE)
    sheet = sheet_address(pictures, 0, SHEET)
    total = len(pictures.indices)
    dataset = DATASETS.get(view.predictions.header.dataset)
    return parts.templates.page(
        request,
        "prediction_pictures.html",
        pictures=pictures,
        view=view,
        query=query,
        shown=[(each, image_address(pictures, each.index)) for each in shown] if dataset else [],
        gone=dataset is None,
        total=total,
        sheet=sheet,
        offset=offset,
        page=PAGE,
        title=sentence(pictures),
        sorts={name: text for name, text in SORTS.items() if name != "forgetting" or view.epochs},
        states=ABOUT if view.epochs else {},
        outcomes=OUTCOMES,
        data={
            "run": view.run.id,
            "names": view.names,
            "total": total,
            "epochs": view.epochs,
            "others": [f"#{other.run.number}" for other in pictures.others],
            "number": view.run.number,
            "states": ABOUT,
            "playground": _playground(pictures)
            if dataset and (view.run.best_checkpoint or view.run.checkpoint)
            else "",
            "source": pictures.address().replace("/runs/", "/api/v1/runs/", 1),
            "image": _of_dataset(pictures, "image.png"),
            "first": {"sheet": sheet, "pictures": [asdict(each) for each in first]},
        },
    )


def sentence(pictures: Pictures) -> str:
    """Say in a few words which images these are."""
    query, names = pictures.query, pictures.view.names
    total = len(pictures.indices)
    words = [f"{total:,} {pictures.view.part} image{'s' if total != 1 else ''}"]
    if query.true is not None and query.predicted is not None:
        same = query.true == query.predicted
        words.append(f"of {names[query.true]}, predicted {'right' if same else f'as {names[query.predicted]}'}")
    elif query.true is not None:
        words.append(f"of {names[query.true]}")
    elif query.predicted is not None:
        words.append(f"predicted as {names[query.predicted]}")
    if query.right is not None:
        words.append("predicted right" if query.right else "predicted wrong")
    if query.low > 0 or query.high < 1:
        words.append(f"with a confidence of {query.low:.3g} to {query.high:.3g}")
    if query.state:
        words.append(f"{query.state}: {ABOUT[query.state]}")
    if query.outcome and pictures.others:
        words.append(f"({_outcome(pictures)})")
    if pictures.view.epoch is not None:
        words.append(f"after epoch {pictures.view.epoch}")
    return " ".join(words)


def _outcome(pictures: Pictures) -> str:
    mates = [f"#{other.run.number}" for other in pictures.others if not other.rival]
    first = ", ".join([f"#{pictures.view.run.number}", *mates])
    second = ", ".join(f"#{other.run.number}" for other in pictures.others if other.rival)
    match pictures.query.outcome:
        case "first":
            return f"{first} right, {second} wrong"
        case "second":
            return f"{second} right, {first} wrong"
        case "both":
            return f"{first} and {second} right"
    return f"none of {first}{', ' if second else ''}{second} right: possibly wrong labels"
