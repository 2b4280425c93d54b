"""Two villages in one process, with people and goods, and a browser for each of three members."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    Browser,
    WebBox,
    Wire,
    people_and_goods,
)


class Two:
    """Alice and Carol of Missouri and Bob of California, each with a browser."""

    def __init__(self, a: WebBox, b: WebBox, alice: Browser, carol: Browser, bob: Browser) -> None:
        self.a, self.b = a, b
        self.alice, self.carol, self.bob = alice, carol, bob


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    wire = Wire()
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(WebBox(wire, tmp_path, MISSOURI, "Factor e Farm"))
        b = await stack.enter_async_context(WebBox(wire, tmp_path, CALIFORNIA, "Sonoma Hills"))
        await people_and_goods(a, b)
        browsers = []
        for box, name in ((a, "Alice"), (a, "Carol"), (b, "Bob")):
            browsers.append(await stack.enter_async_context(Browser(box.server)))
            await browsers[-1].sign_in(name)
        yield Two(a, b, *browsers)


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
