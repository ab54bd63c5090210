"""Attempts of `bench accuracy` are compared in pairs: of one seed, one processor and the newest settings."""

from __future__ import annotations

from typing import Any

from bench.accuracy import FAST, PLAIN, _pairs

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


def paired(kept: dict[str, Any]) -> list[tuple[int, str, str]]:
    found = _pairs(NETWORK, kept)
    for fast, plain in found:
        assert fast["name"].removeprefix(FAST) == plain["name"].removeprefix(PLAIN)
    return [(fast["seed"], fast["processor"], fast["name"].split()[-1]) for fast, _ in found]


def test_the_processor_with_most_pairs_counts_and_the_newest_of_equals() -> None:
    assert paired(attempts("A", 1, 2, 3) | attempts("B", 1, 2)) == [(1, "A", "new"), (2, "A", "new"), (3, "A", "new")]
    assert paired(attempts("A", 1, 2) | attempts("B", 2, 1)) == [(1, "B", "new"), (2, "B", "new")]
    assert paired({}) == []


def test_an_attempt_without_its_counterpart_is_no_pair() -> None:
    assert paired(attempts("A", 1) | attempts("A", 2, titles=(FAST,)) | attempts("B", 2, titles=(PLAIN,))) == [
        (1, "A", "new")
    ]


def test_earlier_settings_and_other_networks_do_not_count() -> None:
    others = {
        key.replace("base", "large"): attempt | {"name": "x"} for key, attempt in attempts("A", 1, 2, 3, 4).items()
    }
    assert paired(others | attempts("A", 1, 2, settings="old") | attempts("A", 1)) == [(1, "A", "new")]
