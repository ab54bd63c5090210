"""A network gives the same results with every tuning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import models
from tests.worker.conftest import Fitted, StopsAt, fit_run, make_config
from worker.job import INTERRUPT
from worker.training.autotune import Autotuner, Choice
from worker.training.checkpoint_file import from_bytes
from worker.training.tuning import Tuning, requested_tuning

IMAGES = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(3))


def network(family: str = "simple_cnn") -> nn.Module:
    torch.manual_seed(1)
    return models.build(family, "tiny", models.Shape(1, 28, {"digit": 10}), {}).eval()


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
@pytest.mark.parametrize("kernels", ["fused", "foreach"])
def test_a_configuration_gets_the_optimiser_it_names_with_its_settings(name: str, kind: type, kernels: Any) -> None:
    config = make_config(optimizer=name, lr=0.03, weight_decay=0.02, momentum=0.8)
    optimizer = Tuning(optimizer=kernels).make_optimizer(nn.Linear(2, 2), config)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.03, 0.02, 2)
    assert group.get("momentum", 0.8) == 0.8
    assert group[kernels] is True


def test_the_plain_way_has_the_precision_that_was_asked_for_and_float32_where_that_was_left_open() -> None:
    said = {precision: requested_tuning(make_config(precision=precision)) for precision in ("32", "bf16", "auto")}
    assert said == {"32": Tuning(), "bf16": Tuning(precision="bf16"), "auto": Tuning()}


@pytest.mark.parametrize("way", [Tuning(channels_last=True), Tuning(precision="bf16", channels_last=True)], ids=str)
def test_logits_differ_by_no_more_than_the_precision_allows(way: Tuning) -> None:
    expected = network()(IMAGES)
    same = network()
    way.place(same)
    with torch.no_grad(), way.autocast(torch.device("cpu")):
        found = way.forward(same)(IMAGES.to(memory_format=way.memory_format))
    assert isinstance(found, torch.Tensor)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.05 if way.precision == "bf16" else 1e-5)


def test_gradients_are_the_same_in_either_memory_format() -> None:
    found = []
    for way in (Tuning(), Tuning(channels_last=True)):
        same = network("efficientnet").double()
        way.place(same)
        same(IMAGES.double().to(memory_format=way.memory_format)).logsumexp(1).sum().backward()
        found.append([weight.grad for weight in same.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_words_name_all_that_is_not_plain() -> None:
    assert str(Tuning()) == "float32, fused optimizer"
    far = Tuning("bf16", channels_last=True, optimizer="foreach", compile="graphs")
    assert str(far) == "bfloat16, channels last, foreach optimizer, compiled with CUDA graphs"


# A whole run ---------------------------------------------------------------------------------------------------------


def chosen(monkeypatch: pytest.MonkeyPatch, way: Tuning) -> None:
    choose = lambda self, file, tell: Choice(way, "as the test says", {})  # noqa: E731
    monkeypatch.setattr(Autotuner, "choose", choose)


def weights(fitted: Fitted) -> dict[str, torch.Tensor]:
    return from_bytes(fitted.kept(fitted.reporter.last_checkpoint())).network


@pytest.mark.parametrize("way", [Tuning(channels_last=True), Tuning(optimizer="foreach")], ids=str)
def test_a_run_learns_the_same_in_any_way_of_its_precision(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, way: Tuning
) -> None:
    config = make_config("simple_cnn", epochs=1, batch_size=64, optimizer="sgd", lr=0.01)
    expected = fit_run(config, data_dir).reporter.curves["train/loss"]
    chosen(monkeypatch, way)
    fitted = fit_run(config, data_dir, fence=2)
    # What was rounded otherwise grows from step to step.
    for (_, loss), (_, other) in zip(fitted.reporter.curves["train/loss"][:2], expected[:2], strict=True):
        assert loss == pytest.approx(other, rel=1e-3)
    (started,) = fitted.reporter.events_of("started")
    assert started.environment["trained_in"] == str(way)


def test_an_interrupted_run_goes_on_in_the_way_it_began_and_ends_with_the_same_weights(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("simple_cnn", epochs=2, batch_size=64)
    chosen(monkeypatch, Tuning(channels_last=True))
    expected = fit_run(config, data_dir)
    half = fit_run(config, data_dir, fence=2, shared=StopsAt(expected.pulses // 3, INTERRUPT))
    assert half.result.outcome == "interrupted"
    chosen(monkeypatch, Tuning())
    rest = fit_run(config, data_dir, fence=3, resume=half.reporter.last_checkpoint())
    (started,) = rest.reporter.events_of("started")
    assert started.environment["trained_in"] == str(Tuning(channels_last=True))
    for name, value in weights(rest).items():
        assert torch.equal(value, weights(expected)[name]), name


def test_a_checkpoint_of_another_kind_of_device_leaves_the_way_open(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("simple_cnn", epochs=2, batch_size=64)
    elsewhere = Tuning(channels_last=True)
    chosen(monkeypatch, elsewhere)
    monkeypatch.setattr(Tuning, "to_dict", lambda self: {"precision": "bf16", "compile": "graphs"})
    half = fit_run(config, data_dir, shared=StopsAt(30, INTERRUPT))
    content = half.kept(half.reporter.last_checkpoint())
    path = half.artifacts / half.reporter.last_checkpoint().path
    path.write_bytes(content.replace(b'\\"device\\": \\"cpu\\"', b'\\"device\\": \\"gpu\\"'))
    assert path.read_bytes() != content
    chosen(monkeypatch, replace(elsewhere, optimizer="foreach"))
    (started,) = fit_run(config, data_dir, fence=2, resume=half.reporter.last_checkpoint()).reporter.events_of(
        "started"
    )
    assert started.environment["trained_in"] == str(replace(elsewhere, optimizer="foreach"))
