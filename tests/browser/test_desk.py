"""The steward's desk in a real browser, with texts of others that want to be more than text."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from edge import desk, trade_escrow
from edge.core.invitation import PREFIX
from edge.core.trade import Proposal
from edge.storage import facts, members, neighbours
from tests.browser.villages import IS_TOO_WIDE, LOWEST_CONTRAST, SCHEMES, window
from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    PINS,
    WebBox,
    Wire,
    befriend,
    people_and_goods,
)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="session")]

HOSTILE: Final = '"><img src=x onerror=document.title="ran">'
LONG: Final = "Wolfeschlegelsteinhausenbergerdorffwelchevoralternwaren"
PAGES: Final = ("", "/members", "/members/1", "/members/3", "/neighbours", "/trades")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def box(stack: AsyncExitStack, tmp_path_factory: pytest.TempPathFactory) -> WebBox:
    """A village that has all that the desk can show, a good part of it hostile."""
    tmp_path = tmp_path_factory.mktemp("desk")
    wire = Wire()
    own = await stack.enter_async_context(WebBox(wire, tmp_path, MISSOURI, "Factor e Farm"))
    other = await stack.enter_async_context(WebBox(wire, tmp_path, CALIFORNIA, "Hills"))
    third = await stack.enter_async_context(WebBox(wire, tmp_path, "ose-texas-001", HOSTILE))
    fourth = await stack.enter_async_context(WebBox(wire, tmp_path, "ose-ohio-001", HOSTILE))
    await people_and_goods(own, other)
    await befriend(own, third)
    entry = await fourth.store.read(facts.own_entry)
    await own.store.write(lambda tx: neighbours.keep_candidate(tx, entry, "register"))
    await own.store.write(lambda tx: desk.set_steward(tx, "Alice", True))
    await own.member(HOSTILE, "1234", steward=True)
    await own.member(LONG, "1234")
    await own.store.write(lambda tx: desk.declare(tx, HOSTILE, LONG[:32], "1000000", 6))
    proposal = Proposal(CALIFORNIA, HOSTILE, ("AT", "1"), ("Solar Panel", "1"))
    await own.store.write(
        lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), proposal, 0)
    )
    wire.cut = True
    own.now_ms += 86_400_000
    await own.store.write(lambda tx: neighbours.set_trouble(tx, CALIFORNIA, HOSTILE))
    return own


async def open_desk(browser: Browser, box: WebBox, **settings: Any) -> Page:
    page = await window(browser, **({"java_script_enabled": True} | settings))
    await page.goto(str(box.server.make_url("/")))
    await page.get_by_label("Your name").fill("Alice")
    await page.get_by_label("Your PIN").fill(PINS["Alice"])
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("link", name="Desk").click()
    return page


async def test_every_page_can_be_read(browser: Browser, box: WebBox) -> None:
    page = await open_desk(browser, box)
    for path in PAGES:
        await page.goto(str(box.server.make_url(f"/desk{path}")))
        assert await page.title() != "ran"
        assert await page.locator("img").count() == 0
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            ratio, text = await page.evaluate(LOWEST_CONTRAST)
            assert ratio >= 4.5, (path, scheme, text)
        for width in (360, 1_200):
            await page.set_viewport_size({"width": width, "height": 800})
            assert not await page.evaluate(IS_TOO_WIDE), (path, width)


async def test_a_stewards_day_without_javascript(browser: Browser, box: WebBox) -> None:
    size = {"width": 360, "height": 640}
    page = await open_desk(browser, box, viewport=size, java_script_enabled=False)
    await expect(page.get_by_text("Not all is well:")).to_be_visible()

    await page.get_by_role("navigation", name="The desk").get_by_text("Members").click()
    adding = page.get_by_role("region", name="Add a member")
    await adding.get_by_label("Name").fill("Carol")
    await adding.get_by_label("First PIN").fill("2468")
    await adding.get_by_label("Is a steward").check()
    await adding.get_by_role("button").click()
    await expect(page.get_by_role("alert")).to_contain_text("already a member called Carol")
    await expect(adding.get_by_label("Is a steward")).to_be_checked()
    await adding.get_by_label("Name").fill("Dora")
    await adding.get_by_label("First PIN").fill("2468")
    await adding.get_by_role("button").click()
    await expect(page.get_by_role("status")).to_have_text("Dora is a steward now.")

    await page.get_by_role("link", name="Dora").click()
    await page.get_by_role("link", name="Issue AT to Dora").click()
    issuing = page.get_by_role("region", name="Issue AT")
    await issuing.get_by_label("Amount").fill("12.50")
    await issuing.get_by_role("button").click()
    await expect(page.get_by_role("status")).to_have_text("12.50 AT were issued to Dora.")

    await page.get_by_role("navigation", name="The desk").get_by_text("Neighbours").click()
    line = page.get_by_role("region", name="Set a line")
    await line.get_by_label("Neighbour").select_option(CALIFORNIA)
    await line.get_by_label("Amount").fill("0")
    await line.get_by_role("button").click()
    await expect(page.get_by_role("status")).to_contain_text("may come to owe 0 AT")
    await page.get_by_role("button", name="Make an invitation").click()
    made = page.get_by_label("The invitation")
    await expect(made).to_have_value(re.compile(f"^{PREFIX}"))
