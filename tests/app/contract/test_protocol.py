from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.contract.protocol import Speaker, skew

NUMBERS = st.integers(0, 2**31)


@given(NUMBERS, NUMBERS)
def test_only_the_same_protocol_is_understood_and_the_older_side_is_to_be_updated(server: int, worker: int) -> None:
    said = skew(Speaker("1.0", server), Speaker("2.0", worker))
    assert (said == "") == (server == worker)
    if server < worker:
        assert said.endswith("install version 2.0 for the server")
    if worker < server:
        assert said.endswith("install version 1.0 for the worker")


def test_a_side_that_does_not_say_its_version_is_told_apart_by_its_protocol() -> None:
    said = skew(Speaker("", 3), Speaker("0.2.0", 2))
    assert said == (
        "the worker has Runyard 0.2.0 (protocol 2), the server Runyard of another version (protocol 3), so it gets no"
        " runs; install the newer version for the worker"
    )
