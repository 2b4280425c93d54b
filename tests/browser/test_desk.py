"""The steward's desk in a real browser, with texts of others that want to be more than text."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from edge import desk, trade_escrow
from edge.core import council, crypto, trade
from edge.core.council import Certificate, Seat, Value, Vote
from edge.core.invitation import PREFIX
from edge.core.trade import Proposal, Quantity
from edge.storage import councils, facts, members, neighbours, trades
from edge.storage.tx import Tx
from tests.browser.test_every_page import ALL, AXE, RUN_AXE
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
PAGES: Final = (
    "",
    "/members",
    "/members/1",
    "/members/3",
    "/neighbours",
    "/trades",
    "/trades?show=ended",
    "/trades?show=deciding",
    "/trades?show=decided",
)


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
    await own.store.write(decide_for_others)
    asked = Proposal(MISSOURI, "Alice", ("Solar Panel", "1"), ("AT", "1"))
    theirs = await other.store.write(
        lambda tx: trade_escrow.propose(tx, members.named(tx, "Bob"), asked, 0)
    )
    await other.client.exchange(MISSOURI)
    wire.cut = True
    await own.store.write(
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, "Alice"), trades.by_subject(tx, theirs.subject)
        )
    )
    own.now_ms += 86_400_000
    await own.store.write(lambda tx: neighbours.set_trouble(tx, CALIFORNIA, HOSTILE))
    return own


def decide_for_others(tx: Tx) -> None:
    """Keep two trades of others that this village has a seat in, one of them decided, and proof of
    a seat that has signed two words."""
    villages = ("ose-a-001", f"ose-{'b' * 55}-001", tx.identity.village, "ose-d-001")
    a, b, d = (crypto.SecretKey(bytes([number]) * 32) for number in (1, 2, 3))
    keys = (a.public, b.public, tx.identity.key.public, d.public)
    for number in (1, 2):
        terms = trade.Terms(
            context=trade.TERMS_CONTEXT,
            network=bytes(32),
            charter=bytes(32),
            from_village=villages[0],
            to_village=villages[1],
            trade_id=f"t{number}",
            seats=tuple(Seat(*each) for each in zip(villages, keys, strict=True)),
            offer=Quantity("AT", "token", 2, 10_000),
            request=Quantity("SOLAR-PANEL", "resource", 0, number),
            from_fee=0,
            to_fee=0,
            deadline_minute=tx.minute + 1_440,
            window_s=600,
            nonce=bytes(16),
            refund_of=None,
        )
        text = trade.encode_terms(terms)
        opened = councils.open_(tx, text, a.sign(text), b.sign(text))
        words: tuple[Value, ...] = ("COMMIT", "ABORT")
        for value in words:
            word = council.vote_bytes(terms.network, opened.id, 0, "prevote", value)
            vote = Vote(villages[3], 0, "prevote", value, d.sign(word))
            councils.keep_vote(tx, councils.held(tx, opened), vote)
        if number == 1:
            signed = tuple((village, bytes(64)) for village in villages[1:])
            councils.decide(tx, opened, Certificate("ABORT", 0, signed))


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


async def test_pages_of_trades_are_for_everybody(browser: Browser, box: WebBox) -> None:
    page = await open_desk(browser, box, bypass_csp=True)
    for show in ("bound", "deciding", "decided"):
        await page.goto(str(box.server.make_url(f"/desk/trades?show={show}")))
        for _ in range(2):
            await page.set_viewport_size({"width": 360, "height": 740})
            await page.evaluate(AXE)
            assert await page.evaluate(RUN_AXE, ALL) == [], show
            assert not await page.evaluate(IS_TOO_WIDE), show
            if "show=" in page.url:
                await page.get_by_role("link", name="Details of trade").click()
    await page.goto(str(box.server.make_url("/desk/trades?show=bound")))
    await page.get_by_role("link", name="Details of trade").click()
    await page.get_by_label("The receipt that").set_input_files(
        {"name": "receipt.json", "mimeType": "application/json", "buffer": b"{}"}
    )
    await page.get_by_label("End it as this file says").check()
    await page.get_by_role("button", name="End the trade").click()
    await expect(page.get_by_role("alert")).to_contain_text("Not a receipt")


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


async def test_giving_up_a_trade_without_javascript(browser: Browser, box: WebBox) -> None:
    size = {"width": 360, "height": 640}
    page = await open_desk(browser, box, viewport=size, java_script_enabled=False)
    await page.get_by_role("navigation", name="The desk").get_by_text("Trades").click()
    caught = page.get_by_role("region", name="Villages that broke the rules")
    await expect(caught.get_by_role("listitem").first).to_contain_text(
        "ose-d-001: it signed two different"
    )
    await page.get_by_label("Which").select_option(label="Of others: not decided yet (1)")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("Waits for").first).to_be_visible()
    await page.get_by_role("link", name="Details of trade").click()
    await expect(page.get_by_text("this village only helps to decide")).to_be_visible()

    await page.get_by_role("navigation", name="The desk").get_by_text("Trades").click()
    await page.get_by_role("link", name="Details of trade").first.click()
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_role("status")).to_contain_text(f"Asked now: {CALIFORNIA} ")
    await page.get_by_label("Why").fill("Bob is away until spring")
    await page.get_by_label("Yes, give it up").check()
    await page.get_by_role("button", name="Give it up").click()
    await expect(page.get_by_role("status")).to_have_text("The trade was withdrawn.")
    await expect(page.get_by_text("Bob is away until spring. Alice's")).to_be_visible()
