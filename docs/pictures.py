"""``make pictures``: draws docs/screenshots anew.

Starts a Runyard in a temporary folder, trains what the pages are to show, and takes every page in light and dark, wide
and narrow.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path
from typing import Final, Literal

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from bench.yard import Yard
from docs.gallery import SETTLING, Gallery, close, fill
from runyard import Runyard
from tests.chromium import ChromiumError, get_chromium

FOLDER: Final = Path(__file__).parent / "screenshots"
SIZES: Final = {"wide": (1440, 900), "narrow": (390, 844)}
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
COLOURS: Final = 256


def main() -> int:
    """Draw all; the exit status."""
    try:
        program = get_chromium()
    except ChromiumError as error:
        print(f"Runyard: {error}", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    with Yard(RUNYARD_DEVICE="cpu") as started, sync_playwright() as playwright, Runyard(started.address) as yard:
        print("trains what the pages are to show", flush=True)
        gallery = fill(yard, epochs=12, many=8)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        drawn = draw(browser, started.address, gallery)
        browser.close()
        close(yard, gallery)
    for old in set(FOLDER.glob("*.png")) - drawn:
        old.unlink()
    print(f"{len(drawn)} pictures in {FOLDER.relative_to(Path.cwd())}")
    return 0


def draw(browser: Browser, address: str, gallery: Gallery) -> set[Path]:
    """Take every page; the files."""
    drawn = set()
    for scheme in SCHEMES:
        for size, (width, height) in SIZES.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            for name, path in gallery.pages.items():
                page.goto(address + path, wait_until="load")
                # Whatever is asked for after the first paint.
                expect(page.locator(SETTLING)).to_have_count(0)
                page.evaluate("document.fonts.ready.then(() => true)")
                picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
                file = FOLDER / f"{name}-{size}-{scheme}.png"
                _with_few_colours(picture.convert("RGB")).save(file, optimize=True)
                drawn.add(file)
            context.close()
    return drawn


def _with_few_colours(picture: Image.Image) -> Image.Image:
    """The same with the most frequent colours as they are, so that a run's dot keeps its own, the rest like them."""
    colours = Counter(zip(*[iter(picture.tobytes())] * 3, strict=True)).most_common(COLOURS)
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour, _ in colours for part in colour])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    sys.exit(main())
