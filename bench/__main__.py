"""``python -m bench``: run one measurement or all of them."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.record import print_targets

BENCHES = {
    "latency": "from the log call in the trainer to an event-stream client and to a browser's pixels",
    "startup": "from the start of the server to its first page, and from a launch to the first training step",
    "table": "the run table with 10,000 and 100,000 runs, however sorted and filtered, first and deep pages",
    "queue": "1,000 queued runs against ten: the queue's page and API; all of them cancelled, and none started",
    "training": "an epoch against a plain PyTorch loop and against Lightning with torchmetrics and torchvision",
    "evaluation": "images a second in validation and test, by the number of images in a pass",
    "accuracy": "seconds of training until 99 % are right, on a stand-in of MNIST's size",
    "gpu": "training and accuracy on CUDA, where there is a GPU",
    "logging": "a log call's CPU and its 99th percentile, against five other trackers; bytes of a scalar",
    "recorder": "scalars a second from the stream into SQLite, none lost; 20 runs at their own pace",
    "curves": "20 runs' curves against trackio and MLflow, and one run of ten million points",
    "page": "a run's page in a browser: ten million points, fifty charts; size, first chart, zoom, frames",
    "viewers": "200 event-stream clients of a run of 1,000 scalars a second, and what 20 of them cost the training",
}


def main(words: list[str]) -> int:
    """Run the benches that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    listing = "; ".join(f"{name}: {about}" for name, about in BENCHES.items())
    # Without ``choices``, which would have to name the empty list of all.
    parser.add_argument("names", nargs="*", metavar="NAME", help=listing.replace("%", "%%"))
    chosen = parser.parse_args(words).names or list(BENCHES)
    if unknown := [name for name in chosen if name not in BENCHES]:
        parser.error(f"no bench '{unknown[0]}'; there are {', '.join(BENCHES)}")
    for name in chosen:
        print(f"\n{name}: {BENCHES[name]}")
        importlib.import_module(f"bench.{name}").main()
    print("\ntargets and figures, of these and of earlier measurements")
    print_targets()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
