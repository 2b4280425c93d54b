"""One Chromium for all tests of the browser, and two villages for those that only look or mind
their own business there."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser import villages
from tests.browser.life import Life, lived_in


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with villages.chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def life(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Life]:
    async with lived_in(tmp_path_factory.mktemp("life")) as life:
        yield life
