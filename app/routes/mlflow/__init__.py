"""/api/2.0/mlflow: the part of MLflow's REST API that lets unmodified MLflow clients log their runs and models here."""

from app.routes.mlflow import experiments, log, logged_models, model_versions, registered_models, runs, search  # noqa: F401, I001
from app.routes.mlflow import artifacts  # noqa: F401
from app.routes.mlflow.protocol import WITHIN
from app.routes.mlflow.protocol import router as mlflow

__all__ = ["WITHIN", "mlflow"]
