"""Inspected networks have the right parameter counts, FLOPs, memory and a readable diagram."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from app.contract.datasets import DATASETS
from app.contract.preview import Block
from app.inspection import Traced
from app.inspection.blocks import draw
from app.inspection.network import Refused, catalog, inspect
from app.inspection.trace import trace
from tests.conftest import config

MNIST = models.Shape(1, 28, {"digit": 10})
CIFAR = models.Shape(3, 32, {"class": 10})
FAMILIES = list(models.families())


def look(family: str, dataset: str = "mnist", **said: Any) -> Traced:
    said = {"size": models.get(family).default, "targets": [DATASETS[dataset].targets[0].name]} | said
    return inspect(config(family=family, dataset=dataset, **said))


def everything(blocks: list[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        yield from everything(block.parts)


# Counts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_blocks_add_up_to_the_exact_count(family: str) -> None:
    for size in models.get(family).sizes:
        found = look(family, size=size.name)
        assert found.params == size.counts[0]
        assert sum(layer.params for layer in found.layers) == found.params
        assert sum(layer.flops for layer in found.layers) == found.flops
        assert sum(block.params * block.repeat for block in found.blocks) == found.params
        for block in everything(found.blocks):
            inside = sum(part.params * part.repeat for part in block.parts)
            assert not block.parts or inside == block.params


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("efficientnet", {"options": {"swish": "learnable"}}),
        ("vit", {"options": {"pool": "mean", "patch": 7}}),
        ("simple_cnn", {"targets": ["digit", "thickness", "smoothness"]}),
        ("simple_cnn", {"auxiliary": True}),
    ],
)
def test_options_heads_and_scalars_change_the_count(family: str, said: dict[str, Any]) -> None:
    found, plain = look(family, **said), look(family)
    assert found.params != plain.params
    assert sum(layer.params for layer in found.layers) == found.params
    assert sum(block.params * block.repeat for block in found.blocks) == found.params
    if "targets" in said:
        assert found.params == 422_866
    if "auxiliary" in said:
        assert found.params == 423_402


# Operations ----------------------------------------------------------------------------------------------------------


def test_operations_of_a_dense_network_are_two_for_each_weight() -> None:
    assert look("simple_dense_net", size="base").flops == 2 * (784 * 256 + 256 * 256 + 256 * 256 + 256 * 10)
    assert look("simple_mlp").flops == 2 * (784 * 256 + 256 * 128 + 128 * 10)


def test_operations_of_convolutions_are_two_for_each_weight_and_pixel() -> None:
    assert look("simple_cnn").flops == 2 * (9 * 32 * 28**2 + 9 * 32 * 64 * 14**2 + 3136 * 128 + 128 * 10)
    depthwise = next(layer for layer in look("convnext_v2", "cifar10").layers if layer.path == "stages.2.depthwise")
    assert (depthwise.shape, depthwise.flops) == ([12, 16, 16], 2 * 49 * 12 * 16**2)


def test_operations_of_attention_grow_with_the_square_of_its_tokens() -> None:
    tokens, width = 50, 64
    found = {layer.path: layer for layer in look("vit").layers}
    attention = found["blocks.0.attention.1"]
    assert (attention.kind, attention.about, attention.params) == ("Attention", "4 heads", 0)
    assert attention.flops == 2 * 2 * tokens**2 * width
    assert found["blocks.0.attention.1.query_key_value"].flops == 2 * tokens * width * 3 * width
    inside = 2 * tokens * width * (3 * width + width + 2 * 2 * width) + attention.flops
    assert look("vit").flops == 6 * inside + 2 * 16 * 49 * width + 2 * width * width + 2 * width * 10


# Memory --------------------------------------------------------------------------------------------------------------


def kept_by_autograd(network: nn.Module, shape: models.Shape, batch: int, bf16: bool) -> int:
    """Bytes that a real step keeps for its backward pass, without parameters and the batch."""
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    images, labels = torch.randn(batch, shape.channels, shape.side, shape.side), torch.zeros(batch, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network.train()(images)
        F.cross_entropy(logits.float(), labels)
    known = {each.untyped_storage().data_ptr() for each in [*network.parameters(), images, labels]}
    return sum(storage.nbytes() for key, storage in storages.items() if key not in known)


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_those_that_a_real_step_keeps(family: str) -> None:
    size = models.get(family).default
    real = kept_by_autograd(models.build(family, size, CIFAR), CIFAR, 8, bf16=False)
    found = look(family, "cifar10")
    assert found.profile(config(batch_size=8)).activation_bytes == real


def test_mixed_precision_keeps_about_half_as_much() -> None:
    real = kept_by_autograd(models.build("convnext_v2", "base", CIFAR), CIFAR, 64, bf16=True)
    found = look("convnext_v2", "cifar10", precision="bf16").profile(config(batch_size=64))
    assert found.activation_bytes == pytest.approx(real, rel=0.02)
    assert found.activation_bytes < 0.6 * look("convnext_v2", "cifar10").profile(config(batch_size=64)).activation_bytes


def test_memory_is_weights_gradients_optimiser_activations_and_the_batch() -> None:
    found = look("simple_mlp")
    batch = 32 * (4 * 784 + 8)
    for optimizer, momentum, copies in (("adam", 0.0, 4), ("adamw", 0.9, 4), ("sgd", 0.9, 3), ("sgd", 0.0, 2)):
        profile = found.profile(config(batch_size=32, optimizer=optimizer, momentum=momentum))
        assert profile.memory_bytes == copies * 4 * 235_146 + profile.activation_bytes + batch
    small, large = (found.profile(config(batch_size=size)).activation_bytes for size in (100, 200))
    assert 1.99 < large / small <= 2


# Networks of every kind ----------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """Keeps a tensor in a list, uses one layer twice, has a layer that is never used and parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = [torch.zeros(784)]
        self.mask = torch.ones(784)
        self.scale = nn.Parameter(torch.ones(784))
        self.twice = nn.Linear(784, 784)
        self.unused = nn.Linear(3, 3)
        self.out = nn.Linear(784, 10)

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor:
        x = images.flatten(1) * self.scale * self.mask + self.tables[0]
        out: Tensor = self.out(self.twice(self.twice(x)))
        return out


