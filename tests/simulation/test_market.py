"""Listings between villages, and trades that answer them: told, forgotten, late, lost, taken."""

import asyncio
import sqlite3
from collections import deque
from typing import Any, Final

import pytest

from edge import desk, market, trade_escrow
from edge.core import limits, messages, receipt
from edge.core.accounts import clearing_account
from edge.core.listing import Goods, Listing
from edge.core.trade import NOTHING, Proposal, Quantity
from edge.errors import InvalidInput, LimitExceeded, UnknownAsset, Unreachable, WrongState
from edge.market import Ask
from edge.storage import audit, ledger, listings, members, neighbours, trades
from edge.storage.trades import Trade
from edge.storage.tx import Tx
from tests.answering import answering
from tests.simulation import disk
from tests.simulation.world import Letter, Village, World

A, B = "ose-missouri-001", "ose-california-001"
PANEL: Final = Quantity("SOLAR-PANEL", "resource", 0, 5)
OFFER: Final = Ask("offer", "Solar Panel", "5", price="30", text="100 W each")


@pytest.fixture
def world() -> World:
    return World(11)


@pytest.fixture
def two(world: World) -> tuple[Village, Village]:
    """Alice and Carol of A have 500 AT each, Alice wool; Bob and Bea of B have solar panels."""
    a, b = world.village(A), world.village(B)
    for name in ("Alice", "Carol"):
        a.now(lambda tx, name=name: desk.add_member(tx, name, ""))  # type: ignore[misc]
        a.now(lambda tx, name=name: desk.issue(tx, name, "500"))  # type: ignore[misc]
    a.now(lambda tx: desk.declare(tx, "Alice", "Wool", "3.5", 1))
    for name in ("Bob", "Bea"):
        b.now(lambda tx, name=name: desk.add_member(tx, name, ""))  # type: ignore[misc]
        b.now(lambda tx, name=name: desk.declare(tx, name, "Solar Panel", "5"))  # type: ignore[misc]
    world.befriend(a, b)
    exchange(b, a)
    return a, b


def exchange(village: Village, other: Village) -> None:
    asyncio.run(village.world.together([village.client.exchange(other.name)]))


def list_goods(village: Village, ask: Ask = OFFER, by: str = "Bob") -> str:
    return village.now(lambda tx: market.list_goods(tx, members.named(tx, by), ask))


def take_back(village: Village, id_: str, by: str = "Bob") -> None:
    village.now(lambda tx: market.take_back(tx, members.named(tx, by), id_))


def add_many(village: Village, count: int) -> list[str]:
    goods = Goods("offer", PANEL, None, "")
    return [
        village.now(lambda tx, n=n: listings.add(tx, 1 + n % 2, goods, tx.minute + 99))  # type: ignore[misc]
        for n in range(count)
    ]


def shown(village: Village, of: str) -> dict[str, tuple[int, Goods]]:
    """Return what a village has of a village's listings: version and goods by id."""
    rows = village.look(lambda view: listings.changed(view, of, 0))
    assert len(rows) < limits.LISTINGS_PER_MESSAGE_MAX, "more than this test can see"
    return {each.id: (each.version, each.goods) for each in rows if each.goods is not None}


def left(village: Village, id_: str, of: str = B) -> int:
    return village.look(lambda view: listings.named(view, of, id_)).goods.item.amount


