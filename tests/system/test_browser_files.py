"""The files of a run in a real Chromium, as a script logs them with MLflow's own client."""

from __future__ import annotations

import io
import socket
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser import complaints_of
from tests.system.running_yard import OFFLINE
from tests.system.test_mlflow import QUIET


@pytest.fixture
def client(yard: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's own client, in this process."""
    for name, value in {**QUIET, **OFFLINE, "MLFLOW_TRACKING_URI": yard.address}.items():
        monkeypatch.setenv(name, value)
    from mlflow import MlflowClient

    return MlflowClient(yard.address)


def step_name(step: int, sign: str, small: bool = False) -> str:
    """The name that ``mlflow.log_image(image, key="samples", step=step)`` gives an image."""
    name = sign.join(["samples", "step", str(step), "timestamp", "1700000000000", f"{step:08x}"])
    return f"{name}{sign}compressed.webp" if small else f"{name}.png"


def log_images(client: Any, run: str, folder: Path, signs: str) -> None:
    """Log an image and its small copy for steps 0, 10, 20, …; each gray is as bright as its step."""
    for number, sign in enumerate(signs):
        for small in (False, True):
            path = folder / step_name(10 * number, sign, small)
            Image.new("L", (32, 32), 10 * number).save(path)
            client.log_artifact(run, str(path), "images")


def test_the_files_of_a_script_are_looked_at_and_taken_along(
    page: Page, browser: Browser, yard: Any, client: Any, tmp_path: Path
) -> None:
    run = client.create_run("0", run_name="with files").info.run_id
    page.goto(f"{yard.address}/runs/{run}")
    page.get_by_role("link", name="Files", exact=True).click()
    expect(page.locator("#no-files")).to_contain_text("No files yet")
    # The page of a live run shows its first file by itself.
    client.log_text(run, "epoch,loss\n1,0.5\n2,0.25\n", "tables/loss.csv")
    expect(page.locator("#preview-title")).to_have_text("tables/loss.csv")
    client.log_dict(run, {"lr": 0.1}, "settings.json")
    expect(page.locator("#tree")).to_contain_text("2 files")
    client.log_text(run, "<h1>Not a heading</h1><script>document.title = 'taken'</script>", "report.html")
    # Older clients write "%" for "+" into the names.
    log_images(client, run, tmp_path, "%+%+")
    page.reload()

    expect(page.locator("#preview-title")).to_have_text("samples")
    expect(page.locator("#step-shown")).to_have_text("step 30")
    shown = "document.querySelector('#frame').naturalWidth"
    yard.until(lambda: page.evaluate(shown) == 32)
    page.locator("#step").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#step-shown")).to_have_text("step 20")
    page.keyboard.press("Home")
    expect(page.locator("#thumbnails [aria-current]")).to_have_text("0")
    expect(page.locator("#frame")).to_have_class("tiny")
    page.locator("#thumbnails a").nth(1).click()
    expect(page.locator("#step-shown")).to_have_text("step 10")
    assert "at=1" in page.url
    with page.expect_download() as download:
        page.locator("#download").click()
    assert Image.open(download.value.path()).getpixel((0, 0)) == 10

    page.locator("#tree summary", has_text="tables/").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#preview-title")).to_have_text("tables/loss.csv")
    expect(page.locator("#preview td")).to_have_text(["1", "0.5", "2", "0.25"])
    page.locator("#tree").get_by_role("link", name="report.html").click()
    expect(page.locator("#preview pre")).to_contain_text("<h1>Not a heading</h1>")
    assert page.title() == "Files of with files · Runyard"
    with page.expect_download() as download:
        page.evaluate("address => { location.href = address }", f"/api/v1/runs/{run}/files/report.html")
    assert download.value.suggested_filename == "report.html"
    with page.expect_download() as download:
        page.locator("#download-all").click()
    archive = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
    assert len(archive.namelist()) == 11
    client.set_terminated(run)

    narrow = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    small = narrow.new_page()
    complaints = complaints_of(small)
    for address in ("", "?path=tables/loss.csv", "?path=report.html"):
        small.goto(f"{yard.address}/runs/{run}/files{address}")
        assert small.evaluate("document.documentElement.scrollWidth") <= 390
    assert complaints == []
    narrow.close()


def test_mlflows_client_reads_back_what_it_logged(yard: Any, client: Any, tmp_path: Path) -> None:
    run = client.create_run("0", run_name="there and back").info.run_id
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "a.txt").write_text("a")
    (tmp_path / "out" / "deep" / "b ü 100%.bin").write_bytes(bytes(3_000_000))
    client.log_artifacts(run, str(tmp_path / "out"), "many")
    client.log_artifact(run, str(tmp_path / "out" / "a.txt"))
    client.log_text(run, "first", "notes.txt")
    client.log_text(run, "second", "notes.txt")
    client.log_dict(run, {"b": [1]}, "conf/a.json")
    listed = [(each.path, each.is_dir, each.file_size) for each in client.list_artifacts(run)]
    assert listed == [("a.txt", False, 1), ("conf", True, None), ("many", True, None), ("notes.txt", False, 6)]
    (tmp_path / "back").mkdir()
    back = Path(client.download_artifacts(run, "", str(tmp_path / "back")))
    assert (back / "notes.txt").read_text() == "second"
    assert (back / "many" / "deep" / "b ü 100%.bin").read_bytes() == bytes(3_000_000)
    client.set_terminated(run)
    client.log_text(run, "x", "after.txt")
    assert len(yard.call(f"/runs/{run}/files")["files"]) == 6


def test_mlflows_client_sends_large_files_in_parts(
    yard: Any, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1000000")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", "1000000")
    content = bytes(range(256)) * 10_000
    (tmp_path / "large.bin").write_bytes(content)
    run = client.create_run("0", run_name="in parts").info.run_id
    client.log_artifact(run, str(tmp_path / "large.bin"), "weights")
    client.set_terminated(run)
    (listed,) = yard.call(f"/runs/{run}/files")["files"]
    assert (listed["path"], listed["bytes"]) == ("weights/large.bin", len(content))
    folder = yard.folder / "data" / "artifacts" / run
    assert [path.read_bytes() == content for path in folder.rglob("*") if path.is_file()] == [True]


def test_a_server_that_is_killed_during_an_upload_loses_no_file_and_shows_no_half(
    yard: Any, client: Any, tmp_path: Path
) -> None:
    run = client.create_run("0", run_name="cut short").info.run_id
    client.log_text(run, "acknowledged", "a.txt")
    address = urlsplit(yard.address)
    folder = yard.folder / "data" / "artifacts" / run / "files"
    with socket.create_connection((address.hostname, address.port)) as connection:
        path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.txt"
        head = f"PUT {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 9000000\r\n\r\n"
        connection.sendall(head.encode() + bytes(4_000_000))
        yard.until(lambda: len(list(folder.iterdir())) == 2)
        victim = yard.child("app.cli", "server")
        victim.kill()
    yard.until(lambda: yard.child("app.cli", "server").pid != victim.pid)
    yard.until(lambda: yard.try_call("/workers"))
    (listed,) = yard.call(f"/runs/{run}/files")["files"]
    assert (listed["path"], listed["bytes"]) == ("a.txt", 12)
    client.log_text(run, "after", "b.txt")
    back = client.download_artifacts(run, "a.txt", str(tmp_path))
    assert Path(back).read_text() == "acknowledged"
    client.set_terminated(run)
