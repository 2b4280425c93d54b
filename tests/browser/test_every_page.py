"""Every page: nothing that axe-core (WCAG 2 A and AA, best practice) finds fault with, in both
colour schemes, and nothing that is wider than a phone or a screen."""

import asyncio
from importlib import resources
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page

from tests.browser.life import PAGES, Life, Shown
from tests.browser.villages import IS_TOO_WIDE, People

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="session")]

AXE: Final = (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
RUN_AXE: Final = """async only => {
  const {violations} = await axe.run(document, {resultTypes: ["violations"], runOnly: only});
  return violations.flatMap(found => found.nodes.map(node =>
    `${found.id}: ${found.help}: ${node.html.slice(0, 160)} ${node.any.map(a => a.message)[0]}`));
}"""
# Light on a phone, dark on a screen: only what is about colours and sizes can differ.
ALL: Final = {"type": "tag", "values": TAGS}
COLOURS: Final = {"type": "rule", "values": ("color-contrast", "target-size")}


async def faults_of(page: Page, shown: Shown, life: Life) -> list[str]:
    await shown.show(page, life)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.evaluate(AXE)
    found = [f"light: {fault}" for fault in await page.evaluate(RUN_AXE, ALL)]
    await page.emulate_media(color_scheme="dark")
    for width in (360, 320, 1_200):
        await page.set_viewport_size({"width": width, "height": 740})
        if await page.evaluate(IS_TOO_WIDE):
            found.append(f"too wide for {width} px")
    found += [f"dark: {fault}" for fault in await page.evaluate(RUN_AXE, COLOURS)]
    return [f"{shown.name}: {fault}" for fault in found]


async def test_every_page_is_for_everybody(life: Life, browser: Browser) -> None:
    people = People(browser, missouri=life.two.missouri, california=life.two.california)
    lively: dict[str, Any] = {"bypass_csp": True, "java_script_enabled": True}

    async def look(who: str, of: tuple[Shown, ...]) -> list[str]:
        at = "california" if who in ("bob", "dana") else "missouri"
        if who == "visitor":
            page = await people.visitor(at, **lively)
        else:
            page = await people.at_home(getattr(life.texts, who), at, **lively)
        return [fault for shown in of for fault in await faults_of(page, shown, life)]

    everybody = sorted({shown.who for shown in PAGES})
    found = await asyncio.gather(
        *(look(who, tuple(each for each in PAGES if each.who == who)) for who in everybody)
    )
    await people.close_windows()
    assert "\n".join(fault for faults in found for fault in faults) == ""
