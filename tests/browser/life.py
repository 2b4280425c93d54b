"""A market with life in it, and every page that shows some of it.

The same steps with other texts plant what a page must only ever show (test_planted.py).
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.async_api import Page, expect

from edge import control
from tests.browser.villages import (
    CALIFORNIA,
    MISSOURI,
    PIN,
    Place,
    Two,
    neighbours,
)
from tests.integration.boxes import until
from tests.integration.web_boxes import Browser as Client

FEE_BASIS_POINTS: Final = 100


@dataclass(frozen=True)
class Texts:
    """Every text that somebody writes freely."""

    villages: tuple[str, str] = ("Factor e Farm", "Ocean View Farm")
    alice: str = "Alice"
    carol: str = "Carol"
    bob: str = "Bob"
    dana: str = "Dana"
    bricks: str = "Pressed in October, dry and stacked. 9 kg each: bring a trailer."
    potatoes: str = "Yukon Gold from our own field, in kilograms. Good for planting, too."
    cheese: str = "Aged four months in the cellar. One for a litre of oil."
    wanted: str = "For the pump house. Used ones are fine if they still give 250 W."
    panels: str = "320 W, eight years old, off the barn roof. Measured at noon: 291 W."
    oil: str = "First pressing, in litres. Bring a bottle."
    apricots: str = "More than we can eat this year: take some."
    controllers: str = "30 A, spare since we rewired. For seed potatoes, in kilograms."
    note: str = "Bread, the whole week"
    token: str = "Book-keeping"
    dispute: str = "A quarter of them were mouldy. The rest was good, thank you."


BELIEVABLE: Final = Texts()


@dataclass(frozen=True)
class Life:
    """Two villages in which something goes on; `paths`: where it is shown, by what it is."""

    two: Two
    texts: Texts
    paths: dict[str, str]

    def place_of(self, who: str) -> Place:
        return self.two.california if who in ("bob", "dana") else self.two.missouri


Act = Callable[[Page], Awaitable[None]]


@dataclass(frozen=True)
class Shown:
    """One page: who looks at it, where, and what they do there to see it."""

    name: str
    who: str
    path: str
    act: Act | None = None

    async def show(self, page: Page, life: Life) -> None:
        url = life.place_of(self.who).url + self.path.format(**life.paths).removeprefix("/")
        await page.goto(url)
        if self.act is not None:
            await self.act(page)


def _sending(button: str, **fields: str) -> Act:
    """Return an act: fill in fields, by their ids, and press a button that leads to a page."""

    async def act(page: Page) -> None:
        for name, value in fields.items():
            await page.locator(f"#{name}").fill(value)
        await page.get_by_role("button", name=button, exact=True).click()
        await expect(page.locator("[role=alert], [role=status]").first).to_be_visible()

    return act


async def _waiting(page: Page) -> None:
    await page.get_by_role("button", name="Accept: ").click()
    await expect(page.get_by_text("this village is bound")).to_be_visible()


async def _unfolded(page: Page) -> None:
    for fold in await page.locator("#after summary").all():
        await fold.click()
    await expect(page.locator("#after button").last).to_be_visible()


PAGES: Final = (
    Shown("sign-in", "visitor", "/"),
    Shown("sign-in-refused", "visitor", "/", _sending("Sign in", name="Nobody", pin="0000")),
    Shown("market-visitor", "visitor", "/market"),
    Shown("listing-visitor", "visitor", "{panels}"),
    Shown("error-not-found", "visitor", "/nowhere"),
    Shown("error-signed-out", "visitor", "/wallet"),
    Shown("home", "alice", "/"),
    Shown("home-pay-refused", "alice", "/", _sending("Pay", payee="Nobody", amount="1")),
    Shown("market", "alice", "/market"),
    Shown("market-search", "alice", "/market?q=oil&side=offer"),
    Shown("market-nothing", "alice", "/market?q=nothing+like+this"),
    Shown("market-own", "alice", "/market?mine=1"),
    Shown("listing", "alice", "{panels}"),
    Shown("listing-goods", "alice", "{controllers}"),
    Shown("listing-gift", "alice", "{apricots}"),
    Shown("listing-own", "alice", "{bricks}"),
    Shown("listing-fee", "alice", "{panels}", _sending("Propose this trade", amount="2")),
    Shown("listing-refused", "alice", "{panels}", _sending("Propose this trade", amount="99")),
    Shown("list", "alice", "/market/new"),
    Shown("list-want", "alice", "/market/new?side=want"),
    Shown("list-refused", "alice", "/market/new", _sending("List it", item="Unicorn")),
    Shown("trade-waiting", "alice", "{waiting}"),
    Shown("trade-your-answer", "alice", "{asked}"),
    Shown("trade-done", "alice", "{done}"),
    Shown("trade-after", "alice", "{done}", _unfolded),
    Shown("trade-disputed", "carol", "{disputed}", _unfolded),
    Shown("trade-disputed-there", "dana", "{disputed}"),
    Shown("trade-declined", "alice", "{declined}"),
    Shown("trade-withdrawn", "alice", "{withdrawn}"),
    Shown("trade-here-waiting", "alice", "{deal}"),
    Shown("trade-here-done", "alice", "{deal_done}"),
    Shown("wallet", "alice", "/wallet"),
    Shown("wallet-filtered", "alice", "/wallet?kind=payments&direction=out"),
    Shown("wallet-refused", "alice", "/wallet", _sending("Declare", **{
        "declare-amount": "1", "declare-asset": "Unicorn"})),
    Shown("statement", "alice", "/wallet/statement"),
    Shown("statement-refused", "alice", "/wallet/statement?from=then&to=now"),
    Shown("receipts", "alice", "/wallet/receipts"),
    Shown("pin", "alice", "/wallet/pin"),
    Shown("pin-refused", "alice", "/wallet/pin", _sending(
        "Change the PIN", old_pin="0000", new_pin="12345", new_pin_again="12345")),
    Shown("tokens", "alice", "/tokens"),
    Shown("desk", "alice", "/desk"),
    Shown("desk-members", "alice", "/desk/members"),
    Shown("desk-members-refused", "alice", "/desk/members", _sending("Add", **{
        "add-name": "Bo", "add-pin": "1"})),
    Shown("desk-member", "alice", "/desk/members/2"),
    Shown("desk-neighbours", "alice", "/desk/neighbours"),
    Shown("desk-invitation", "alice", "/desk/neighbours", _sending("Make an invitation")),
    Shown("desk-trades", "alice", "/desk/trades"),
    Shown("desk-trade", "alice", "{desk_trade}"),
    Shown("desk-trade-again", "alice", "{desk_trade}", _sending("Try again")),
    Shown("desk-trade-done", "alice", "/desk{done}"),
    Shown("desk-trades-ended", "alice", "/desk/trades?show=ended"),
    Shown("desk-trades-disputed", "alice", "/desk/trades?show=disputed"),
    Shown("desk-trade-disputed", "alice", "/desk{disputed}"),
    Shown("desk-trade-here", "alice", "{desk_deal}"),
    Shown("desk-trades-none", "alice", "/desk/trades?show=deciding"),
    Shown("error-not-a-steward", "carol", "/desk"),
    Shown("home-new-member", "dana", "/"),
    Shown("home-bob", "bob", "/"),
    Shown("market-bob", "bob", "/market"),
    Shown("trade-addressed", "bob", "{waiting_there}"),
    Shown("wallet-bob", "bob", "/wallet"),
)  # fmt: skip
# What needs the other box to be away: last, for it does not come back.
BOUND: Final = Shown("trade-bound", "bob", "{waiting_there}", _waiting)
BOUND_DESK: Final = Shown("desk-trade-bound", "bob", "/desk{waiting_there}")


@asynccontextmanager
async def lived_in(folder: Path, texts: Texts = BELIEVABLE) -> AsyncIterator[Life]:
    """Run two villages and have their members list, answer, pay and decide."""
    async with neighbours(folder, texts.villages, fee_basis_points=FEE_BASIS_POINTS) as two:
        await _settle(two, texts)
        async with AsyncExitStack() as stack:
            people = {}
            for who in ("alice", "carol", "bob", "dana"):
                place = two.california if who in ("bob", "dana") else two.missouri
                people[who] = await stack.enter_async_context(place.client())
                await people[who].sign_in(getattr(texts, who), PIN)
            for who, item in (("carol", "Solar Panel"), ("dana", "Seed Potato")):
                await _until(people[who], "/market/new", f'<option value="{item}">')
            paths = await _list(people, texts)
            await _arrived(people["alice"], CALIFORNIA, 5)
            await _arrived(people["bob"], MISSOURI, 5)
            await _trade(people, texts, paths)
        yield Life(two, texts, paths)


async def _settle(two: Two, texts: Texts) -> None:
    missouri, california = two.missouri, two.california
    await missouri.member(
        texts.alice, steward=True, at="500", Compressed_Earth_Block="1800", Seed_Potato="64.0"
    )
    await missouri.member(texts.carol, at="120", Goat_Cheese="12")
    await california.member(texts.bob, steward=True, at="260", Solar_Panel="6", Olive_Oil="40")
    await california.member(texts.dana, at="80", Dried_Apricot="25.0", Charge_Controller="3")
    await california.box.ask(control.Declare("treasury", "Compressed Earth Block", "1"))
    await california.box.ask(control.Limit(MISSOURI, "Compressed Earth Block", "500"))
    await missouri.box.ask(control.Limit(texts.carol, "AT", "50"))
    for name in ("Elena", "Kofi", "Mei", "Tomás"):
        await missouri.member(name, at="40")


async def _list(people: dict[str, Client], texts: Texts) -> dict[str, str]:
    """List what each has and needs, the oldest first; return where each is shown."""
    listings = (
        ("wanted", "carol", "want", "Solar Panel", "2", "90", "AT"),
        ("beeswax", "alice", "want", "Seed Potato", "3", "", "AT"),
        ("controllers", "dana", "offer", "Charge Controller", "2", "30", "Seed Potato"),
        ("apricots", "dana", "offer", "Dried Apricot", "20", "", "AT"),
        ("cheese", "carol", "offer", "Goat Cheese", "8", "1", "Olive Oil"),
        ("potatoes", "alice", "offer", "Seed Potato", "40", "1.20", "AT"),
        ("oil", "bob", "offer", "Olive Oil", "24", "6.50", "AT"),
        ("bricks", "alice", "offer", "Compressed Earth Block", "1500", "0.35", "AT"),
        ("blocks", "dana", "want", "Compressed Earth Block", "400", "0.40", "AT"),
        ("panels", "bob", "offer", "Solar Panel", "4", "100", "AT"),
    )
    paths = {}
    for name, who, side, item, quantity, price, price_asset in listings:
        text = getattr(texts, name, "")
        client = people[who]
        await client.get("/market/new")
        said = await client.send(
            "/market/new", side=side, item=item, quantity=quantity, price=price,
            price_asset=price_asset, text=text, days="30",
        )  # fmt: skip
        paths[name] = _path(client)
        assert paths[name].startswith("/market/ose-"), said
    return paths


async def _trade(people: dict[str, Client], texts: Texts, paths: dict[str, str]) -> None:
    """Trades in each state, payments and a token."""
    alice, carol, bob, dana = (people[who] for who in ("alice", "carol", "bob", "dana"))
    paths["done"] = await _answer(alice, paths["panels"], "1", "100")
    await _decide(bob, "accept")
    gift = await _answer(carol, paths["apricots"], "2.5")
    await _decide(dana, "accept")
    await _until(carol, gift, "Done, in both ledgers")
    await carol.send(f"{gift}/dispute", reason=texts.dispute)
    await _until(dana, gift, "Disputed")
    paths["disputed"] = gift
    paths["declined"] = await _answer(alice, paths["oil"], "2", "13")
    await _decide(bob, "reject")
    paths["withdrawn"] = await _answer(alice, paths["controllers"], "1")
    await alice.get(paths["withdrawn"])
    await alice.send(f"{paths['withdrawn']}/cancel")
    paths["waiting"] = await _answer(alice, paths["oil"], "6", "39")
    paths["waiting_there"] = paths["waiting"]
    paths["asked"] = await _answer(bob, paths["bricks"], "200")
    paths["deal_done"] = await _answer(carol, paths["potatoes"], "5")
    await _decide(alice, "accept", "/deals/")
    paths["deal"] = await _answer(carol, paths["potatoes"], "12.5")
    paths["desk_deal"] = paths["deal"].replace("/deals/", "/desk/trades/")
    for payer, payee, amount, note in (
        (alice, texts.carol, "12.50", texts.note),
        (carol, texts.alice, "20", "For the fence"),
    ):
        await payer.get("/")
        await payer.send("/pay", payee=payee, amount=amount, asset="AT", note=note)
    await alice.get("/tokens")
    await alice.send("/tokens#made", name=texts.token, read="yes")
    await _until(alice, paths["done"], "Done, in both ledgers")
    await _until(alice, paths["declined"], "Declined")
    await _until(alice, paths["asked"], "Your answer, please")
    await alice.get("/desk/trades")
    paths["desk_trade"] = "/desk" + paths["waiting"]


async def _answer(client: Client, path: str, amount: str, fee: str = "0") -> str:
    """Answer a listing, agreeing to a fee in AT minor units; return where the trade is shown."""
    await client.get(path)
    text = await client.send(f"{path}/answer", amount=amount, fee=fee)
    assert client.status == 200 and "/answer" not in client.url.path, text
    return _path(client)


async def _decide(client: Client, step: str, kind: str = "/trades/") -> None:
    """Accept or decline the one proposal that waits for somebody's answer."""
    button = re.compile(rf'action="({kind}\w+)/{step}"')

    async def find() -> re.Match[str] | None:
        return button.search(await client.get("/"))

    found: re.Match[str] = await until(find, f"a proposal to {step}")
    await client.send(f"{found[1]}/{step}")


async def _until(client: Client, path: str, text: str) -> None:
    async def is_so() -> bool:
        return text in await client.get(path)

    await until(is_so, f"{path} says {text!r}")


async def _arrived(client: Client, village: str, count: int) -> None:
    """Wait until so many listings of a neighbour have come."""

    async def is_so() -> bool:
        return (await client.get(f"/market?village={village}")).count('<li class="card">') >= count

    await until(is_so, f"the listings of {village}")


def _path(client: Client) -> str:
    return str(client.url.path)
