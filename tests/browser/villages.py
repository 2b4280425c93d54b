"""Two neighbouring villages with real boxes, and people's windows on their pages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

from edge import control
from tests.conftest import CHROMIUM
from tests.integration import real_tokens, web_boxes
from tests.integration.boxes import RealBox, befriend

MISSOURI: Final = "ose-missouri-001"
CALIFORNIA: Final = "ose-california-001"
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PIN: Final = "correct horse"
PATIENCE_S: Final = 30
PHONE: Final = {"width": 360, "height": 640}
SCREEN: Final = {"width": 1_200, "height": 800}
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")

# The lowest contrast (WCAG 2.2, 1.4.3) of any text on the page against what lies behind it.
LOWEST_CONTRAST: Final = """() => {
  const parse = text => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
  };
  const shown = [...document.body.querySelectorAll("*")].filter(node =>
    [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
  const found = shown.map(node => {
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.textContent.trim()];
  });
  return found.sort((one, two) => one[0] - two[0])[0];
}"""
IS_TOO_WIDE: Final = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@dataclass(frozen=True)
class Place:
    """A village's box and where its pages are: on plain HTTP for this machine, and on HTTPS."""

    box: RealBox
    url: str
    secure_url: str

    def client(self) -> web_boxes.Browser:
        """Return a person's browser without a screen."""
        return web_boxes.Browser(cast("TestServer", real_tokens.Page(self.url)))

    async def member(self, name: str, *, steward: bool = False, at: str = "", **goods: str) -> None:
        """Add a member with PIN, some AT, and goods such as `Solar_Panel="2"`."""
        await self.box.ask(control.MemberAdd(name, PIN, steward))
        if at:
            await self.box.ask(control.Issue(name, at))
        for resource, amount in goods.items():
            decimals = len(amount.partition(".")[2])
            named = resource.replace("_", " ")
            await self.box.ask(control.Declare(name, named, amount, decimals))


@dataclass(frozen=True)
class Two:
    missouri: Place
    california: Place


@asynccontextmanager
async def neighbours(
    folder: Path, names: tuple[str, str] = ("", ""), *, fee_basis_points: int = 0
) -> AsyncIterator[Two]:
    """Run two neighbouring villages with nobody in them; Missouri takes the fee."""
    https, fee = "listen.page_tls=127.0.0.1:0", f"trade.fee_basis_points={fee_basis_points}"
    missouri = RealBox(folder, MISSOURI, [https, fee], names[0])
    california = RealBox(folder, CALIFORNIA, [https], names[1])
    try:
        await asyncio.gather(missouri.start(), california.start())
        await befriend(missouri, california)
        yield Two(await place(missouri), await place(california))
    except BaseException as error:
        for box in (missouri, california):
            error.add_note(f"{box.village} said: {box.log.read_text()}")
        raise
    finally:
        for box in (missouri, california):
            box.end()


async def place(box: RealBox) -> Place:
    plain, secure = (await box.ask(control.Status()))["page_urls"]
    return Place(box, plain, secure)


class People:
    """Opens windows for people, who sign in once however many windows they open."""

    def __init__(self, browser: Browser, **places: Place) -> None:
        self._browser = browser
        self._places = places
        self._signed_in: dict[str, Any] = {}
        self._open: list[BrowserContext] = []

    async def close_windows(self) -> None:
        for context in self._open:
            await context.close()
        self._open.clear()

    async def visitor(self, at: str, **settings: Any) -> Page:
        """Open a window of somebody who has not signed in, at the first page of that village."""
        page = await window(self._browser, **settings)
        self._open.append(page.context)
        await page.goto(self._places[at].url)
        return page

    async def at_home(self, name: str, at: str, **settings: Any) -> Page:
        """Open a window of a member at their first page."""
        place = self._places[at]
        if name not in self._signed_in:
            page = await window(self._browser)
            await sign_in(page, place.url, name)
            self._signed_in[name] = await page.context.storage_state()
            await page.context.close()
        page = await window(self._browser, storage_state=self._signed_in[name], **settings)
        self._open.append(page.context)
        await page.goto(place.url)
        return page


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=list(FLAGS)
        )
        async with browser:
            yield browser


async def window(browser: Browser, **settings: Any) -> Page:
    """Open a window of somebody's own, as narrow as an old phone and without scripts."""
    phone: dict[str, Any] = {"viewport": PHONE, "java_script_enabled": False}
    context = await browser.new_context(**(phone | settings))
    context.set_default_timeout(PATIENCE_S * 1000)
    return await context.new_page()


async def sign_in(page: Page, url: str, name: str, pin: str = PIN) -> None:
    await page.goto(url)
    await page.get_by_label("Your name").fill(name)
    await page.get_by_label("Your PIN").fill(pin)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="What you have")).to_be_visible()


async def look_until(page: Page, text: str) -> None:
    """Look at a trade again and again until its page says something."""
    link = page.get_by_role("link", name="Look again")
    try:
        async with asyncio.timeout(PATIENCE_S):
            while text not in await page.inner_text("main"):
                with contextlib.suppress(PlaywrightTimeout):  # a lively page may take it away
                    await link.click(timeout=500)
    except TimeoutError:
        pytest.fail(f"not there in time: {text!r}; but: {await page.inner_text('main')}")


async def free_to_spend(page: Page, asset: str) -> str:
    """Return what the page says is free to spend of an asset, nothing if it names none."""
    await expect(page.get_by_role("heading", name="What you have")).to_be_visible()
    table = page.get_by_role("region", name="What you have").get_by_role("row")
    row = table.filter(has=page.get_by_role("rowheader", name=asset, exact=True))
    return await row.get_by_role("cell").last.inner_text() if await row.count() else ""
