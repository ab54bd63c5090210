"""A sweep expands into exactly the specified runs, each of which could be launched alone."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.catalog import Catalog
from app.contract.spec import RunSpec, SpecError, resolve
from app.contract.sweep import MOST_RUNS, SWEPT, SweepSpec
from app.contract.sweep_label import describe_values
from app.store.sweep import key_of
from app.sweeps.expand import expand, plan_one

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "lr": st.floats(1e-6, 1),
    "batch_size": st.sampled_from([1, 16, 32, 128]),
    "epochs": st.integers(1, 50),
    "optimizer": st.sampled_from(["adam", "adamw", "sgd"]),
    "flip": st.booleans(),
    "schedule": st.sampled_from(["constant", "plateau"]),
    "size": st.sampled_from(["tiny", "small", "base", "large"]),
    "family": st.sampled_from(["simple_cnn", "vit", "simple_dense_net"]),
}
GRIDS = st.lists(st.sampled_from(list(VALUES)), unique=True, max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({n: st.lists(VALUES[n], min_size=1, max_size=4, unique=True) for n in names})
)


def spec(**asked: Any) -> SweepSpec:
    return SweepSpec.model_validate({"base": {"family": "simple_cnn"}} | asked)


@given(grid=GRIDS, seeds=st.integers(1, 5), seed=st.integers(0, 1000))
def test_a_grid_is_every_combination_times_every_seed(
    grid: dict[str, list[Any]], seeds: int, seed: int, catalog: Catalog
) -> None:
    base = {"family": "simple_cnn", "seed": seed}
    found = expand(SweepSpec(base=base, grid=grid, seeds=seeds), catalog)
    asked = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    # A batch of one is too small for networks that normalize over it.
    exist = [values for values in asked if exists(base | values, catalog)]
    wanted = {(key_of(resolved(base | values, catalog, grid)), seed + i) for values in exist for i in range(seeds)}
    assert {(key_of(each.values), each.config.seed) for each in found.runs} == wanted
    assert len(found.runs) == len(wanted)
    assert len(found.left_out) == len(asked) - len(exist)
    for each in found.runs:
        # The queued run equals one launched alone with the same settings.
        assert resolve(RunSpec.model_validate(each.asked), catalog) == each.config


def exists(said: dict[str, Any], catalog: Catalog) -> bool:
    try:
        resolve(RunSpec.model_validate(said), catalog)
    except SpecError:
        return False
    return True


def resolved(said: dict[str, Any], catalog: Catalog, grid: dict[str, Any]) -> dict[str, Any]:
    found = RunSpec.model_validate(said)
    return {name: getattr(found, name) for name in grid}


@given(data=st.data(), draws=st.integers(1, 20), more=st.integers(0, 20))
def test_draws_lie_in_the_space_and_more_of_them_begin_with_the_same(
    data: st.DataObject, draws: int, more: int, catalog: Catalog
) -> None:
    low = data.draw(st.floats(1e-6, 1))
    high = data.draw(st.floats(low, 10))
    log = data.draw(st.booleans())
    batch = data.draw(st.tuples(st.integers(1, 64), st.integers(0, 64)))
    space = {
        "lr": {"low": low, "high": high, "log": log},
        "batch_size": {"low": batch[0] + 2, "high": batch[0] + 2 + batch[1]},
        "optimizer": {"choice": ["adam", "sgd"]},
    }
    asked = {"base": {"family": "simple_cnn", "lr_min": 0}, "method": "random", "space": space}
    few = expand(SweepSpec.model_validate(asked | {"draws": draws}), catalog).runs
    many = expand(SweepSpec.model_validate(asked | {"draws": draws + more}), catalog).runs
    assert [each.values for each in many[: len(few)]] == [each.values for each in few]
    for each in many:
        assert low <= each.values["lr"] <= high
        assert batch[0] + 2 <= each.values["batch_size"] <= batch[0] + 2 + batch[1]
    assert len({key_of(each.values) for each in many}) == len(many) <= draws + more


def test_a_small_space_gives_each_of_its_points_once(catalog: Catalog) -> None:
    space = {"optimizer": {"choice": ["adam", "adamw", "sgd"]}}
    found = expand(spec(method="random", space=space, draws=50), catalog)
    assert sorted(each.values["optimizer"] for each in found.runs) == ["adam", "adamw", "sgd"]


def test_draws_on_a_logarithmic_scale_reach_every_power_of_ten(catalog: Catalog) -> None:
    space = {"lr": {"low": 1e-4, "high": 1.0, "log": True}}
    found = expand(spec(method="random", space=space, draws=200), catalog)
    powers = [math.floor(math.log10(each.values["lr"])) for each in found.runs]
    assert all(30 <= powers.count(power) <= 70 for power in range(-4, 0))


def test_a_range_with_a_step_is_a_grid(catalog: Catalog) -> None:
    space = {"batch_size": {"low": 16, "high": 64, "step": 16}, "label_smoothing": {"low": 0, "high": 0.3, "step": 0.1}}
    found = expand(spec(space=space), catalog)
    assert {each.config.batch_size for each in found.runs} == {16, 32, 48, 64}
    assert {each.config.label_smoothing for each in found.runs} == {0.0, 0.1, 0.2, 0.3}


def test_the_same_value_in_two_spellings_is_one(catalog: Catalog) -> None:
    assert len(expand(spec(grid={"batch_size": [32, "32", 32.0]}), catalog).runs) == 1


def test_options_are_swept_under_their_own_names(catalog: Catalog) -> None:
    found = expand(SweepSpec(base={"family": "vit"}, grid={"option.pool": "all", "option.patch": ["7"]}), catalog)
    pools = next(option for option in catalog.families["vit"].options if option.name == "pool").choices
    assert [each.values["option.pool"] for each in found.runs] == pools
    assert {each.values["option.patch"] for each in found.runs} == {7}


def test_an_option_that_only_one_family_has_leaves_the_other_out(catalog: Catalog) -> None:
    grid = {"family": ["vit", "simple_cnn"], "option.pool": ["mean"]}
    found = expand(SweepSpec(grid=grid), catalog)
    assert [each.config.family for each in found.runs] == ["vit"]
    (left_out,) = found.left_out
    assert left_out.startswith("simple_cnn, pool mean: no option 'pool' for simple_cnn")


def test_networks_that_are_too_large_are_left_out_with_their_counts(catalog: Catalog) -> None:
    found = expand(SweepSpec(grid={"family": "all", "size": "all"}, most_params=100_000), catalog)
    assert found.runs
    assert all("parameters exceed most_params (100,000)" in each for each in found.left_out)
    with pytest.raises(SpecError, match=r"exceed most_params \(10\)"):
        expand(SweepSpec(grid={"family": "all", "size": "all"}, most_params=10), catalog)


def test_too_many_combinations_are_refused_before_they_are_made(catalog: Catalog) -> None:
    grid = {"lr": [i / 1e4 for i in range(1, 900)], "epochs": list(range(1, 900))}
    with pytest.raises(SpecError, match="808,201 combinations"):
        expand(spec(grid=grid), catalog)
    with pytest.raises(SpecError, match="use fewer draws or seeds"):
        expand(spec(method="random", space={"lr": {"low": 0.1, "high": 1}}, draws=600, seeds=2), catalog)
    assert len(expand(spec(seeds=MOST_RUNS), catalog).runs) == MOST_RUNS


def test_every_value_that_cannot_be_is_named_at_once(catalog: Catalog) -> None:
    with pytest.raises(SpecError) as refused:
        expand(spec(grid={"size": ["hug"], "optimizer": ["adm"], "color": [1]}), catalog)
    assert {each.field for each in refused.value.errors} == {"color"}
    with pytest.raises(SpecError) as refused:
        expand(spec(grid={"size": ["hug", "tiny"], "dataset": ["digits", "digit"]}), catalog)
    assert {each.field for each in refused.value.errors} == {"size", "dataset"}


@given(grid=st.dictionaries(st.sampled_from([*SWEPT, "x"]), st.lists(st.none() | st.integers() | st.text(max_size=5))))
def test_whatever_is_asked_it_is_expanded_or_refused_with_sentences(grid: dict[str, Any], catalog: Catalog) -> None:
    try:
        found = expand(spec(grid=grid), catalog)
    except SpecError as error:
        refused = error.errors
    else:
        refused = []
        assert found.runs
    assert all(each.message for each in refused)


def test_one_run_of_a_search_is_what_its_values_say(catalog: Catalog) -> None:
    found = plan_one(spec(base={"family": "vit", "options": {"patch": 7}}), catalog, {"lr": 0.5, "option.pool": "mean"})
    assert (found.config.lr, found.config.options) == (0.5, {"patch": 7, "pool": "mean"})
    assert describe_values(found.values) == "lr 0.5, pool mean"
