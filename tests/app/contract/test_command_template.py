from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.command_template import fill, names, parts, value_text

texts = st.text(max_size=20)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
values = st.one_of(texts, st.integers(), st.floats(allow_nan=False), st.booleans())
pieces = st.lists(st.one_of(keys.map(lambda name: f"{{{name}}}"), texts.map(lambda text: _escape(text))), max_size=4)
templates = st.lists(pieces.map("".join), max_size=5)


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@given(templates, values)
def test_a_value_never_becomes_more_than_its_argument(template: list[str], value: str | float | bool) -> None:
    filled = fill(template, dict.fromkeys(names(template), value))
    assert len(filled) == len(template)
    for argument, result in zip(template, filled, strict=True):
        expected = "".join(value_text(value) if part.is_name else part.text for part in parts(argument))
        assert result == expected


@given(st.lists(texts))
def test_escaped_text_is_filled_as_it_was(arguments: list[str]) -> None:
    template = [_escape(argument) for argument in arguments]
    assert names(template) == set()
    assert fill(template, {}) == arguments


@given(keys, texts)
def test_a_value_with_braces_is_not_filled_again(name: str, text: str) -> None:
    value = f"{text}{{{name}}}"
    assert fill([f"{{{name}}}"], {name: value}) == [value]


def test_names_stand_anywhere_in_an_argument() -> None:
    template = ["python", "train.py", "--lr={lr}", "{data}/{fold}", '{{"a": {lr}}}', "model.depth={model.depth}"]
    assert names(template) == {"lr", "data", "fold", "model.depth"}
    filled = fill(template, {"lr": 1e-05, "data": "a b", "fold": 3, "model.depth": True})
    assert filled == ["python", "train.py", "--lr=1e-05", "a b/3", '{"a": 1e-05}', "model.depth=true"]


def test_a_name_without_a_value_is_an_error_that_names_the_values() -> None:
    with pytest.raises(ValueError, match="no value for 'rate'; there are values for: epochs, lr"):
        fill(["--lr={rate}"], {"lr": 0.1, "epochs": 3})
    with pytest.raises(ValueError, match="there are values for: none"):
        fill(["{rate}"], {})


@pytest.mark.parametrize(
    "argument", ["{", "}", "{}", "{a b}", "{1}", "{a", "a}", "{{a}", '{"a": 1}', "{a!r}", "{a[0]}"]
)
def test_a_brace_without_a_name_is_an_error(argument: str) -> None:
    with pytest.raises(ValueError, match=r"encloses no name; write \{name\} for a value"):
        names([argument])
