"""One Chromium for all tests of the browser; each window of it is somebody's own."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.browser import villages


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with villages.chromium() as browser:
        yield browser
