"""Launching and listing with the Python client, its connection and its errors."""

from __future__ import annotations

import socket
from typing import assert_type

import pytest

import runyard
from app.contract.settings import Settings
from runyard import FieldProblem, Run, Runyard, RunyardError, Sweep
from tests.conftest import Runs
from tests.served import breaking, hang_up, odd_server, say
from tests.signed_program import signed


def test_a_run_is_launched_with_its_fields_and_can_be_found_again(yard: Runyard, runs: Runs) -> None:
    # The type is checked by mypy.
    run = assert_type(yard.launch(family="simple_cnn", size="tiny", lr=0.01, tags=["a"], seed=3), Run)
    assert (run.status, run.number, run.ended, run.tags) == ("queued", 1, False, ["a"])
    assert run.spec["lr"] == 0.01
    assert run.url == f"{yard.url}/runs/{run.id}"
    assert runs.get(run.id).requested_spec == {
        "family": "simple_cnn",
        "size": "tiny",
        "lr": 0.01,
        "tags": ["a"],
        "seed": 3,
    }
    assert yard.run(run.id).data == run.data
    assert repr(run) == "<Run #1 'simple_cnn tiny · digits' queued>"


def test_a_refusal_names_each_field_that_is_wrong_in_the_servers_words(yard: Runyard) -> None:
    with pytest.raises(RunyardError) as refusal:
        yard.launch(family="vit", epochs=0, lr="fast")
    assert refusal.value.status == 422
    assert refusal.value.detail == str(refusal.value)
    assert refusal.value.errors == [
        FieldProblem("epochs", "epochs must be at least 1"),
        FieldProblem("lr", "lr must be a number"),
    ]
    with pytest.raises(RunyardError, match="no run 'r_none'") as refusal:
        yard.run("r_none")
    assert (refusal.value.status, refusal.value.errors) == (404, [])


def test_a_connection_that_breaks_after_the_launch_launches_once(url: str, runs: Runs) -> None:
    with breaking(url, 0, 40) as (way, passed), Runyard(way) as yard:
        run = yard.launch(family="vit", size="tiny")
        assert len(passed) == 3
    assert runs.sql("SELECT id FROM run") == [(run.id,)]


@pytest.mark.parametrize("act", ["retry", "clone"])
def test_a_connection_that_breaks_after_a_rerun_makes_one(act: str, url: str, runs: Runs) -> None:
    parent = runs.add(family="vit", size="tiny")
    runs.finish(parent, "cancelled")
    with breaking(url) as (way, passed), Runyard(way) as yard:
        yard.run(parent)
        (length,) = passed
    # The first answer arrives, the second is cut off.
    with breaking(url, length + 40) as (way, passed), Runyard(way) as yard:
        rerun = getattr(yard.run(parent), act)()
        assert passed[0] == length + 40
        assert len(passed) == 2
    assert runs.sql("SELECT id FROM run WHERE parent IS NOT NULL") == [(rerun.id,)]


def test_a_key_of_ones_own_gives_back_the_same_run(yard: Runyard) -> None:
    first = yard.launch(family="vit", idempotency_key="mine")
    assert yard.launch(family="vit", idempotency_key="mine").id == first.id
    assert yard.launch(family="vit").id != first.id
    with pytest.raises(RunyardError, match="already launched a different run"):
        yard.launch(family="simple_cnn", idempotency_key="mine")


def test_what_has_no_key_is_sent_once_and_what_only_reads_again() -> None:
    with odd_server() as (address, answers, heard), Runyard(address) as yard:
        answers += [hang_up] * 10
        with pytest.raises(RunyardError, match="cannot connect to a Runyard server"):
            yard.preview(family="vit")
        assert len(heard) == 1
        with pytest.raises(RunyardError, match="cannot connect to a Runyard server"):
            yard.datasets()
        assert len(heard) == 1 + runyard.ATTEMPTS
        with pytest.raises(RunyardError, match="cannot connect to a Runyard server"):
            yard.launch(family="vit")
        assert len({each["idempotency-key"] for each in heard[-runyard.ATTEMPTS :]}) == 1
        answers[:] = [say(b'{"detail": "taken"}', 409)]
        with pytest.raises(RunyardError, match=r"^taken$"):
            yard.launch(family="vit")
        assert answers == []


def test_the_server_and_the_token_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNYARD_URL", "RUNYARD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert Runyard().url == "http://127.0.0.1:8000"
    with odd_server() as (address, answers, heard):
        monkeypatch.setenv("RUNYARD_URL", f"{address}/")
        monkeypatch.setenv("RUNYARD_TOKEN", "secret")
        answers += [say(b'{"datasets": []}')] * 3
        with Runyard() as yard:
            assert (yard.url, yard.datasets()) == (address, [])
        with Runyard(address, token="other") as yard:
            yard.datasets()
        monkeypatch.delenv("RUNYARD_TOKEN")
        with Runyard(address) as yard:
            yard.datasets()
    assert [each.get("authorization") for each in heard] == ["Bearer secret", "Bearer other", None]