# Told


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("dials", [A, B])
def test_all_listings_come_in_one_exchange(
    two: tuple[Village, Village], monkeypatch: pytest.MonkeyPatch, dials: str, count: int
) -> None:
    """More than one message may carry go in several, whichever of the two can dial."""
    a, b = two
    monkeypatch.setattr(limits, "LISTINGS_PER_MESSAGE_MAX", 4)
    letters: deque[Letter] = deque()
    b.world.letters = letters
    ids = add_many(b, count)
    exchange(*((a, b) if dials == A else (b, a)))
    monkeypatch.undo()
    assert shown(a, B) == shown(b, B)
    assert set(shown(a, B)) == set(ids)
    said = [messages.decode_exchange(each.body) for each in letters if each.sender == B]
    assert max(len(each.listings) for each in said) <= 4
    assert len(letters) <= 2 * (count // 4 + 2)


def test_more_than_a_message_carries_for_real(
    two: tuple[Village, Village], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = two
    monkeypatch.setattr(limits, "LISTINGS_PER_MEMBER_MAX", 1_000)
    ids = add_many(b, 2 * limits.LISTINGS_PER_MESSAGE_MAX + 1)
    exchange(a, b)
    (count,) = a.conn.execute("SELECT count(*) FROM listing WHERE village = ?", (B,)).fetchone()
    assert count == len(ids)


def test_what_changes_is_told_once_and_what_is_erased_is_gone(
    two: tuple[Village, Village],
) -> None:
    a, b = two
    first, second = list_goods(b), list_goods(b, by="Bea")
    exchange(a, b)
    assert set(shown(a, B)) == {first, second}
    b.now(lambda tx: listings.take(tx, first, "offer", "SOLAR-PANEL", 2))
    take_back(b, second, "Bea")
    b.world.letters.clear()
    exchange(b, a)
    assert (left(a, first), set(shown(a, B))) == (3, {first})
    assert shown(a, B) == shown(b, B)
    exchange(b, a)
    said = [messages.decode_exchange(each.body).listings for each in b.world.letters]
    assert [len(each) for each in said if each] == [2]
    row = a.conn.execute(
        "SELECT side, asset, quantity, price, text, search, member, listed_ms FROM listing"
        " WHERE id = ?",
        (second,),
    ).fetchone()
    assert set(row) == {None}


def test_an_answer_that_is_lost_is_asked_for_again(two: tuple[Village, Village]) -> None:
    a, b = two
    ids = [list_goods(b), list_goods(b, by="Bea")]
    b.world.loss = 1.0
    for village, other in ((a, b), (b, a)):
        with pytest.raises(Unreachable):
            exchange(village, other)
        village.world.failures.clear()
    b.world.loss = 0.0
    exchange(b, a)
    assert set(shown(a, B)) == set(ids)


def test_an_exchange_that_crosses_another_brings_nothing_back(two: tuple[Village, Village]) -> None:
    """The words of before the listing was taken back arrive after those of after it."""
    a, b = two
    id_ = list_goods(b)
    b.world.letters.clear()
    b.world.only_dialler = A
    with pytest.raises(Unreachable):
        exchange(b, a)
    b.world.failures.clear()
    [late] = b.world.letters
    assert messages.decode_exchange(late.body).listings
    take_back(b, id_)
    exchange(a, b)
    asyncio.run(b.world.deliver(late))
    assert shown(a, B) == {}
    b.world.only_dialler = ""
    exchange(b, a)
    assert shown(a, B) == {}


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_lost_repeated_or_late_both_show_the_same_in_the_end(seed: int) -> None:
    world = World(f"market {seed}", loss=0.3, repeat=0.3, yields=1)
    world.letters = deque()
    two = world.village(A), world.village(B)
    world.befriend(*two)
    made: dict[str, list[str]] = {A: [], B: []}
    for village in two:
        village.now(lambda tx: desk.add_member(tx, "Ann", ""))
    for _ in range(60):
        random_step(world, made)
    assert made[A]
    assert made[B]
    world.loss = world.repeat = 0.0
    world.now_ms += 3_600_000
    for village in two:
        village.now(trade_escrow.expire)
    for village, other in (two, two[::-1]):
        exchange(village, other)
    for village, other in (two, two[::-1]):
        assert shown(village, other.name) == shown(other, other.name)


def random_step(world: World, made: dict[str, list[str]]) -> None:
    """List, take out, take back, wait, exchange, or deliver an old message again."""
    rng = world.rng
    village = rng.choice([*world.villages.values()])
    ids = made[village.name]
    what, id_ = rng.randrange(7), rng.choice(ids) if ids else ""
    if what <= 1:
        goods, ahead = Goods("offer", PANEL, None, f"number {len(ids)}"), rng.choice((30, 99_999))
        ids.append(village.now(lambda tx: listings.add(tx, 1, goods, tx.minute + ahead)))
    elif what == 2:
        village.now(lambda tx: listings.take_back(tx, tx.identity.village, id_))
    elif what == 3:
        village.now(lambda tx: listings.take(tx, id_, "offer", "SOLAR-PANEL", 1))
    elif what == 4:
        world.now_ms += rng.choice((1, 600_000))
        village.offset_ms = rng.choice((0, -300_000, 300_000))
        village.now(trade_escrow.expire)
    elif what == 5 and world.letters:
        asyncio.run(world.deliver(rng.choice(world.letters)))
    else:
        try:
            exchange(village, world.villages[A if village.name == B else B])
        except Unreachable:
            world.failures.clear()


def restore(village: Village, copy: sqlite3.Connection) -> None:
    """Set a village back to an old copy of its database."""
    village.conn = disk.new(copy)
    village.start()


def copy_of(village: Village) -> sqlite3.Connection:
    return village.conn.copy()


def test_a_village_set_back_to_an_old_database_is_told_again(two: tuple[Village, Village]) -> None:
    a, b = two
    kept, gone = list_goods(b), list_goods(b, by="Bea")
    exchange(a, b)
    old = copy_of(a)
    take_back(b, gone, "Bea")
    later = list_goods(b, by="Bea")
    exchange(a, b)
    restore(a, old)
    assert set(shown(a, B)) == {kept, gone}
    exchange(b, a)
    assert set(shown(a, B)) == {kept, later}
    assert shown(a, B) == shown(b, B)


def test_the_listings_of_a_village_set_back(two: tuple[Village, Village]) -> None:
    """What it has forgotten stays next door, and comes to nothing there; what it lists from now on
    is heard."""
    a, b = two
    kept = list_goods(b)
    exchange(a, b)
    old = copy_of(b)
    forgotten = list_goods(b, by="Bea")
    exchange(a, b)
    restore(b, old)
    a.world.now_ms += 1_000
    later = list_goods(b, by="Bea")
    exchange(a, b)
    assert set(shown(a, B)) == {kept, forgotten, later}
    known = answer(a, forgotten, "1")
    exchange(a, b)
    assert (at(a, known).status, at(b, known).status) == ("REJECTED", "REJECTED")
    a.world.now_ms += 91 * limits.DAY_MS
    a.now(trade_escrow.expire)
    assert shown(a, B) == {}


# Answered


def answer(village: Village, id_: str, amount: str, by: str = "Alice", of: str = B) -> Trade:
    def propose(tx: Tx) -> Trade:
        made = answering(tx, of, id_, amount)
        return trade_escrow.propose(tx, members.named(tx, by), made)

    return village.now(propose)


def accept(village: Village, known: Trade, by: str = "Bob") -> Trade:
    return village.now(
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, by), trades.by_subject(tx, known.subject)
        )
    )


