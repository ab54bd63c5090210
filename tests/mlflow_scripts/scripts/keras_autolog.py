"""Autologging of Keras: parameters, metrics of every epoch, the summary, the dataset and the model."""

from __future__ import annotations

import keras
import mlflow
import numpy as np

keras.utils.set_random_seed(9)
generator = np.random.default_rng(9)
inputs = generator.normal(size=(64, 6)).astype("float32")
classes = (inputs.sum(1) > 0).astype("int64")
model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])
model.compile(
    keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
)
mlflow.set_experiment("keras_autolog")
mlflow.keras.autolog()
with mlflow.start_run(run_name="autologged"):
    model.fit(inputs, classes, batch_size=16, epochs=3, validation_data=(inputs[:16], classes[:16]), verbose=0)
