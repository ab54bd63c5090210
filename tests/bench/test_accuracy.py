"""Attempts of `bench accuracy` are compared in pairs: of one seed, one processor and the newest settings."""

from __future__ import annotations

from typing import Any

from bench.accuracy import CANDIDATES, FAST, PLAIN, Network, _case, _key, _measured_elsewhere, _pairs

NETWORK = "simple_cnn base on mnist"


def attempts(processor: str, *seeds: int, settings: str = "new", titles: tuple[str, ...] = (FAST, PLAIN)) -> Any:
    return {
        f"{NETWORK}, {title}, seed {seed}, {processor}, settings {settings}": {
            "seed": seed,
            "processor": processor,
            "name": f"{title} {seed} {processor} {settings}",
        }
        for seed in seeds
        for title in titles
    }


def paired(kept: dict[str, Any]) -> dict[str, list[tuple[int, str]]]:
    found = _pairs(NETWORK, kept)
    for processor, pairs in found.items():
        for fast, plain in pairs:
            assert fast["name"].removeprefix(FAST) == plain["name"].removeprefix(PLAIN)
            assert fast["processor"] == processor
    return {
        processor: [(fast["seed"], fast["name"].split()[-1]) for fast, _ in pairs] for processor, pairs in found.items()
    }


def test_pairs_are_of_one_processor() -> None:
    assert paired(attempts("B", 4, 3) | attempts("A", 1, 2)) == {
        "A": [(1, "new"), (2, "new")],
        "B": [(3, "new"), (4, "new")],
    }
    assert paired({}) == {}


def test_an_attempt_without_its_counterpart_is_no_pair() -> None:
    kept = attempts("A", 1) | attempts("A", 2, titles=(FAST,)) | attempts("B", 2, titles=(PLAIN,))
    assert paired(kept) == {"A": [(1, "new")]}


def test_earlier_settings_and_other_networks_do_not_count() -> None:
    others = {
        key.replace("base", "large"): attempt | {"name": "x"} for key, attempt in attempts("A", 1, 2, 3, 4).items()
    }
    assert paired(others | attempts("A", 1, 2, settings="old") | attempts("A", 1)) == {"A": [(1, "new")]}


def test_a_seed_that_another_processor_has_measured_is_not_measured_again() -> None:
    network = Network("simple_mlp", "tiny")
    keys = [
        _key(network, title, 2, True, _case(network, "cpu", 2, overrides), "another")
        for title, overrides in CANDIDATES.items()
    ]
    kept = {key: {"processor": "another", "seed": 2} for key in keys}
    assert _measured_elsewhere(network, 2, True, "cpu", kept)
    assert not _measured_elsewhere(network, 1, True, "cpu", kept)
    assert not _measured_elsewhere(network, 2, True, "cpu", {keys[0]: kept[keys[0]]})
