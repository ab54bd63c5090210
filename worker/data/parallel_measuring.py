"""Measure many images on several cores: in this process, or in several that are each fed one chunk at a time.

The others are plain processes without torch (``python -m worker.data.parallel_measuring``): a trainer may not fork once
torch has computed, and as a daemon it may not have children of multiprocessing. Threads would not help, since half of
the measuring holds the GIL.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Final

import numpy as np

from worker.data.image_measures import CHUNK, MEASURES, Images, Measured, measure
from worker.reporting.progress import SHARE_SECONDS, ProgressReporter

_HEADER: Final = struct.Struct("<3I")
"""What goes to a child before the bytes of its images: how many, their height, their width."""

_WORTH_A_PROCESS: Final = 2_000
"""Images; a process takes half a second to start, in which it could have measured a quarter of them."""


class MeasuringError(Exception):
    """A measuring process ended before its work did; the message says how."""


def measure_all(images: Images, tell: ProgressReporter, what: str, cores: int) -> Measured:
    """The measures of gray images uint8 [N, H, W]: float32 [N, len(MEASURES)], the same however many cores work.

    tell: is told of it as `what`, all the time. cores: the most processes that may measure at once. Raises what
    `tell` raises, which ends the work and its processes, and MeasuringError.
    """
    total = len(images)
    tell.begin(what, f"{total:,} images")
    found = [np.zeros((0, len(MEASURES)), dtype=np.float32)]
    done = 0
    with _chunks(images, min(cores, total // _WORTH_A_PROCESS)) as chunks:
        for chunk in chunks:
            found.append(chunk)
            done += len(chunk)
            tell.get_on(done / total, f"{done:,} of {total:,}")
    return np.concatenate(found)


@contextmanager
def _chunks(images: Images, processes: int) -> Iterator[Iterator[Measured]]:
    if processes <= 1:
        yield measure(images)
        return
    children: list[subprocess.Popen[bytes]] = []
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def measured(start: int) -> Measured:
        child = free.get()
        try:
            return _ask(child, images[start : start + CHUNK])
        finally:
            free.put(child)

    with ExitStack() as stack:
        # In the opposite order at the end: children are killed, so the threads that wait for them end, so that nobody
        # is at their pipes when these are closed.
        stack.callback(_collect, children)
        pool = stack.enter_context(ThreadPoolExecutor(processes))
        stack.callback(_kill, children)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        for _ in range(processes):
            children.append(_start())
            free.put(children[-1])
        yield _in_order([pool.submit(measured, start) for start in range(0, len(images), CHUNK)])


def _in_order(chunks: list[Future[Measured]]) -> Iterator[Measured]:
    """Each chunk as soon as it is there, and now and then nothing while it is not, so that the user still hears."""
    for chunk in chunks:
        while chunk not in wait([chunk], timeout=SHARE_SECONDS / 2).done:
            yield np.zeros((0, len(MEASURES)), dtype=np.float32)
        yield chunk.result()


def _start() -> subprocess.Popen[bytes]:
    # Every core has a process of its own already.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "worker.data.parallel_measuring"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


def _kill(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()


def _collect(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.communicate()  # unlike close(), silent about bytes that the child will not read any more


def _ask(child: subprocess.Popen[bytes], images: Images) -> Measured:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(_HEADER.pack(*images.shape) + images.tobytes())
        child.stdin.flush()
    except BrokenPipeError as error:
        raise _ended(child) from error
    answer = child.stdout.read(len(images) * len(MEASURES) * 4)
    if len(answer) < len(images) * len(MEASURES) * 4:
        raise _ended(child)
    return np.frombuffer(answer, dtype="<f4").reshape(len(images), len(MEASURES))


def _ended(child: subprocess.Popen[bytes]) -> MeasuringError:
    return MeasuringError(f"a measuring process ended with status {child.wait()}")


def main() -> None:
    """Measures what comes on stdin until that ends: for a header and images, as many rows of float32 on stdout."""
    while header := sys.stdin.buffer.read(_HEADER.size):
        n, height, width = _HEADER.unpack(header)
        images = np.frombuffer(sys.stdin.buffer.read(n * height * width), dtype=np.uint8).reshape(n, height, width)
        for chunk in measure(images):
            sys.stdout.buffer.write(chunk.astype("<f4").tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
