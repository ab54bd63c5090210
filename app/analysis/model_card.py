"""A model card: what is known of a run's network, under the headings of Mitchell et al. 2019.

M. Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. Every sentence states something that was measured or
recorded, or that it was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from app.analysis.calibration import calibration
from app.analysis.class_scores import class_scores
from app.analysis.confusion import confusion_matrix
from app.analysis.proportion import wilson
from app.analysis.statistics import mean_of
from app.contract.dataset import Dataset, Target
from app.contract.datasets import DATASETS
from app.contract.predictions import HeadPredictions, Predictions
from app.contract.timestamps import iso
from app.store.metric import Summary
from app.store.removal import why_removed
from app.store.run import RunRecord
from app.web.formatting import count, format_flops, format_setting, metric_value, upper_first

WEAKEST: Final = 3
"""How many of the classes that are recognized worst are named."""
LISTED: Final = 20
"""Up to this many class names are written out."""
STARTED: Final = "training started"
ENDED: Final = "training ended"
NOT_KNOWN: Final = "Not known: this run was logged by a script, which did not say."


@dataclass(frozen=True)
class Section:
    """One heading with facts (name and value), sentences, a table (``headings``, ``rows``) and ``code``.

    ``times``: the names of facts that are times, in ISO 8601 and UTC.
    """

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    code: str = ""
    times: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ModelCard:
    """The card of a run."""

    title: str
    sections: list[Section]

    def markdown(self) -> str:
        """The card in Markdown."""
        parts = [f"# {_escaped(self.title)}"]
        for section in self.sections:
            parts.append(f"## {section.title}")
            if section.facts:
                parts.append("\n".join(f"- **{_escaped(name)}**: {_escaped(value)}" for name, value in section.facts))
            if section.rows:
                lines = [section.headings, ["---"] * len(section.headings), *section.rows]
                parts.append("\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))
            parts += [_escaped(sentence) for sentence in section.sentences]
            if section.code:
                parts.append(f"```bash\n{section.code}\n```")
        return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Facts:
    """What a card is made of. ``same``: finished runs that differ in their seed alone, with their summaries, including
    this one. ``command``: launches the run again; ``flops``: of one image, forward.
    """

    run: RunRecord
    summary: Mapping[str, Summary]
    same: Sequence[tuple[RunRecord, Mapping[str, Summary]]] = ()
    predictions: Predictions | None = None
    captured: Mapping[str, Any] | None = None
    flops: int | None = None
    command: str = ""


def model_card(facts: Facts) -> ModelCard:
    """Return the card of a run."""
    info = None if facts.run.logged else DATASETS.get(facts.run.config.dataset)
    sections = [
        _details(facts),
        _intended_use(facts, info),
        _factors(facts),
        _metrics(facts, info),
        _evaluation_data(facts, info),
        _training_data(facts, info),
        _quantitative_analyses(facts),
        Section("Ethical Considerations", sentences=["Not recorded: a run says nothing about the people in its data."]),
        _caveats(facts, info),
        _environment(facts),
    ]
    return ModelCard(facts.run.title, sections)


# Sections ------------------------------------------------------------------------------------------------------------


def _details(facts: Facts) -> Section:
    run, config = facts.run, facts.run.config
    known = [("run", f"#{run.number} ({run.id})"), ("status", run.status)]
    if run.logged:
        known.append(("experiment", config.family))
        known += [(name, format_setting(value)) for name, value in config.options.items()]
        return Section("Model Details", known, ["The architecture is not known: the run was logged by a script."])
    known += [("family", config.family), ("size", config.size)]
    known += [(f"option {name}", format_setting(value)) for name, value in config.options.items()]
    known.append(("parameters", count(run.params)))
    if facts.flops is not None:
        known.append(("FLOPs per image", format_flops(facts.flops)))
    best = run.row["best_checkpoint"]
    if best:
        known.append(("weights", "averaged" if config.ema_decay else "of the last step of the best epoch"))
    for name in ("recipe", "epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "seed"):
        known.append((name.replace("_", " "), format_setting(getattr(config, name))))
    if run.ended_at:
        times = {STARTED: iso(run.started_at or run.created_at), ENDED: iso(run.ended_at)}
        known += times.items()
    sentences = []
    if not best:
        none = "No best checkpoint yet" if run.live else "No best checkpoint of this run was kept"
        sentences.append(f"{upper_first(why_removed(run, 'best_checkpoints')) or none}.")
    return Section("Model Details", known, sentences, times=frozenset((STARTED, ENDED)))


def _intended_use(facts: Facts, info: Dataset | None) -> Section:
    if info is None:
        return Section("Intended Use", sentences=[NOT_KNOWN if facts.run.logged else _gone(facts)])
    colors = "gray" if info.channels == 1 else f"{info.channels}-channel"
    sentences = [
        f"Assigns {colors} images of {info.side} × {info.side} px to the {target.classes:,} classes of {target.name}:"
        f" {_names(target)}."
        for target in _targets(facts, info)
    ]
    trained = facts.run.started_at is not None
    sentences.append("Trained on no other kind of image." if trained else "Not trained.")
    return Section("Intended Use", sentences=sentences)


def _factors(facts: Facts) -> Section:
    rows = _robustness(facts.summary)
    if not rows:
        return Section("Factors", sentences=["Robustness to noise, blur and other changes was not measured."])
    return Section("Factors", headings=["test images changed by", "metric", "accuracy"], rows=rows)


def _metrics(facts: Facts, info: Dataset | None) -> Section:
    rows = []
    for name, summary in sorted(facts.summary.items()):
        if name.startswith("test/") and summary.last is not None:
            interval, seeds = _interval(name, summary.last, info), _seeds(name, facts)
            rows.append([name, metric_value(name, summary.last), interval, seeds])
        elif name.startswith("val/") and summary.best is not None:
            rows.append([f"best {name}", metric_value(name, summary.best), "", ""])
    if not rows:
        return Section("Metrics", sentences=["No metric of the test or validation set was reported."])
    sentences = []
    if info is not None and any(row[2] for row in rows):
        sentences.append(f"The interval is Wilson's, for {info.test:,} test images.")
    if not facts.run.logged and not _has_test_metric(facts):
        sentences.append("No metric of the test set was reported.")
    if any(row[3] for row in rows):
        trained = len({run.config.seed for run, _ in facts.same})
        sentences.append(f"Over seeds: mean ± 95% interval (Student's t) of {trained} runs of this configuration.")
    elif not facts.run.logged:
        sentences.append("How much the results vary between seeds was not measured.")
    return Section("Metrics", [], sentences, ["metric", "value", "95% interval", "over seeds"], rows)


def _evaluation_data(facts: Facts, info: Dataset | None) -> Section:
    if info is None:
        return Section("Evaluation Data", sentences=[NOT_KNOWN if facts.run.logged else _gone(facts)])
    known = [("test images", count(info.test)), ("validation images", count(info.validation))]
    return Section("Evaluation Data", known, [*_use_of_validation(facts), *_use_of_test(facts)])


def _use_of_validation(facts: Facts) -> list[str]:
    if not facts.run.best_checkpoint:
        return []
    return [f"The best epoch{' so far' if facts.run.live else ''} was chosen by the validation images."]


def _use_of_test(facts: Facts) -> list[str]:
    """What the test images were used for, each use a sentence."""
    used = []
    # An evaluation reports no loss.
    tested = facts.run.status == "succeeded" or any(
        name.startswith("test/") and name.endswith("loss") for name in facts.summary
    )
    if tested and _has_test_metric(facts):
        used.append("The run measured the test images once, after training.")
    elif _tested(facts) or _has_test_metric(facts):
        used.append("The test images were predicted after the run had ended, by an evaluation.")
    if _robustness(facts.summary):
        used.append("Robustness was measured on the test images and changed copies of them.")
    return used or ["The test images were not used."]


def _has_test_metric(facts: Facts) -> bool:
    return any(name.startswith("test/") and each.last is not None for name, each in facts.summary.items())


def _training_data(facts: Facts, info: Dataset | None) -> Section:
    if info is None:
        named = [("dataset", facts.run.config.dataset)] if facts.run.config.dataset else []
        return Section("Training Data", named, [NOT_KNOWN if facts.run.logged else _gone(facts)])
    known = [("dataset", info.title), ("source", info.source), ("training images", count(info.train))]
    if info.version:
        known.insert(1, ("version", info.version))
    checksum = (facts.captured or {}).get("dataset", {}).get("sha256")
    if checksum:
        known.append(("SHA-256", str(checksum)))
    for target in _targets(facts, info):
        known.append((f"classes of {target.name}", f"{target.classes:,}: {_names(target)}"))
    return Section("Training Data", known)


def _quantitative_analyses(facts: Facts) -> Section:
    sentences, rows = [], []
    for head, found in _tested(facts).items():
        right = found.predicted == found.labels
        error = calibration(found.confidence, right).error
        labels = _labels(facts, head)
        if error is not None:
            sure, hits = float(found.confidence.astype(np.float64).mean()), float(right.mean())
            sentences.append(
                f"Calibration of {head}: expected calibration error {error:.4f} (15 bins, {len(found):,} test images);"
                f" mean confidence {sure:.1%}, accuracy {hits:.1%}."
            )
        scores = class_scores(confusion_matrix(found.labels, found.predicted, len(labels)))
        order = [i for i in np.argsort(scores.recall, kind="stable") if scores.support[i]]
        shown = range(len(labels)) if len(labels) <= LISTED else order[:LISTED]
        for i in shown:
            shares = [f"{scores.precision[i]:.1%}", f"{scores.recall[i]:.1%}", f"{scores.f1[i]:.1%}"]
            rows.append([head, labels[i], count(int(scores.support[i])), *shares])
        if len(labels) > LISTED:
            sentences.append(
                f"Of the {len(labels):,} classes of {head}, the table has the {LISTED} with the lowest recall."
            )
    title = "Quantitative Analyses"
    if not rows:
        return Section(title, sentences=_without_predictions(facts))
    return Section(title, [], sentences, ["head", "class", "test images", "precision", "recall", "F1"], rows)


def _without_predictions(facts: Facts) -> list[str]:
    """Why classes and calibration are not known: there are no predictions of the test images."""
    found = facts.predictions
    history = None if found is None else found.history
    if history is not None and len(history.epochs):
        first, last = int(history.epochs[0]), int(history.epochs[-1])
        epochs = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        kept = f"Predictions of validation images are kept for {epochs}; there are none of test images"
    elif found is not None and found.parts.get("validation"):
        kept = "Predictions of validation images are kept; there are none of test images"
    else:
        kept = "No predictions are kept"
    return [f"{kept}{' yet' if facts.run.live else ''}, so scores of classes and calibration are not known."]


def _caveats(facts: Facts, info: Dataset | None) -> Section:
    sentences = []
    if info is not None:
        if measured := _measured_on(facts, info):
            sentences.append(
                f"Measured on {measured} images of {info.title} alone; how accurate it is on images from elsewhere was"
                " not measured."
            )
        sentences.append(f"It takes {info.side} × {info.side} px; its accuracy on rescaled images was not measured.")
    for head, found in _tested(facts).items():
        labels = _labels(facts, head)
        scores = class_scores(confusion_matrix(found.labels, found.predicted, len(labels)))
        present = [i for i in range(len(labels)) if scores.support[i]]
        absent = len(labels) - len(present)
        if absent:
            sentences.append(f"{absent:,} of the {len(labels):,} classes of {head} have no test image.")
        smallest = min(present, key=lambda i: int(scores.support[i]))
        fewest = int(scores.support[smallest])
        images = f"{fewest:,} image{'s' if fewest != 1 else ''}"
        sentences.append(f"Smallest class of {head} in the test set: {labels[smallest]}, with {images}.")
        weakest = sorted(present, key=lambda i: (float(scores.recall[i]), i))[:WEAKEST]
        described = []
        for i in weakest:
            support = int(scores.support[i])
            low, high = wilson(round(float(scores.recall[i]) * support), support)
            described.append(f"{labels[i]} ({scores.recall[i]:.1%}, 95% interval {low:.1%} to {high:.1%})")
        sentences.append(f"Recognized least often, {head}: {'; '.join(described)}.")
    robust = [row for row in _robustness(facts.summary) if row[0] != "mean of all"]
    if robust:
        worst = min(robust, key=lambda row: float(row[2].rstrip("%")))
        sentences.append(f"Most sensitive to {worst[0]}: {worst[2]} of the changed test images are right.")
    if facts.run.live:
        sentences.append(f"The run has not ended (status: {facts.run.status}).")
    elif facts.run.status != "succeeded":
        sentences.append(f"The run did not finish (status: {facts.run.status}).")
    nothing = ["Nothing was measured that limits could be derived from."]
    return Section("Caveats and Recommendations", sentences=sentences or nothing)


def _measured_on(facts: Facts, info: Dataset) -> str:
    """The images on which anything was measured, as "360 test"; "" if nothing was."""
    if _has_test_metric(facts) or _tested(facts):
        return f"{info.test:,} test"
    validated = any(name.startswith("val/") and each.last is not None for name, each in facts.summary.items())
    return f"{info.validation:,} validation" if validated else ""


def _environment(facts: Facts) -> Section:
    environment = facts.run.environment
    known = [(name.replace("_", " "), format_setting(value)) for name, value in environment.items()]
    trained_with = (facts.captured or {}).get("command")
    if trained_with:
        known.append(("command of the worker", str(trained_with)))
    sentences = [] if known else ["The environment was not recorded."]
    if facts.command:
        sentences.append("To train it again:")
    return Section("How to Reproduce", known, sentences, code=facts.command)


# Parts ---------------------------------------------------------------------------------------------------------------


def _gone(facts: Facts) -> str:
    return f"Not known: the dataset {facts.run.config.dataset} is no longer here."


def _targets(facts: Facts, info: Dataset) -> list[Target]:
    return [target for target in info.targets if target.name in facts.run.config.targets]


def _names(target: Target) -> str:
    listed = ", ".join(target.labels[:LISTED])
    return listed if target.classes <= LISTED else f"{listed} and {target.classes - LISTED:,} more"


def _tested(facts: Facts) -> dict[str, HeadPredictions]:
    if facts.predictions is None:
        return {}
    return {head: found for head, found in facts.predictions.parts.get("test", {}).items() if len(found)}


def _labels(facts: Facts, head: str) -> tuple[str, ...]:
    assert facts.predictions is not None
    return facts.predictions.header.targets[head]


def _interval(name: str, value: float, info: Dataset | None) -> str:
    # Only the accuracy is a share of images; the others are means over classes.
    if info is None or name.rsplit("/", 1)[-1] not in ("acc", "top5") or not 0 <= value <= 1:
        return ""
    low, high = wilson(round(value * info.test), info.test)
    return f"{low:.2%} to {high:.2%}"


def _seeds(name: str, facts: Facts) -> str:
    by_seed = {run.config.seed: summary[name].last for run, summary in facts.same if name in summary}
    values = [value for value in by_seed.values() if value is not None]
    if len(values) < 2:
        return ""
    mean = mean_of(values)
    scale, unit = (100, "%") if metric_value(name, mean.mean).endswith("%") else (1, "")
    half = 0.0 if mean.half is None else mean.half
    return f"{scale * mean.mean:.4g} ± {scale * half:.2g}{unit} (n = {mean.n})"


def _robustness(summary: Mapping[str, Summary]) -> list[list[str]]:
    """One row per corruption: its name, the metric and the accuracy."""
    rows = []
    for name, each in sorted(summary.items()):
        if name.startswith("robust/") and name.endswith("/acc") and each.last is not None:
            parts = name.split("/")[1:-1]
            rows.append([parts[-1].replace("_", " ") if parts else "mean of all", name, f"{each.last:.2%}"])
    return rows


_SPECIAL: Final = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>#|"})


def _escaped(text: str) -> str:
    return " ".join(text.split()).translate(_SPECIAL)


def _cell(text: str) -> str:
    return text if text == "---" else _escaped(text)


def same_but_seed(run: RunRecord, others: Iterable[RunRecord], ignored: Iterable[str]) -> list[str]:
    """The ids of finished runs whose configuration differs from the run's in ``ignored`` settings alone."""
    without = set(ignored)

    def key(each: RunRecord) -> dict[str, Any]:
        return {name: value for name, value in each.config.model_dump().items() if name not in without}

    own = key(run)
    return [each.id for each in others if each.status == "succeeded" and not each.logged and key(each) == own]
