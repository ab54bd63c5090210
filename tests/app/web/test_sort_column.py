from __future__ import annotations

from app.web.sort_column import Column


def test_a_first_click_sorts_as_the_column_likes_and_the_next_the_other_way_round() -> None:
    best, name = Column("val/acc", "val/acc", first="-"), Column("family", "family")
    assert best.toggled("family") == "-val/acc"
    assert best.toggled("-val/acc") == "val/acc"
    assert name.toggled("-val/acc") == "family"
    assert name.toggled("family") == "-family"


def test_only_the_column_that_is_sorted_by_says_how() -> None:
    column = Column("family", "family")
    assert [column.order(sort) for sort in ("family", "-family", "size")] == ["ascending", "descending", "none"]
