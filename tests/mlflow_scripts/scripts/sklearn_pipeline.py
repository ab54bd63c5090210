"""In the style of a notebook about tables: a pipeline, a signature, an evaluation, a registered model with an alias."""

from __future__ import annotations

import mlflow
import numpy as np
import pandas
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

generator = np.random.default_rng(11)
table = pandas.DataFrame(
    {
        "acidity": generator.normal(7, 1, 120),
        "sugar": np.where(generator.random(120) < 0.1, np.nan, generator.gamma(2, 2, 120)),
        "color": generator.choice(["red", "white"], 120),
    }
)
table["quality"] = table["acidity"] * 0.5 + (table["color"] == "red") * 2.0 + generator.normal(0, 0.2, 120)
training, testing = train_test_split(table, random_state=0)
columns = ["acidity", "sugar", "color"]
client = MlflowClient()
mlflow.set_experiment("sklearn_pipeline")
for name, estimator in {
    "elastic net": ElasticNet(alpha=0.1, l1_ratio=0.5, random_state=0),
    "forest": RandomForestRegressor(n_estimators=5, max_depth=3, random_state=0),
}.items():
    with mlflow.start_run(run_name=name) as run:
        numbers = Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler())])
        prepare = ColumnTransformer([("n", numbers, ["acidity", "sugar"]), ("c", OneHotEncoder(), ["color"])])
        pipeline = Pipeline([("prepare", prepare), ("estimate", estimator)])
        dataset = mlflow.data.from_pandas(training, name="wine", targets="quality")
        mlflow.log_input(dataset, context="training", tags={"version": "2"})
        mlflow.log_input(mlflow.data.from_pandas(testing, name="wine-test", targets="quality"), context="testing")
        pipeline.fit(training[columns], training["quality"])
        predicted = pipeline.predict(testing[columns])
        mlflow.log_params({key: value for key, value in estimator.get_params().items() if value is not None})
        signature = infer_signature(training[columns], predicted)
        info = mlflow.sklearn.log_model(
            pipeline,
            name="pipeline",
            signature=signature,
            input_example=training[columns].head(2),
            registered_model_name="sklearn_pipeline wine",
            pip_requirements=["scikit-learn"],
            params={"kind": name},
            tags={"reviewed": "no"},
            metadata={"unit": "points"},
            serialization_format="cloudpickle",
        )
        errors = {
            "rmse": float(mean_squared_error(testing["quality"], predicted) ** 0.5),
            "mae": float(mean_absolute_error(testing["quality"], predicted)),
            "r2": float(r2_score(testing["quality"], predicted)),
        }
        mlflow.log_metrics(errors, model_id=info.model_id, dataset=dataset)

client.update_registered_model("sklearn_pipeline wine", "Predicts the quality of wine.")
client.set_registered_model_tag("sklearn_pipeline wine", "task", "regression")
client.set_registered_model_alias("sklearn_pipeline wine", "champion", "2")
client.set_registered_model_alias("sklearn_pipeline wine", "previous", "1")
client.set_model_version_tag("sklearn_pipeline wine", "2", "approved by", "nobody")
client.update_model_version("sklearn_pipeline wine", "1", "The first one.")
champion = mlflow.pyfunc.load_model("models:/sklearn_pipeline wine@champion")
with mlflow.start_run(run_name="use the champion"):
    mlflow.log_metrics({f"prediction {i}": value for i, value in enumerate(champion.predict(testing[columns].head(3)))})
