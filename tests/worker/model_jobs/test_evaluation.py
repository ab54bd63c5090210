"""The job evaluate comes to the same predictions as the trainer, in its own process too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from app.contract.events import Checkpoint
from app.contract.model_jobs import EvaluateResult, JobRequest
from app.contract.predictions import Predictions
from tests.worker.conftest import Fitted, fit_run, make_config
from worker.model_jobs.evaluation import run
from worker.model_jobs.failure import JobFailed


def best_of(fitted: Fitted) -> Checkpoint:
    best: Checkpoint = [each for each in fitted.reporter.events_of("checkpoint") if each.best][-1]
    return best


def request(fitted: Fitted, data_dir: Path, checkpoint: Checkpoint | None = None) -> JobRequest:
    return JobRequest(
        job="j",
        kind="evaluate",
        run="r",
        fence=1,
        checkpoint=checkpoint or best_of(fitted),
        artifacts=str(fitted.artifacts),
        datasets=data_dir / "datasets",
    )


def read(fitted: Fitted, path: str) -> Predictions:
    return Predictions.from_bytes((fitted.artifacts / path).read_bytes())


def assert_same(one: Predictions, other: Predictions) -> None:
    assert list(one.parts) == list(other.parts) == ["validation", "test"]
    for part, heads in one.parts.items():
        for head, mine in heads.items():
            theirs = other.parts[part][head]
            assert np.array_equal(mine.labels, theirs.labels)
            assert np.array_equal(mine.predicted, theirs.predicted)
            assert np.allclose(mine.probabilities, theirs.probabilities, atol=1e-3)
            assert np.allclose(mine.true, theirs.true, atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"family": "simple_cnn", "mirror": True, "ema_decay": 0.9},
        {"precision": "bf16", "normalization": "half"},
        {"family": "simple_cnn", "size": "small", "targets": ["digit", "thickness"], "auxiliary": True},
        {"family": "vit"},
    ],
    ids=lambda settings: " ".join(str(value) for value in settings.values()),
)
def test_predictions_are_those_that_the_trainer_would_have_kept(data_dir: Path, settings: dict[str, Any]) -> None:
    fitted = fit_run(make_config(epochs=2, **settings), data_dir)
    kept = fitted.reporter.events_of("predictions")[-1]
    before = read(fitted, kept.path)
    shares: list[float] = []
    result = run(request(fitted, data_dir), shares.append)
    after = read(fitted, result.path)
    assert_same(before, after)
    assert (result.path, result.epoch, result.step) == (kept.path, kept.epoch, kept.step)
    assert after.header.model_copy(update={"created_at": before.header.created_at}) == before.header
    assert after.history is not None, "the history that was there stays"
    assert shares[-1] == pytest.approx(1)
    assert shares == sorted(shares)
    found = after.parts["test"]["digit"]
    assert result.accuracy["test"]["digit"] == pytest.approx((found.predicted == found.labels).mean())


def test_a_checkpoint_that_is_gone_or_broken_is_one_sentence(data_dir: Path) -> None:
    fitted = fit_run(make_config(epochs=1, keep_predictions=False), data_dir)
    with pytest.raises(JobFailed, match=r"r/1/gone.safetensors is no longer in the artifact store"):
        run(request(fitted, data_dir, Checkpoint(path="r/1/gone.safetensors", epoch=1, step=9)), lambda share: None)
    (fitted.artifacts / "r" / "1" / "broken").write_bytes(b"nothing")
    with pytest.raises(JobFailed, match="cannot be read"):
        run(request(fitted, data_dir, Checkpoint(path="r/1/broken", epoch=1, step=9)), lambda share: None)


def started() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker.model_jobs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_its_process_says_shares_and_then_the_result(data_dir: Path) -> None:
    fitted = fit_run(make_config(epochs=2), data_dir)
    before = read(fitted, fitted.reporter.events_of("predictions")[-1].path)
    process = started()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request(fitted, data_dir).model_dump_json() + "\n")
    process.stdin.flush()
    first = json.loads(process.stdout.readline())
    assert 0 < first["share"] <= 1
    assert psutil.Process(process.pid).nice() >= 10 or process.poll() is not None
    *_, last = (json.loads(line) for line in process.stdout)
    assert process.wait(60) == 0
    result = EvaluateResult.model_validate(last["result"])
    assert_same(before, read(fitted, result.path))
    process.stdin.close()
    process.stdout.close()


def test_its_process_ends_when_its_server_does(data_dir: Path) -> None:
    fitted = fit_run(make_config(epochs=1), data_dir)
    process = started()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request(fitted, data_dir).model_dump_json() + "\n")
    process.stdin.close()
    assert process.wait(60) == 1
    process.stdout.close()
