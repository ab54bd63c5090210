"""Files that a script logs, with the requests that MLflow's client sends."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect

from app.actions import run_files
from app.contract.errors import NotFound
from app.contract.settings import Settings
from app.services import artifacts
from app.services.housekeeper import LOOSE_SECONDS
from app.services.recorder import Recorder
from tests.conftest import Clock, Runs, run_apart

if TYPE_CHECKING:
    from tests.app.routes.mlflow.conftest import Script

FILES = "/api/2.0/mlflow-artifacts"
MIB = 2**20


class Files:
    """The files of one run, as its script logs and reads them."""

    def __init__(self, script: Script, settings: Settings, run: str) -> None:
        self.client = script.client
        self.run = run
        self.root = f"0/{run}/artifacts"
        self.folder = Path(settings.artifacts) / run / "files"

    def address(self, path: str = "", what: str = "artifacts") -> str:
        return f"{FILES}/{what}/{self.root}" + (f"/{quote(path)}" if path else "")

    def put(self, path: str, content: Any, **headers: str) -> Any:
        return self.client.put(self.address(path), content=content, headers=headers)

    def log(self, path: str, content: bytes) -> None:
        answer = self.put(path, content)
        assert answer.status_code == 200, answer.text

    def refused(self, path: str, content: Any = b"x") -> str:
        """The sentence with which an upload is refused; nothing of it stays."""
        before = self.kept()
        answer = self.put(path, content)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text
        assert self.kept() == before
        return str(answer.json()["message"])

    def kept(self) -> list[int]:
        """Bytes of everything that is in the run's folder."""
        return sorted(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def read(self, path: str) -> Any:
        return self.client.get(self.address(path))

    def names(self, folder: str = "") -> list[Any]:
        """Names, and the bytes of files."""
        where = f"{self.root}/{folder}" if folder else self.root
        answer = self.client.get(f"{FILES}/artifacts", params={"path": where})
        assert answer.status_code == 200, answer.text
        return [(file["path"], None if file["is_dir"] else file["file_size"]) for file in answer.json()["files"]]

    def post(self, what: str, folder: str = "", **said: Any) -> Any:
        return self.client.post(self.address(folder, f"mpu/{what}"), json=said)


@pytest.fixture
def files(script: Script, settings: Settings) -> Files:
    return Files(script, settings, script.begin())


@pytest.fixture
def small(server: FastAPI) -> Iterator[Settings]:
    """A server that takes files of 1 MiB, and 2 MiB for a run."""
    parts = server.state.parts
    before = parts.settings
    parts.settings = before.model_copy(update={"max_file_mib": 1, "max_run_files_mib": 2})
    yield parts.settings
    parts.settings = before


def test_a_file_is_logged_listed_read_replaced_and_deleted(files: Files, script: Script) -> None:
    assert files.names() == []
    files.log("notes.txt", b"first")
    files.log("plots/roc curve ü.png", b"\x89PNG")
    files.log("plots/deep/a%20b+step+1.json", b"{}")
    assert files.names() == [("notes.txt", 5), ("plots", None)]
    assert files.names("plots") == [("deep", None), ("roc curve ü.png", 4)]
    assert files.names("notes.txt") == []
    assert files.read("plots/deep/a%20b+step+1.json").content == b"{}"
    files.log("notes.txt", b"second, longer")
    assert files.read("notes.txt").content == b"second, longer"
    assert files.kept() == [2, 4, 14]
    listed = script.ask("/artifacts/list", run_id=files.run, path="plots")
    assert listed["root_uri"] == script.get(files.run)["info"]["artifact_uri"] == f"mlflow-artifacts:/{files.root}"
    assert [each["path"] for each in listed["files"]] == ["plots/deep", "plots/roc curve ü.png"]
    assert script.client.get("/get-artifact", params={"run_uuid": files.run, "path": "notes.txt"}).text.startswith(
        "sec"
    )
    assert files.client.delete(files.address("plots/deep")).json() == {}
    assert files.client.delete(files.address("notes.txt")).json() == {}
    assert files.read("notes.txt").status_code == 404
    assert files.client.delete(files.address("notes.txt")).status_code == 404
    assert files.names("plots") == [("roc curve ü.png", 4)]
    assert files.client.delete(files.address() + "/").json() == {}
    assert files.kept() == []


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("..%2fsecret", "contains '..'"),
        ("a/%2e%2e/%2e%2e/b", "contains '..'"),
        ("a//b", "contains ''"),
        ("%2fetc/passwd", "is absolute"),
        ("C:/windows", "is absolute"),
        ("a%5cb", "contains a backslash"),
        ("a%00b", "control characters"),
        ("a%7fb", "control characters"),
        ("%e2%80%aegnp.exe", "cannot be printed"),
        ("n" * 256, "at most 255 bytes, not 256"),
        ("n/" * 500 + "n", "at most 1,000 characters, not 1,001"),
    ],
)
def test_a_name_that_leads_out_is_refused(files: Files, path: str, sentence: str) -> None:
    answer = files.client.put(f"{files.address()}/{path}", content=b"x")
    assert answer.status_code == 400
    assert sentence in answer.json()["message"]
    assert files.kept() == []
    assert files.names() == []


