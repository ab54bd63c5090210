"""A user's own images: dropped on the page, looked at, kept, trained on, deleted and restored, in a real browser."""

from __future__ import annotations

import base64
import io
import random
import re
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, expect

from tests.browser import complaints_of

DROP = """([target, name, content]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "application/zip" }));
  const how = { bubbles: true, cancelable: true, dataTransfer: data };
  for (const type of ["dragenter", "dragover", "drop"])
    document.querySelector(target).dispatchEvent(new DragEvent(type, how));
}"""


def photos(classes: dict[str, tuple[int, int, int]], each: int = 24) -> bytes:
    """A zip file with pictures of 40 × 30 in the color of their class, with some noise."""
    chance = random.Random(0)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, color in classes.items():
            for place in range(each):
                image = Image.new("RGB", (40, 30), color)
                for _ in range(200):
                    spot = tuple(chance.randrange(256) for _ in range(3))
                    image.putpixel((chance.randrange(40), chance.randrange(30)), spot)
                picture = io.BytesIO()
                image.save(picture, "PNG")
                archive.writestr(f"photos/{name}/{place}.png", picture.getvalue())
        archive.writestr("photos/red/notes.txt", "no picture")
    return file.getvalue()


def test_dropped_images_become_a_dataset_that_a_run_trains_on(browser: Browser, yard: Any) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    heard = complaints_of(page)
    content = photos({"red": (220, 30, 30), "Red": (220, 40, 30), "green": (30, 200, 30), "blue": (30, 30, 220)})
    page.goto(f"{yard.address}/datasets")
    page.evaluate(DROP, ["#upload", "colors.zip", base64.b64encode(content).decode()])
    expect(page.locator("#upload-name")).to_have_value("colors")
    expect(page.locator("#upload-hint")).to_contain_text("colors.zip")
    page.get_by_role("button", name="Import", exact=True).click()

    # The preview: what was found, and each choice at once on the samples.
    page.wait_for_url("**/datasets/imports/*")
    keep = page.locator("#keep")
    expect(keep).to_have_text("Keep 96 images as colors", timeout=180_000)
    expect(page.get_by_text("1 not an image")).to_be_visible()
    samples = page.get_by_alt_text("Images of green", exact=True)
    expect(samples).to_have_js_property("naturalHeight", 32)
    page.get_by_text("48", exact=True).click()
    expect(samples).to_have_js_property("naturalHeight", 48)
    # Two names for one class are merged.
    page.get_by_label("New name of Red", exact=True).fill("red")
    page.get_by_label("New name of Red", exact=True).press("Tab")
    reds = page.get_by_role("row", name="red", exact=False)
    expect(reds.first).to_contain_text("merged into red")
    expect(reds.last).to_contain_text("48")
    expect(keep).to_be_enabled()
    keep.click()

    # The dataset, and a run on it.
    page.wait_for_url("**/datasets/colors?version=*", timeout=180_000)
    expect(page.get_by_role("row", name="red", exact=False)).to_contain_text("48")
    expect(page.get_by_text("48 × 48")).to_be_visible()
    version = page.url.partition("version=")[2]
    page.locator("#main").get_by_role("link", name="Launch a run").click()
    expect(page.locator("#field-dataset")).to_have_value("colors")
    page.goto(f"{yard.address}/launch?dataset=colors&family=simple_cnn&size=tiny&epochs=6")
    page.locator("#launch-button").click()
    page.wait_for_url("**/runs/r_*", timeout=30_000)
    run = page.url.rpartition("/")[2].partition("?")[0]
    ended = yard.wait_for(run, "succeeded")
    assert ended["spec"]["dataset"] == f"colors@{version}"
    assert ended["summary"]["test/acc"]["last"] > 0.6

    # Deleted, and restored.
    page.goto(f"{yard.address}/datasets/colors")
    # They would not be found after the deletion.
    for name in ("red", "green", "blue"):
        expect(page.get_by_alt_text(f"Images of {name}", exact=True)).to_have_js_property("naturalHeight", 48)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Dataset colors deleted.")).to_be_visible()
    expect(page.get_by_role("link", name="colors", exact=True)).to_have_count(1)  # its import
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("table").get_by_role("link", name="colors", exact=True)).to_be_visible()
    # It would not be found after the deletion.
    expect(page.get_by_alt_text("Images of blue", exact=True)).to_have_js_property("naturalHeight", 48)
    yard.call("/datasets/colors", method="DELETE")
    # Other tests look at runs on digits only.
    yard.call(f"/runs/{run}", method="DELETE")
    context.close()
    # A sample that is asked for while the import is read again is not there yet; the page asks again.
    assert [each for each in heard if not re.search(r"/datasets/imports/\w+/samples\.png", each)] == []


def test_an_upload_without_a_script_and_a_bad_archive_end_as_they_should(
    yard: Any, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "broken.zip").write_bytes(photos({"a": (0, 0, 0)})[:500])
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{yard.address}/datasets")
    page.locator("#upload-name").fill("broken")
    page.locator("#upload-file").set_input_files(tmp_path / "broken.zip")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("h1")).to_have_text("broken")
    number = page.url.rpartition("/")[2]
    found = yard.until(lambda: (each := yard.call(f"/dataset-imports/{number}"))["status"] == "failed" and each, 60)
    assert found["reason"] == "the file is not a zip file, or is truncated"
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("not a zip file")
    page.get_by_role("button", name="Remove from the list").click()
    expect(page.get_by_text("broken.zip")).to_have_count(0)
    context.close()
