"""Every way to log a file, with the libraries whose objects it takes."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import mlflow
import numpy as np
import pandas
from PIL import Image

matplotlib.use("Agg")
from matplotlib import pyplot

# Names within an SVG file are made of it.
pyplot.rcParams["svg.hashsalt"] = "one"

generator = np.random.default_rng(7)
mlflow.set_experiment("logged_files")
with mlflow.start_run(run_name="all kinds"):
    figure, axes = pyplot.subplots()
    axes.plot(range(10), [value * value for value in range(10)])
    mlflow.log_figure(figure, "plots/squares.png")
    mlflow.log_figure(figure, "plots/squares.svg", save_kwargs={"metadata": {"Date": None}})
    picture = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    mlflow.log_image(picture, "pictures/array.png")
    mlflow.log_image(Image.fromarray(picture).convert("L"), "pictures/gray.png")
    for step in (0, 10, 20):
        mlflow.log_image(picture // (1 + step), key="samples", step=step)
    mlflow.log_image(generator.random((8, 8)), key="activations/layer 1", step=0)
    mlflow.log_table({"question": ["one", "two"], "answer": [1.5, None]}, "answers.json")
    mlflow.log_table(pandas.DataFrame({"question": ["three"], "answer": [-1e-9]}), "answers.json")
    mlflow.log_table({"image": [Image.fromarray(picture)], "class": ["fish"]}, "with_images.json")
    mlflow.log_dict({"nested": {"list": [1, 2.5, None, "ü"]}}, "settings/settings.yaml")
    mlflow.log_dict({"nested": {"list": [1, 2.5, None, "ü"]}}, "settings/settings.json")
    mlflow.log_text("line 1\nline 2 🐟\n", "notes/read me.txt")
    mlflow.log_text("", "notes/empty.txt")
    mlflow.log_text("first", "replaced.txt")
    mlflow.log_text("second, and longer", "replaced.txt")
    folder = Path("outputs")
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(generator.bytes(300_000))
    (folder / "deep" / "deeper" / "größe + & ü.csv").write_text("a,b\n1,2\n")
    (folder / "deep" / "no_extension").write_bytes(b"\0\xff\r\n")
    mlflow.log_artifacts(str(folder), "outputs")
    mlflow.log_artifact(str(folder / "weights.bin"))
    mlflow.log_artifact(str(folder / "deep"), "one folder")
