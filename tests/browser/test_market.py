"""The market in a real browser: listing, finding, answering, with scripts and without."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from edge import control
from tests.browser.villages import (
    CALIFORNIA,
    MISSOURI,
    PATIENCE_S,
    PHONE,
    PIN,
    SCREEN,
    People,
    Two,
    free_to_spend,
    look_until,
    neighbours,
)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="session")]

LIVELY: Final = {"java_script_enabled": True}
PLAIN: Final = {"java_script_enabled": False}
KINDS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "plain phone": ({"viewport": PHONE} | PLAIN, {"viewport": SCREEN} | LIVELY),
    "lively phone": ({"viewport": PHONE} | LIVELY, {"viewport": SCREEN} | PLAIN),
    "plain screen": ({"viewport": SCREEN} | PLAIN, {"viewport": PHONE} | LIVELY),
    "lively screen": ({"viewport": SCREEN} | LIVELY, {"viewport": PHONE} | PLAIN),
}
HOW: Final[dict[str, dict[str, Any]]] = {
    "lively phone": {"viewport": PHONE} | LIVELY,
    "plain screen": {"viewport": SCREEN} | PLAIN,
}


GOODS: Final = {"Seed Potato": 1, "Goat Cheese": 0, "Solar Panel": 0, "Olive Oil": 0}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    """Missouri takes a fee of 1 % on offers of AT."""
    folder = tmp_path_factory.mktemp("market")
    names = ("Factor e Farm", "Ocean View Farm")
    async with neighbours(folder, names, fee_basis_points=100) as two:
        await two.missouri.member("Alice", at="5000", Seed_Potato="60.0", Brick="900")
        await two.missouri.member("Carol", at="300", Goat_Cheese="40")
        await two.california.member("Bob", at="900", Solar_Panel="60", Olive_Oil="60")
        for each, other in ((two.missouri, CALIFORNIA), (two.california, MISSOURI)):
            for resource, decimals in GOODS.items():
                await each.box.ask(control.Declare("treasury", resource, "1", decimals))
                await each.box.ask(control.Limit(other, resource, "500"))
            await each.box.ask(control.Limit(other, "AT", "9000"))
        yield two
        for place in (two.missouri, two.california):
            place.box.audit()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def everybody(two: Two, browser: Browser) -> People:
    return People(browser, missouri=two.missouri, california=two.california)


@pytest_asyncio.fixture(loop_scope="session")
async def people(everybody: People) -> AsyncIterator[People]:
    yield everybody
    await everybody.close_windows()


async def to_market(page: Page) -> None:
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Market").click()


async def list_goods(page: Page, item: str, quantity: str, side: str = "offer", **more: str) -> str:
    """List something on the page; return the address of the listing. `more`: other fields."""
    await to_market(page)
    begin = "Offer something" if side == "offer" else "Ask for something"
    await page.get_by_role("link", name=begin).click()
    for name, value in {"item": item, "quantity": quantity, **more}.items():
        await page.locator(f"#{name}").fill(value)
    await page.get_by_role("button", name=re.compile("^List")).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(rf"{item}$"))
    return page.url


async def find(page: Page, words: str) -> None:
    """Look on the market for a listing until it has come, and open it."""
    await to_market(page)
    await page.get_by_label("Search").fill(words)
    await again_until(page, lambda: page.locator(".card").count())
    await page.locator(".card").get_by_role("link").click()


async def again_until(page: Page, is_so: Callable[[], Any]) -> None:
    """Press the search's button until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        await page.get_by_role("button", name="Search").click()
        while not await is_so():
            await page.get_by_role("button", name="Search").click()


async def is_left(page: Page, words: str, title: str) -> None:
    """Look on the market until the card with those words has that title."""
    await to_market(page)
    await page.get_by_label("Search").fill(words)
    shown = page.locator(".card").filter(has_text=words).get_by_role("link", name=title, exact=True)
    await again_until(page, shown.count)


async def answer(page: Page, amount: str) -> None:
    await page.get_by_label("How much").fill(amount)
    await page.get_by_role("button", name="Propose this trade").click()


