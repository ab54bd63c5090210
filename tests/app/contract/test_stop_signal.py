"""Stopping on a signal, in processes of their own: a signal that goes wrong would stop the tests."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

INTERRUPTED = """
import os, signal
from app.contract.stop_signal import stop_on

stop = stop_on(signal.SIGTERM, signal.SIGHUP)
signal.signal(signal.SIGUSR1, lambda *_: None)
os.kill(os.getpid(), signal.SIGUSR1)
assert not stop.wait(0.2), "another signal set the event"
# As if the signal came while this thread is about to wait for the event.
with stop._cond:
    os.kill(os.getpid(), signal.{name})
assert stop.wait(30)
print("stopped")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_stops_even_while_the_lock_of_the_event_is_held(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.replace("{name}", name)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("stopped\n", "")


def test_a_signal_that_was_not_named_still_ends_the_process() -> None:
    program = INTERRUPTED.replace("signal.{name}", "signal.SIGALRM")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGALRM
