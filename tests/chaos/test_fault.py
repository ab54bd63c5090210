"""The plan of faults: always the same for a seed, without what a machine cannot do."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.fault import KINDS, plan


@given(st.integers(0, 10**6), st.sampled_from(["sqlite", "postgresql"]))
def test_a_plan_is_repeatable_and_knows_its_database(seed: int, database: str) -> None:
    faults = list(islice(plan(seed, database), 300))
    assert faults == list(islice(plan(seed, database), 300))
    assert faults != list(islice(plan(seed + 1, database), 300))
    assert any("postgresql" in fault.target for fault in faults) == (database == "postgresql")
    for fault in faults:
        kinds = [kind for kind in KINDS if kind.name == fault.kind and fault.target in kind.targets]
        assert any(kind.seconds[0] <= fault.seconds <= kind.seconds[1] for kind in kinds)
        assert (fault.amount != 0) == (fault.kind in ("clock apart", "torn spool"))


def test_a_plan_of_200_has_every_kind_but_those_without_a_chance() -> None:
    kinds = {fault.kind for fault in islice(plan(7, "sqlite"), 200)}
    assert kinds == {kind.name for kind in KINDS}
    without = {fault.kind for fault in islice(plan(7, "sqlite", ("full disk", "clock apart")), 200)}
    assert without == kinds - {"full disk", "clock apart"}
