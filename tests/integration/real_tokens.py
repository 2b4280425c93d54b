"""A token of a member of a real box, made where people make it: on the page."""

from typing import cast

from aiohttp.test_utils import TestServer
from yarl import URL

from edge import control
from tests.integration.boxes import RealBox
from tests.integration.web_boxes import Browser


class Page:
    """The address of a real box's page, for a browser."""

    def __init__(self, url: str) -> None:
        self._url = URL(url)

    def make_url(self, path: str) -> URL:
        return self._url.join(URL(path))


async def page_of(box: RealBox, scheme: str = "http") -> str:
    """Return the address of the page, with its closing slash."""
    urls: list[str] = (await box.ask(control.Status()))["page_urls"]
    [found] = [url for url in urls if url.startswith(f"{scheme}:")]
    return found.replace("localhost", "127.0.0.1")


async def token_of(box: RealBox, name: str, pin: str, *scopes: str) -> str:
    place = cast("TestServer", Page(await page_of(box)))
    async with Browser(place) as browser:
        await browser.sign_in(name, pin)
        await browser.get("/tokens")
        ticked = dict.fromkeys(scopes or ("read", "trade"), "yes")
        text = await browser.send("/tokens#made", name="a test", **ticked)
        assert browser.status == 200, text
        return text.split('id="token">', 1)[1].split("<", 1)[0]
