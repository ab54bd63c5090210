"""Run one benchmark or all of them: ``python -m bench``."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.report import print_targets

BENCHES = {
    "latency": "time from the log call in the trainer to an event-stream client and to a browser's pixels",
    "startup": "time from the start of the server to its first page, and from a launch to the first training step",
    "table": "the run table with 10,000 and 100,000 runs: sorted, filtered, first and deep pages",
    "postgresql": "the recorder and the run table on PostgreSQL compared with SQLite",
    "queue": "the queue's page and API with 1,000 queued runs compared with ten; cancelling all of them",
    "training": "an epoch compared with a plain PyTorch loop and with Lightning, torchmetrics and torchvision",
    "epochs": "150 short epochs with validation, compared with a plain loop that validates as often",
    "dropout": "a training step on a CPU with Runyard's dropout compared with torch's",
    "evaluation": "images per second in validation and test, by the number of images per pass",
    "predictions": "what it costs a run to keep its predictions: whole runs with and without",
    "streaming": "an epoch with images streamed from disk compared with images in memory; reading from a cold disk",
    "importing": "the importer: a zip of 60,000 JPEGs, photos of 12 megapixels, memory by number of files",
    "accuracy": "training time to 98, 99 and 99.3% validation accuracy on MNIST, or to 99% on a stand-in",
    "zoo": "test accuracy and training time of the zoo on real data, if there is any, three seeds each",
    "zoo_seconds": "training time of an epoch of the networks of zoo that have no timed run",
    "speedrun": "seconds and test accuracy of the speedrun presets on real MNIST, if there is any",
    "gpu": "tunings, time to 99% and epochs on CUDA in at most eight minutes, if there is a GPU",
    "logging": "CPU and 99th percentile of a log call, compared with five other trackers; bytes per scalar",
    "recorder": "scalars per second from the stream into SQLite, none lost; 20 runs at normal speed",
    "curves": "curves of 20 runs compared with trackio and MLflow, and one run of ten million points",
    "page": "a run's page in a browser: ten million points, fifty charts; size, first chart, zoom, frames",
    "exports": "every size of the catalog as ONNX: seconds, and the largest difference from torch",
    "predictions_page": "pages of 60,000 predictions in 10 classes and 50,000 in 1,000: first shown, epochs, scrolling",
    "prediction_service": "one picture, a batch and a look of the playground over loopback, on a CPU",
    "viewers": "200 event-stream clients of a run with 1,000 scalars per second, and what 20 cost the training",
}


def main(words: list[str]) -> int:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    listing = "; ".join(f"{name}: {about}" for name, about in BENCHES.items())
    # No ``choices``: argparse would reject the empty list, which means all.
    parser.add_argument("names", nargs="*", metavar="NAME", help=listing.replace("%", "%%"))
    chosen = parser.parse_args(words).names or list(BENCHES)
    if unknown := [name for name in chosen if name not in BENCHES]:
        parser.error(f"No benchmark '{unknown[0]}'. Benchmarks: {', '.join(BENCHES)}.")
    for name in chosen:
        print(f"\n{name}: {BENCHES[name]}")
        importlib.import_module(f"bench.{name}").main()
    print("\ntargets and results, from this and earlier runs")
    print_targets()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
