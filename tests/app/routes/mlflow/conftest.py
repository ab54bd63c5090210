"""A script that speaks MLflow's protocol, word for word as its client does."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

PREFIX = "/api/2.0/mlflow"
NOW = 1_700_000_000_000


class Script:
    """Calls of the protocol; ``refused`` gives the error of one that is not taken."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def say(self, path: str, /, **said: Any) -> Any:
        """A call with a body; gives its answer."""
        answer = self.client.post(PREFIX + path, json=said)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask(self, path: str, /, **said: Any) -> Any:
        """A call with a query; gives its answer."""
        answer = self.client.get(PREFIX + path, params=said)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, path: str, **said: Any) -> tuple[str, str]:
        """A call that is not taken: its code and its sentence."""
        answer = self.client.post(PREFIX + path, json=said)
        assert answer.status_code >= 400, answer.text
        error = answer.json()
        assert error["message"]
        return error["error_code"], error["message"]

    def begin(self, experiment: str = "0", name: str = "a run", **said: Any) -> str:
        """Begin a run; gives its id."""
        made = self.say("/runs/create", experiment_id=experiment, run_name=name, start_time=NOW, **said)
        return str(made["run"]["info"]["run_id"])

    def log(self, run: str, **curves: list[Any]) -> None:
        """Log the values of metrics at steps 0, 1, 2, …; ``val__acc`` stands for val/acc."""
        metrics = [
            {"key": name.replace("__", "/"), "value": value, "timestamp": NOW + 1000 * step, "step": step}
            for name, values in curves.items()
            for step, value in enumerate(values)
        ]
        self.say("/runs/log-batch", run_id=run, metrics=metrics)

    def get(self, run: str) -> Any:
        """A run as the protocol tells it."""
        return self.ask("/runs/get", run_id=run)["run"]

    def end(self, run: str, status: str = "FINISHED") -> None:
        """Say how a run ended."""
        self.say("/runs/update", run_id=run, status=status, end_time=NOW + 60_000)

    def found(self, filter: str = "", **said: Any) -> list[str]:
        """The names of the runs that a search finds, in its order."""
        answer = self.say("/runs/search", experiment_ids=["0"], filter=filter, **said)
        return [run["info"]["run_name"] for run in answer.get("runs", [])]


@pytest.fixture
def script(client: TestClient) -> Script:
    """A script on this machine."""
    return Script(client)
