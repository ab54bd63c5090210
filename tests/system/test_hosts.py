"""Server and stores on one host, workers on two others, with nothing between them but a network."""

from __future__ import annotations

import io
import json
import zipfile

from tests.hub import Hub, losses
from tests.system.test_browser_datasets import photos


def test_a_host_sees_nothing_of_the_others_files(hub: Hub) -> None:
    east = hub.network.hosts["east"]
    assert list((hub.folder / "data").iterdir())
    assert east.run("ls", "-A", str(hub.folder)).stdout == ""
    assert east.run("hostname").stdout == "east\n"
    own = hub.folder / "ca.pem"
    assert own.exists()
    assert east.run("cat", str(own)).returncode == 1


def test_a_run_launched_on_the_hub_is_trained_on_another_host(hub: Hub) -> None:
    run = hub.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=5, worker="east")
    found = hub.wait_for(run, "succeeded", seconds=240)
    assert found["environment"]["host"] == "east"
    curves = hub.call(f"/runs/{run}/metrics?points=0")
    assert curves["train/loss"]["step"] == list(range(1, found["progress"]["steps"] + 1))
    assert any(path.startswith(run) for path in hub.objects())


def test_a_sweep_uses_both_hosts(hub: Hub) -> None:
    base = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 60}
    sweep = hub.call("/sweeps", {"base": base, "grid": {"lr": [0.001, 0.003, 0.01, 0.03]}})
    hub.until(lambda: hub.call(f"/sweeps/{sweep['id']}")["counts"] == {"succeeded": 4}, 240)
    runs = hub.call("/runs")["runs"][:4]
    assert {hub.call(f"/runs/{run['id']}")["environment"]["host"] for run in runs} == {"east", "west"}


def test_a_stopped_run_resumes_on_the_other_host_from_the_store(hub: Hub) -> None:
    spec = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 200, "seed": 7}
    whole = hub.launch(**spec, worker="west")
    run = hub.launch(**spec, worker="east")
    hub.wait_for_step(run, 40)
    hub.call(f"/runs/{run}/cancel", {})
    stopped = hub.wait_for(run, "cancelled", seconds=60)
    assert stopped["progress"]["step"] < stopped["progress"]["steps"]
    resumed = hub.call(f"/runs/{run}/resume", {"worker": "west"})["id"]
    found = hub.wait_for(resumed, "succeeded", seconds=240)
    assert found["environment"]["host"] == "west"
    assert losses(hub, resumed) == losses(hub, whole)


def test_own_datasets_and_architectures_come_to_the_workers_by_the_store(hub: Hub) -> None:
    folder = hub.folder / "shades"
    zipfile.ZipFile(io.BytesIO(photos({"red": (220, 30, 30), "green": (30, 200, 30)}))).extractall(folder)
    # Imports are read on the server's machine.
    importer = hub.start_worker(hub.host, RUNYARD_SLOTS="1")
    added = hub.command("dataset", "add", str(folder), "--name", "shades", "--side", "28", "--json")
    assert added.returncode == 0, added.stdout + added.stderr + hub.words()
    importer.stop()
    hub.wait_for_workers(*(hub.network.hosts[name] for name in ("east", "west")))
    version = json.loads(added.stdout)["dataset"]["version"]

    spec = {"family": "two_convs", "size": "tiny", "dataset": "shades", "epochs": 2}
    run = hub.launch(**spec, worker="east")
    # This worker was started by hand, so nothing proves to it who wrote the architecture.
    refused = hub.wait_for(run, "failed")
    assert "this worker has no key to tell who wrote an architecture" in refused["reason"]
    # The dataset came, and is complete.
    copy = hub.data_dir(hub.network.hosts["east"]) / "datasets" / "own" / "shades" / version
    ours = hub.data_dir(hub.host) / "datasets" / "own" / "shades" / version
    names = sorted(path.name for path in ours.iterdir())
    assert sorted(path.name for path in copy.iterdir()) == sorted([*names, ".fetched"])
    assert all((copy / name).read_bytes() == (ours / name).read_bytes() for name in names)
    assert f"shared/datasets/shades/{version}.json" in hub.objects("shared/")

    # With the key that `runyard join` brings, it trains the same network. The dataset is fetched once.
    before = copy.stat().st_ctime_ns
    token = json.loads(hub.command("worker-token", "add", "--json").stdout)["secret"]
    east = hub.network.hosts["east"]
    by_hand = next(worker for worker in hub.workers if worker.host is east)
    by_hand.stop()
    hub.start_worker(east, "join", token)
    hub.wait_for_workers(*(hub.network.hosts[name] for name in ("east", "west")))
    found = hub.wait_for(hub.launch(**spec, worker="east"), "succeeded", seconds=240)
    assert found["environment"]["host"] == "east"
    assert copy.stat().st_ctime_ns == before
    captured = hub.call(f"/runs/{found['id']}/environment")
    assert captured["models"]["sha256"][:16] in {
        path.name for path in (hub.data_dir(east) / "architectures").iterdir() if not path.name.startswith(".")
    }

    # The token worked once, and the machine that used it needs none any more.
    again = hub.host.run(*hub.cli("join", token), env=hub.environment | {"RUNYARD_DATA_DIR": str(hub.folder / "third")})
    assert again.returncode == 1
    assert again.stderr == "runyard: this token was used up by east; ask an administrator for another\n"
    (listed,) = hub.call("/worker-tokens")["tokens"]
    assert (listed["host"], listed["uses_left"]) == ("east", 0)


def test_a_command_of_the_hub_waits_for_a_worker_with_its_key(hub: Hub) -> None:
    here, there = (
        json.loads(hub.command("exec", *where, "--json", "--", "true").stdout)["id"]
        for where in ((), ("--worker", "east"))
    )
    # Both workers are idle, and do not get it.
    trained = [hub.launch(family="simple_mlp", size="tiny", epochs=1, worker=name) for name in ("east", "west")]
    for each in trained:
        hub.wait_for(each, "succeeded", seconds=240)
    assert [hub.call(f"/runs/{run}")["status"] for run in (here, there)] == ["queued", "queued"]
    assert [waiting["why"] for waiting in hub.call("/queue")["runs"]] == [
        "needs worker hub; connected workers: east, west",
        "needs a worker with the key in the server's data folder; commands start on no other",
    ]
    hub.call(f"/runs/{there}/cancel", {})
    mine = hub.start_worker(hub.host)
    hub.wait_for(here, "succeeded", seconds=240)
    mine.stop()
    assert hub.call(f"/runs/{there}")["attempt"] == 0
