"""/api/2.0/mlflow: what an unmodified MLflow client says, so that a script of one's own logs its runs here."""

from app.routes.mlflow import experiments, log, runs, search  # noqa: F401, I001
from app.routes.mlflow import artifacts  # noqa: F401
from app.routes.mlflow.protocol import router as mlflow

__all__ = ["mlflow"]
