import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models import (
    Family,
    Option,
    Shape,
    Size,
    UnknownArchitecture,
    build,
    count_parameters,
    families,
    get,
    register,
)
from models._registry import discover


def linear(shape: Shape, **settings: Any) -> nn.Module:
    network = nn.Linear(shape.channels * shape.side**2, next(iter(shape.heads.values())))
    network.settings = settings  # type: ignore[assignment]
    return network


TOY = Family(
    name="toy",
    summary="One linear layer.",
    when="In tests.",
    build=linear,
    sizes=(Size("tiny", {"width": 1, "hidden": (2, 3)}, (1, 2, 3)),),
    default="tiny",
    options=(Option("patch", 4, (4, 7), "A number."), Option("pool", "cls", ("cls", "mean"), "A word.")),
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 28, {"digit": 10}), "channels must be a whole number of at least 1, not 0"),
        ((1, -1, {"digit": 10}), "side must be"),
        ((1, 28.0, {"digit": 10}), "side must be a whole number of at least 1, not 28.0"),
        ((True, 28, {"digit": 10}), "channels must be"),
        ((1, 28, {}), "at least one head"),
        ((1, 28, {"digit": 0}), "the number of classes of head 'digit' must be"),
        ((1, 28, {"digit": 10}, -1), "auxiliary must be a whole number of at least 0"),
        ((1, 28, {"": 10}), "cannot name a head"),
        ((1, 28, {"a.b": 10}), "'a.b' cannot name a head"),
        ((1, 28, {"keys": 10}), "'keys' cannot name a head"),
    ],
)
def test_an_impossible_shape_says_what_is_wrong(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shape(*arguments)


def test_a_shape_keeps_its_own_heads_and_travels_between_processes() -> None:
    heads = {"digit": 10}
    shape = Shape(1, 28, heads)
    heads["late"] = 3
    assert shape.heads == {"digit": 10}
    assert pickle.loads(pickle.dumps(shape)) == shape
    with pytest.raises(FrozenInstanceError):
        shape.side = 32  # type: ignore[misc]


def test_a_size_tells_its_settings_in_words() -> None:
    assert TOY.sizes[0].definition == "width 1; hidden 2,3"


def test_a_registered_family_is_in_the_catalogue(own_catalogue: dict[str, Family]) -> None:
    assert register(TOY) is TOY
    assert get("toy") is TOY
    assert list(families())[-1] == "toy"


def test_families_are_sorted_by_order_and_then_by_name(own_catalogue: dict[str, Family]) -> None:
    own_catalogue.clear()
    for name, order in (("b", 100), ("c", 2), ("a", 100), ("d", 1)):
        register(replace(TOY, name=name, order=order))
    assert list(families()) == ["d", "c", "a", "b"]


def test_changing_the_returned_catalogue_changes_nothing() -> None:
    families().clear()
    assert families()


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (replace(TOY, name="vit"), "a family named 'vit' is registered already"),
        (replace(TOY, sizes=TOY.sizes * 2), "family 'toy' has two sizes named 'tiny'"),
        (replace(TOY, options=TOY.options * 2), "family 'toy' has two options named 'patch'"),
        (replace(TOY, default="huge"), "no size 'huge' for toy; sizes: tiny"),
        (replace(TOY, options=(Option("patch", 5, (4, 7), "A number."),)), "no choice 5 for option patch of toy"),
    ],
)
def test_a_family_that_contradicts_itself_or_another_is_refused(
    own_catalogue: dict[str, Family], family: Family, message: str
) -> None:
    before = dict(own_catalogue)
    with pytest.raises(ValueError, match=message):
        register(family)
    assert own_catalogue == before


def test_building_passes_the_settings_and_every_option(own_catalogue: dict[str, Family], mnist: Shape) -> None:
    register(TOY)
    expected = {"width": 1, "hidden": (2, 3), "patch": 4, "pool": "mean"}
    assert build("toy", "tiny", mnist, {"pool": "mean"}).settings == expected


def test_a_choice_may_come_as_text_from_a_form() -> None:
    assert TOY.choose({"patch": "7"}) == {"patch": 7, "pool": "cls"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vitt", "small"), "no family 'vitt'; families: simple_dense_net, simple_mlp, simple_cnn"),
        (("vit", "hug"), "no size 'hug' for vit; sizes: tiny, small, base, large"),
        (("vit", "small", {"pol": "cls"}), "no option 'pol' for vit; options: pool, patch"),
        (("vit", "small", {"pool": "max"}), "no choice 'max' for option pool of vit; choices: cls, mean"),
        (("simple_mlp", "base", {"pool": "cls"}), "no option 'pool' for simple_mlp; options: none"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(mnist: Shape, arguments: Any, message: str) -> None:
    family, size, *options = arguments
    with pytest.raises(UnknownArchitecture, match=message):
        build(family, size, mnist, *options)


def test_auxiliary_scalars_are_refused_by_families_without_a_place_for_them() -> None:
    with pytest.raises(ValueError, match="vit takes no auxiliary scalars; families that do: simple_cnn"):
        build("vit", "tiny", Shape(1, 28, {"digit": 10}, auxiliary=5))


def test_counting_counts_what_learns_and_shared_parameters_once() -> None:
    layer = nn.Linear(3, 4)
    assert count_parameters(nn.Sequential(layer, nn.BatchNorm1d(4), layer)) == 3 * 4 + 4 + 2 * 4


def test_a_network_on_the_meta_device_has_no_memory(mnist: Shape) -> None:
    with torch.device("meta"):
        network = build("vit", "large", mnist)
    assert all(parameter.is_meta for parameter in network.parameters())


def test_a_module_that_cannot_be_imported_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_catalogue: dict[str, Family]
) -> None:
    package = tmp_path / "zoo_of_this_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "absent.py").write_text("import a_module_that_nobody_has")
    (package / "crooked.py").write_text("def (")
    (package / "whole.py").write_text(
        "from dataclasses import replace\nfrom models import get, register\nregister(replace(get('vit'), name='whole'))"
    )
    (package / "_machinery.py").write_text("raise RuntimeError('this must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)

    broken = discover(package.name, [str(package)])

    assert set(broken) == {"absent", "crooked"}
    assert broken["absent"] == "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"
    assert broken["crooked"].startswith("SyntaxError: ")
    assert "whole" in families()
