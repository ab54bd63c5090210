# mypy: disable-error-code="no-untyped-call"
"""Requirements for every family in the catalog, including future ones (models/__init__.py)."""

import ast
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import models
from models import Family, Shape, Size, build, count_parameters, families

FAMILIES = [pytest.param(family, id=family.name) for family in families().values()]
SIZES = [
    pytest.param(family, size, id=f"{family.name}/{size.name}")
    for family in families().values()
    for size in family.sizes
]
TRAINABLE_HERE = [case for case in SIZES if case.values[1].counts[0] < 5_000_000]  # type: ignore[union-attr]


def smallest(family: Family) -> str:
    return min(family.sizes, key=lambda size: size.counts).name


def tensor(logits: Tensor | dict[str, Tensor]) -> Tensor:
    assert isinstance(logits, Tensor)
    return logits


def test_the_first_line_says_what_models_means() -> None:
    first = (models.__doc__ or "").splitlines()[0]
    assert "networks" in first
    assert "app/store" in first


def test_every_module_of_the_package_was_imported() -> None:
    assert models.broken == {}


def test_the_catalog_starts_with_the_six_families_from_plain_to_elaborate() -> None:
    six = ["simple_dense_net", "simple_mlp", "simple_cnn", "convnext_v2", "vit", "efficientnet"]
    assert list(families())[:6] == six


def test_models_import_nothing_but_torch_themselves_and_the_standard_library() -> None:
    allowed = {"torch", "models"} | sys.stdlib_module_names
    for path in Path(models.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = {(node.module or "").split(".")[0]}
            else:
                continue
            assert names <= allowed, path


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_what_it_is_when_to_choose_it_and_where_it_comes_from(family: Family) -> None:
    assert family.summary.endswith(".")
    assert family.when.endswith(".")
    assert family.reference
    assert all(option.about.endswith(".") for option in family.options)


@pytest.mark.parametrize(("family", "size"), SIZES)
def test_every_size_has_its_published_parameter_count(
    family: Family, size: Size, mnist: Shape, cifar10: Shape, cifar100: Shape
) -> None:
    with torch.device("meta"):
        built = [build(family.name, size.name, shape) for shape in (mnist, cifar10, cifar100)]
    assert tuple(count_parameters(network) for network in built) == size.counts


@pytest.mark.parametrize(("family", "size"), SIZES)
def test_every_size_gives_finite_logits_for_every_image(family: Family, size: Size, mnist: Shape) -> None:
    network = build(family.name, size.name, mnist).eval()
    with torch.inference_mode():
        logits = tensor(network(torch.randn(2, 1, 28, 28)))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("family", "size"), SIZES)
def test_every_size_takes_color_images_of_a_hundred_classes(family: Family, size: Size, cifar100: Shape) -> None:
    with torch.device("meta"):
        logits = tensor(build(family.name, size.name, cifar100)(torch.empty(2, 3, 32, 32)))
    assert logits.shape == (2, 100)


@pytest.mark.parametrize(("family", "size"), TRAINABLE_HERE)
def test_every_parameter_of_every_size_has_a_gradient(family: Family, size: Size, mnist: Shape) -> None:
    network = build(family.name, size.name, mnist).eval()  # without the luck of dropout and drop path
    loss = nn.functional.cross_entropy(network(torch.randn(4, 1, 28, 28)), torch.arange(4))
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_a_handful_of_images_by_heart(family: Family, mnist: Shape) -> None:
    network = build(family.name, family.default, mnist)
    images, classes = torch.randn(8, 1, 28, 28), torch.arange(8)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(network(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_with_its_smallest_batch(family: Family, mnist: Shape) -> None:
    network = build(family.name, smallest(family), mnist)
    logits = tensor(network(torch.randn(family.smallest_batch, 1, 28, 28)))
    nn.functional.cross_entropy(logits, torch.zeros(family.smallest_batch, dtype=torch.long)).backward()
    assert logits.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_judges_a_single_image(family: Family, mnist: Shape) -> None:
    network = build(family.name, smallest(family), mnist).eval()
    images = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_several_heads_answer_by_name(family: Family) -> None:
    shape = Shape(3, 32, {"class": 10, "domain": 2, "mobility": 3})
    network = build(family.name, smallest(family), shape).eval()
    logits = network(torch.randn(2, 3, 32, 32))
    assert {name: tuple(values.shape) for name, values in logits.items()} == {
        "class": (2, 10),
        "domain": (2, 2),
        "mobility": (2, 3),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_builds_the_same_network(family: Family, mnist: Shape) -> None:
    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return build(family.name, smallest(family), mnist).state_dict()

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_dict_carries_the_whole_network(family: Family, mnist: Shape) -> None:
    images = torch.randn(4, 1, 28, 28)
    network, other = (build(family.name, smallest(family), mnist) for _ in range(2))
    network(images)  # moves the running statistics, where there are some
    other.load_state_dict(network.state_dict())
    assert torch.equal(network.eval()(images), other.eval()(images))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_choice_of_every_option_builds(family: Family) -> None:
    for option in family.options:
        for choice in option.choices:
            side = next(side for side in (28, 32, 224) if option.suits(choice, side))
            with torch.device("meta"):
                shape = Shape(1, side, {"class": 10})
                network = build(family.name, family.default, shape, {option.name: choice})
                assert tensor(network(torch.empty(2, 1, side, side))).shape == (2, 10)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", [28, 32, 48, 64, 96, 128, 224])
def test_every_size_of_own_images_builds_with_default_options(family: Family, side: int) -> None:
    with torch.device("meta"):
        network = build(family.name, family.default, Shape(3, side, {"class": 5}))
        assert tensor(network(torch.empty(2, 3, side, side))).shape == (2, 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_may_lie_channels_last(family: Family, cifar10: Shape) -> None:
    network = build(family.name, smallest(family), cifar10).eval()
    images = torch.randn(2, 3, 32, 32)
    expected = network(images)
    network.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_in_bfloat16(family: Family, mnist: Shape) -> None:
    network = build(family.name, smallest(family), mnist)
    with torch.autocast("cpu", torch.bfloat16):
        logits = tensor(network(torch.randn(4, 1, 28, 28)))
    nn.functional.cross_entropy(logits.float(), torch.arange(4)).backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_compiles_into_one_graph(family: Family, mnist: Shape) -> None:
    network = build(family.name, smallest(family), mnist)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    images = torch.randn(4, 1, 28, 28)
    torch.manual_seed(1)
    answer = compiled(images)
    torch.manual_seed(1)
    torch.testing.assert_close(answer, network(images))
