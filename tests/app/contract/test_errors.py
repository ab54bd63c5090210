"""A validation error is one sentence about its field, without the words of the library that found it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import app.main as app_main
from app.actions.notifications import WebhookSpec
from app.contract.errors import to_field_errors
from app.contract.spec import RunSpec
from app.contract.sweep import SweepSpec

LIBRARY_WORDS = ("input should", "value error", "valid dictionary", "valid list", "pydantic", "constrained-")


def messages(model: type[BaseModel], body: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    return [error.message for error in to_field_errors(caught.value.errors())]


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        (RunSpec, {"options": {"a": {}}}, "options.a must be a string, a number or true/false"),
        (RunSpec, {"tags": "paper"}, "tags must be a list"),
        (RunSpec, {"tags": [""]}, "tags.0 must not be empty"),
        (RunSpec, {"options": 1}, "options must be a JSON object"),
        (RunSpec, {"seed": 2**32}, "seed must be less than 4,294,967,296"),
        (RunSpec, [], "the body must be a JSON object, sent with 'content-type: application/json'"),
        (RunSpec, {"device": "tpu"}, "device must be auto, cpu, cuda, or one GPU by its index, such as cuda:1"),
        (SweepSpec, {"space": {"lr": {"low": 2, "high": 1}}}, "space.lr: low must be at most high"),
        (SweepSpec, {"space": {"lr": {"low": 1}}}, "space.lr.high is missing"),
        (SweepSpec, {"space": {"lr": {"choice": []}}}, "space.lr.choice must not be empty"),
        (WebhookSpec, {"url": "ftp://x"}, "specify an http or https URL, e.g. https://example.org/path"),
    ],
)
def test_an_error_is_said_in_our_own_words(model: type[BaseModel], body: Any, message: str) -> None:
    assert messages(model, body) == [message]


def models() -> list[type[BaseModel]]:
    """Return every model of the application that a request can be."""
    assert app_main
    found: dict[str, type[BaseModel]] = {}
    waiting = [BaseModel]
    while waiting:
        for model in waiting.pop().__subclasses__():
            waiting.append(model)
            if model.__module__.startswith(("app.routes", "app.actions", "app.contract")):
                found[f"{model.__module__}.{model.__qualname__}"] = model
    return [model for name, model in sorted(found.items()) if model.model_fields]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_no_message_of_any_model_repeats_the_library(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(models()))
    body = data.draw(JSON | st.dictionaries(st.sampled_from([*model.model_fields]), JSON, max_size=4))
    try:
        model.model_validate(body)
    except ValidationError as error:
        for problem in to_field_errors(error.errors()):
            assert not any(word in problem.message.lower() for word in LIBRARY_WORDS), problem.message
