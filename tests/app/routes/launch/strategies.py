"""Any run that could have been launched, for the tests that send it through the launch form."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES
from app.contract.spec import RunConfig, RunSpec, SpecError, resolve

# What one line of a form can hold: no control characters, no halves of surrogate pairs.
LINE = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "epochs": st.integers(1, 300),
    "batch_size": st.sampled_from([1, 2, 32, 128, 1000]),
    "seed": st.sampled_from([0, 1, 12345, 2**32 - 1]),
    "optimizer": st.sampled_from(["adam", "adamw", "sgd"]),
    "lr": st.floats(1e-7, 10) | st.just(1e-3),
    "weight_decay": st.floats(0, 1),
    "momentum": st.floats(0, 0.99),
    "schedule": st.sampled_from(["constant", "plateau", "cosine", "one_cycle"]),
    "lr_min": st.floats(0, 1e-3),
    "warmup": st.floats(0, 0.9) | st.sampled_from([0.0, 0.3]),
    "plateau_factor": st.floats(0.01, 0.99),
    "plateau_patience": st.integers(0, 30),
    "early_stopping": st.integers(0, 30),
    "label_smoothing": st.floats(0, 0.9),
    "class_weights": st.sampled_from(["off", "balanced"]),
    "balanced_sampling": st.booleans(),
    "clip_norm": st.floats(0, 10),
    "random_crop_scale": st.floats(0, 1),
    "crop_padding": st.integers(0, 16),
    "flip": st.booleans(),
    "rotation": st.floats(0, 180),
    "color_jitter": st.floats(0, 1),
    "normalization": st.sampled_from(["dataset", "half"]),
    "precision": st.sampled_from(["32", "bf16"]),
    "deterministic": st.booleans(),
    "device": st.sampled_from(["auto", "cpu", "cuda"]),
    "find_batch": st.booleans(),
    "on_nonfinite": st.sampled_from(["stop", "go_on"]),
    "keep_checkpoints": st.integers(0, 30),
    "keep_predictions": st.booleans(),
    "robustness": st.booleans(),
    "priority": st.integers(-1000, 1000),
    "name": st.text(LINE, max_size=30),
    "notes": st.text(LINE | st.just("\n"), max_size=60),
    "tags": st.lists(st.text(LINE, min_size=1, max_size=12).filter(lambda tag: tag.strip()), max_size=3),
}


@st.composite
def configs(draw: st.DrawFn, catalog: Catalog) -> RunConfig:
    """Any run that could have been launched."""
    said = draw(st.fixed_dictionaries({}, optional=FIELDS))
    if draw(st.booleans()):
        said["preset"] = draw(st.sampled_from(list(PRESETS)))
    if "preset" not in said or draw(st.booleans()):
        family = catalog.families[draw(st.sampled_from(list(catalog.families)))]
        said["family"] = family.name
        said["size"] = draw(st.sampled_from([size.name for size in family.sizes]))
        options = {option.name: st.sampled_from(option.choices) for option in family.options}
        chosen = draw(st.fixed_dictionaries({}, optional=options))
        # An option at its default is the same as none.
        defaults = {option.name: option.default for option in family.options}
        said["options"] = {name: value for name, value in chosen.items() if value != defaults[name]}
        said["auxiliary"] = draw(st.booleans())
    if draw(st.booleans()):
        dataset = DATASETS[draw(st.sampled_from(list(DATASETS)))]
        said["dataset"] = dataset.name
        said["targets"] = draw(st.lists(st.sampled_from([t.name for t in dataset.targets]), unique=True))
    if draw(st.booleans()):
        said["recipe"] = draw(st.sampled_from(list(RECIPES)))
    try:
        return resolve(RunSpec.model_validate(said), catalog)
    except (SpecError, ValidationError):
        assume(False)
        raise AssertionError from None