def test_a_file_is_not_a_folder_at_the_same_time(files: Files) -> None:
    files.log("a/b", b"x")
    assert files.refused("a") == "'a' is a folder; give the file another name"
    assert files.refused("a/b/c/d") == "'a/b' is a file, so it cannot have files in it"
    files.log("ab", b"x")


def test_too_large_files_are_refused_with_the_limit(files: Files, small: Settings) -> None:
    files.log("fits", bytes(MIB))
    sentence = "large is too large: a file can have at most 1 MiB; the server's RUNYARD_MAX_FILE_MIB changes this limit"
    assert files.refused("large", bytes(MIB + 1)) == sentence
    assert files.refused("large", iter([bytes(MIB), b"x"])) == sentence
    files.log("also fits", bytes(MIB))
    assert "at most 2 MiB together" in files.refused("full", b"x")
    files.log("fits", bytes(MIB - 1))
    files.log("full", b"x")


def test_a_file_may_be_larger_than_any_other_request(files: Files) -> None:
    files.log("large.bin", content := bytes(range(256)) * (20 * 2**10))
    assert files.read("large.bin").content == content
    other = files.client.post("/api/2.0/mlflow/runs/create", content=content)
    assert other.status_code == 413


def test_a_run_has_a_largest_number_of_files(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "MAX_FILES", 2)
    files.log("a", b"x")
    files.log("b", b"x")
    files.log("b", b"y")
    assert files.refused("c") == "a run can have at most 2 files"


def test_an_upload_that_breaks_off_leaves_what_was_there(files: Files, server: FastAPI, runs: Runs) -> None:
    files.log("a", b"whole")

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(3 * MIB)
        raise ClientDisconnect

    with pytest.raises(ClientDisconnect):
        run_apart(run_files.upload(server.state.parts, files.run, "a", broken(), None))
    assert files.read("a").content == b"whole"
    assert files.kept() == [5]
    assert runs.sql("SELECT * FROM loose_file") == []


def test_an_upload_to_a_run_that_is_removed_for_good_meanwhile_leaves_nothing(
    files: Files, server: FastAPI, runs: Runs, recorder: Recorder, clock: Clock
) -> None:
    async def overtaken() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        runs.set(files.run, status="succeeded", deleted_at=1.0)
        recorder.housekeeper.reconcile()
        recorder.step()
        yield b"more"

    with pytest.raises(NotFound):
        run_apart(run_files.upload(server.state.parts, files.run, "a", overtaken(), None))
    assert runs.sql("SELECT * FROM run") == []
    assert files.kept() == []


def test_uploads_of_one_path_at_the_same_time_leave_one_of_them_whole(
    files: Files, server: FastAPI, runs: Runs
) -> None:
    contents = [bytes([number]) * (MIB + number) for number in range(6)]

    async def chunks(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 2**16):
            yield content[start : start + 2**16]
            await asyncio.sleep(0)

    async def all_at_once() -> None:
        parts = server.state.parts
        await asyncio.gather(*(run_files.upload(parts, files.run, "a", chunks(each), len(each)) for each in contents))

    run_apart(all_at_once())
    assert files.read("a").content in contents
    assert len(files.kept()) == 1
    assert runs.sql("SELECT * FROM loose_file") == []


