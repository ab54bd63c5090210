"""Keras with MLflow's own callback, then its model, registered by the call that logs it."""

from __future__ import annotations

import keras
import mlflow
import numpy as np

keras.utils.set_random_seed(9)
generator = np.random.default_rng(9)
inputs = generator.normal(size=(64, 6)).astype("float32")
classes = (inputs.sum(1) > 0).astype("int64")
model = keras.Sequential(
    [keras.Input((6,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2, activation="softmax")]
)
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
mlflow.set_experiment("keras_fit")
with mlflow.start_run(run_name="callback") as run:
    logger = mlflow.keras.MlflowCallback(run)
    model.fit(inputs, classes, batch_size=16, epochs=3, validation_split=0.25, verbose=0, callbacks=[logger])
    mlflow.log_params({"optimizer": model.optimizer.name, "layers": len(model.layers)})
    mlflow.keras.log_model(model, name="classifier", registered_model_name="keras_fit", pip_requirements=["keras"])
    loss, accuracy = model.evaluate(inputs, classes, verbose=0)
    mlflow.log_metrics({"evaluate/loss": loss, "evaluate/accuracy": accuracy})
