"""/datasets and its imports as pages: what they say, and that their forms work without a script."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.contract.builtin_datasets import prepared_file
from app.contract.dataset_import import CHOICES, ChoicesMade
from app.contract.own_datasets import DESCRIPTION, version_folder
from app.contract.settings import Settings
from tests.app.own_dataset import describe_own_dataset
from tests.app.routes.datasets.test_api import NEW, OLD, folder_of, read, upload
from tests.conftest import Runs


def test_own_datasets_come_first_and_all_lead_to_their_pages(client: TestClient, settings: Settings) -> None:
    describe_own_dataset(settings.datasets)
    page = client.get("/datasets").text
    assert page.index('href="/datasets/flowers"') < page.index('href="/datasets/digits"')
    assert "15.4 MB" in page
    for name in ("flowers", "digits", "cifar100"):
        assert client.get(f"/datasets/{name}").status_code == 200


def test_the_page_of_a_dataset_tells_what_was_noticed(client: TestClient, settings: Settings) -> None:
    describe_own_dataset(settings.datasets)
    page = client.get("/datasets/flowers").text
    for part in (
        "<b>Leak:</b> 1 image is in train and test: test accuracy will be too high.",
        "Few training images: tulip",
        "RGB 1,240, CMYK 10",
        "100 : 1",
        "rose/notes.txt",
        "daisy: 500 training, 60 validation, 60 test images",
        "imported from flowers.zip",
    ):
        assert part in page, part


def test_a_class_without_training_images_has_no_samples(client: TestClient, settings: Settings) -> None:
    described = describe_own_dataset(settings.datasets)
    assert "samples.png?version=aaaaaaaaaaaa&label=2" in html.unescape(client.get("/datasets/flowers").text)
    tulip = described.report.classes[2].model_copy(update={"train": 0})
    counted = described.report.model_copy(update={"classes": [*described.report.classes[:2], tulip]})
    file = version_folder(settings.datasets, "flowers", "bbbbbbbbbbbb") / DESCRIPTION
    describe_own_dataset(settings.datasets, version="bbbbbbbbbbbb", created_at=2.0)
    file.write_text(described.model_copy(update={"version": "bbbbbbbbbbbb", "report": counted}).model_dump_json())
    page = html.unescape(client.get("/datasets/flowers", params={"version": "bbbbbbbbbbbb"}).text)
    assert "label=1" in page
    assert "label=2" not in page


def test_a_dataset_that_was_not_downloaded_shows_no_broken_images(client: TestClient, settings: Settings) -> None:
    page = client.get("/datasets/mnist").text
    assert "Images are shown here once a run has downloaded MNIST (11.6 MB)." in page
    assert "samples.png" not in page
    listed = client.get("/datasets").text
    assert "/datasets/digits/samples.png" in listed
    assert "/datasets/mnist/samples.png" not in listed
    prepared_file(settings.datasets, "mnist").parent.mkdir(parents=True)
    prepared_file(settings.datasets, "mnist").touch()
    assert client.get("/datasets/mnist").text.count("samples.png") == 10
    assert "/datasets/mnist/samples.png" in client.get("/datasets").text


def test_an_older_version_says_so_and_can_be_used(client: TestClient, settings: Settings) -> None:
    describe_own_dataset(settings.datasets, version=OLD)
    describe_own_dataset(settings.datasets, version=NEW, created_at=2.0)
    assert "This version is not in use" not in client.get("/datasets/flowers").text
    assert f"New runs use {NEW}" in client.get("/datasets/flowers", params={"version": OLD}).text
    page = client.post("/datasets/flowers/use", data={"version": OLD}).text
    assert f"version {OLD}" in page
    assert "This version is not in use" not in page


def test_a_deleted_dataset_is_undone_on_the_list(client: TestClient, settings: Settings) -> None:
    describe_own_dataset(settings.datasets)
    page = client.post("/datasets/flowers/delete").text
    assert "Dataset flowers deleted." in page
    act = page.split('name="act" value="')[1].split('"')[0]
    restored = client.post("/runs/undo", data={"act": act, "back": "/datasets"}).text
    assert "Undone: Dataset flowers deleted." in restored
    assert 'href="/datasets/flowers"' in restored


def test_a_dataset_that_a_run_needs_stays_and_its_page_says_why(
    client: TestClient, settings: Settings, runs: Runs
) -> None:
    describe_own_dataset(settings.datasets, version=OLD)
    describe_own_dataset(settings.datasets, version=NEW, created_at=2.0)
    run = runs.add(dataset="flowers")
    page = client.post("/datasets/flowers/delete", data={"version": OLD})
    assert (page.status_code, page.url.path, page.url.params["version"]) == (200, "/datasets/flowers", OLD)
    sentence = "Not deleted: run #1 uses flowers; stop it or wait until it ends."
    assert sentence in page.text.split('id="delete-error" role="alert">')[1]
    assert 'aria-describedby="delete-error"' in page.text
    runs.finish(run)
    assert "Not deleted" not in client.get(page.url).text
    assert client.post("/datasets/digits/delete").status_code == 409


def test_the_files_of_leaks_and_outliers_are_named_in_text(client: TestClient, settings: Settings) -> None:
    describe_own_dataset(settings.datasets)
    page = client.get("/datasets/flowers").text
    leaks, outliers = page[page.index("<h2>Duplicates") :].split("<h2>Outliers")
    for part in ("train", "test"):
        assert f'<code>rose/1.jpg</code> <span class="faint">rose, {part}</span>' in leaks
    assert "<code>rose/1.jpg</code>" in outliers
    # One picture is enough for files that look the same.
    assert leaks.count("<img") == 1


def test_the_images_of_merged_classes_are_counted_once(client: TestClient, settings: Settings) -> None:
    number = upload(client, "1.zip", name="flowers", keep="false").json()["id"]
    read(settings, number)
    table = client.get(f"/datasets/imports/{number}").text.split('id="classes-title"')[1].split("</table>")[0]
    shown = [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", row)).strip() for row in table.split("<tr>")[2:]]
    assert shown == ["daisy 620", "Rose merged into rose", "rose 615", "tulip 15"]
    assert table.count("<svg") == 3


def test_a_wrong_name_is_told_beside_the_form(client: TestClient) -> None:
    answer = client.post("/datasets/imports", files=[("name", (None, "Flowers")), ("file", ("1.zip", b"x"))])
    assert answer.status_code == 422
    assert 'role="alert">A name has up to 40 lowercase letters' in answer.text


def test_the_preview_shows_the_choices_and_takes_them(client: TestClient, settings: Settings) -> None:
    number = upload(client, "1.zip", name="flowers", keep="false").json()["id"]
    assert "Waiting for a worker" in client.get(f"/datasets/imports/{number}").text
    read(settings, number)
    page = client.get(f"/datasets/imports/{number}").text
    assert 'value="64" id="side-64" checked' in page
    assert "Keep 1,250 images as flowers" in page
    assert 'name="found" value="Rose"' in page
    # Enter in a field presses the first button of the form, which must not keep the dataset.
    assert 'name="keep"' not in page[page.index('id="choices"') :].split("<button", 2)[1]
    form = {
        "side": "32",
        "color": "gray",
        "fit": "pad",
        "validation_share": "20",
        "test_share": "10 %",
        "seed": "7",
        "found": ["daisy", "rose", "Rose", "tulip"],
        "renamed": ["daisy", "rose", "rose", ""],
    }
    answer = client.post(f"/datasets/imports/{number}/choices", data=form)
    assert answer.url.path == f"/datasets/imports/{number}"
    made = ChoicesMade.model_validate_json((folder_of(settings, number) / CHOICES).read_text())
    assert made.choices.model_dump() == {
        "side": 32,
        "color": "gray",
        "fit": "pad",
        "classes": {"Rose": "rose", "tulip": ""},
        "validation_share": 0.2,
        "test_share": 0.1,
        "seed": 7,
    }
    assert not made.keep


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("validation_share", "80", "between 1 and 50%"),
        ("test_share", "ten", "between 1 and 50%"),
        ("seed", "-1", "at least 0"),
    ],
)
def test_a_wrong_choice_is_told_beside_its_field(
    client: TestClient, settings: Settings, field: str, value: str, sentence: str
) -> None:
    number = upload(client, "1.zip", name="flowers", keep="false").json()["id"]
    read(settings, number)
    answer = client.post(f"/datasets/imports/{number}/choices", data={field: value})
    assert answer.status_code == 422
    assert f'aria-describedby="{field}-error"' in answer.text
    assert sentence in answer.text.split(f'id="{field}-error">')[1].split("<")[0]
    assert not (folder_of(settings, number) / CHOICES).exists()


@pytest.mark.parametrize("side", ["33", "9" * 5000])
def test_a_size_of_images_that_does_not_exist_is_answered_with_those_that_do(
    client: TestClient, settings: Settings, side: str
) -> None:
    number = upload(client, "1.zip", name="flowers", keep="false").json()["id"]
    read(settings, number)
    answer = client.post(f"/datasets/imports/{number}/choices", data={"side": side})
    assert answer.status_code == 422
    assert "28, 32, 48" in answer.text
    assert not (folder_of(settings, number) / CHOICES).exists()


def test_an_import_that_ended_says_how(client: TestClient, settings: Settings) -> None:
    number = upload(client, "1.zip", name="flowers").json()["id"]
    read(settings, number, status="failed", reason="no images found in 1.zip")
    assert "no images found in 1.zip" in client.get(f"/datasets/imports/{number}").text
    assert "no images found in 1.zip" in client.get("/datasets").text
    read(settings, number, status="ready", version=OLD)
    assert f"/datasets/flowers?version={OLD}" in client.get(f"/datasets/imports/{number}").text
    script = client.get(f"/datasets/imports/{number}", headers={"hx-request": "true"})
    assert script.headers["hx-redirect"] == f"/datasets/flowers?version={OLD}"


def test_what_does_not_exist_is_a_page_that_says_so(client: TestClient, tmp_path: Path) -> None:
    for path in ("/datasets/none", "/datasets/imports/none", "/datasets/none/samples.png?label=0"):
        assert client.get(path).status_code == 404, path
    assert client.get("/datasets/imports/none/samples.png?found=x&side=31").status_code in (404, 422)
