"""How long this machine has been suspended since it booted."""

from __future__ import annotations

import time


def asleep_seconds() -> float:
    """Seconds of suspension since boot; 0 on a system without CLOCK_BOOTTIME.

    CLOCK_BOOTTIME counts the time of a suspension, CLOCK_MONOTONIC does not.
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC))