def test_a_network_that_is_written_otherwise_is_counted_all_the_same() -> None:
    found = trace(Odd, MNIST)
    parts = {part.path: part for part in found.parts}
    assert sum(part.params for part in found.parts) == models.count_parameters(Odd())
    assert parts["twice"].flops == 2 * 2 * 784 * 784
    assert (parts["unused"].entered, parts["unused"].flops) == (None, 0)
    assert parts["scale"].entered is not None
    assert parts["twice"].entered is not None
    assert parts["scale"].entered < parts["twice"].entered
    blocks = draw(found)
    assert sum(block.params * block.repeat for block in blocks) == models.count_parameters(Odd())


class Tied(nn.Module):
    """Two layers with shared weights, and one frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(784, 784), nn.Linear(784, 784)
        self.other.weight = self.one.weight
        self.out = nn.Linear(784, 10).requires_grad_(False)

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor:
        out: Tensor = self.out(self.other(self.one(images.flatten(1))))
        return out


def test_shared_weights_count_once() -> None:
    found = trace(Tied, MNIST)
    assert sum(part.params for part in found.parts) == models.count_parameters(Tied())
    assert [part.params for part in found.parts] == [0, 784 * 784 + 784, 784, 7850]
    assert found.network.get_parameter("other.weight") is found.network.get_parameter("one.weight")


class Bare(nn.Module):
    """A network of a single module."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(10, 784))

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor:
        return F.linear(images.flatten(1), self.weight)


def test_a_network_of_one_module_is_one_block() -> None:
    (block,) = draw(trace(Bare, MNIST))
    assert (block.name, block.params, block.shape) == ("Bare", 7840, [10])


def test_what_a_network_raises_is_raised() -> None:
    class Wrong(Bare):
        def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor:
            return F.linear(images, self.weight)

    with pytest.raises(RuntimeError, match="must have same reduction dim"):
        trace(Wrong, MNIST)


# Diagrams ------------------------------------------------------------------------------------------------------------


def shown(blocks: list[Block]) -> list[str]:
    return [f"{block.repeat}x {block.name}" if block.repeat > 1 else block.name for block in blocks]


def test_a_diagram_reads_like_the_paper() -> None:
    stages = ["2x stage 1", "downsample", "2x stage 2", "downsample", "4x stage 3", "downsample", "2x stage 4"]
    assert shown(look("convnext_v2").blocks) == ["stem", *stages, "norm", "head digit"]
    assert shown(look("vit").blocks) == ["patches", "6x Block", "norm", "pooler", "head digit"]
    assert shown(look("simple_cnn").blocks) == ["Conv2d", "Conv2d", "Linear", "head digit"]
    assert shown(look("simple_dense_net", size="base").blocks) == ["Linear", "2x Linear", "head digit"]
    efficientnet = [block.name for block in look("efficientnet", size="base").blocks]
    assert efficientnet[0] == "stem"
    assert {f"stage {i}" for i in range(1, 8)} == set(efficientnet[1:-2])