def test_a_proxy_is_not_asked_for_a_server_of_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Runyard(url) as yard:
        assert yard.workers() == []


def test_a_server_that_is_not_there_is_said_with_how_to_start_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RunyardError) as refusal, Runyard(f"http://127.0.0.1:{port}") as yard:
        yard.workers()
    assert refusal.value.status == 0
    assert str(refusal.value) == (
        f"cannot connect to a Runyard server at http://127.0.0.1:{port};"
        " start one with `runyard up`; if it has another address, set RUNYARD_URL=http://HOST:PORT or pass its url"
    )


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1", "http://a:0", "http://a:99999"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(RunyardError, match=r"invalid server URL .*; example: http://"):
        Runyard(address)


@pytest.mark.parametrize(("body", "status"), [(b"<html>", 200), (b"<html>", 404), (b"[]", 500), (b"{}", 502)])
def test_another_program_at_the_address_is_not_taken_for_runyard(body: bytes, status: int) -> None:
    with odd_server() as (address, answers, _), Runyard(address) as yard:
        answers.append(say(body, status))
        with pytest.raises(RunyardError, match=f"unexpected response from {address} .*: it is not a Runyard server"):
            yard.workers()


# Listing -------------------------------------------------------------------------------------------------------------


def test_runs_come_page_by_page_and_as_many_as_are_wanted(
    yard: Runyard, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [runs.add(seed=i) for i in range(7)]
    monkeypatch.setattr(runyard, "PAGE_RUNS", 3)
    assert [run.id for run in yard.runs()] == ids[::-1]
    assert [run.id for run in yard.runs(limit=4)] == ids[:2:-1]
    assert [run.id for run in yard.runs(sort="number", limit=1)] == ids[:1]
    found, after = yard.page(limit=5, sort="number")
    assert [run.id for run in found] == ids[:5]
    rest, after = yard.page(after, sort="number")
    assert ([run.id for run in rest], after) == (ids[5:], None)


def test_runs_are_filtered_by_one_value_or_several(yard: Runyard, runs: Runs) -> None:
    one, two = runs.add(family="vit", tags=["a"]), runs.add(family="simple_cnn", tags=["a", "b"])
    runs.finish(two, "failed")
    assert [run.id for run in yard.runs(status=["failed", "cancelled"])] == [two]
    assert [run.id for run in yard.runs(family="vit")] == [one]
    assert [run.id for run in yard.runs(tag=["a", "b"])] == [two]
    assert [run.id for run in yard.runs(number=[1, 7])] == [one]
    with pytest.raises(RunyardError, match="no status 'done'; statuses: "):
        list(yard.runs(status="done"))


def test_the_catalog_is_told(yard: Runyard) -> None:
    assert {each["family"] for each in yard.architectures()} >= {"vit", "simple_cnn"}
    assert [each["name"] for each in yard.datasets()][:2] == ["digits", "mnist"]
    assert "default" in [each["name"] for each in yard.recipes()]
    assert yard.presets()["vit_mnist_995"]["family"] == "vit"
    assert yard.ask("GET", "/recipes", dataset="cifar10")["recipes"]


def test_a_program_is_launched_with_values(yard: Runyard, settings: Settings) -> None:
    yard.ask("PUT", "/programs/tune", signed(settings))
    (program,) = yard.programs()
    assert [field["name"] for field in program["fields"]][:2] == ["lr", "epochs"]
    runs = assert_type(yard.launch_program("tune", {"lr": 0.5, "augment": True}, seeds=2, tags=["a"]), list[Run])
    assert [run.title for run in runs] == ["tune · lr 0.5, augment true", "tune · lr 0.5, augment true, seed 1"]
    assert runs[0].tags == ["a"]
    with pytest.raises(RunyardError) as refusal:
        yard.launch_program("tune", {"lr": 2, "lrr": 1})
    assert [problem.field for problem in refusal.value.errors] == ["lrr", "lr"]


def test_a_program_is_swept(yard: Runyard, settings: Settings) -> None:
    yard.ask("PUT", "/programs/tune", signed(settings))
    made = assert_type(
        yard.sweep_program("tune", {"epochs": 3}, grid={"lr": [0.1, 0.5]}, seeds=2, metric="score", tags=["a"]), Sweep
    )
    assert (made.planned, made.data["command"]["program"], made.data["metric"]) == (4, "tune", "score")
    assert [yard.run(run).tags for run in made.runs] == [["a"]] * 4
    with pytest.raises(RunyardError) as refusal:
        yard.sweep_program("tune", space={"lr": {"low": 0, "high": 2}}, method="random", draws=3)
    assert [problem.field for problem in refusal.value.errors] == ["lr"]


def test_a_connection_that_breaks_after_the_launch_launches_a_program_once(
    url: str, yard: Runyard, settings: Settings, runs: Runs
) -> None:
    yard.ask("PUT", "/programs/tune", signed(settings))
    with breaking(url, 0, 40) as (way, _), Runyard(way) as broken:
        assert len(broken.launch_program("tune", seeds=2)) == 2
    assert runs.sql("SELECT count(*) FROM run") == [(2,)]
