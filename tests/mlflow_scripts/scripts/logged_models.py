"""Models of one run at several steps, as checkpoints are compared: metrics for datasets, and runs that use models."""

from __future__ import annotations

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput
from mlflow.pyfunc import PythonModel


class Scale(PythonModel):
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def predict(self, model_input: list[float]) -> list[float]:
        return [self.factor * value for value in model_input]


client = MlflowClient()
mlflow.set_experiment("logged_models")
inputs = np.arange(12, dtype="float64").reshape(4, 3)
training = mlflow.data.from_numpy(inputs, targets=inputs.sum(1), name="numbers")
testing = mlflow.data.from_numpy(inputs + 1, name="more numbers")
models = []
with mlflow.start_run(run_name="checkpoints") as run:
    mlflow.log_inputs(datasets=[training, testing], contexts=["training", "testing"], tags_list=[None, {"split": "b"}])
    # The same dataset again, for another purpose.
    mlflow.log_input(training, context="evaluation")
    for step in (1, 2, 3):
        info = mlflow.pyfunc.log_model(
            name=f"scale-{step}",
            python_model=Scale(step / 2),
            step=step,
            params={"factor": step / 2},
            tags={"step": str(step)},
            pip_requirements=[],
            registered_model_name="logged_models" if step > 1 else None,
        )
        models.append(info.model_id)
        for epoch in range(3):
            mlflow.log_metric("error", 1 / (step + epoch), step=epoch, model_id=info.model_id, dataset=training)
        mlflow.log_metrics({"error": 0.5 / step, "bias": -0.0}, step=step, model_id=info.model_id, dataset=testing)
        mlflow.log_metric("plain", step * 1.5, model_id=info.model_id)

external = mlflow.initialize_logged_model(name="external", model_type="agent", tags={"where": "elsewhere"})
mlflow.log_model_params({"temperature": "0.5"}, model_id=external.model_id)
mlflow.set_logged_model_tags(external.model_id, {"kept": "yes", "gone": "soon"})
mlflow.delete_logged_model_tag(external.model_id, "gone")
mlflow.finalize_logged_model(external.model_id, "READY")

best = mlflow.search_logged_models(filter_string="metrics.error < 0.3 AND params.factor = '1.5'", output_format="list")
with mlflow.start_run(run_name="evaluation"):
    mlflow.set_tag("best", ",".join(sorted(model.name for model in best)))
    client.log_inputs(mlflow.active_run().info.run_id, models=[LoggedModelInput(models[2])])
    mlflow.log_metric("error", 0.125, model_id=models[2], dataset=testing)
    mlflow.log_metric("sum", sum(mlflow.pyfunc.load_model(f"models:/{models[2]}").predict([1.0, 2.0])))

client.set_registered_model_alias("logged_models", "best", "2")
client.create_registered_model("logged_models of files", tags={"made": "by hand"}, description="From files of a run.")
with mlflow.start_run(run_name="files"):
    mlflow.log_text("weights", "by hand/weights.txt")
    client.create_model_version(
        "logged_models of files", mlflow.get_artifact_uri("by hand"), mlflow.active_run().info.run_id, {"a": "b"}
    )
client.delete_logged_model(models[0])
