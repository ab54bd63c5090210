"""Scripts log, register and load models with MLflow's own client, and users see them on the page Models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.system.test_mlflow import run_script

SCRIPT = """
    import json
    import mlflow
    from mlflow import MlflowClient

    class Doubler(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [2 * each for each in model_input]

    mlflow.set_experiment("doubling")
    client = MlflowClient()
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_param("note", "x" * 6000)
        info = mlflow.pyfunc.log_model(
            name="doubler", python_model=Doubler(), registered_model_name="doubler", pip_requirements=[]
        )
        mlflow.log_metric("acc", 0.75, model_id=info.model_id)
    alone = mlflow.pyfunc.log_model(name="alone", python_model=Doubler(), pip_requirements=[])
    second = mlflow.register_model(f"runs:/{run.info.run_id}/doubler", "doubler")
    client.set_registered_model_alias("doubler", "champion", second.version)
    addresses = ["models:/doubler@champion", "models:/doubler/1", "models:/doubler/latest", info.model_uri,
                 f"runs:/{run.info.run_id}/doubler", alone.model_uri]
    read = client.get_run(run.info.run_id)
    model = mlflow.get_logged_model(info.model_id)
    found = mlflow.search_logged_models(
        experiment_ids=[read.info.experiment_id], filter_string="metrics.acc > 0.7", output_format="list"
    )
    print(json.dumps({
        "run": run.info.run_id,
        "predictions": [mlflow.pyfunc.load_model(each).predict([1, 2]) for each in addresses],
        "outputs": [each.model_id for each in read.outputs.model_outputs] == [info.model_id],
        "found": [each.name for each in found],
        "metrics": {each.key: each.value for each in model.metrics},
        "status": str(model.status),
        "note": len(model.params["note"]),
        "versions": sorted(int(each.version) for each in client.search_model_versions("name = 'doubler'")),
        "files": [each.path for each in client.list_artifacts(run.info.run_id)],
        "alone": client.get_run(mlflow.get_logged_model(alone.model_id).source_run_id).info.status,
    }))
"""


def test_a_model_is_logged_registered_and_loaded_by_an_unmodified_script(yard: Any, page: Page, tmp_path: Path) -> None:
    told = run_script(tmp_path, yard.address, SCRIPT)
    assert told["predictions"] == [[2, 4]] * 6
    assert (told["outputs"], told["found"], told["metrics"]) == (True, ["doubler"], {"acc": 0.75})
    assert (told["status"], told["note"], told["versions"]) == ("READY", 6000, [1, 2])
    assert (told["files"], told["alone"]) == ([], "FINISHED")
    page.goto(f"{yard.address}/models")
    section = page.get_by_role("region", name="doubler")
    expect(section).to_contain_text("Version 2")
    expect(section).to_contain_text('mlflow.pyfunc.load_model("models:/doubler@champion")')
    section.get_by_role("link", name="first").first.click()
    expect(page).to_have_url(f"{yard.address}/runs/{told['run']}")
    page.goto(f"{yard.address}/models")
    section.get_by_role("button", name="Remove version 2 of doubler").click()
    expect(section).not_to_contain_text("Version 2")
    expect(section).to_contain_text("Version 1")
    assert yard.call(f"/runs/{told['run']}/files")["files"][0]["path"].startswith("models/doubler-")


AUTOLOG = """
    import json
    import mlflow
    from mlflow.sklearn import autolog
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    autolog()
    features, classes = load_iris(return_X_y=True)
    with mlflow.start_run() as run:
        LogisticRegression(C=0.5, max_iter=500).fit(features, classes)
    read = mlflow.get_run(run.info.run_id)
    model, = mlflow.search_logged_models(
        experiment_ids=[read.info.experiment_id], filter_string="params.C = '0.5'", output_format="list"
    )
    loaded = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/model")
    print(json.dumps({
        "metrics": read.data.metrics,
        "params": sorted(read.data.params) == sorted(LogisticRegression().get_params()) and read.data.params["C"],
        "model metrics": {each.key: each.value for each in model.metrics},
        "datasets": len(read.inputs.dataset_inputs),
        "score": loaded.score(features, classes),
    }))
"""


def test_autologging_of_scikit_learn_logs_its_metrics_and_its_model(yard: Any, tmp_path: Path) -> None:
    told = run_script(tmp_path, yard.address, AUTOLOG)
    assert sorted(told["metrics"]) == [
        f"training_{name}"
        for name in ("accuracy_score", "f1_score", "log_loss", "precision_score", "recall_score", "roc_auc", "score")
    ]
    assert told["model metrics"] == told["metrics"]
    assert (told["params"], told["datasets"]) == ("0.5", 1)
    assert told["score"] == told["metrics"]["training_score"]