async def accept(page: Page, terms: str) -> None:
    """Accept the proposal with those terms, once it has come."""
    button = page.get_by_role("button", name=f"Accept: {terms}")
    async with asyncio.timeout(PATIENCE_S):
        while not await button.count():
            await page.reload()
    await button.click()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_neighbours_offer_is_found_and_bought(people: People, kind: str) -> None:
    ours, theirs = KINDS[kind]
    alice = await people.at_home("Alice", "missouri", **ours)
    bob = await people.at_home("Bob", "california", **theirs)
    had = [float(await free_to_spend(alice, "AT")), float(await free_to_spend(bob, "AT"))]
    text = f"Off the roof, for a {kind}."
    await list_goods(bob, "Solar Panel", "5", price="100", text=text)

    await find(alice, f"solar {kind}")
    await expect(alice.locator("main")).to_contain_text(
        f"Offered byA member, Ocean View Farm ({CALIFORNIA})"
    )
    await answer(alice, "2")
    await expect(alice.locator("#fee")).to_contain_text("a fee of 2.00 AT on this trade")
    await expect(alice.locator("#sum")).to_have_text("You give 200.00 AT and get 2 Solar Panel.")
    await alice.get_by_role("button", name="Agree to the fee and propose").click()
    await expect(alice.get_by_role("heading", level=1)).to_contain_text("Trade with a member")
    await expect(alice.locator("main")).to_contain_text("Fee, to your village’s treasury2.00 AT")

    await bob.get_by_role("link", name="Your trades").click()
    await accept(bob, "give 2 Solar Panel, get 200.00 AT")
    done = "Done, in both ledgers: you gave"
    await look_until(bob, f"{done} 2 Solar Panel and got 200.00 AT.")
    await look_until(alice, f"{done} 200.00 AT and the fee of 2.00 AT and got 2 Solar Panel.")
    for page in (alice, bob):
        await is_left(page, text, "3 Solar Panel")
        await page.get_by_role("link", name="Wallet").click()
    have = [float(await free_to_spend(alice, "AT")), float(await free_to_spend(bob, "AT"))]
    assert [now - before for now, before in zip(have, had, strict=True)] == [-202, 200]


@pytest.mark.parametrize("how", HOW)
async def test_a_neighbours_want_is_served(people: People, how: str) -> None:
    alice = await people.at_home("Alice", "missouri", **HOW[how])
    bob = await people.at_home("Bob", "california", **HOW[how])
    text = f"For planting, {how}."
    await list_goods(bob, "Seed Potato", "10", "want", price="2", text=text)
    await find(alice, text)
    await expect(alice.get_by_role("heading", name="Offer yours")).to_be_visible()
    await answer(alice, "4")
    await bob.get_by_role("link", name="Your trades").click()
    await accept(bob, "give 8.00 AT, get 4.0 Seed Potato")
    await look_until(alice, "Done, in both ledgers: you gave 4.0 Seed Potato and got 8.00 AT.")
    for page in (alice, bob):
        await is_left(page, text, "6.0 Seed Potato")


@pytest.mark.parametrize("how", HOW)
async def test_goods_for_goods_and_a_gift(people: People, how: str) -> None:
    carol = await people.at_home("Carol", "missouri", **HOW[how])
    bob = await people.at_home("Bob", "california", **HOW[how])
    text = f"Aged four months, {how}."
    await list_goods(carol, "Goat Cheese", "6", price="2", price_asset="Olive Oil", text=text)
    await find(bob, text)
    await answer(bob, "3")
    await carol.get_by_role("link", name="Your trades").click()
    await accept(carol, "give 3 Goat Cheese, get 6 Olive Oil")
    await look_until(bob, "Done, in both ledgers: you gave 6 Olive Oil and got 3 Goat Cheese.")
    for page in (carol, bob):
        await is_left(page, text, "3 Goat Cheese")

    text = f"More than we can press, {how}."
    await list_goods(bob, "Olive Oil", "5", text=text)
    await expect(bob.locator(".price")).to_have_text("For nothing")
    await find(carol, text)
    await answer(carol, "2")
    await bob.get_by_role("link", name="Your trades").click()
    await accept(bob, "give 2 Olive Oil as a gift")
    await look_until(carol, "Done, in both ledgers: you got 2 Olive Oil as a gift.")
    for page in (carol, bob):
        await is_left(page, text, "3 Olive Oil")


