"""The wallet over real HTTP: balances, history, statements, receipts, goods, and the PIN."""

import asyncio
import contextlib
import csv
import html
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import date, datetime, timedelta
from pathlib import Path
from time import tzset
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import desk, market, trade_escrow
from edge.core import receipt
from edge.core.trade import Proposal
from edge.errors import InvalidInput
from edge.storage import members, trades
from edge.storage.trades import Trade
from edge.storage.tx import Tx
from edge.web import history
from edge.web.history import CSV_COLUMNS, Days
from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    PINS,
    START_MS,
    Browser,
    WebBox,
    Wire,
    hash_pin,
    people_and_goods,
)

DAY_MS: Final = 86_400_000
MARKUP: Final = "<script>alert(1)</script>"
FORMULA: Final = '=HYPERLINK("http://evil.example","x")'


class Pair:
    def __init__(self, wire: Wire, a: WebBox, b: WebBox) -> None:
        self.wire, self.a, self.b = wire, a, b

    def later(self, ms: int) -> None:
        self.a.now_ms += ms
        self.b.now_ms = self.a.now_ms


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    tzset()
    yield
    monkeypatch.undo()
    tzset()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def pair(stack: AsyncExitStack, tmp_path: Path) -> Pair:
    wire = Wire()
    a = await stack.enter_async_context(WebBox(wire, tmp_path, MISSOURI, "Factor e Farm"))
    b = await stack.enter_async_context(WebBox(wire, tmp_path, CALIFORNIA, "Sonoma Hills"))
    await people_and_goods(a, b)
    return Pair(wire, a, b)


@pytest.fixture
async def alice(pair: Pair, stack: AsyncExitStack) -> Browser:
    found = await stack.enter_async_context(Browser(pair.a.server))
    await found.sign_in("Alice")
    return found


async def other(pair: Pair, stack: AsyncExitStack, name: str, pin: str = "") -> Browser:
    found = await stack.enter_async_context(Browser(pair.a.server))
    await found.sign_in(name, pin)
    assert found.status == 200
    return found


async def pay(
    box: WebBox, payer: str, payee: str, amount: str, code: str = "AT", note: str = ""
) -> None:
    await box.store.write(lambda tx: desk.pay(tx, payer, payee, amount, code, note))


async def traded(
    pair: Pair,
    offer: tuple[str, str] | None = ("AT", "100"),
    request: tuple[str, str] | None = ("Solar Panel", "1"),
    fee: int = 0,
) -> Trade:
    """A trade between Alice and Bob that has settled in both villages."""
    made = await proposed(pair, offer, request, fee)
    await pair.a.client.exchange(CALIFORNIA)
    await pair.b.store.write(
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, "Bob"), trades.by_subject(tx, made.subject)
        )
    )
    await pair.b.client.exchange(MISSOURI)
    await pair.a.client.exchange(CALIFORNIA)
    return await pair.a.store.read(lambda view: trades.by_subject(view, made.subject))


