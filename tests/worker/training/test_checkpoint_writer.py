"""Checkpoints are written in their order, in a thread, and a failure is not lost there."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from worker.training.checkpoint_writer import MAX_WAITING, CheckpointWriter


def test_jobs_are_done_in_their_order_while_the_caller_goes_on() -> None:
    go_on = threading.Event()
    done: list[int] = []

    def wait_first() -> None:
        assert go_on.wait(10)
        done.append(0)

    with CheckpointWriter() as writer:
        writer.submit(wait_first)
        for number in range(1, MAX_WAITING + 1):
            writer.submit(partial(done.append, number))
        assert done == []
        go_on.set()
        writer.wait()
        assert done == list(range(MAX_WAITING + 1))
        writer.submit(partial(done.append, 99))
    assert done[-1] == 99


def test_a_job_that_fails_ends_those_after_it_and_is_raised_at_the_next_call() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), CheckpointWriter() as writer:  # noqa: PT012
        writer.submit(fail)
        with pytest.raises(OSError, match="disk full"):
            writer.wait()
        with pytest.raises(OSError, match="disk full"):
            writer.submit(lambda: done.append(1))
    assert done == []


def test_an_error_of_the_block_is_not_hidden_by_one_of_a_job() -> None:
    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(KeyError), CheckpointWriter() as writer:  # noqa: PT012
        writer.submit(fail)
        raise KeyError("the block's own")