def at(village: Village, known: Trade) -> Trade:
    return village.look(lambda view: trades.by_subject(view, known.subject))


def balance(village: Village, account: str, code: str) -> int:
    found = village.look(lambda view: ledger.balances(view, account)).get(code)
    return found.balance if found else 0


def agree(*villages: Village) -> None:
    """Both audits agree, nothing is left held, and the clearing accounts mirror each other."""
    a, b = villages
    owed = {}
    for village, other in ((a, b), (b, a)):
        report = village.look(audit.audit)
        assert report.open == 0
        held = village.look(lambda view: ledger.balances(view, clearing_account(other.name)))  # noqa: B023
        owed[village.name] = {code: has.balance for code, has in held.items() if has.balance}
        assert not any(has.on_hold for has in held.values())
    assert owed[A] == {code: -amount for code, amount in owed[B].items()}


def test_a_listing_is_answered_from_the_village_next_door(two: tuple[Village, Village]) -> None:
    a, b = two
    id_ = list_goods(b)
    exchange(a, b)
    known = answer(a, id_, "2")
    assert (known.to_user, known.listing, known.terms.offer.amount) == ("", id_, 60_00)
    exchange(a, b)
    there = at(b, known)
    assert (there.status, there.to_user, there.from_user) == ("PENDING", "Bob", "Alice")
    assert (there.member, there.listing) == (members_id(b, "Bob"), id_)
    exchange(b, a)
    assert at(a, known).to_user == ""  # nobody is bound: it is not told
    assert left(b, id_) == left(a, id_) == 5

    accept(b, known)
    assert (left(b, id_), at(a, known).to_user) == (3, "")
    exchange(b, a)
    assert (at(a, known).status, at(b, known).status) == ("SETTLED", "SETTLED")
    assert at(a, known).to_user == "Bob"
    assert left(a, id_) == 3
    assert (balance(a, "member:1", "SOLAR-PANEL"), balance(b, "member:1", "AT")) == (2, 60_00)
    agree(a, b)


