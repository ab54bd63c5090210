"""Redraw docs/screenshots: ``make pictures``.

Starts a Runyard in a temporary folder, trains example runs, and captures every page in light and dark, wide and narrow.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path
from typing import Final, Literal

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from bench.instance import Instance
from docs.gallery import SETTLING, Gallery, close, fill
from runyard import Runyard
from tests.chromium import ChromiumError, get_chromium

FOLDER: Final = Path(__file__).parent / "screenshots"
SIZES: Final = {"wide": (1440, 900), "narrow": (390, 844)}
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
COLORS: Final = 256


def main() -> int:
    """Redraw all screenshots; the exit status."""
    try:
        program = get_chromium()
    except ChromiumError as error:
        print(f"Runyard: {error}", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    with Instance(RUNYARD_DEVICE="cpu") as started, sync_playwright() as playwright, Runyard(started.address) as yard:
        print("training example runs", flush=True)
        gallery = fill(yard, epochs=12, draws=8, live_steps=200)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        saved = capture(browser, started.address, gallery)
        browser.close()
        close(yard, gallery)
    for old in set(FOLDER.glob("*.png")) - saved:
        old.unlink()
    print(f"saved {len(saved)} screenshots in {FOLDER.relative_to(Path.cwd())}")
    return 0


def capture(browser: Browser, address: str, gallery: Gallery) -> set[Path]:
    """Save a screenshot of every page and return the files."""
    saved = set()
    for scheme in SCHEMES:
        for size, (width, height) in SIZES.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            for name, path in gallery.pages.items():
                page.goto(address + path, wait_until="load")
                # Requests that follow the first paint.
                expect(page.locator(SETTLING)).to_have_count(0, timeout=60_000)
                page.evaluate("document.fonts.ready.then(() => true)")
                picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
                file = FOLDER / f"{name}-{size}-{scheme}.png"
                _quantized(picture.convert("RGB")).save(file, optimize=True)
                saved.add(file)
            context.close()
    return saved


def _quantized(picture: Image.Image) -> Image.Image:
    """Reduce to the most frequent colors, which stay exact, so that the dot of a run keeps its color."""
    colors = Counter(zip(*[iter(picture.tobytes())] * 3, strict=True)).most_common(COLORS)
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for color, _ in colors for part in color])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    sys.exit(main())
