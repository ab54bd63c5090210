"""Autologging of XGBoost: both of its interfaces, early stopping, importances as JSON and as a picture."""

from __future__ import annotations

import mlflow
import numpy as np
import xgboost
from sklearn.datasets import load_iris

features, classes = load_iris(return_X_y=True)
order = np.random.default_rng(0).permutation(len(features))
training, testing = order[:110], order[110:]
mlflow.set_experiment("xgboost_autolog")
mlflow.xgboost.autolog(log_input_examples=True, importance_types=["weight", "gain"], extra_tags={"by": "autolog"})
with mlflow.start_run(run_name="booster"):
    train = xgboost.DMatrix(features[training], classes[training], feature_names=["a", "b", "c", "d"])
    test = xgboost.DMatrix(features[testing], classes[testing], feature_names=["a", "b", "c", "d"])
    settings = {"objective": "multi:softprob", "num_class": 3, "max_depth": 2, "eta": 0.3, "nthread": 1, "seed": 0}
    xgboost.train(
        settings, train, 30, evals=[(train, "train"), (test, "test")], early_stopping_rounds=3, verbose_eval=False
    )
with mlflow.start_run(run_name="as in scikit-learn"):
    classifier = xgboost.XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1, random_state=0)
    classifier.fit(features[training], classes[training])
