"""A form sends only what differs from its blanks; a run is written back into a form that launches it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.catalog import Catalog
from app.contract.presets import PRESETS
from app.contract.spec import RunSpec, resolve
from app.routes.launch.form import (
    SETTINGS,
    Form,
    blanks_of,
    field_text,
    form_of,
    given_fields,
    joined_tags,
    read_draft,
    split_tags,
)
from tests.app.routes.launch.strategies import LINE, configs


@given(data=st.data())
def test_any_run_is_launched_once_more_by_its_form(data: st.DataObject, catalog: Catalog) -> None:
    config = data.draw(configs(catalog))
    draft = read_draft(form_of(config), catalog)
    assert draft.errors == {}
    assert draft.config == config


@given(data=st.data())
def test_what_a_form_leaves_unsaid_is_what_resolve_fills_in(data: st.DataObject, catalog: Catalog) -> None:
    """Filling in every value gives the same run as filling in only those that differ from the defaults."""
    config = data.draw(configs(catalog))
    full = {name: value for name, value in config.model_dump().items() if value not in ("", [], {}, None)}
    form: Form = {
        name: [field_text(value)] for name, value in full.items() if name not in ("options", "tags", "targets")
    }
    form |= {"targets": config.targets, "tags": [joined_tags(config.tags)] if config.tags else []}
    form |= {f"option.{name}": [str(value)] for name, value in config.options.items()}
    draft = read_draft(form, catalog)
    assert draft.spec is not None
    assert draft.config == config
    assert draft.config == resolve(draft.spec, catalog)
    said_in_full = given_fields(form, draft.family)
    assert resolve(RunSpec.model_validate(said_in_full), catalog) == config
    blanks = blanks_of(said_in_full, catalog)
    assert not [name for name in SETTINGS if name in draft.given and full.get(name) == blanks[name]]
    # The JSON that the page shows is read as the same run.
    again = RunSpec.model_validate_json(draft.spec.model_dump_json(exclude_unset=True))
    assert resolve(again, catalog) == config


def test_what_a_preset_says_otherwise_than_the_defaults_is_said(catalog: Catalog) -> None:
    draft = read_draft({"preset": ["vit_mnist_995"], "seed": ["1"], "dataset": ["digits"]}, catalog)
    assert draft.given == {"preset": "vit_mnist_995", "seed": "1", "dataset": "digits"}
    assert draft.config is not None
    assert (draft.config.seed, draft.config.dataset) == (1, "digits")
    assert draft.changed == ["dataset", "seed"]
    back = read_draft({"preset": ["vit_mnist_995"], "recipe": ["default"]}, catalog)
    assert back.config is not None
    assert (back.config.recipe, back.config.seed) == ("default", 1)
    assert read_draft({"preset": ["simple_mlp"]}, catalog).blanks["batch_size"] == 1


def test_a_preset_that_is_filled_in_is_not_changed(catalog: Catalog) -> None:
    for name, preset in PRESETS.items():
        form = {key: value if isinstance(value, list) else [field_text(value)] for key, value in preset.items()}
        draft = read_draft(form | {"preset": [name]}, catalog)
        assert draft.given == {"preset": name}, name
        assert draft.changed == []


def test_a_recipe_brings_the_dataset_that_it_is_made_for(catalog: Catalog) -> None:
    draft = read_draft({"family": ["vit"], "recipe": ["cifar"]}, catalog)
    assert draft.config is not None
    assert (draft.config.dataset, draft.form["dataset"], draft.form["targets"]) == ("cifar10", ["cifar10"], ["class"])
    digits = read_draft({"family": ["vit"], "recipe": ["cifar"], "dataset": ["digits"]}, catalog)
    assert "supported datasets: cifar10, cifar100" in digits.errors["recipe"]


def test_the_warm_up_of_a_blank_follows_the_schedule(catalog: Catalog) -> None:
    draft = read_draft({"family": ["vit"], "schedule": ["one_cycle"]}, catalog)
    assert draft.config is not None
    assert draft.blanks["warmup"] == draft.config.warmup == 0.3
    none = read_draft({"family": ["vit"], "schedule": ["one_cycle"], "warmup": ["0"]}, catalog)
    assert none.config is not None
    assert none.config.warmup == 0


def test_a_run_of_a_family_or_recipe_that_is_gone_still_has_a_form(catalog: Catalog) -> None:
    config = resolve(RunSpec(family="vit", lr=0.25, seed=9), catalog)
    gone = read_draft(form_of(config.model_copy(update={"family": "gone"})), catalog)
    assert list(gone.errors) == ["family"]
    assert gone.value("lr") == "0.25"
    old = form_of(config.model_copy(update={"recipe": "gone"}))
    assert list(read_draft(old, catalog).errors) == ["recipe"]
    assert old["batch_size"] == ["32"]


@given(st.lists(st.text(LINE, min_size=1, max_size=20).map(str.strip).filter(bool), max_size=5))
def test_tags_are_read_as_they_were_written(tags: list[str]) -> None:
    assert split_tags(joined_tags(tags)) == tags


@given(st.text())
def test_any_tags_can_be_read(words: str) -> None:
    assert all(tag == tag.strip() for tag in split_tags(words))


@pytest.mark.parametrize("value", [1e-3, 0.1 + 0.2, 1e-300, 15.0, 12345678.9])
def test_a_number_is_read_as_it_was_written(value: float) -> None:
    assert float(field_text(value)) == value


def test_lines_of_a_note_end_as_they_did(catalog: Catalog) -> None:
    draft = read_draft({"family": ["vit"], "notes": ["one\r\n two \r\n"]}, catalog)
    assert draft.config is not None
    assert draft.config.notes == "one\n two \n"
