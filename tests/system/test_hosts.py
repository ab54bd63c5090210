"""Server and stores on one host, workers on two others, with nothing between them but a network."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests import hub as hubs
from tests.conftest import inspected
from tests.hub import Hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with a worker on each of the two other hosts."""
    if hubs.why_not():
        pytest.skip(hubs.why_not())
    with hubs.running(inspected(tmp_path_factory)) as found:
        hosts = [found.network.hosts[name] for name in ("east", "west")]
        for host in hosts:
            found.start_worker(host)
        found.wait_for_workers(*hosts)
        yield found


def test_a_host_sees_nothing_of_the_others_files(hub: Hub) -> None:
    east = hub.network.hosts["east"]
    assert list((hub.folder / "data").iterdir())
    assert east.run("ls", "-A", str(hub.folder)).stdout == ""
    assert east.run("hostname").stdout == "east\n"
    own = hub.folder / "ca.pem"
    assert own.exists() and east.run("cat", str(own)).returncode == 1


def test_a_run_launched_on_the_hub_is_trained_on_another_host(hub: Hub) -> None:
    run = hub.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=5, worker="east")
    found = hub.wait_for(run, "succeeded", seconds=60)
    assert found["environment"]["host"] == "east"
    curves = hub.call(f"/runs/{run}/metrics?points=0")
    assert curves["train/loss"]["step"] == list(range(1, found["progress"]["steps"] + 1))
    assert any(path.startswith(run) for path in hub.objects())


def test_a_sweep_uses_both_hosts(hub: Hub) -> None:
    base = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 8}
    sweep = hub.call("/sweeps", {"base": base, "grid": {"lr": [0.001, 0.003, 0.01, 0.03]}})
    hub.until(lambda: hub.call(f"/sweeps/{sweep['id']}")["counts"] == {"succeeded": 4}, 60)
    runs = hub.call("/runs")["runs"][:4]
    assert {hub.call(f"/runs/{run['id']}")["environment"]["host"] for run in runs} == {"east", "west"}


def test_a_stopped_run_resumes_on_the_other_host_from_the_store(hub: Hub) -> None:
    spec = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 60, "seed": 7}
    whole = hub.launch(**spec, worker="west")
    run = hub.launch(**spec, worker="east")
    hub.wait_for_step(run, 40)
    began = time.monotonic()
    hub.call(f"/runs/{run}/cancel", {})
    stopped = hub.wait_for(run, "cancelled", seconds=12)
    assert time.monotonic() - began < 12
    assert stopped["progress"]["step"] < stopped["progress"]["steps"]
    resumed = hub.call(f"/runs/{run}/resume", {"worker": "west"})["id"]
    found = hub.wait_for(resumed, "succeeded", seconds=90)
    assert found["environment"]["host"] == "west"
    assert losses(hub, resumed) == losses(hub, whole)


def losses(hub: Hub, run: str) -> list[tuple[int, float]]:
    """Every point of the training loss, after the run has succeeded."""
    hub.wait_for(run, "succeeded", seconds=120)
    curve = hub.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]
    return list(zip(curve["step"], curve["value"], strict=True))