@pytest.mark.parametrize("how", HOW)
async def test_two_of_one_village_trade(people: People, how: str) -> None:
    alice = await people.at_home("Alice", "missouri", **HOW[how])
    carol = await people.at_home("Carol", "missouri", **HOW[how])
    text = f"Pressed in October, {how}."
    await list_goods(alice, "Brick", "100", price="0.50", text=text)
    await find(carol, text)
    await expect(carol.locator("main")).to_contain_text("Offered byAlice, Factor e Farm")
    await answer(carol, "40")
    await expect(carol.get_by_role("heading", level=1)).to_have_text("Trade with Alice")
    await alice.get_by_role("link", name="Your trades").click()
    await accept(alice, "give 40 Brick, get 20.00 AT")
    await look_until(carol, "Done: you gave 20.00 AT and got 40 Brick.")
    await is_left(carol, text, "60 Brick")
    await is_left(await people.at_home("Bob", "california", **HOW[how]), text, "60 Brick")


@pytest.mark.parametrize("how", HOW)
async def test_what_is_taken_back_is_gone_at_the_neighbours_too(people: People, how: str) -> None:
    alice = await people.at_home("Alice", "missouri", **HOW[how])
    bob = await people.at_home("Bob", "california", **HOW[how])
    text = f"A mistake, {how}."
    await list_goods(alice, "Brick", "7", text=text)
    await find(bob, text)
    await alice.get_by_role("button", name="Take it back").click()
    await expect(alice.get_by_role("heading", name="Your listings")).to_be_visible()
    await expect(alice.locator(".card").filter(has_text=text)).to_have_count(0)
    await to_market(bob)
    await bob.get_by_label("Search").fill(text)
    await again_until(bob, bob.get_by_text("Nothing matches.").count)


async def test_who_has_not_signed_in_may_look(people: People) -> None:
    carol = await people.at_home("Carol", "missouri")
    await list_goods(carol, "Goat Cheese", "2", price="4", text="For everybody's eyes.")
    visitor = await people.visitor("missouri")
    await find(visitor, "everybody's eyes")
    await expect(visitor.locator("main")).to_contain_text("Offered byA member, Factor e Farm")
    await expect(visitor.get_by_role("link", name="Sign in to answer")).to_be_visible()
    assert "Carol" not in await visitor.content()
    assert await visitor.locator("main form").count() == 0
    answered = await visitor.request.post(
        f"{visitor.url}/answer", form={"csrf": "0", "form": "0" * 32}
    )
    assert answered.status == 401
    await to_market(visitor)
    await expect(visitor.get_by_role("link", name="Offer something")).to_have_count(0)


async def test_filters_without_scripts(people: People, two: Two) -> None:
    for place, name, side, item, quantity, price, asset in (
        (two.missouri, "Carol", "offer", "Goat Cheese", "3", "4", "AT"),
        (two.missouri, "Carol", "want", "Solar Panel", "1", "2", "Goat Cheese"),
        (two.missouri, "Carol", "offer", "Goat Cheese", "1", "", "AT"),
        (two.california, "Bob", "offer", "Olive Oil", "1", "6", "AT"),
    ):
        async with place.client() as client:
            await client.sign_in(name, PIN)
            await client.get("/market/new")
            fields = {"item": item, "quantity": quantity, "price": price, "price_asset": asset}
            await client.send("/market/new", side=side, text="Sieve.", days="3", **fields)
    carol = await people.at_home("Carol", "missouri")
    await is_left(carol, "Sieve", "1 Olive Oil")

    async def found(**chosen: str) -> list[str]:
        await to_market(carol)
        await carol.get_by_label("Search").fill("SÌEVE")
        if chosen:
            await carol.get_by_text("Filters", exact=True).click()
        for name, value in chosen.items():
            await carol.locator(f"#{name}").select_option(value)
        await carol.get_by_role("button", name="Search").click()
        return sorted(await carol.locator(".card h2").all_inner_texts())

    cheese, gift, panel, oil = "3 Goat Cheese", "1 Goat Cheese", "1 Solar Panel", "1 Olive Oil"
    assert await found() == [gift, oil, panel, cheese]
    assert await found(side="want") == [panel]
    assert await found(village=CALIFORNIA) == [oil]
    assert await found(village=MISSOURI, side="offer") == [gift, cheese]
    assert await found(price="AT") == [oil, cheese]
    assert await found(price="goods") == [panel]
    assert await found(price="gift") == [gift]
    await expect(carol.locator("#price")).to_have_value("gift")
    await carol.get_by_role("link", name="Your listings").click()
    assert oil not in await carol.locator(".card h2").all_inner_texts()


