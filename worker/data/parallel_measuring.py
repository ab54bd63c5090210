"""Measures many images on several cores: in this process, or in several that each receive one chunk at a time.

The child processes are plain processes without torch (``python -m worker.data.parallel_measuring``): a trainer may not
fork once torch has computed, and as a daemon it may not have children of multiprocessing. Threads would not help, since
half of the measuring holds the GIL.
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
"""Sent to a child before the bytes of its images: number, height and width."""

_MIN_IMAGES_PER_PROCESS: Final = 2_000
"""Minimum images per process; starting one takes half a second, the time to measure a quarter of them."""


class MeasuringError(Exception):
    """A measuring process ended before its work was done; the message says how."""


def measure_all(images: Images, reporter: ProgressReporter, task: str, cores: int) -> Measured:
    """The measures of gray images uint8 [N, H, W]: float32 [N, len(MEASURES)], identical for any number of cores.

    reporter: receives the progress, labeled `task`. cores: the most processes that may measure at once. Raises
    MeasuringError, and whatever `reporter` raises, which ends the work and its processes.
    """
    total = len(images)
    reporter.begin(task, f"{total:,} images")
    results = [np.zeros((0, len(MEASURES)), dtype=np.float32)]
    done = 0
    with _chunks(images, min(cores, total // _MIN_IMAGES_PER_PROCESS)) as chunks:
        for chunk in chunks:
            results.append(chunk)
            done += len(chunk)
            reporter.update(done / total, f"{done:,} of {total:,}")
    return np.concatenate(results)


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
            return _measure_in(child, images[start : start + CHUNK])
        finally:
            free.put(child)

    with ExitStack() as stack:
        # Callbacks run in reverse order: children are killed, so the threads waiting for them end, so that nobody uses
        # their pipes when these are closed.
        stack.callback(_close_pipes, children)
        pool = stack.enter_context(ThreadPoolExecutor(processes))
        stack.callback(_kill, children)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        for _ in range(processes):
            children.append(_start())
            free.put(children[-1])
        yield _in_order([pool.submit(measured, start) for start in range(0, len(images), CHUNK)])


def _in_order(chunks: list[Future[Measured]]) -> Iterator[Measured]:
    """Yield each chunk as soon as it is ready, and empty chunks while waiting, so that progress is still reported."""
    for chunk in chunks:
        while chunk not in wait([chunk], timeout=SHARE_SECONDS / 2).done:
            yield np.zeros((0, len(MEASURES)), dtype=np.float32)
        yield chunk.result()


def _start() -> subprocess.Popen[bytes]:
    # Every core already has its own process.
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


def _close_pipes(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.communicate()  # unlike close(), ignores bytes that the child no longer reads


def _measure_in(child: subprocess.Popen[bytes], images: Images) -> Measured:
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
    return MeasuringError(f"a measuring process exited with status {child.wait()}")


def main() -> None:
    """Measure images from stdin until it ends: for each header and images, as many rows of float32 on stdout."""
    while header := sys.stdin.buffer.read(_HEADER.size):
        n, height, width = _HEADER.unpack(header)
        images = np.frombuffer(sys.stdin.buffer.read(n * height * width), dtype=np.uint8).reshape(n, height, width)
        for chunk in measure(images):
            sys.stdout.buffer.write(chunk.astype("<f4").tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
