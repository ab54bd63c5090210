"""The files of a run: in the API, on their page, and never as something that a browser executes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.contract.events import Checkpoint, LogLine
from app.contract.settings import Settings
from app.services import artifacts
from app.store.database import writing
from app.store.lineage import save_capture, save_checkpoint
from app.store.log import add_lines
from tests.app.predicted import keep, predictions_of
from tests.conftest import Runs

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
CAPTURE = {"freeze": ["torch==2.15"], "packages": {}, "machine": {}, "device": {}, "dataset": {}, "command": "train"}
Log = Callable[[str, bytes], None]


@pytest.fixture
def run(client: TestClient) -> str:
    """A run that a script logs."""
    made = client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0", "run_name": "logged"})
    return str(made.json()["run"]["info"]["run_id"])


@pytest.fixture
def log(client: TestClient, run: str) -> Log:
    """Logs a file to it."""

    def put(path: str, content: bytes) -> None:
        address = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{quote(path)}"
        answer = client.put(address, content=content)
        assert answer.status_code == 200, answer.text

    return put


def image_name(key: str, step: int, small: bool = False) -> str:
    name = f"images/{key.replace('/', '~')}+step+{step}+timestamp+1700000000000+ab-12"
    return f"{name}+compressed.webp" if small else f"{name}.png"


# API -----------------------------------------------------------------------------------------------------------------


def test_the_files_of_a_script_are_listed_and_read(client: TestClient, run: str, log: Log) -> None:
    log("plots/roc 100%.png", PNG)
    log("notes.txt", b"hello")
    said = client.get(f"/api/v1/runs/{run}/files").json()
    assert [(each["path"], each["kind"], each["bytes"], each["source"]) for each in said["files"]] == [
        ("notes.txt", "other", 5, "script"),
        ("plots/roc 100%.png", "image", 28, "script"),
    ]
    assert said["bytes"] == 33
    assert client.get(said["files"][1]["url"]).content == PNG
    under = client.get(f"/api/v1/runs/{run}/files", params={"under": "plots/"}).json()
    assert [each["path"] for each in under["files"]] == ["plots/roc 100%.png"]
    assert client.get(f"/api/v1/runs/{run}/files", params={"under": "../x"}).status_code == 422
    missing = client.get(f"/api/v1/runs/{run}/files/none.txt")
    assert (missing.status_code, missing.json()["detail"]) == (404, "this run has no file 'none.txt'")
    assert client.get("/api/v1/runs/r_none/files").status_code == 404


@pytest.mark.parametrize(
    "name", ["a.html", "a.svg", "a.xhtml", "a.xml", "a.pdf", "a.js", "a.txt", "a", "a.png.html", "a.mht", "a.swf"]
)
def test_what_a_browser_could_execute_is_saved_and_never_shown(
    client: TestClient, run: str, log: Log, name: str
) -> None:
    log(name, b"<html><script>alert(1)</script>")
    for path in (f"/api/v1/runs/{run}/files/{name}", f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{name}"):
        headers = client.get(path).headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"].startswith("attachment;")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize(("name", "media"), [("a.PNG", "image/png"), ("a.mp3", "audio/mpeg"), ("b.webp", "image/webp")])
def test_images_and_sounds_are_shown_in_place_whatever_they_contain(
    client: TestClient, run: str, log: Log, name: str, media: str
) -> None:
    log(name, b"<html><script>alert(1)</script>")
    headers = client.get(f"/api/v1/runs/{run}/files/{name}").headers
    assert (headers["content-type"], headers["x-content-type-options"]) == (media, "nosniff")
    assert headers["content-disposition"].startswith("inline;")
    assert headers["content-security-policy"].startswith("sandbox")
    saved = client.get(f"/api/v1/runs/{run}/files/{name}?download=true").headers
    assert saved["content-disposition"].startswith("attachment;")


def test_a_name_in_another_script_is_in_the_header_as_a_browser_reads_it(
    client: TestClient, run: str, log: Log
) -> None:
    log(name := 'größe "q".bin', b"x")
    said = client.get(f"/api/v1/runs/{run}/files/{quote(name)}").headers["content-disposition"]
    assert said == "attachment; filename=\"gr__e _q_.bin\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%22q%22.bin"


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, b""),
        ("bytes=5-2", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=-", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
    ],
)
def test_a_part_of_a_file_is_sent(
    client: TestClient, run: str, log: Log, wanted: str, status: int, content: bytes
) -> None:
    log("a.wav", b"0123456789")
    answer = client.get(f"/api/v1/runs/{run}/files/a.wav", headers={"range": wanted})
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_browser_keeps_a_file_only_under_its_version(client: TestClient, run: str, log: Log) -> None:
    log("a.png", b"one")
    (listed,) = client.get(f"/api/v1/runs/{run}/files").json()["files"]
    assert "immutable" in client.get(listed["url"]).headers["cache-control"]
    log("a.png", b"two")
    again = client.get(listed["url"])
    assert (again.content, again.headers["cache-control"]) == (b"two", "no-store")


def test_all_files_are_one_archive(client: TestClient, run: str, log: Log) -> None:
    log("a/b.txt", b"hello")
    log("big.bin", bytes(700_000))
    answer = client.get(f"/api/v1/runs/{run}/files.zip")
    assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == ("application/zip", "nosniff")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: len(archive.read(name)) for name in archive.namelist()} == {"a/b.txt": 5, "big.bin": 700_000}
    part = client.get(f"/api/v1/runs/{run}/files.zip?under=a")
    assert zipfile.ZipFile(io.BytesIO(part.content)).namelist() == ["a/b.txt"]
    assert 'filename="run-1-a.zip"' in part.headers["content-disposition"]


# Files of runs that were trained here --------------------------------------------------------------------------------


@pytest.fixture
def zoo_run(runs: Runs, settings: Settings, engine: Engine) -> str:
    """A run with a checkpoint, predictions, tuning and an environment."""
    run = runs.add()
    best = Checkpoint(path=f"{run}/1/best.safetensors", epoch=1, step=9, bytes=4)
    artifacts.write(settings, best.path, b"best")
    saved = Checkpoint(path=f"{run}/0/last.safetensors", epoch=0, step=0, kept=True)
    artifacts.write(settings, saved.path, b"start")
    environment = json.dumps({"torch": "2.15", "trained_in": "float32"})
    runs.set(run, best_checkpoint=best.model_dump_json(), environment=environment)
    with writing(engine) as connection:
        save_checkpoint(connection, run, saved)
        save_capture(connection, run, CAPTURE)
        lines = ["epoch 1", "training with float32: the fastest of 2 tested", "tested bf16: 3 ms per step"]
        add_lines(connection, run, 1, [LogLine(time=1.0, level="debug", text=line) for line in lines], 1)
    keep(settings, engine, predictions_of(run))
    return run


def test_the_files_of_a_run_trained_here_are_listed_and_read(client: TestClient, zoo_run: str) -> None:
    said = client.get(f"/api/v1/runs/{zoo_run}/files").json()
    assert {each["path"]: each["source"] for each in said["files"]} == {
        "checkpoints/attempt-1/best.safetensors": "checkpoint",
        "checkpoints/start/last.safetensors": "checkpoint",
        "configuration.json": "record",
        "environment.json": "record",
        "predictions/attempt-1/predictions.safetensors": "predictions",
        "tuning.json": "record",
    }
    found = {each["path"]: each for each in said["files"]}
    assert found["checkpoints/start/last.safetensors"]["bytes"] is None
    assert client.get(found["checkpoints/start/last.safetensors"]["url"]).content == b"start"
    assert client.get(found["tuning.json"]["url"]).json() == {
        "trained_in": "float32",
        "chosen": ["training with float32: the fastest of 2 tested"],
        "tested": ["tested bf16: 3 ms per step"],
    }
    environment = client.get(found["environment.json"]["url"]).json()
    assert environment == {"torch": "2.15", "trained_in": "float32", "captured": CAPTURE}
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/runs/{zoo_run}/files.zip").content))
    assert set(archive.namelist()) == set(found)


def test_a_checkpoint_that_was_replaced_meanwhile_is_said_to_be_gone(
    client: TestClient, zoo_run: str, settings: Settings, look: Any
) -> None:
    artifacts.remove(settings, f"{zoo_run}/1/best.safetensors")
    path = "checkpoints/attempt-1/best.safetensors"
    answer = client.get(f"/api/v1/runs/{zoo_run}/files/{path}")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("best.safetensors is no longer in the artifact store")
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/runs/{zoo_run}/files.zip").content))
    assert path not in archive.namelist()
    page = look(client.get(f"/runs/{zoo_run}/files?path={path}"))
    assert page.words["preview-note"].startswith("Best.safetensors is no longer")


# Page ----------------------------------------------------------------------------------------------------------------


def test_a_page_without_files_says_how_to_log_one(client: TestClient, run: str, look: Any) -> None:
    page = look(client.get(f"/runs/{run}/files"))
    assert "No files yet" in page.words["no-files"]
    assert "mlflow.log_artifact" in page.words["no-files"]
    assert page.one("a", href=f"/runs/{run}/files")["aria-current"] == "page"
    assert page.one("a", href=f"/runs/{run}")
    assert not page.all("a", href=f"/runs/{run}/predictions")


def test_a_page_without_files_is_loaded_again_when_there_are_some(
    client: TestClient, run: str, log: Log, look: Any
) -> None:
    address = look(client.get(f"/runs/{run}/files")).one("div", id="no-files")["hx-get"]
    assert client.get(address, headers={"hx-request": "true"}).status_code == 204
    log("a.txt", b"x")
    assert client.get(address, headers={"hx-request": "true"}).headers["hx-refresh"] == "true"


def test_the_page_shows_the_tree_and_the_first_file(client: TestClient, run: str, log: Log, look: Any) -> None:
    log("deep/er/a.csv", b"x,y\n1,<b>2</b>\n")
    log("notes.md", b"# Title <script>alert(1)</script>")
    page = look(client.get(f"/runs/{run}/files"))
    assert page.one("a", href=f"/runs/{run}/files?path=notes.md")["aria-current"] == "true"
    assert "# Title <script>" in page.words["preview"]
    assert "<script>alert" not in page.html
    page = look(client.get(f"/runs/{run}/files?path=deep/er/a.csv"))
    assert "open" in page.one("details", id="in-deep/er")
    assert "<b>2</b>" in page.words["preview"]
    assert "<b>2" not in page.html
    assert look(client.get(f"/runs/{run}/files?path=none"), 404)
    assert look(client.get(f"/runs/{run}/files?images=none"), 404)


@pytest.mark.parametrize(
    ("name", "content", "element", "words"),
    [
        ("a.png", PNG, "img", ""),
        ("a.mp3", b"x", "audio", ""),
        ("a.json", b'{"b":[1]}', "pre", '"b": ['),
        ("a.pdf", b"%PDF-1.7", "", "A PDF can contain scripts"),
        ("a.bin", b"\x00\xff", "", "No preview of this kind of file"),
        ("a.txt", b"", "", "The file is empty"),
        ("a.svg", b"<svg onload='alert(1)'/>", "pre", "<svg onload="),
        ("a.html", b"<h1>not a heading</h1>", "pre", "<h1>not"),
    ],
)
def test_each_kind_of_file_has_its_preview(
    client: TestClient, run: str, log: Log, look: Any, name: str, content: bytes, element: str, words: str
) -> None:
    log(name, content)
    answer = client.get(f"/runs/{run}/files?path={name}")
    page = look(answer)
    assert words in page.words["preview"]
    shown = [tag for tag, found in page.elements if tag in ("img", "audio", "pre", "iframe", "embed", "object")]
    assert shown == ([element] if element else [])
    assert "media-src 'self'" in answer.headers["content-security-policy"]
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_images_logged_by_step_are_a_strip(client: TestClient, run: str, log: Log, look: Any) -> None:
    for step in (10, 2, 0):
        log(image_name("val/samples", step), PNG + bytes([step]))
        log(image_name("val/samples", step, small=True), b"webp")
    log("images/plain.png", PNG)
    page = look(client.get(f"/runs/{run}/files"))
    assert page.words["preview-title"] == "val/samples"
    assert "val/samples3 by step" in page.words["in-images"]
    assert "+step+" not in page.words["in-images"]
    assert "plain.png" in page.words["in-images"]
    frames = json.loads(page.words["frames"])
    assert [frame[0] for frame in frames] == ["0", "2", "10"]
    assert client.get(frames[2][2]).content == PNG + bytes([10])
    assert page.one("img", id="frame")["src"] == frames[2][2]
    thumbnails = [found["src"] for found in page.all("img", loading="lazy")]
    assert [client.get(src).content for src in thumbnails] == [b"webp"] * 3
    second = look(client.get(f"/runs/{run}/files?images=val/samples&at=1"))
    assert second.one("img", id="frame")["src"] == frames[1][2]


def test_a_folder_with_many_files_lists_them_on_request(
    client: TestClient, run: str, log: Log, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.routes.runs import files_page

    monkeypatch.setattr(files_page, "MAX_ENTRIES", 2)
    monkeypatch.setattr(files_page, "MAX_ALL_ENTRIES", 3)
    for number in range(5):
        log(f"many/{number}.txt", b"x")
    page = look(client.get(f"/runs/{run}/files?folder=many"))
    assert "1.txt" in page.words["in-many"]
    assert "2.txt" not in page.words["in-many"]
    (more,) = [found["href"] for found in page.all("a") if "all=true" in found["href"]]
    page = look(client.get(more))
    assert "2.txt" in page.words["in-many"]
    assert "and 2 more" in page.words["in-many"]


def test_the_tree_of_a_live_run_is_refreshed_and_that_of_an_ended_one_is_not(
    client: TestClient, run: str, log: Log, look: Any
) -> None:
    log("a.txt", b"x")
    address = look(client.get(f"/runs/{run}/files?path=a.txt")).one("nav", id="tree")["hx-get"]
    assert address.startswith(f"/runs/{run}/files?path=a.txt&seen=1-1-")
    asked = {"hx-request": "true"}
    assert client.get(address, headers=asked).status_code == 204
    log("b.txt", b"xy")
    part = client.get(address, headers=asked)
    assert part.text.strip().startswith("<nav")
    assert "b.txt" in part.text
    assert "seen=2-3-" in part.text
    assert part.text.count("seen=") == 1
    client.post("/api/2.0/mlflow/runs/update", json={"run_id": run, "status": "FINISHED"})
    assert "hx-get" not in look(client.get(f"/runs/{run}/files")).one("nav", id="tree")


def test_the_page_of_the_run_leads_to_its_files(client: TestClient, run: str, zoo_run: str, look: Any) -> None:
    for each in (run, zoo_run):
        assert look(client.get(f"/runs/{each}")).one("a", href=f"/runs/{each}/files")