async def test_a_refused_answer_can_be_mended(people: People) -> None:
    bob = await people.at_home("Bob", "california")
    place = await list_goods(bob, "Olive Oil", "3", price="6.50", text="To be mended.")
    await expect(bob.get_by_role("button", name="Propose")).to_have_count(0)  # it is his own
    carol = await people.at_home("Carol", "missouri")
    await find(carol, "To be mended")
    await answer(carol, "4")
    alert = carol.get_by_role("alert")
    await expect(alert).to_have_text("There is only 3 Olive Oil left. Nothing was proposed.")
    await expect(carol.get_by_label("How much")).to_have_value("4")
    await answer(carol, "2")
    await carol.get_by_role("button", name="Agree to the fee").click()
    await expect(carol.locator("main")).to_contain_text("Your 13.00 AT and the fee of 0.13 AT are")
    await carol.get_by_role("button", name="Withdraw the offer").click()
    await look_until(carol, "free again")
    await bob.goto(place)
    await expect(bob.get_by_role("heading", level=1)).to_have_text("3 Olive Oil")


async def test_the_cost_follows_what_is_typed(people: People) -> None:
    alice = await people.at_home("Alice", "missouri", **LIVELY)
    carol = await people.at_home("Carol", "missouri", **LIVELY)
    await list_goods(alice, "Seed Potato", "9", price="1.25", text="To be weighed.")
    await find(carol, "To be weighed")
    total = carol.locator("#sum")
    await expect(total).to_have_text("You give 1.25 AT and get 1.0 Seed Potato.")
    for typed, cost in (("2", "2.50"), ("2.5", "3.13"), ("0.1", "0.13"), ("10", "12.50")):
        await carol.get_by_label("How much").fill(typed)
        await expect(total).to_contain_text(f"You give {cost} AT and get {float(typed)} Seed")
    for typed in ("", "2.55", "-1", "1e3", "two"):
        await carol.get_by_label("How much").fill(typed)
        await expect(total).to_be_hidden()
    await list_goods(carol, "Seed Potato", "9", "want", price="1.25", text="To be planted.")
    await find(alice, "To be planted")
    for typed, cost in (("2", "2.50"), ("2.5", "3.12"), ("0.1", "0.12")):
        await alice.get_by_label("How much").fill(typed)
        await expect(alice.locator("#sum")).to_contain_text(f"Potato and get {cost} AT.")


async def test_another_amount_is_another_fee(people: People) -> None:
    bob = await people.at_home("Bob", "california")
    await list_goods(bob, "Solar Panel", "4", price="100", text="Dear.")
    alice = await people.at_home("Alice", "missouri", **LIVELY)
    await find(alice, "Dear.")
    await answer(alice, "1")
    await expect(alice.locator("#fee")).to_contain_text("a fee of 1.00 AT")
    await alice.get_by_label("How much").fill("3")
    await expect(alice.locator("#fee")).to_be_hidden()
    await alice.get_by_role("button", name="Propose this trade").click()
    await expect(alice.locator("#fee")).to_contain_text("a fee of 3.00 AT")


async def test_filters_are_folded_on_a_phone_until_one_is_set(people: People) -> None:
    phone = await people.at_home("Carol", "missouri")
    await to_market(phone)
    assert not await phone.get_by_label("Show").is_visible()
    await phone.goto(phone.url + "?side=offer")
    await expect(phone.get_by_label("Show")).to_be_visible()
    screen = await people.at_home("Carol", "missouri", viewport=SCREEN)
    await to_market(screen)
    await expect(screen.get_by_label("Show")).to_be_visible()
    assert not await screen.get_by_text("Filters", exact=True).is_visible()