def members_id(village: Village, name: str) -> int:
    return village.look(lambda view: members.named(view, name)).id


@pytest.mark.parametrize("end", ["rejected", "cancelled", "expired"])
def test_a_name_is_not_told_if_nobody_is_bound(two: tuple[Village, Village], end: str) -> None:
    a, b = two
    id_ = list_goods(b)
    exchange(a, b)
    known = answer(a, id_, "2")
    exchange(a, b)
    if end == "rejected":
        b.now(lambda tx: trade_escrow.reject(tx, members.named(tx, "Bob"), at(b, known)))
    elif end == "cancelled":
        a.now(lambda tx: trade_escrow.cancel(tx, members.named(tx, "Alice"), at(a, known)))
    else:
        a.world.now_ms += 2 * limits.DAY_MS
        for village in (a, b):
            village.now(trade_escrow.expire)
    for village, other in ((a, b), (b, a)):
        exchange(village, other)
    assert {at(a, known).status, at(b, known).status} == {end.upper()}
    assert at(a, known).to_user == ""
    assert "Bob" not in at(a, known).reason
    assert not any(b"Bob" in letter.body for letter in a.world.letters)
    assert left(b, id_) == 5
    agree(a, b)


def test_an_answer_to_what_is_gone_is_declined_in_words(two: tuple[Village, Village]) -> None:
    a, b = two
    id_ = list_goods(b)
    exchange(a, b)
    take_back(b, id_)
    known = answer(a, id_, "2")
    assert balance(a, "member:1", "AT") == 500_00
    exchange(a, b)
    assert (at(b, known).status, at(b, known).member) == ("REJECTED", None)
    assert at(b, known).reason == "the listing is not there any more"
    assert (at(a, known).status, at(a, known).reason) == ("REJECTED", f"{B} declined it")
    has = a.look(lambda view: ledger.balances(view, "member:1"))["AT"]
    assert (has.available, has.reserved) == (500_00, 0)
    agree(a, b)


def test_the_last_of_it_goes_to_whom_the_member_accepts_first(two: tuple[Village, Village]) -> None:
    a, b = two
    id_ = list_goods(b)
    exchange(a, b)
    first, second = answer(a, id_, "3"), answer(a, id_, "3", "Carol")
    exchange(a, b)
    accept(b, second)
    with pytest.raises(WrongState, match="your listing has only 2 Solar Panel left"):
        accept(b, first)
    assert (at(b, first).status, left(b, id_)) == ("PENDING", 2)
    exchange(a, b)
    assert at(a, second).status == "SETTLED"
    with pytest.raises(WrongState, match="only 2 Solar Panel left"):
        answer(a, id_, "3")


def test_what_an_aborted_trade_took_is_listed_again(two: tuple[Village, Village]) -> None:
    a, b = two
    id_ = list_goods(b)
    exchange(a, b)
    known = answer(a, id_, "2")
    exchange(a, b)
    accept(b, known)
    a.now(lambda tx: trade_escrow.cancel(tx, members.named(tx, "Alice"), at(a, known)))
    assert left(b, id_) == 3
    for _ in range(2):
        exchange(b, a)
    assert (at(b, known).status, at(a, known).status) == ("ABORTED", "CANCELLED")
    assert left(b, id_) == left(a, id_) == 5
    assert at(a, known).to_user == "Bob"  # he was bound
    agree(a, b)


