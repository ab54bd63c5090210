"""Autologging of scikit-learn: a classifier, and a search over a grid, whose candidates are runs within its run."""

from __future__ import annotations

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

mlflow.set_experiment("sklearn_autolog")
mlflow.sklearn.autolog(max_tuning_runs=3, log_input_examples=True, serialization_format="cloudpickle")
features, classes = load_iris(return_X_y=True)
with mlflow.start_run(run_name="classifier"):
    classifier = LogisticRegression(C=0.5, max_iter=500).fit(features, classes)
    # The metric of an evaluation after training is logged too.
    accuracy_score(classes[::3], classifier.predict(features[::3]))

search = GridSearchCV(SVC(random_state=0), {"C": [0.1, 1.0], "kernel": ["linear", "rbf"]}, cv=3)
with mlflow.start_run(run_name="grid"):
    search.fit(features, classes)
