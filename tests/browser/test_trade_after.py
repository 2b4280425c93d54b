"""What comes after a trade, in a real browser: on a phone without scripts, and followed live."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from edge import control
from tests.browser.villages import CALIFORNIA, SCREEN, People, Two, neighbours
from tests.integration.boxes import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    folder: Path = tmp_path_factory.mktemp("after")
    async with neighbours(folder, ("Factor e Farm", "Ocean View Farm")) as two:
        await two.missouri.member("Alice", at="500")
        await two.california.member("Bob", Solar_Panel="6")
        yield two


@pytest_asyncio.fixture(loop_scope="session")
async def people(two: Two, browser: Browser) -> AsyncIterator[People]:
    people = People(browser, missouri=two.missouri, california=two.california)
    yield people
    await people.close_windows()


async def settled(two: Two) -> str:
    """Alice gets two panels of Bob; return where that is shown, in both villages."""
    a, b = two.missouri.box, two.california.box
    sides = ("AT", "100"), ("Solar Panel", "2")
    made = await until(lambda: proposed(a, sides), "the catalogue has come")
    id_ = str(made["id"])
    await until(lambda: b.trade(id_), "the proposal has come")
    await b.ask(control.TradeAccept(id_))

    async def done() -> bool:
        found = [await box.trade(id_) for box in (a, b)]
        return all(each and each["status"] == "SETTLED" for each in found)

    await until(done, "both have settled")
    return f"trades/{id_}"


async def proposed(box: object, sides: tuple[tuple[str, str], tuple[str, str]]) -> object:
    assert hasattr(box, "ask")
    peers = (await box.ask(control.PeerList()))["neighbours"]
    if peers[0]["records_held"] < 4:
        return None
    return await box.ask(control.TradePropose("Alice", "Bob", CALIFORNIA, *sides))


async def at(people: People, two: Two, name: str, path: str, **settings: object) -> Page:
    place, where = (two.missouri, "missouri") if name == "Alice" else (two.california, "california")
    page = await people.at_home(name, where, **settings)
    await page.goto(place.url + path)
    return page


async def test_it_has_come(people: People, two: Two) -> None:
    """Alice on a phone, without scripts; Bob sees it on a page that follows by itself."""
    path = await settled(two)
    alice = await at(people, two, "Alice", path)
    bob = await at(people, two, "Bob", path, viewport=SCREEN, java_script_enabled=True)
    await expect(bob.locator("main")).to_contain_text("Alice has not said yet that 2 Solar Panel")
    await expect(bob.get_by_role("button", name="It has come")).to_have_count(0)
    await alice.get_by_role("button", name="It has come: 2 Solar Panel").click()
    await expect(alice.locator("main")).to_contain_text("Delivered: 2 Solar Panel.")
    await expect(alice.get_by_text("something is wrong with it")).to_have_count(0)
    await expect(bob.locator("main")).to_contain_text("Delivered: 2 Solar Panel.")
    await expect(bob.locator("summary")).to_have_count(0)


async def test_it_is_disputed_and_given_back(people: People, two: Two) -> None:
    path = await settled(two)
    alice = await at(people, two, "Alice", path)
    bob = await at(people, two, "Bob", path, viewport=SCREEN, java_script_enabled=True)
    await alice.get_by_text("It has not come, or something is wrong with it").click()
    await alice.get_by_label("What is wrong").fill("Two panels are <b>cracked</b>.")
    await alice.get_by_role("button", name="Dispute it").click()
    await expect(alice.locator(".badge")).to_have_text("Disputed")
    await expect(bob.locator("#after")).to_contain_text("Alice wrote: Two panels are <b>cracked")
    await alice.get_by_role("button", name="Erase what you wrote").click()
    await expect(alice.locator("#after")).not_to_contain_text("cracked")
    await expect(bob.locator("#after")).not_to_contain_text("cracked")

    await bob.get_by_text("Refund: give it back").click()
    await expect(bob.locator("#refund")).to_contain_text(
        "You give 100.00 AT back, and get 2 Solar Panel back, without a fee, as soon as Alice"
    )
    await bob.get_by_role("button", name="Propose the refund").click()
    await expect(bob.locator("main")).to_contain_text("This is the refund of trade")
    back = bob.url.rpartition("trades/")[2]
    await until(lambda: two.missouri.box.trade(back), "the proposal has come")
    await alice.goto(f"{two.missouri.url}trades/{back}")
    await alice.get_by_role("button", name="Accept: give 2 Solar Panel, get 100.00 AT").click()
    await expect(bob.locator("main")).to_contain_text("Done, in both ledgers")
    await alice.goto(two.missouri.url + path)
    await expect(alice.locator("main")).to_contain_text("given back: 2 Solar Panel.")
    await alice.get_by_role("link", name=f"trade {back}").click()
    await expect(alice.locator("main")).to_contain_text("you gave 2 Solar Panel and got 100.00 AT")
