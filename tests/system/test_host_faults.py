"""What happens to a run when its host is cut off, dies or stands still: it goes on elsewhere, to the last bit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import hub as hubs
from tests.conftest import inspected
from tests.hosts import Host
from tests.hub import Hub, points

SPEC: dict[str, Any] = {"family": "simple_mlp", "size": "base", "dataset": "digits", "epochs": 5000, "seed": 3}
SECONDS = 30.0
# No test waits for the end of such a run: it compares what there is, which has to reach beyond the fault.
STEPS = 12_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub whose workers save a checkpoint every second; a test starts those that it needs."""
    if hubs.why_not():
        pytest.skip(hubs.why_not())
    with hubs.running(inspected(tmp_path_factory)) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(hub: Hub) -> list[tuple[int, float]]:
    """The points of a run that nothing happens to."""
    start(hub, "east", "west")
    run = hub.launch(**SPEC)
    hub.wait_for_step(run, STEPS, seconds=240)
    return stopped(hub, run)


def stopped(hub: Hub, run: str) -> list[tuple[int, float]]:
    """The points of a run that is stopped now."""
    hub.call(f"/runs/{run}/cancel", {})
    hub.wait_for(run, "cancelled", seconds=30)
    return points(hub, run)


def goes_on(hub: Hub, run: str, undisturbed: list[tuple[int, float]]) -> None:
    """The run goes on from its checkpoint, and its points are those of the other run: none is lost, doubled or new."""
    (resumed,) = hub.until(lambda: resumptions(hub, run), 60)
    assert 0 < resumed < STEPS - 200
    # From here on, the points of the first attempt after the checkpoint are gone.
    hub.until(lambda: hub.call(f"/runs/{run}")["status"] == "running")
    hub.until(lambda: len(points(hub, run)) >= resumed + 200)
    found = stopped(hub, run)
    assert [step for step, _ in found] == list(range(1, len(found) + 1))
    common = min(len(found), len(undisturbed))
    assert found[:common] == undisturbed[:common]
    assert hub.call(f"/runs/{run}")["attempt"] == 2


def resumptions(hub: Hub, run: str) -> list[int]:
    """The steps from which attempts at the run went on."""
    lines = hub.call(f"/runs/{run}/logs")["lines"]
    return [int(each["text"].split()[3].replace(",", "")) for each in lines if "resuming from step" in each["text"]]


def start(hub: Hub, *names: str) -> list[Host]:
    hosts = [hub.network.hosts[name] for name in names]
    connected = {each["host"] for each in hub.call("/workers")["workers"]}
    for host in hosts:
        if host.name not in connected:
            hub.start_worker(host, RUNYARD_CHECKPOINT_SECONDS="1")
    hub.wait_for_workers(*hosts)
    return hosts


def training(hub: Hub, step: int = 200) -> tuple[str, Host, Host]:
    """A run that has made so many steps, its host, and the other one."""
    run = hub.launch(**SPEC)
    hub.wait_for_step(run, step, seconds=60)
    hub.until(lambda: hub.objects(f"{run}/1/last"), 30)
    # Reports are committed in their order: with later steps, the one about the checkpoint is too.
    hub.wait_for_step(run, hub.call(f"/runs/{run}")["progress"]["step"] + 100)
    (worker,) = [each for each in hub.call("/workers")["workers"] if run in each["runs"]]
    other = {"east": "west", "west": "east"}[worker["host"]]
    return run, hub.network.hosts[worker["host"]], hub.network.hosts[other]


def lost_within(hub: Hub, run: str, began: float) -> None:
    """The yard says within 12 s that the run's worker is gone."""
    hub.until(lambda: hub.call(f"/runs/{run}")["status"] != "running" or hub.call(f"/runs/{run}")["attempt"] > 1, 45)
    assert time.monotonic() - began < SECONDS


def test_a_run_whose_link_is_cut_for_30_seconds_goes_on_elsewhere(
    hub: Hub, undisturbed: list[tuple[int, float]]
) -> None:
    run, host, other = training(hub)
    began = time.monotonic()
    host.cut()
    try:
        lost_within(hub, run, began)
        hub.until(lambda: run_on(hub, run) == other.name, 30)
        hub.until(lambda: time.monotonic() - began > 30, 40)
    finally:
        host.mend()
    # The one that was cut off had gone on training. Nothing of it counts: it is told to stop, unless it has given up
    # because it could not save a checkpoint.
    ends = ("another attempt now owns this run", f"{run} ended")
    hub.until(lambda: any(each in words(hub, host) for each in ends), 30)
    goes_on(hub, run, undisturbed)
    hub.wait_for_workers(host, other)


def test_a_run_whose_host_stands_still_longer_than_its_lease_is_trained_once(
    hub: Hub, undisturbed: list[tuple[int, float]]
) -> None:
    run, host, other = training(hub)
    began = time.monotonic()
    host.freeze()
    try:
        lost_within(hub, run, began)
        hub.until(lambda: run_on(hub, run) == other.name, 30)
        fences = {path.split("/")[1] for path in hub.objects(f"{run}/")}
    finally:
        host.thaw()
    hub.until(lambda: "another attempt now owns this run" in words(hub, host), 30)
    goes_on(hub, run, undisturbed)
    # Each attempt has a folder of its own, so the old one cannot have written over the new one's checkpoints.
    assert {path.split("/")[1] for path in hub.objects(f"{run}/")} >= fences


def test_a_run_whose_host_dies_goes_on_elsewhere(hub: Hub, undisturbed: list[tuple[int, float]]) -> None:
    run, host, other = training(hub)
    began = time.monotonic()
    host.die()
    lost_within(hub, run, began)
    goes_on(hub, run, undisturbed)
    assert hub.call(f"/runs/{run}")["environment"]["host"] == other.name
    before = points(hub, run)
    # It comes back, and what its last trainer had not sent changes nothing.
    host.boot()
    start(hub, host.name, other.name)
    again = hub.launch(**SPEC | {"epochs": 2}, worker=host.name)
    assert hub.wait_for(again, "succeeded", seconds=60)["environment"]["host"] == host.name
    assert points(hub, run) == before


def run_on(hub: Hub, run: str) -> str:
    """The host that trains the run now; "" if none does."""
    found = [each["host"] for each in hub.call("/workers")["workers"] if run in each["runs"]]
    return found[0] if found else ""


def words(hub: Hub, host: Host) -> str:
    return "".join(worker.words() for worker in hub.workers if worker.host is host)
