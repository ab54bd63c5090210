"""What an error says about the names that exist."""

from __future__ import annotations

from app.contract.known_names import known_names
from app.contract.presets import PRESETS


def test_a_few_names_are_listed() -> None:
    assert known_names("hug", ["tiny", "huge"], "size", "sizes") == "sizes: tiny, huge"
    assert known_names("hug", [], "option", "options") == "options: none"


def test_of_many_names_only_the_closest_is_named() -> None:
    everything = f"`runyard presets` lists all {len(PRESETS)} presets"
    found = known_names("speedrun_mnist_95", list(PRESETS), "preset", "presets")
    assert found == f"did you mean speedrun_mnist_99? {everything}"
    assert known_names("MNIST_VIT_38K", list(PRESETS), "preset", "presets").startswith("did you mean mnist_vit_38k? ")
    assert known_names("resnet", list(PRESETS), "preset", "presets") == everything
