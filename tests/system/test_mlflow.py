"""Scripts that know nothing of Runyard log to it with MLflow's own client, and are seen doing it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from runyard import Runyard
from tests.system.running_yard import OFFLINE

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


def run_script(folder: Path, address: str, said: str) -> Any:
    """A user's own script in a process of its own; gives what it printed last, as JSON."""
    script = folder / "train.py"
    script.write_text(textwrap.dedent(said))
    environment = {**os.environ, **OFFLINE, **QUIET, "MLFLOW_TRACKING_URI": address}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_an_unmodified_script_logs_and_reads_its_run(yard: Any, tmp_path: Path) -> None:
    told = run_script(
        tmp_path,
        yard.address,
        """
        import json
        import mlflow

        mlflow.set_experiment("scans")
        with mlflow.start_run(run_name="night shift", tags={"paper": "true"}) as run:
            mlflow.log_params({"lr": 0.01, "optimizer": "lion"})
            mlflow.log_param("depth", 4)
            for step in range(50):
                mlflow.log_metrics({"val/acc": step / 50, "train/loss": 1 / (step + 1)}, step=step)
            mlflow.log_metric("train/loss", float("nan"), step=50)
            mlflow.set_tag("stage", "one")
        client = mlflow.MlflowClient()
        found = mlflow.search_runs(
            experiment_names=["scans"],
            filter_string="metrics.`val/acc` > 0.9 and params.optimizer = 'lion' and tags.stage LIKE 'o%'",
            output_format="list",
        )
        history = client.get_metric_history(run.info.run_id, "val/acc")
        read = client.get_run(run.info.run_id)
        print(json.dumps({
            "id": run.info.run_id,
            "found": [each.info.run_id for each in found],
            "history": [(each.step, each.value) for each in history],
            "params": read.data.params,
            "status": read.info.status,
            "name": read.info.run_name,
            "files": len(client.list_artifacts(run.info.run_id)),
        }))
        """,
    )
    assert told["found"] == [told["id"]]
    assert told["history"] == [[step, step / 50] for step in range(50)]
    assert told["params"] == {"lr": "0.01", "optimizer": "lion", "depth": "4"}
    assert (told["status"], told["name"], told["files"]) == ("FINISHED", "night shift", 0)
    run = yard.call(f"/runs/{told['id']}")
    assert (run["status"], run["origin"], run["spec"]) == ("succeeded", "mlflow", None)
    assert run["tags"] == ["paper", "stage=one"]
    assert run["summary"]["val/acc"]["best"] == 0.98
    assert run["summary"]["train/loss"]["not_finite"] == 1


def test_lightnings_logger_logs_a_fit_and_a_test(yard: Any, tmp_path: Path) -> None:
    told = run_script(
        tmp_path,
        yard.address,
        """
        import json
        import os
        import warnings

        warnings.simplefilter("ignore")
        import lightning
        import torch
        from lightning.pytorch.loggers import MLFlowLogger

        class Line(lightning.LightningModule):
            def __init__(self, lr=0.1):
                super().__init__()
                self.save_hyperparameters()
                self.layer = torch.nn.Linear(4, 1)

            def training_step(self, batch, index):
                loss = self.layer(batch).square().mean()
                self.log("train/loss", loss)
                return loss

            def validation_step(self, batch, index):
                self.log("val/loss", self.layer(batch).square().mean())

            def test_step(self, batch, index):
                self.log("test/loss", self.layer(batch).square().mean())

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), self.hparams.lr)

        data = torch.utils.data.DataLoader(torch.randn(32, 4), batch_size=4)
        logger = MLFlowLogger("lines", run_name="fitted", tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
        trainer = lightning.Trainer(
            max_epochs=3, logger=logger, log_every_n_steps=1, accelerator="cpu",
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )
        model = Line()
        trainer.fit(model, data, data)
        trainer.test(model, data, verbose=False)
        print(json.dumps({"id": logger.run_id}))
        """,
    )
    run = yard.call(f"/runs/{told['id']}")
    assert (run["status"], run["title"], run["parameters"]) == ("succeeded", "fitted", {"lr": "0.1"})
    points = {name: each["points"] for name, each in run["summary"].items()}
    assert points["train/loss"] == 24
    assert points["val/loss"] == 3
    assert points["test/loss"] == 1