def test_what_an_aborted_trade_took_does_not_bring_back_a_listing(
    two: tuple[Village, Village],
) -> None:
    a, b = two
    id_ = list_goods(b)
    exchange(a, b)
    known = answer(a, id_, "2")
    exchange(a, b)
    accept(b, known)
    take_back(b, id_)
    a.now(lambda tx: trade_escrow.cancel(tx, members.named(tx, "Alice"), at(a, known)))
    for _ in range(2):
        exchange(b, a)
    assert at(b, known).status == "ABORTED"
    assert shown(a, B) == shown(b, B) == {}
    agree(a, b)


def test_an_acceptance_that_fails_takes_nothing(two: tuple[Village, Village]) -> None:
    a, b = two
    id_ = list_goods(b)
    exchange(a, b)
    known = answer(a, id_, "2")
    exchange(a, b)
    b.now(lambda tx: desk.consume(tx, "Bob", "Solar Panel", "4"))
    with pytest.raises(LimitExceeded):
        accept(b, known)
    assert (left(b, id_), at(b, known).status) == (5, "PENDING")


def test_a_want_is_answered_and_counts_down(two: tuple[Village, Village]) -> None:
    a, b = two
    id_ = list_goods(b, Ask("want", "Wool", "9.0", price="2", price_asset="Solar Panel"))
    exchange(a, b)
    known = answer(a, id_, "1.5")
    assert (known.terms.offer, known.terms.request) == (
        Quantity("WOOL", "resource", 1, 15),
        Quantity("SOLAR-PANEL", "resource", 0, 3),
    )
    exchange(a, b)
    accept(b, known)
    exchange(b, a)
    assert at(a, known).status == "SETTLED"
    assert (left(b, id_), left(a, id_)) == (75, 75)
    agree(a, b)


def test_whoever_brings_what_is_offered_takes_nothing_out_of_it(
    two: tuple[Village, Village],
) -> None:
    """Alice answers Bob's offer of panels with panels: he has more of them then, not fewer."""
    a, b = two
    a.now(lambda tx: desk.declare(tx, "Alice", "Solar Panel", "9"))
    id_ = list_goods(b)
    exchange(a, b)
    made = Proposal(B, "", ("Solar Panel", "9"), None, listing=id_)
    known = a.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), made))
    exchange(a, b)
    accept(b, known)
    exchange(b, a)
    assert (at(a, known).status, left(b, id_)) == ("SETTLED", 5)


def test_a_listing_next_door_may_ask_for_goods_that_are_known_there_alone(
    two: tuple[Village, Village],
) -> None:
    a, b = two
    b.now(lambda tx: desk.declare(tx, "Bob", "Honey", "7.00", 2))
    id_ = list_goods(b, Ask("offer", "Honey", "7", price="0.01"))
    exchange(a, b)
    known = answer(a, id_, "7")
    exchange(a, b)
    accept(b, known)
    exchange(b, a)
    assert (at(a, known).status, balance(a, "member:1", "HONEY")) == ("SETTLED", 7_00)
    agree(a, b)


# Gifts


@pytest.mark.parametrize("asked", [True, False])
def test_a_gift_settles_on_both_ledgers(two: tuple[Village, Village], asked: bool) -> None:
    """Given by the proposer, or asked for: one leg on each side, and a receipt of it."""
    a, b = two
    offer, request = (None, ("Solar Panel", "2")) if asked else (("Wool", "1.5"), None)
    made = Proposal(B, "Bob", offer, request)
    known = a.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), made))
    assert NOTHING in (known.terms.offer, known.terms.request)
    exchange(a, b)
    accept(b, known)
    exchange(b, a)
    assert {at(a, known).status, at(b, known).status} == {"SETTLED"}
    code, amount = ("SOLAR-PANEL", 2) if asked else ("WOOL", -15)
    before_a, before_b = (0, 5) if asked else (35, 0)
    assert balance(a, "member:1", code) == before_a + amount
    assert balance(b, "member:1", code) == before_b - amount
    assert balance(a, clearing_account(B), code) == -amount
    assert balance(a, "member:1", "AT") == 500_00
    agree(a, b)
    for village in (a, b):
        settled = at(village, known)
        of_it = village.look(lambda view: trade_escrow.receipt(view, settled))  # noqa: B023
        read = receipt.decode(receipt.encode(of_it))
        receipt.verify(read)
        assert read.certificate.value == "COMMIT"


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_gift_of_tokens_settles_on_both_ledgers(two: tuple[Village, Village], sign: int) -> None:
    """Sent by the proposer, who pays the fee on it, or asked for."""
    a, b = two
    side = ("AT", "20.50")
    made = Proposal(B, "Bob", *((side, None) if sign < 0 else (None, side)))
    fee = 21 if sign < 0 else 0
    known = a.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), made, fee))
    before = balance(b, "member:1", "AT")
    b.now(lambda tx: desk.issue(tx, "Bob", "30"))
    exchange(a, b)
    accept(b, known)
    exchange(b, a)
    assert {at(a, known).status, at(b, known).status} == {"SETTLED"}
    assert balance(a, "member:1", "AT") == 500_00 + sign * 20_50 - fee
    assert balance(b, "member:1", "AT") == before + 30_00 - sign * 20_50
    assert balance(a, clearing_account(B), "AT") == -sign * 20_50
    agree(a, b)


