"""In the style of Keras: a model with compile and fit, callbacks that log, early stopping, and the best weights."""

from __future__ import annotations

import json
from collections.abc import Sequence

import mlflow
import numpy as np
from numpy.typing import NDArray

Logs = dict[str, float]
Array = NDArray[np.float64]


class Callback:
    model: Regression

    def on_train_begin(self) -> None:
        """Nothing by default."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Nothing by default."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Nothing by default."""

    def on_train_end(self, logs: Logs) -> None:
        """Nothing by default."""


class Regression:
    def __init__(self, features: int) -> None:
        self.weights = np.zeros(features)
        self.stop_training = False

    def compile(self, lr: float, loss: str = "mse") -> None:
        self.lr, self.loss = lr, loss

    def summary(self) -> str:
        return f"Regression\n{'=' * 20}\nweights {self.weights.shape}\n"

    def fit(self, x: Array, y: Array, epochs: int, batch: int, callbacks: Sequence[Callback]) -> None:
        for each in callbacks:
            each.model = self
            each.on_train_begin()
        logs: Logs = {}
        for epoch in range(epochs):
            for index, start in enumerate(range(0, len(x), batch)):
                inputs, targets = x[start : start + batch], y[start : start + batch]
                error = inputs @ self.weights - targets
                self.weights -= self.lr * 2 * inputs.T @ error / len(inputs)
                for each in callbacks:
                    each.on_batch_end(index, {"loss": float((error**2).mean())})
            loss = float(((x @ self.weights - y) ** 2).mean())
            logs = {"loss": loss, "val_loss": loss * 1.1, "lr": self.lr}
            for each in callbacks:
                each.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        for each in callbacks:
            each.on_train_end(logs)


class MlflowLogger(Callback):
    def __init__(self) -> None:
        self.batches = 0

    def on_train_begin(self) -> None:
        mlflow.log_params({"lr": self.model.lr, "loss": self.model.loss, "features": len(self.model.weights)})
        mlflow.log_text(self.model.summary(), "model_summary.txt")

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        mlflow.log_metrics({f"batch_{name}": value for name, value in logs.items()}, step=self.batches)
        self.batches += 1

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        mlflow.log_metrics(logs, step=epoch)


class EarlyStopping(Callback):
    def __init__(self, patience: int) -> None:
        self.patience, self.best, self.since = patience, float("inf"), 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.since = 0 if logs["val_loss"] < 0.9 * self.best else self.since + 1
        self.best = min(self.best, logs["val_loss"])
        if self.since >= self.patience:
            self.model.stop_training = True
            mlflow.set_tag("stopped_epoch", epoch)


class BestWeights(Callback):
    best = float("inf")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            mlflow.log_text(json.dumps(self.model.weights.tolist()), f"checkpoints/epoch-{epoch:02}.json")

    def on_train_end(self, logs: Logs) -> None:
        mlflow.log_metric("best_val_loss", self.best)


generator = np.random.default_rng(3)
x = generator.normal(size=(64, 5))
y = x @ np.arange(5.0) + generator.normal(scale=0.1, size=64)
mlflow.set_experiment("fit_with_callbacks")
with mlflow.start_run(run_name="regression"):
    model = Regression(5)
    model.compile(lr=0.05)
    model.fit(x, y, epochs=30, batch=16, callbacks=[MlflowLogger(), EarlyStopping(2), BestWeights()])