@pytest.fixture
def client(yard: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's own client, in this process."""
    for name, value in {**QUIET, **OFFLINE}.items():
        monkeypatch.setenv(name, value)
    from mlflow import MlflowClient

    return MlflowClient(yard.address)


def test_a_run_appears_live_on_its_page_while_its_script_logs(yard: Any, client: Any, page: Page) -> None:
    experiment = client.create_experiment("watched")
    run = client.create_run(experiment, run_name="live one").info.run_id
    client.log_param(run, "patience", "12")
    client.log_metric(run, "val/acc", 0.1, step=0)
    page.goto(f"{yard.address}/runs/{run}")
    expect(page.locator("h1")).to_have_text("live one")
    expect(page.locator("#run-logged")).to_contain_text("External run")
    expect(page.locator("#run-side")).to_contain_text("patience")
    for step in range(1, 40):
        client.log_metric(run, "val/acc", 0.1 + step / 50, step=step)
    shown = "(window.runyard?.charts['acc']?.data[1] ?? []).filter(v => v !== null).length"
    yard.until(lambda: page.evaluate(shown) == 40)
    expect(page.locator("#run-head .figures")).to_contain_text("88.00%")
    client.log_metric(run, "gap", 0.5, step=40)
    client.set_terminated(run)
    expect(page.locator("#run-logged")).to_contain_text("Succeeded")
    client.set_tag(run, "mlflow.note.content", "seen")
    assert yard.call(f"/runs/{run}")["notes"] == "seen"


def test_stop_on_the_page_stops_the_script_at_its_next_word(yard: Any, client: Any, page: Page) -> None:
    from mlflow.exceptions import MlflowException

    run = client.create_run("0", run_name="to be stopped").info.run_id
    client.log_metric(run, "loss", 1.0, step=0)
    page.goto(f"{yard.address}/runs/{run}")
    page.locator("#run-head").get_by_role("button", name="Stop").click()
    expect(page.locator("#run-logged")).to_contain_text("Stopped")
    with pytest.raises(MlflowException, match="cancelled in Runyard"):
        client.log_metric(run, "loss", 2.0, step=1)
    assert client.get_run(run).info.status == "KILLED"


def test_the_address_that_the_client_prints_leads_to_the_run(yard: Any, client: Any, page: Page) -> None:
    run = client.create_run("0", run_name="printed").info.run_id
    page.goto(f"{yard.address}/#/experiments/0/runs/{run}")
    expect(page).to_have_url(f"{yard.address}/runs/{run}")
    expect(page.locator("h1")).to_have_text("printed")
    client.set_terminated(run)


def test_steps_of_64_bits_and_in_any_order_come_back_as_they_were_logged(yard: Any, client: Any) -> None:
    from mlflow.entities import Metric

    run = client.create_run("0", run_name="large steps").info.run_id
    steps = [0, -5, 1_764_000_000_000, 2**63 - 1]
    for value, step in enumerate(steps):
        client.log_metric(run, "loss", float(value), step=step)
    more = [-(2**63), 2**53 + 1, 7]
    client.log_batch(run, [Metric("loss", 10.0 + value, 1_764_000_000_000, step) for value, step in enumerate(more)])
    client.set_terminated(run)
    history = client.get_metric_history(run, "loss")
    expected = {step: float(value) for value, step in enumerate(steps)} | {
        step: 10.0 + value for value, step in enumerate(more)
    }
    # As in MLflow, by time, and those of one millisecond by step.
    in_time = [*sorted(more), *steps]
    assert [(each.step, each.value) for each in history] == [(step, expected[step]) for step in in_time]
    # As in MLflow, the newest value is that of the largest step.
    assert client.get_run(run).data.metrics == {"loss": 3.0}
    with Runyard(yard.address) as own:
        points = list(own.run(run).metrics())
    assert sorted((point.step, point.value) for point in points) == sorted(expected.items())
