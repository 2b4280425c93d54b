"""The wallet in a real browser, most of it without scripts on a phone: history, statements,
receipts, goods of one's own, the PIN, and tokens for programs."""

import csv
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Download, Page, expect

from edge.core import receipt
from tests.browser.life import Life
from tests.browser.villages import (
    MISSOURI,
    PHONE,
    PIN,
    SCREEN,
    People,
    free_to_spend,
    sign_in,
    window,
)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def people(life: Life, browser: Browser) -> AsyncIterator[People]:
    people = People(browser, missouri=life.two.missouri, california=life.two.california)
    yield people
    await people.close_windows()


async def wallet_of(people: People, name: str, **settings: Any) -> Page:
    page = await people.at_home(name, "missouri", **settings)
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Wallet").click()
    await expect(page.get_by_role("heading", name="Wallet")).to_be_visible()
    return page


async def whats(page: Page) -> list[str]:
    """Return the first line of each movement that the history shows."""
    await expect(page.get_by_role("heading", name="History")).to_be_visible()
    return [text.split("\n")[0] for text in await page.locator(".moves tbody th").all_inner_texts()]


@pytest.mark.parametrize(
    "how",
    [
        {"viewport": PHONE, "java_script_enabled": False},
        {"viewport": SCREEN, "java_script_enabled": True},
    ],
    ids=["plain phone", "lively screen"],
)
async def test_the_history_and_its_filters(people: People, how: dict[str, Any]) -> None:
    page = await wallet_of(people, "Alice", **how)
    assert {"Paid to Carol", "Received from Carol", "Issued by the village"} < {*await whats(page)}

    async def choose(**chosen: str) -> list[str]:
        unfolded = await page.locator("details.filter[open]").count()
        if not unfolded:
            await page.get_by_text("Choose what to see").click()
        for name, value in chosen.items():
            await page.locator(f"#f-{name}").select_option(value)
        async with page.expect_navigation():
            await page.get_by_role("button", name="Show", exact=True).click()
        return await whats(page)

    assert await choose(kind="payments") == ["Received from Carol", "Paid to Carol"]
    assert await choose(direction="out") == ["Paid to Carol"]
    await expect(page.locator(".moves")).to_contain_text("Bread, the whole week")
    assert await choose(kind="goods", direction="") == ["Declared", "Declared"]
    assert await choose(asset="SOLAR-PANEL") == []
    await expect(page.get_by_text("Nothing fits.")).to_be_visible()
    assert await choose(kind="") == ["Traded with Bob of ose-california-001"]
    await page.get_by_role("link", name="Traded with Bob").click()
    await expect(page.locator("main")).to_contain_text("Done, in both ledgers")


async def test_a_statement_as_page_and_as_file(people: People) -> None:
    page = await wallet_of(people, "Alice")
    balance = await page.get_by_role("row", name="AT").get_by_role("cell").first.inner_text()
    await page.get_by_role("button", name="Show the statement").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Statement")
    closing = page.get_by_role("row", name="After").first.get_by_role("cell").last
    await expect(closing).to_have_text(balance)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download for a spreadsheet").click()
    text = (await _read(await download.value)).decode()
    rows = [row for row in csv.DictReader(text.splitlines()) if row["asset"] == "AT"]
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal(balance)
    assert [row["note"] for row in rows if row["what"] == "Paid to"] == ["Bread, the whole week"]


async def test_receipts(people: People) -> None:
    page = await wallet_of(people, "Alice")
    await page.get_by_role("link", name="Receipts").click()
    await expect(page.locator("main li")).to_have_count(1)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download").click()
    made = receipt.verify(receipt.decode(await _read(await download.value)))
    assert made.from_village == MISSOURI


