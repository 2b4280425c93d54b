"""Write a picture of every page: `python -m tests.browser.screenshots FOLDER [name ...]`."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page

from tests.browser.life import BOUND, BOUND_DESK, PAGES, Life, Shown, lived_in
from tests.browser.villages import SCHEMES, chromium, sign_in, window

SIZES: Final = {"phone": {"width": 360, "height": 740}, "screen": {"width": 1_200, "height": 800}}


async def run(folder: Path, names: list[str]) -> None:
    """Fill two villages with life and write each page (or those named) in both sizes and colour
    schemes into the folder."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="village-shots-") as home:
        async with lived_in(Path(home)) as life, chromium() as browser:
            pages: dict[str, Page] = {}
            for shown in PAGES:
                if not names or shown.name in names:
                    await _write(folder, life, browser, pages, shown)
            if not names or BOUND.name in names:
                life.two.missouri.box.kill()
                for shown in (BOUND, BOUND_DESK):
                    await _write(folder, life, browser, pages, shown)


async def _write(
    folder: Path, life: Life, browser: Browser, pages: dict[str, Page], shown: Shown
) -> None:
    if shown.who not in pages:
        page = pages[shown.who] = await window(browser, viewport=SIZES["phone"])
        if shown.who != "visitor":
            name = getattr(life.texts, shown.who)
            await sign_in(page, life.place_of(shown.who).url, name)
    page = pages[shown.who]
    await shown.show(page, life)
    for size, viewport in SIZES.items():
        await page.set_viewport_size({"width": viewport["width"], "height": viewport["height"]})
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            path = folder / f"{shown.name}-{size}-{scheme}.png"
            await page.screenshot(path=path, full_page=True)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2:]))