async def proposed(
    pair: Pair,
    offer: tuple[str, str] | None = ("AT", "100"),
    request: tuple[str, str] | None = ("Solar Panel", "1"),
    fee: int = 0,
) -> Trade:
    proposal = Proposal(CALIFORNIA, "Bob", offer, request)
    return await pair.a.store.write(
        lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), proposal, fee)
    )


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def moves(page: str) -> list[str]:
    """Return the lines of the histories on a page, as text."""
    bodies = re.findall(r'<table class="moves">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    return [text_of(row) for body in bodies for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL)]


async def rows_of(browser: Browser, query: str = "?month=2026-11") -> list[dict[str, str]]:
    found = await browser.get(f"/wallet/statement.csv{query}")
    assert browser.status == 200, found
    return list(csv.DictReader(io.StringIO(found, newline="")))


# The page


async def test_a_member_without_anything_sees_so(pair: Pair, stack: AsyncExitStack) -> None:
    carol = await other(pair, stack, "Carol")
    page = text_of(await carol.get("/wallet"))
    assert "AT 0.00 0.00 0.00" in page
    assert "Nothing has moved yet." in page
    assert "You can give away what is free to spend, and no more." in page
    assert "On hold What is set aside" not in page and "Use up goods" not in page
    assert "None yet." in text_of(await carol.get("/wallet/receipts"))
    assert "Nothing had moved by the end of these days." in await carol.get("/wallet/statement")


async def test_the_first_page_leads_there(alice: Browser) -> None:
    assert '<a href="/wallet">Wallet</a>' in await alice.get("/")
    assert '<a href="/wallet" aria-current="page">Wallet</a>' in await alice.get("/wallet")


@pytest.mark.parametrize("path", ["", "/statement", "/statement.csv", "/receipts", "/pin"])
async def test_whoever_is_not_signed_in_sees_nothing(
    pair: Pair, stack: AsyncExitStack, path: str
) -> None:
    someone = await stack.enter_async_context(Browser(pair.a.server))
    page = await someone.get(f"/wallet{path}")
    assert someone.status == 401
    assert "500.00" not in page


async def test_every_kind_of_line(pair: Pair, alice: Browser) -> None:
    await pay(pair.a, "Alice", "Carol", "12.50", note="for the cheese")
    await pay(pair.a, "Carol", "Alice", "2")
    await pay(pair.a, "Alice", "treasury", "1")
    await pair.a.store.write(lambda tx: desk.declare(tx, "Alice", "Flour", "2.5", decimals=3))
    await pair.a.store.write(lambda tx: desk.consume(tx, "Alice", "Flour", "0.25"))
    pair.later(DAY_MS)
    settled = await traded(pair, fee=100)
    await traded(pair, offer=("Flour", "1"), request=None)
    bob = f"Bob of {CALIFORNIA}"
    assert moves(await alice.get("/wallet")) == [
        f"Given to Bob of {CALIFORNIA} 24 Nov 2026, 08:50 −1.000 Flour 1.250",
        f"Traded with {bob} with the fee of 1.00 AT 24 Nov 2026, 08:50 −101.00 AT 387.50",
        f"Traded with Bob of {CALIFORNIA} 24 Nov 2026, 08:50 +1 Solar Panel 1",
        "Used up 23 Nov 2026, 08:50 −0.250 Flour 2.250",
        "Declared 23 Nov 2026, 08:50 +2.500 Flour 2.500",
        "Paid to the treasury 23 Nov 2026, 08:50 −1.00 AT 488.50",
        "Received from Carol 23 Nov 2026, 08:50 +2.00 AT 489.50",
        "Paid to Carol for the cheese 23 Nov 2026, 08:50 −12.50 AT 487.50",
        "Issued by the village 23 Nov 2026, 08:50 +500.00 AT 500.00",
    ]
    assert f'<a href="/trades/{settled.id}">Traded with <bdi>Bob</bdi></a>' in alice.text


async def test_a_gift_from_elsewhere_and_the_other_side(pair: Pair, stack: AsyncExitStack) -> None:
    await pair.a.store.write(lambda tx: desk.declare(tx, "Alice", "Flour", "3"))
    await traded(pair, offer=("Flour", "3"), request=None)
    bob = await stack.enter_async_context(Browser(pair.b.server))
    await bob.sign_in("Bob")
    newest, *_ = moves(await bob.get("/wallet"))
    assert newest == f"A gift from Alice of {MISSOURI} 23 Nov 2026, 08:50 +3 Flour 3"


async def test_a_trade_at_home(pair: Pair, alice: Browser, stack: AsyncExitStack) -> None:
    await pair.a.store.write(lambda tx: desk.declare(tx, "Carol", "Honey", "5"))
    proposal = Proposal(MISSOURI, "Carol", ("AT", "7"), ("Honey", "2"))
    made = await pair.a.store.write(
        lambda tx: market.propose(tx, members.named(tx, "Alice"), proposal)
    )
    page = await alice.get("/wallet")
    assert f'<a href="/deals/{made.id}">7.00 AT</a>' in page
    assert "7.00 AT set aside for a trade with Carol" in text_of(page)
    await pair.a.store.write(lambda tx: market.accept(tx, members.named(tx, "Carol"), made))
    rows = moves(await alice.get("/wallet"))
    assert rows[:2] == [
        "Traded with Carol 23 Nov 2026, 08:50 −7.00 AT 493.00",
        "Traded with Carol 23 Nov 2026, 08:50 +2 Honey 2",
    ]
    assert f'<a href="/deals/{made.id}">Traded with <bdi>Carol</bdi></a>' in alice.text
    assert "set aside" not in text_of(alice.text.split('id="history"')[0])
    carol = await other(pair, stack, "Carol")
    assert moves(await carol.get("/wallet"))[:2] == [
        "Traded with Alice 23 Nov 2026, 08:50 +7.00 AT 7.00",
        "Traded with Alice 23 Nov 2026, 08:50 −2 Honey 3",
    ]


async def test_what_is_on_hold_and_for_what(pair: Pair, alice: Browser) -> None:
    made = await proposed(pair, fee=100)
    page = await alice.get("/wallet")
    assert "AT 500.00 101.00 399.00" in text_of(page)
    assert f'<a href="/trades/{made.id}">100.00 AT and the fee of 1.00 AT</a>' in page
    assert f"set aside for a trade with Bob of {CALIFORNIA}" in text_of(page)
    await pair.a.client.exchange(CALIFORNIA)
    await pair.b.store.write(
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, "Bob"), trades.by_subject(tx, made.subject)
        )
    )
    bob = Browser(pair.b.server)
    async with bob:
        await bob.sign_in("Bob")
        page = text_of(await bob.get("/wallet"))
    assert f"1 Solar Panel held for a trade with Alice of {MISSOURI}" in page