def test_an_upload_with_fewer_bytes_than_announced_is_refused(files: Files, server: FastAPI) -> None:
    async def short() -> AsyncIterator[bytes]:
        yield b"abc"

    with pytest.raises(Exception, match="broke off after 3 of 9 bytes"):
        run_apart(run_files.upload(server.state.parts, files.run, "a", short(), 9))
    assert files.kept() == []


def test_a_full_disk_is_said_and_leaves_nothing(files: Files, monkeypatch: pytest.MonkeyPatch, runs: Runs) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files.log("a", b"whole")
    monkeypatch.setattr(os, "fsync", full)
    answer = files.put("a", b"other")
    assert (answer.status_code, answer.json()["error_code"]) == (507, "RESOURCE_LIMIT_EXCEEDED")
    assert answer.json()["message"] == "the disk is full; free some space and upload again"
    assert files.read("a").content == b"whole"
    assert (files.kept(), runs.sql("SELECT * FROM loose_file")) == ([5], [])


def test_files_are_kept_in_any_store(files: Files, server: FastAPI, script: Script) -> None:
    parts = server.state.parts
    before = parts.settings
    parts.settings = before.model_copy(update={"artifact_url": f"memory://{files.run}-store"})
    try:
        files.log("a/b.txt", b"0123456789")
        upload, sent = send_parts(files, [b"one ", b"two"])
        assert files.post("complete", "w", path="x.bin", upload_id=upload, parts=sent).json() == {}
        assert files.read("a/b.txt").content == b"0123456789"
        assert files.read("w/x.bin").content == b"one two"
        part = script.client.get(f"/api/v1/runs/{files.run}/files/a/b.txt", headers={"range": "bytes=3-5"})
        assert part.content == b"345"
        assert len(artifacts.sizes(parts.settings, f"{files.run}/files")) == 2
        assert files.client.delete(files.address() + "/").status_code == 200
        assert artifacts.sizes(parts.settings, f"{files.run}/files") == {}
        assert files.kept() == []
    finally:
        parts.settings = before


def test_what_a_crash_leaves_is_removed_after_a_day(
    files: Files, server: FastAPI, runs: Runs, recorder: Recorder, clock: Clock
) -> None:
    files.log("a", b"kept")
    key = run_files._begin(server.state.parts, files.run, "b", 0)
    artifacts.write(server.state.parts.settings, f"{files.run}/files/{key}", b"half")
    recorder.housekeeper.reconcile()
    assert files.kept() == [4, 4]
    clock.now += LOOSE_SECONDS + 60
    recorder.housekeeper.reconcile()
    assert (files.kept(), runs.sql("SELECT * FROM loose_file")) == ([4], [])
    assert files.read("a").content == b"kept"


def test_files_go_to_the_trash_with_their_run_and_back_and_are_gone_for_good(
    files: Files, script: Script, recorder: Recorder, clock: Clock, settings: Settings, runs: Runs
) -> None:
    files.log("a", b"kept")
    script.end(files.run)
    files.log("after the end", b"too")
    script.say("/runs/delete", run_id=files.run)
    answer = files.put("b", b"x")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_STATE")
    assert script.client.get("/api/v1/disk").json()["files"] == 7
    script.say("/runs/restore", run_id=files.run)
    assert files.read("a").content == b"kept"
    assert script.client.get(f"/api/v1/runs/{files.run}/disk").json()["files"] == 7
    script.say("/runs/delete", run_id=files.run)
    clock.now += 8 * 86_400
    recorder.housekeeper.reconcile()
    recorder.step()
    assert not (Path(settings.artifacts) / files.run).exists()
    assert runs.sql("SELECT * FROM run_file") == []


def test_a_run_that_was_stopped_here_takes_no_more_files(files: Files, script: Script) -> None:
    assert script.client.post(f"/api/v1/runs/{files.run}/cancel").status_code < 300
    answer = files.put("a", b"x")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_STATE")
    assert "accepts no more data" in answer.json()["message"]
    assert files.kept() == []


