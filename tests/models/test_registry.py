import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any, cast

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
from models._registry import record_unloaded, registered_by, registering


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
        ((1, 28, {"": 10}), "'' is not a valid head name: it must not be empty"),
        (
            (1, 28, {"a.b": 10}),
            "'a.b' is not a valid head name: it must not be empty, contain a dot, or be an attribute of nn.ModuleDict",
        ),
        ((1, 28, {"keys": 10}), "'keys' is not a valid head name"),
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


def test_a_registered_family_is_in_the_catalog(own_catalog: dict[str, Family]) -> None:
    assert register(TOY) is TOY
    assert get("toy") is TOY
    assert list(families())[-1] == "toy"


def test_families_are_sorted_by_order_and_then_by_name(own_catalog: dict[str, Family]) -> None:
    own_catalog.clear()
    for name, order in (("b", 100), ("c", 2), ("a", 100), ("d", 1)):
        register(replace(TOY, name=name, order=order))
    assert list(families()) == ["d", "c", "a", "b"]


def test_changing_the_returned_catalog_changes_nothing() -> None:
    families().clear()
    assert families()


def other(**said: Any) -> Family:
    """The toy family with arbitrary values in its fields."""
    return replace(TOY, **said)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (other(name="vit"), r"a family named 'vit' is already registered by models/vit\.py"),
        (
            other(name="toy,net"),
            "'toy,net' is not a valid family name: use letters, digits, _ . and -, and not 'all'",
        ),
        (other(name="all"), "'all' is not a valid family name"),
        (other(name=["toy"]), "is not a valid family name"),
        (other(sizes=(replace(TOY.sizes[0], name=""),)), "'' is not a valid size name"),
        (other(sizes=TOY.sizes[0]), r"sizes of family 'toy' must be a tuple of Size"),
        (other(sizes=({"name": "tiny"},)), "sizes of family 'toy' must be a tuple"),
        (other(sizes=(Size("tiny", cast(Any, (2, 3)), (1, 2, 3)),)), "settings of size 'tiny' must be a dict by name"),
        (other(summary=None), "summary of family 'toy' must be a string, not None"),
        (other(order="last"), "order of family 'toy' must be a whole number"),
        (other(smallest_batch=0), "smallest_batch of family 'toy' must be a whole number of at least 1"),
        (
            other(options=(Option("act", torch.relu, (torch.relu,), "A function."),)),
            "choices of option 'act' must",
        ),
        (other(sizes=TOY.sizes * 2), "family 'toy' has two sizes named 'tiny'"),
        (other(options=TOY.options * 2), "family 'toy' has two options named 'patch'"),
        (other(default="huge"), "no size 'huge' for toy; sizes: tiny"),
        (other(options=(Option("patch", 5, (4, 7), "A number."),)), "no choice 5 for option patch of toy"),
        (
            other(options=(Option("patch", 4, (4, 7), "A number.", larger=((9, 7), (8, 4))),)),
            "'larger' of option 'patch' must give its sides in ascending order",
        ),
        (
            other(options=(Option("patch", 4, (4, 7), "A number.", larger=((9, 8),)),)),
            "'larger' of option 'patch' must give choices of it",
        ),
        (
            other(options=(Option("patch", "a", ("a", "b"), "A word.", divides_side=True),)),
            "a choice of option 'patch' must be a whole number of at least 1, not 'a'",
        ),
    ],
)
def test_a_family_that_contradicts_itself_or_another_is_refused(
    own_catalog: dict[str, Family], family: Family, message: str
) -> None:
    before = dict(own_catalog)
    with pytest.raises(ValueError, match=message):
        register(family)
    assert own_catalog == before


def test_building_passes_the_settings_and_every_option(own_catalog: dict[str, Family], mnist: Shape) -> None:
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
        (("vit", "small", {"pol": "cls"}), "no option 'pol' for vit; options: pool, patch, init"),
        (("vit", "small", {"pool": "max"}), "no choice 'max' for option pool of vit; choices: cls, mean"),
        (("simple_mlp", "base", {"pool": "cls"}), "no option 'pool' for simple_mlp; options: none"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(mnist: Shape, arguments: Any, message: str) -> None:
    family, size, *options = arguments
    with pytest.raises(UnknownArchitecture, match=message):
        build(family, size, mnist, *options)


def test_auxiliary_scalars_are_refused_by_families_without_a_place_for_them() -> None:
    with pytest.raises(ValueError, match="vit does not support auxiliary scalars; families that do: simple_cnn"):
        build("vit", "tiny", Shape(1, 28, {"digit": 10}, auxiliary=5))


def test_counting_counts_what_learns_and_shared_parameters_once() -> None:
    layer = nn.Linear(3, 4)
    assert count_parameters(nn.Sequential(layer, nn.BatchNorm1d(4), layer)) == 3 * 4 + 4 + 2 * 4


def test_a_network_on_the_meta_device_has_no_memory(mnist: Shape) -> None:
    with torch.device("meta"):
        network = build("vit", "large", mnist)
    assert all(parameter.is_meta for parameter in network.parameters())


def test_families_know_the_file_that_registered_them(own_catalog: dict[str, Family]) -> None:
    with registering("here/toy.py"):
        assert register(TOY).source == "here/toy.py"
    assert [family.name for family in registered_by("here/toy.py")] == ["toy"]
    assert get("vit").source == "models/vit.py"
    assert register(replace(TOY, name="toy2")).source == ""


def test_a_file_that_fails_leaves_none_of_its_families_and_all_others(own_catalog: dict[str, Family]) -> None:
    def register_and_fail() -> None:
        with registering("here/broken.py"):
            register(replace(TOY, name="first"))
            with registering("here/neighbor.py"):
                register(replace(TOY, name="neighbor"))
            register(replace(TOY, name="second"))
            raise KeyError("oh")

    with pytest.raises(KeyError):
        register_and_fail()
    assert "neighbor" in families()
    assert not {"first", "second"} & set(families())


def test_who_asks_for_a_family_that_could_not_be_loaded_is_told_why(own_catalog: dict[str, Family]) -> None:
    record_unloaded({"toy": "SyntaxError: invalid syntax (line 3)"})
    with pytest.raises(UnknownArchitecture, match=r"could not load family 'toy': SyntaxError: .* \(line 3\)"):
        get("toy")
    with pytest.raises(UnknownArchitecture, match=r"no family 'toi'; families: .*; could not load toy: SyntaxError"):
        get("toi")