async def test_limits_in_words(pair: Pair, alice: Browser) -> None:
    await pair.a.store.write(lambda tx: desk.set_limit(tx, "Alice", "AT", "50"))
    page = text_of(await alice.get("/wallet"))
    assert "your AT may go down to −50.00." in page
    assert "and no more" not in page
    await pay(pair.a, "Alice", "Carol", "520")
    assert "AT −20.00 0.00 30.00" in text_of(await alice.get("/wallet"))


# Choosing


async def test_filters(pair: Pair, alice: Browser) -> None:
    await pay(pair.a, "Alice", "Carol", "1", note="first")
    pair.later(DAY_MS)
    await pay(pair.a, "Alice", "Carol", "2", note="second")
    await pay(pair.a, "Carol", "Alice", "0.50")
    pair.later(DAY_MS)
    await traded(pair)

    async def amounts(query: str) -> list[str]:
        page = await alice.get(f"/wallet?{query}")
        assert alice.status == 200
        return [re.findall(r"[+−][0-9.]+", row)[0] for row in moves(page)]

    everything = ["−100.00", "+1", "+0.50", "−2.00", "−1.00", "+500.00"]
    assert await amounts("") == everything
    assert await amounts("asset=&kind=&direction=&from=&to=") == everything
    assert await amounts("asset=SOLAR-PANEL") == ["+1"]
    assert await amounts("asset=solar+panel") == ["+1"]
    assert await amounts("direction=in") == ["+1", "+0.50", "+500.00"]
    assert await amounts("direction=out&kind=payments") == ["−2.00", "−1.00"]
    assert await amounts("kind=issued") == ["+500.00"]
    assert await amounts("kind=trades") == ["−100.00", "+1"]
    assert await amounts("from=2026-11-24") == everything[:4]
    assert await amounts("to=2026-11-24") == everything[2:]
    assert await amounts("from=2026-11-24&to=2026-11-24") == everything[2:4]
    assert await amounts("kind=goods") == []
    assert "Nothing fits." in alice.text
    assert '<option value="goods" selected>' in alice.text


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("from=yesterday", "'yesterday' is not a day"),
        ("to=2026-02-30", "'2026-02-30' is not a day"),
        ("from=20261123", "is not a day"),
        ("from=2026-W48-1", "is not a day"),
        ("from=0001-01-01", "is not a day"),
        ("to=9999-12-31", "is not a day"),
        ("kind=pay", "not a choice of this page"),
        ("direction=up", "not a choice of this page"),
        ("before=-1", "not a place in the history"),
        ("before=1e5", "not a place in the history"),
        ("asset=<b>", "is not an asset"),
    ],
)
async def test_what_cannot_be_chosen(alice: Browser, query: str, says: str) -> None:
    await alice.get(f"/wallet?{query}")
    assert alice.status == 400
    [alert] = re.findall(r'<p class="alert" role="alert".*?</p>', alice.text)
    assert says in text_of(alert)
    assert "<b>" not in alice.text


