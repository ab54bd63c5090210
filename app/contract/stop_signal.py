"""Stopping on a signal."""

from __future__ import annotations

import signal
import socket
import threading


def stop_on(*numbers: signal.Signals) -> threading.Event:
    """Return an event that is set once one of these signals arrives. Only for the main thread.

    A thread sets it. A handler runs in the main thread, between any two of its instructions: if that thread held the
    event's lock just then, in order to wait for it, a handler that sets the event would wait for this lock forever.
    """
    stop = threading.Event()
    arrived, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    # Detached, since it is needed until the process ends.
    signal.set_wakeup_fd(wakeup.detach(), warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        while True:
            if arrived.recv(1)[0] in numbers:
                stop.set()

    threading.Thread(target=watch, name="stop-signal", daemon=True).start()
    return stop