async def test_typing_searches(people: People) -> None:
    alice = await people.at_home("Alice", "missouri", **LIVELY)
    await list_goods(alice, "Brick", "11", text="Quartz within.")
    await list_goods(alice, "Brick", "12", text="Granite within.")
    await to_market(alice)
    await alice.get_by_label("Search").press_sequentially("quartz")
    await expect(alice.locator(".card h2")).to_have_text(["11 Brick"])
    await expect(alice.get_by_label("Search")).to_be_focused()
    await alice.get_by_label("Search").fill("within")
    await expect(alice.locator(".card h2")).to_have_text(["12 Brick", "11 Brick"])
    await alice.get_by_text("Filters", exact=True).click()
    await alice.get_by_label("Show").select_option("want")
    await expect(alice.get_by_text("Nothing matches.")).to_be_visible()
    assert alice.url.endswith("/market?q=within&side=want")
    await alice.reload()
    await expect(alice.get_by_label("Search")).to_have_value("within")
    await expect(alice.get_by_label("Show")).to_have_value("want")


async def test_pages_follow_what_happens_elsewhere(people: People) -> None:
    """A trade page, the market and a wallet, none of which is touched meanwhile."""
    trade = await people.at_home("Carol", "missouri", **LIVELY)
    market = await people.at_home("Carol", "missouri", **LIVELY)
    wallet = await people.at_home("Carol", "missouri", **LIVELY)
    await to_market(market)
    await wallet.get_by_role("link", name="Wallet").click()
    bob = await people.at_home("Bob", "california")
    await list_goods(bob, "Olive Oil", "9", price="1", text="Watched.")
    await expect(market.locator(".card").filter(has_text="Watched.")).to_be_visible()

    await find(trade, "Watched.")
    await answer(trade, "5")
    await trade.get_by_role("button", name="Agree").click()
    await expect(trade.locator("#state")).to_contain_text("to accept or decline")
    await expect(wallet.locator("#held")).to_contain_text(
        "5.00 AT and the fee of 0.05 AT set aside"
    )
    await bob.get_by_role("link", name="Your trades").click()
    await accept(bob, "give 5 Olive Oil, get 5.00 AT")
    await expect(trade.locator("#state")).to_contain_text("Done, in both ledgers")
    await expect(trade.get_by_role("link", name="Download the receipt")).to_be_visible()
    await expect(wallet.locator("#held")).to_be_empty()
    await expect(wallet.locator("#moves")).to_contain_text("−5.05")
    await expect(market.get_by_role("link", name="4 Olive Oil")).to_be_visible()


async def test_news_does_not_disturb_who_fills_in_a_form(people: People) -> None:
    carol = await people.at_home("Carol", "missouri")
    bob = await people.at_home("Bob", "california", **LIVELY)
    await bob.get_by_role("link", name="Your trades").click()
    form = bob.locator("#pay")
    await form.get_by_label("To whom").fill("Ann")
    await form.get_by_label("Note").press_sequentially("for the")

    other = await people.at_home("Bob", "california")
    await list_goods(other, "Olive Oil", "4", price="1", price_asset="Goat Cheese", text="Newer.")
    await find(carol, "Newer.")
    await answer(carol, "1")
    accepting = bob.get_by_role("button", name="Accept: give 1 Olive Oil, get 1 Goat Cheese")
    await expect(accepting).to_be_visible()
    await expect(form.get_by_label("Note")).to_be_focused()
    await bob.keyboard.type(" hay")
    await expect(form.get_by_label("Note")).to_have_value("for the hay")
    await expect(form.get_by_label("To whom")).to_have_value("Ann")

    await accepting.focus()  # what somebody is about to press stays under their finger
    await carol.get_by_role("button", name="Withdraw the offer").click()
    await look_until(carol, "free again")
    await expect(bob.locator("#balances")).to_be_visible()
    await expect(accepting).to_be_focused()
    await form.get_by_label("Note").focus()
    await expect(accepting).to_have_count(0)
    await expect(bob.locator("#trades")).to_contain_text("Withdrawn")