def test_every_head_is_a_block_and_scalars_have_theirs() -> None:
    found = look("simple_cnn", targets=["digit", "thickness"], auxiliary=True)
    assert shown(found.blocks) == ["Conv2d", "Conv2d", "Linear", "auxiliary", "head digit", "head thickness"]


def test_shapes_flow_through_a_diagram() -> None:
    blocks = {block.name: block for block in look("vit").blocks}
    assert [part.shape for part in blocks["patches"].parts] == [[64, 7, 7], [50, 64], [50, 64]]
    assert [part.name for part in blocks["patches"].parts] == ["patches", "position, token", "dropout"]
    assert blocks["Block"].shape == [50, 64]
    assert blocks["pooler"].shape == [64]
    assert blocks["head digit"].about == "64 → 10"
    stem = look("convnext_v2", "cifar10").blocks[0]
    assert (stem.kind, stem.about, stem.shape) == ("Conv2d", "2×2, 3 → 12, stride 2", [12, 16, 16])


def test_words_that_differ_between_equal_blocks_are_left_out() -> None:
    stage = next(block for block in look("convnext_v2").blocks if block.name == "stage 3")
    assert (stage.about, stage.parts[-1].kind, stage.parts[-1].about) == ("depthwise 7×7", "DropPath", "")


# Catalog and refusals ----------------------------------------------------------------------------------------------


def test_the_catalog_counts_every_size_on_every_dataset() -> None:
    found = catalog({"mine": "no"})
    assert list(found.families) == FAMILIES
    assert found.broken == {"mine": "no"}
    for family in models.families().values():
        assert found.families[family.name].source == ""
        for size in family.sizes:
            entry = found.families[family.name].size(size.name)
            assert entry is not None
            assert [entry.params[name] for name in ("mnist", "cifar10", "cifar100")] == list(size.counts)
            assert entry.params["digits"] == entry.params["fashion_mnist"] == size.counts[0]


def test_known_families_are_taken_as_they_are_and_others_are_counted() -> None:
    whole = catalog({})
    known = [whole.families["vit"].model_copy(update={"summary": "known"}), whole.families["simple_mlp"]]
    found = catalog({}, known)
    assert found.families["vit"] is known[0]
    assert {**found.families, "vit": whole.families["vit"]} == whole.families


def test_a_patch_that_does_not_fit_is_refused_with_those_that_do() -> None:
    with pytest.raises(Refused) as caught:
        look("vit", "cifar10", options={"patch": 7})
    assert caught.value.refusal.field == "options"
    assert caught.value.refusal.message.endswith("values of patch that work with cifar10: 4, 8, 16, 32")
    assert "the image size (32) must be a multiple of vit's patch size (7)" in caught.value.refusal.message


def test_a_refusal_names_the_field_that_would_have_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(shape: models.Shape, wide: bool) -> nn.Module:
        if wide or "thickness" in shape.heads:
            raise TypeError("too wide")
        if shape.channels == 3:
            raise ValueError("only gray images")
        return models.build("simple_mlp", "tiny", shape)

    sizes = (models.Size("small", {"wide": False}, (1, 1, 1)), models.Size("wide", {"wide": True}, (1, 1, 1)))
    family = models.Family("picky", "", "", build, sizes, "small")
    monkeypatch.setitem(models._registry._families, "picky", family)
    assert refused("mnist", size="wide") == ("size", "cannot train picky wide with these settings: TypeError: too wide")
    assert refused("mnist", targets=["digit", "thickness"])[0] == "targets"
    assert refused("cifar10") == ("dataset", "only gray images")
    entry = catalog({}).families["picky"].size("small")
    assert entry is not None
    assert set(entry.params) == {"digits", "mnist", "fashion_mnist"}


def refused(dataset: str, **said: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        look("picky", dataset, **said)
    return caught.value.refusal.field, caught.value.refusal.message


# The process ---------------------------------------------------------------------------------------------------------


def test_the_process_answers_line_by_line_and_ends_with_its_input(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text("print('hello from a file')\n")
    asked = [{"config": config(size="tiny").model_dump()}, {"catalog": True}, {"config": {"family": "vit"}}]
    with subprocess.Popen(
        [sys.executable, "-m", "app.inspection", str(tmp_path / "datasets"), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("".join(json.dumps(each) + "\n" for each in asked))
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in asked]
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == "hello from a file\n"
    assert [list(each) for each in answers] == [["traced"], ["catalog"], ["fault"]]
    assert answers[0]["traced"]["params"] == 8390
    assert "registers no family" in answers[1]["catalog"]["broken"]["chatty"]