def test_a_listed_gift_is_taken(two: tuple[Village, Village]) -> None:
    a, b = two
    id_ = list_goods(b, Ask("offer", "Solar Panel", "2"))
    exchange(a, b)
    known = answer(a, id_, "2", "Carol")
    exchange(a, b)
    accept(b, known)
    exchange(b, a)
    assert (left(a, id_), balance(a, "member:2", "SOLAR-PANEL")) == (0, 2)
    agree(a, b)


def test_a_gift_is_bound_by_the_line_as_any_trade(two: tuple[Village, Village]) -> None:
    """What is received is owed by the giver's village: as much as it may owe."""
    a, b = two
    a.now(lambda tx: desk.approve(tx, "Solar Panel", 0))
    a.now(lambda tx: desk.set_limit(tx, B, "Solar Panel", "1"))
    with pytest.raises(LimitExceeded):
        ask_for(a, "Solar Panel", "2")
    assert ask_for(a, "Solar Panel", "1").status == "PENDING"
    exchange(a, b)
    b.now(lambda tx: desk.approve(tx, "Wool", 1))
    b.now(lambda tx: desk.set_limit(tx, A, "Wool", "0.5"))
    given = Proposal(B, "Bob", ("Wool", "1"), None)
    known = a.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), given))
    exchange(a, b)
    with pytest.raises(LimitExceeded):
        accept(b, known)


def ask_for(village: Village, item: str, amount: str) -> Trade:
    made = Proposal(B, "Bob", None, (item, amount))
    return village.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), made))


@pytest.mark.parametrize(
    "changes",
    [
        {"offer": None, "request": None},
        {"offer": ("Wool", "1"), "request": ("wool", "1")},
        {"to_user": ""},
        {"listing": "no id", "to_user": ""},
        {"listing": "no id"},
        {"listing": "0123456789ABCDEF"},
    ],
)
def test_what_cannot_be_proposed(two: tuple[Village, Village], changes: dict[str, Any]) -> None:
    """Not here: next door it would be refused with all else that is said."""
    a, _ = two
    asked = {"offer": ("Wool", "1"), "request": ("Solar Panel", "1"), "to_user": "Bob"} | changes
    made = Proposal(B, **asked)
    with pytest.raises(InvalidInput):
        a.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), made))
    assert a.look(trades.everyone) == []


# What a member may list as its price


def test_a_price_in_what_a_neighbour_calls_a_token_is_none(two: tuple[Village, Village]) -> None:
    """Listed, it would be refused by every neighbour, with all else that is said."""
    _, b = two
    log = b.look(lambda view: neighbours.named(view, A)).log
    b.conn.execute("INSERT INTO asset VALUES (?, 'GOLD', 'token', 3)", (log,))
    with pytest.raises(UnknownAsset, match="Gold"):
        list_goods(b, Ask("offer", "Solar Panel", "1", price="1", price_asset="Gold"))


def test_told_listings_are_listings(two: tuple[Village, Village]) -> None:
    a, b = two
    list_goods(b)
    [said] = b.look(lambda view: listings.changed(view, B, 0))
    assert isinstance(said, Listing)
    exchange(a, b)
    [heard] = a.look(lambda view: listings.changed(view, B, 0))
    assert heard == said