async def test_page_by_page(pair: Pair, alice: Browser) -> None:
    def pay_all(tx: Tx) -> None:
        for number in range(120):
            desk.pay(tx, "Alice", "Carol", "0.01", note=f"number {number}")

    await pair.a.store.write(pay_all)
    seen, pages = list[str](), 1
    page = await alice.get("/wallet?direction=out")
    while older := re.findall(r'<a href="([^"]*)#history">Older', page):
        seen += moves(page)
        page = await alice.get(html.unescape(older[0]))
        assert "Newest</a>" in page
        pages += 1
    seen += moves(page)
    assert pages == 3
    assert [re.findall(r"number (\d+)", row)[0] for row in seen] == [
        str(number) for number in reversed(range(120))
    ]
    assert seen[-1].endswith("−0.01 AT 499.99")


async def test_days_are_the_boxs_own(
    pair: Pair, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")  # 13 hours ahead in November
    tzset()
    pair.later(4 * 3_600_000)  # 12:50 UTC is the 24th there
    await pay(pair.a, "Alice", "Carol", "1")
    [newest] = moves(await alice.get("/wallet?from=2026-11-24"))
    assert newest == "Paid to Carol 24 Nov 2026, 01:50 −1.00 AT 499.00"
    assert "times in NZDT" in alice.text
    assert len(moves(await alice.get("/wallet?to=2026-11-23"))) == 1
    [row] = await rows_of(alice, "?from=2026-11-24&to=2026-11-24")
    assert row["time"] == "2026-11-24T01:50+13:00"


# Statements


async def test_a_statement_of_a_month(pair: Pair, alice: Browser) -> None:
    await pay(pair.a, "Alice", "Carol", "1")
    pair.later(10 * DAY_MS)  # the third of December
    await pay(pair.a, "Alice", "Carol", "2")
    await traded(pair)
    december = moves(await alice.get("/wallet/statement"))
    assert "<title>Statement, December 2026" in alice.text
    assert december == [
        "Before 499.00",
        "Paid to Carol 3 Dec 2026, 08:50 −2.00 497.00",
        f"Traded with Bob of {CALIFORNIA} 3 Dec 2026, 08:50 −100.00 397.00",
        "After 397.00",
        "Before 0",
        f"Traded with Bob of {CALIFORNIA} 3 Dec 2026, 08:50 +1 1",
        "After 1",
    ]
    november = moves(await alice.get("/wallet/statement?month=2026-11"))
    assert november[0] == "Before 0.00" and november[-1] == "After 499.00"
    assert len(november) == 4
    between = moves(await alice.get("/wallet/statement?from=2026-11-24&to=2026-12-02"))
    assert between == ["Before 499.00", "After 499.00"]
    assert "24 November 2026 to 2 December 2026" in alice.text


@pytest.mark.parametrize(
    "query",
    [
        "?month=2026-13",
        "?month=november",
        "?from=2026-11-01",
        "?to=2026-11-01",
        "?from=2026-11-02&to=2026-11-01",
        "?from=<b>&to=<b>",
        "?month=2026-11-01",
    ],
)
async def test_a_statement_of_no_days(alice: Browser, query: str) -> None:
    await alice.get(f"/wallet/statement{query}")
    assert alice.status == 400 and 'role="alert"' in alice.text
    assert "<b>" not in alice.text
    await alice.get(f"/wallet/statement.csv{query}")
    assert alice.status == 400


async def test_a_statement_is_bounded(
    pair: Pair, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "STATEMENT_LINES_MAX", 2)
    for _ in range(2):
        await pay(pair.a, "Alice", "Carol", "1")
    await alice.get("/wallet/statement")
    assert alice.status == 400
    assert "choose fewer days" in text_of(alice.text)


async def test_comma_separated_values_read_back(pair: Pair, alice: Browser) -> None:
    note = 'a "quoted", odd; note'
    await pay(pair.a, "Alice", "Carol", "12.50", note=note)
    settled = await traded(pair, fee=100)
    raw = await alice.get("/wallet/statement.csv?from=2026-11-01&to=2026-11-30")
    assert alice.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert alice.headers["Content-Disposition"] == (
        f'attachment; filename="statement-{MISSOURI}-2026-11-01-to-2026-11-30.csv"'
    )
    assert raw.endswith("\r\n") and "\n" not in raw.replace("\r\n", "")
    rows = await rows_of(alice)
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [(row["amount"], row["asset"], row["balance"]) for row in rows] == [
        ("500.00", "AT", "500.00"),
        ("-12.50", "AT", "487.50"),
        ("-101.00", "AT", "386.50"),
        ("1", "SOLAR-PANEL", "1"),
    ]
    assert rows[1]["note"] == note
    trade = rows[2]
    assert (trade["other party"], trade["village"], trade["trade"], trade["fee included"]) == (
        "Bob",
        CALIFORNIA,
        settled.id,
        "1.00",
    )
    when = datetime.fromisoformat(trade["time"])
    assert int(when.timestamp() * 1000) == START_MS // 60_000 * 60_000


async def test_planted_words_stay_words(pair: Pair, alice: Browser) -> None:
    await pair.a.member(MARKUP, "1234")
    await pair.a.member(FORMULA, "1234")
    await pay(pair.a, "Alice", MARKUP, "1", note="<img src=x onerror=alert(1)>")
    await pay(pair.a, "Alice", FORMULA, "2", note="@SUM(1+1)*cmd|' /C calc'!A0")
    for path in ("/wallet", "/wallet/statement"):
        page = await alice.get(path)
        assert html.escape(MARKUP) in page and MARKUP not in page
        assert "<img" not in page
    rows = await rows_of(alice)
    assert rows[1]["other party"] == MARKUP
    assert rows[2]["other party"] == f"'{FORMULA}"
    assert rows[2]["note"].startswith("'@SUM")


@given(st.text(max_size=30) | st.from_regex(r"[=+\-@\t\r＝;, ]{1,6}x", fullmatch=True))
def test_no_cell_is_a_formula(text: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerow([history.cell(text), "next"])
    [[cell, following]] = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert following == "next"
    assert cell.replace("'", "") == text.replace("'", "")
    for sign in "=+-@＝＋－＠":
        assert not cell.startswith(sign)
        assert not any(part.lstrip().startswith(sign) for part in re.split(r"[\t;,]", cell))


@given(st.text(max_size=12) | st.dates().map(str))
def test_a_day_has_one_form(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert str(history.day(text)) == text


@given(st.dates(history.day("1972-01-01"), history.day("9990-12-31")))
def test_months_join(day: date) -> None:
    month = Days.of_month(day.replace(day=1))
    after = history.day_ms(month.last, 1)
    assert month.bounds_ms == (history.day_ms(month.first), after)
    assert after % 60_000 == 0
    following = Days.of_month(month.last + timedelta(days=1))
    assert following.bounds_ms[0] == after


# Receipts


async def test_receipts(pair: Pair, alice: Browser, stack: AsyncExitStack) -> None:
    settled = await traded(pair)
    waiting = await proposed(pair)
    page = await alice.get("/wallet/receipts")
    assert f"Your 100.00 AT for 1 Solar Panel Done Bob of {CALIFORNIA}" in text_of(page)
    assert waiting.id not in page
    path = f"/trades/{settled.id}/receipt"
    assert f'href="{path}" download' in page
    receipt.decode((await alice.get(path)).encode())
    carol = await other(pair, stack, "Carol")
    assert settled.id not in await carol.get("/wallet/receipts")


async def test_receipts_page_by_page(
    pair: Pair, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.web.wallet.RECEIPTS_PER_PAGE", 2)
    made = [await traded(pair, ("AT", str(number))) for number in range(1, 6)]
    seen, page = list[str](), await alice.get("/wallet/receipts")
    while True:
        seen += re.findall(r'<a href="/trades/([0-9a-f]{16})">', page)
        older = re.findall(r'href="(/wallet/receipts\?before=[^"]*)"', page)
        if not older:
            break
        page = await alice.get(older[0])
    assert sorted(seen) == sorted(each.id for each in made)
    assert len(seen) == 5
    assert "No older ones." in await alice.get(f"/wallet/receipts?before=1.{'0' * 64}")
    assert len(re.findall("Download", await alice.get("/wallet/receipts?before=nonsense"))) == 2


# Goods


async def test_goods_are_declared_and_used_up(pair: Pair, alice: Browser) -> None:
    await pair.a.store.write(lambda tx: desk.approve(tx, "Goat Milk", 1))
    await alice.get("/wallet")
    fields = alice.hidden("/wallet/declare") | {"asset": "goat milk", "amount": "4.5"}
    for _ in range(3):
        await alice.post("/wallet/declare", fields)
        assert alice.status == 200
        assert "Declared: 4.5 Goat Milk." in text_of(alice.text)
    assert "Goat Milk 4.5 0.0 4.5" in text_of(alice.text)
    await alice.send("/wallet/consume", asset="Goat Milk", amount="0.5")
    assert "Used up: 0.5 Goat Milk." in text_of(alice.text)
    assert "Goat Milk 4.0 0.0 4.0" in text_of(alice.text)
    assert moves(alice.text)[0].startswith("Used up")


@pytest.mark.parametrize(
    ("action", "fields", "status", "says"),
    [
        ("declare", {"asset": "Gold", "amount": "1"}, 404, "a steward approves new kinds"),
        ("declare", {"asset": "AT", "amount": "1"}, 400, "AT is issued, not declared"),
        ("declare", {"asset": "Flour", "amount": "-1"}, 400, "is not an amount"),
        ("declare", {"asset": "Flour", "amount": "0"}, 400, "more than zero"),
        ("declare", {"asset": "<b>", "amount": "1"}, 400, "is not an asset"),
        ("declare", {"asset": "Flour", "amount": "0.0001"}, 400, "too many decimals"),
        ("consume", {"asset": "Flour", "amount": "3"}, 422, "You do not have enough Flour"),
        ("consume", {"asset": "AT", "amount": "3"}, 400, "AT is not a resource"),
        ("consume", {"asset": "Gold", "amount": "3"}, 404, "not in this village's catalogue"),
    ],
)
async def test_goods_that_cannot_be(
    pair: Pair, alice: Browser, action: str, fields: dict[str, str], status: int, says: str
) -> None:
    await pair.a.store.write(lambda tx: desk.declare(tx, "Alice", "Flour", "1", decimals=3))
    before = moves(await alice.get("/wallet"))
    await alice.send(f"/wallet/{action}", **fields)
    assert alice.status == status
    [alert] = re.findall(r'<p class="alert" role="alert".*?</p>', alice.text)
    assert says in text_of(alert) and "Nothing was done." in alert
    assert moves(alice.text) == before
    assert f'value="{html.escape(fields["amount"])}"' in alice.text
    assert "<b>" not in alice.text


@pytest.mark.parametrize("action", ["declare", "consume", "pin"])
async def test_a_form_from_elsewhere_does_nothing(alice: Browser, action: str) -> None:
    await alice.get("/wallet/pin" if action == "pin" else "/wallet")
    fields = {"csrf": "0" * 32, "form": "0" * 32}
    await alice.post(f"/wallet/{action}", fields)
    assert alice.status == 403


# The PIN


async def change(browser: Browser, old: str, new: str, again: str | None = None) -> str:
    await browser.get("/wallet/pin")
    again = new if again is None else again
    return await browser.send("/wallet/pin", old_pin=old, new_pin=new, new_pin_again=again)


async def test_a_new_pin_ends_all_other_sessions(
    pair: Pair, alice: Browser, stack: AsyncExitStack
) -> None:
    phone = await other(pair, stack, "Alice")
    await change(alice, PINS["Alice"], "  seven  geese ")
    assert alice.status == 200
    assert "Your PIN is changed." in text_of(alice.text)
    assert "Wallet" in text_of(await alice.get("/wallet")) and alice.status == 200
    await phone.get("/wallet")
    assert phone.status == 401
    await phone.sign_in("Alice")
    assert phone.status == 401
    await phone.sign_in("Alice", "  seven  geese ")
    assert phone.status == 200
    await alice.send("/sign-out")
    assert "changed" not in text_of(await phone.get("/wallet/pin?changed=7"))


@pytest.mark.parametrize(
    ("old", "new", "again", "status", "says"),
    [
        ("wrong", "12345", "12345", 403, "The PIN that you have now was not right."),
        (PINS["Alice"], "12345", "12346", 400, "not typed the same way twice"),
        (PINS["Alice"], "123", "123", 400, "A PIN has 4 to 64 characters."),
        (PINS["Alice"], "x" * 65, "x" * 65, 400, "A PIN has 4 to 64 characters."),
        (PINS["Alice"], PINS["Alice"], PINS["Alice"], 400, "the PIN that you have already"),
    ],
)
async def test_a_pin_that_is_not_changed(
    pair: Pair, alice: Browser, old: str, new: str, again: str, status: int, says: str
) -> None:
    page = await change(alice, old, new, again)
    assert alice.status == status
    assert says.lower() in text_of(page).lower() and "Your PIN is as it was." in page
    assert old not in page and f'"{new}"' not in page
    await alice.send("/sign-out")
    await alice.sign_in("Alice")
    assert alice.status == 200


async def test_wrong_pins_count_at_both_doors(
    pair: Pair, alice: Browser, stack: AsyncExitStack
) -> None:
    for _ in range(5):
        await change(alice, "wrong", "12345")
        assert alice.status == 403
    await change(alice, PINS["Alice"], "12345")
    assert (alice.status, alice.headers["Retry-After"]) == (429, "31")
    assert "Too many wrong tries: wait 31 seconds" in text_of(alice.text)
    someone = await stack.enter_async_context(Browser(pair.a.server))
    await someone.sign_in("Alice")
    assert someone.status == 429
    pair.a.monotonic_s += 31
    await change(alice, PINS["Alice"], "12345")
    assert alice.status == 200


async def test_two_changes_at_once(pair: Pair, alice: Browser) -> None:
    await alice.get("/wallet/pin")
    hidden = alice.hidden("/wallet/pin") | {"old_pin": PINS["Alice"]}
    statuses = await asyncio.gather(
        *(
            alice.status_of("/wallet/pin", hidden | {"new_pin": pin, "new_pin_again": pin})
            for pin in ("first one", "second one")
        )
    )
    assert sorted(statuses) in ([303, 401], [303, 403])


async def test_a_stewards_reset_right_behind_a_change_ends_that_session_too(
    pair: Pair, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the answer to the change is made, the steward's own has been committed."""
    write = pair.a.store.write

    async def write_and_reset(fn: Callable[[Tx], Any]) -> Any:
        done = await write(fn)
        if isinstance(done, members.Member):
            await write(lambda tx: desk.reset_pin(tx, "Alice", hash_pin("of the steward")))
        return done

    monkeypatch.setattr(pair.a.store, "write", write_and_reset)
    await change(alice, PINS["Alice"], "of the thief")
    monkeypatch.undo()
    await alice.get("/wallet")
    assert alice.status == 401


async def test_no_trace_of_a_pin_is_kept(pair: Pair, alice: Browser) -> None:
    before = await pair.a.store.read(lambda view: view.all("SELECT * FROM request"))
    await change(alice, PINS["Alice"], "seven geese")
    await change(alice, "wrong", "seven geese!")
    assert await pair.a.store.read(lambda view: view.all("SELECT * FROM request")) == before


# Privacy


async def test_nobody_sees_what_others_have_done(
    pair: Pair, alice: Browser, stack: AsyncExitStack
) -> None:
    await pair.a.member("Dora", "1357")
    await pay(pair.a, "Alice", "Carol", "77.77", note="plover seventy")
    made = await traded(pair)
    await pair.a.store.write(lambda tx: desk.declare(tx, "Carol", "Honey", "5"))
    dora = await other(pair, stack, "Dora", "1357")
    for path in (
        "/wallet",
        "/wallet?asset=HONEY",
        "/wallet?before=1000",
        "/wallet/statement?from=2020-01-01&to=2030-01-01",
        "/wallet/statement.csv?from=2020-01-01&to=2030-01-01",
        "/wallet/receipts",
        f"/wallet/receipts?before={made.created_ms + 1}.{made.subject.hex()}",
    ):
        page = await dora.get(path)
        assert dora.status == 200
        for word in ("Alice", "Carol", "Bob", "77.77", "plover", made.id, "100.00"):
            assert word not in page, (path, word)
        assert moves(page) == []
    carol = await other(pair, stack, "Carol")
    assert "plover seventy" in await carol.get("/wallet")
    assert "422.23" not in carol.text, "what the other party has is not told"
