"""Parallel coordinates draw settings of every kind."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from app.routes.compare.parallel import _numbers

TEXTS = st.one_of(st.text(max_size=5), st.floats().map(str), st.integers().map(str), st.just("9" * 400))
SETTINGS = st.one_of(
    st.none(), TEXTS, st.integers(), st.floats(), st.booleans(), st.lists(TEXTS), st.dictionaries(TEXTS, TEXTS)
)


@given(st.lists(SETTINGS))
@example([["digit"], ["digit", "even"]])
@example(["0.1", None, "1e-3"])
@example([10**400, 1])
def test_texts_are_numbers_if_all_of_them_are_and_other_settings_stay_as_they_are(values: list[Any]) -> None:
    found = _numbers(values)
    if found is values:
        return
    for before, after in zip(values, found, strict=True):
        assert (before is None and after is None) or (float(before) == after and math.isfinite(after))


def test_texts_that_are_numbers_become_numbers() -> None:
    assert _numbers(["0.1", None, "1e-3"]) == [0.1, None, 0.001]
    assert _numbers(["0.1", "adam"]) == ["0.1", "adam"]


def test_runs_whose_targets_differ_are_compared(client: Any, look: Any, trained: Any) -> None:
    one, two, three = trained(), trained(targets=["digit", "parity"]), trained(level=0.9, lr=0.1)
    page = look(client.get(f"/compare?runs={one},{two},{three}"))
    assert "digit, parity" in page.html