async def test_goods_of_ones_own(people: People) -> None:
    page = await wallet_of(people, "Kofi")
    declare = page.get_by_role("region", name="Declare goods")
    await declare.get_by_label("Amount").fill("12.5")
    await declare.get_by_label("Of what").fill("Unicorn")
    await declare.get_by_role("button", name="Declare").click()
    await expect(declare.get_by_role("alert")).to_contain_text("Nothing was done.")
    await expect(declare.get_by_label("Amount")).to_have_value("12.5")
    await declare.get_by_label("Of what").fill("seed potato")
    await declare.get_by_role("button", name="Declare").click()
    await expect(page.get_by_role("status")).to_contain_text("12.5 Seed Potato")
    using = page.get_by_role("region", name="Use up goods")
    await using.get_by_label("Amount").fill("2.5")
    await using.get_by_role("button", name="Use up").click()
    await expect(page.get_by_role("status")).to_contain_text("2.5 Seed Potato")
    assert await free_to_spend(page, "Seed Potato") == "10.0"


async def test_a_new_pin_ends_other_sessions(people: People, life: Life, browser: Browser) -> None:
    elsewhere = await people.at_home("Mei", "missouri")
    page = await window(browser)
    await sign_in(page, life.two.missouri.url, "Mei")
    await page.goto(life.two.missouri.url + "wallet/pin")

    async def change(old: str, new: str) -> None:
        await page.get_by_label("The PIN that you have now").fill(old)
        await page.get_by_label("The new PIN (4").fill(new)
        await page.get_by_label("The new PIN again").fill(new)
        await page.get_by_role("button", name="Change the PIN").click()

    await change("wrong", "battery staple")
    await expect(page.get_by_role("alert")).to_contain_text("Your PIN is as it was.")
    await change(PIN, "battery staple")
    await expect(page.get_by_role("status")).to_contain_text("Your PIN is changed.")
    await expect(page.get_by_role("banner")).to_contain_text("Mei")
    await elsewhere.reload()
    await expect(elsewhere.get_by_role("heading", name="Sign in")).to_be_visible()
    await sign_in(elsewhere, life.two.missouri.url, "Mei", "battery staple")
    await page.context.close()


async def test_a_token_is_shown_once_works_and_ends(people: People, life: Life) -> None:
    page = await wallet_of(people, "Tomás")
    await page.get_by_role("link", name="Tokens").click()
    await page.get_by_label("What it is for").fill("Weather station")
    await page.get_by_label("read: see what you see").check()
    await page.get_by_role("button", name="Make the token").click()
    token = await page.locator("#token").input_value()
    me = life.two.missouri.url + "api/v1/me"
    headers = {"Authorization": f"Bearer {token}"}
    assert "Tomás" in await (await page.request.get(me, headers=headers)).text()
    await page.goto(life.two.missouri.url + "tokens")
    assert token not in await page.content()
    await page.get_by_role("button", name="Revoke Weather station").click()
    await expect(page.get_by_text("None yet.")).to_be_visible()
    assert (await page.request.get(me, headers=headers)).status == 401


async def test_a_new_token_is_copied_by_a_button(people: People, life: Life) -> None:
    allowed = {"java_script_enabled": True, "permissions": ["clipboard-read", "clipboard-write"]}
    page = await wallet_of(people, "Elena", **allowed)
    await page.goto(life.two.missouri.url + "tokens")
    await page.get_by_label("What it is for").fill("Shop")
    await page.get_by_label("read: see what you see").check()
    await page.get_by_role("button", name="Make the token").click()
    await page.bring_to_front()  # only what has the focus may write to the clipboard
    await page.get_by_role("button", name="Copy it").click()
    await expect(page.get_by_text("Copied.")).to_be_visible()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == await page.get_by_label("The token", exact=True).input_value() != ""
    plain = await wallet_of(people, "Elena")
    await plain.goto(life.two.missouri.url + "tokens")
    await plain.get_by_label("What it is for").fill("Shop, too")
    await plain.get_by_label("read: see what you see").check()
    await plain.get_by_role("button", name="Make the token").click()
    await expect(plain.get_by_label("The token", exact=True)).to_be_visible()
    await expect(plain.get_by_role("button", name="Copy it")).to_be_hidden()


async def _read(download: Download) -> bytes:
    return (await download.path()).read_bytes()