def test_no_run_of_a_worker_takes_files_of_scripts(files: Files, runs: Runs) -> None:
    run = runs.add()
    answer = files.client.put(f"{FILES}/artifacts/0/{run}/artifacts/a", content=b"x")
    assert answer.json()["message"] == f"run {run} was launched by Runyard; only its worker can log to it"
    nobody = files.client.put(f"{FILES}/artifacts/0/r_none/artifacts/a", content=b"x")
    assert (nobody.status_code, nobody.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    nowhere = files.client.get(f"{FILES}/artifacts/somewhere")
    assert (nowhere.status_code, "EXPERIMENT/RUN/artifacts/PATH" in nowhere.text) == (404, True)


def test_an_upload_keeps_a_run_alive(files: Files, runs: Runs) -> None:
    runs.set(files.run, deadline=1.0)
    files.log("a", b"x")
    ((deadline,),) = runs.sql("SELECT deadline FROM run WHERE id = :id", id=files.run)
    assert deadline > 1_700_000_000


# In parts ------------------------------------------------------------------------------------------------------------


def send_parts(files: Files, contents: list[bytes]) -> tuple[str, list[dict[str, Any]]]:
    """Start an upload of large.bin in the folder weights and send the parts, the last one first."""
    made = files.post("create", "weights", path="/home/me/large.bin", num_parts=len(contents)).json()
    sent = []
    for target, content in reversed(list(zip(made["credentials"], contents, strict=True))):
        answer = files.client.put(target["url"], content=content, headers=target["headers"])
        assert answer.status_code == 200, answer.text
        sent.append({"part_number": target["part_number"], "etag": answer.headers["etag"], "url": target["url"]})
    return made["upload_id"], sent


def test_a_file_is_sent_in_parts(files: Files, runs: Runs) -> None:
    upload, sent = send_parts(files, [b"one ", b"two ", b"three"])
    assert files.names() == []
    said = {"path": "/home/me/large.bin", "upload_id": upload, "parts": sent}
    assert files.post("complete", "weights", **said).json() == {}
    assert files.read("weights/large.bin").content == b"one two three"
    assert files.kept() == [13]
    assert runs.sql("SELECT * FROM loose_file") == []
    assert files.post("complete", "weights", **said).status_code == 404


def test_a_part_that_is_missing_is_named_and_can_be_sent_again(files: Files) -> None:
    upload, sent = send_parts(files, [b"one ", b"two"])
    made_up = [sent[1], sent[0] | {"etag": '"0123456789abcdef"'}]
    said = {"path": "large.bin", "upload_id": upload}
    answer = files.post("complete", **said, parts=made_up)
    assert answer.json()["message"] == "part 2 of the upload is missing; send it again"
    escape = [sent[1], sent[0] | {"etag": "/../../../x"}]
    assert files.post("complete", **said, parts=escape).status_code == 400
    assert "without gaps" in files.post("complete", **said, parts=sent[:1]).json()["message"]
    assert files.post("complete", **said, parts=sent).json() == {}
    assert files.read("large.bin").content == b"one two"


def test_an_aborted_upload_leaves_nothing(files: Files, runs: Runs) -> None:
    upload, _ = send_parts(files, [b"one ", b"two"])
    assert files.kept() == [3, 4]
    assert files.post("abort", path="large.bin", upload_id=upload).json() == {}
    assert files.kept() == []
    assert runs.sql("SELECT * FROM loose_file") == []
    late = files.client.put(f"{FILES}/mpu/parts/{files.run}/{upload}/1", content=b"x")
    assert late.status_code == 404
    assert files.kept() == []


def test_parts_together_have_the_limit_of_a_file(files: Files, small: Settings) -> None:
    made = files.post("create", path="large.bin", num_parts=2).json()
    first, second = (target["url"] for target in made["credentials"])
    assert files.client.put(first, content=bytes(MIB)).status_code == 200
    answer = files.client.put(second, content=b"x")
    assert answer.status_code == 400
    assert "a file can have at most 1 MiB" in answer.json()["message"]
    assert files.kept() == [MIB]


@pytest.mark.parametrize("path", ["..", "a\0b"])
def test_the_name_of_a_file_in_parts_is_checked_too(files: Files, path: str) -> None:
    assert files.post("create", path=path, num_parts=1).status_code == 400
    assert files.post("create", path="a", num_parts=10_001).status_code == 400
