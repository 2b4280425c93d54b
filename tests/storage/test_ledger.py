"""Accounts over SQLite: the one rule against a model that knows nothing of the product.

And bad input, one balance used twice, counters at their bound, names that look alike.
"""

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import desk, trade_escrow
from edge.core import limits, records
from edge.core.accounts import Asset, Counters, Entry, debits
from edge.core.records import LimitChange
from edge.core.trade import Proposal
from edge.errors import (
    BoxError,
    ConfigError,
    Conflict,
    InvalidAmount,
    InvalidInput,
    LimitExceeded,
    TooMany,
    UnknownAsset,
    UnknownMember,
    UnknownNeighbour,
    WrongState,
)
from edge.storage import ledger, logs, members, trades
from edge.storage.audit import audit
from edge.storage.tx import OWN_LOG, Tx
from tests.storage import villages
from tests.storage.villages import Village

BOUND: Final = 2**53 - 1
MEMBERS: Final = ("member:1", "member:2", "member:3")
CLEARING: Final = "clearing:ose-california-001"
ASSETS: Final = ("AT", "PANEL", "FLOUR")  # of 2, 0 and 3 decimals
LINES: Final = {"AT": 1_000_00, "PANEL": 10, "FLOUR": 10_000}

Place = tuple[str, str]


class Book:
    """The ledger as a child would keep it: what came, what went, what is promised."""

    def __init__(self) -> None:
        self.went: Counter[Place] = Counter()
        self.came: Counter[Place] = Counter()
        self.going: Counter[Place] = Counter()
        self.coming: Counter[Place] = Counter()
        self.aside: Counter[Place] = Counter()
        self.limits: dict[Place, int] = {}

    def limit(self, place: Place) -> int:
        account, asset = place
        if place in self.limits:
            return self.limits[place]
        if account == "issuance":
            return BOUND
        return LINES[asset] if account == CLEARING else 0

    def used(self, place: Place) -> int:
        return self.went[place] + self.going[place] + self.aside[place] - self.came[place]

    def allows(self, entries: list[Entry]) -> bool:
        wanted = giving(entries)
        return all(self.used(place) + wanted[place] <= self.limit(place) for place in wanted)

    def shown(self, place: Place) -> Counters:
        return Counters(
            self.went[place],
            self.came[place],
            self.going[place],
            self.coming[place],
            self.aside[place],
            self.limit(place),
        )


def giving(entries: list[Entry]) -> Counter[Place]:
    found: Counter[Place] = Counter()
    for entry in entries:
        found[entry.account, entry.asset] += max(-entry.amount, 0)
    return +found


def taking(entries: list[Entry]) -> Counter[Place]:
    return giving([Entry(entry.account, entry.asset, -entry.amount) for entry in entries])


def end_hold(tx: Tx, entries: list[Entry], settled: bool) -> None:
    ledger.end_hold(tx, entries)
    if settled:
        index = tx.append(records.AssetRecord(tx.minute, "GOLD", "resource", 0))
        ledger.post(tx, index, "trade", entries, tx.stamp_ms)


# Steps that a ledger may be asked for

amounts = st.integers(1, 60)
people = st.sampled_from((*MEMBERS, "treasury"))
codes = st.sampled_from(ASSETS)
slots = st.integers(0, 2)


class Deal(NamedTuple):
    """A trade's legs on one side: what a member gives and gets, and a fee."""

    member: str
    gives: str
    gets: str
    given: int
    got: int
    fee: int

    @property
    def entries(self) -> list[Entry]:
        legs = [
            Entry(self.member, self.gives, -self.given),
            Entry(self.member, self.gets, self.got),
            Entry(CLEARING, self.gives, self.given),
            Entry(CLEARING, self.gets, -self.got),
        ]
        fee = [Entry(self.member, "AT", -self.fee), Entry("treasury", "AT", self.fee)]
        return legs + (fee if self.fee else [])


deals = st.builds(
    Deal, st.sampled_from(MEMBERS), codes, codes, amounts, amounts, st.integers(0, 3)
).filter(lambda deal: deal.gives != deal.gets)
steps = st.one_of(
    st.tuples(st.just("pay"), people, people, codes, amounts),
    st.tuples(st.just("issue"), people, amounts),
    st.tuples(st.just("declare"), people, codes, amounts),
    st.tuples(st.just("consume"), people, codes, amounts),
    st.tuples(st.just("limit"), st.sampled_from((*MEMBERS, CLEARING)), codes, st.integers(0, 40)),
    st.tuples(st.just("reserve"), slots, deals),
    st.tuples(st.just("unreserve"), slots),
    st.tuples(st.just("hold"), slots, deals),
    st.tuples(st.just("settle"), slots),
    st.tuples(st.just("release"), slots),
)


class Both:
    """The product's ledger and the book, step by step."""

    def __init__(self, village: Village) -> None:
        self.village = village
        self.book = Book()
        for member in MEMBERS[:2]:
            for code in ASSETS:
                self.book.went += giving(endowment(member, code))
                self.book.came += taking(endowment(member, code))
        self.done: Counter[str] = Counter()
        self.reserved: dict[int, Deal] = {}
        self.held: dict[int, Deal] = {}
        self.lowered: set[Place] = set()

    def step(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0])(*step[1:])
        self.compare()

    def pay(self, payer: str, payee: str, code: str, amount: int) -> None:
        self._post("pay", [Entry(payer, code, -amount), Entry(payee, code, amount)])

    def issue(self, payee: str, amount: int) -> None:
        self._post("issue", [Entry("issuance", "AT", -amount), Entry(payee, "AT", amount)])

    def declare(self, owner: str, code: str, amount: int) -> None:
        self._post("declare", [Entry("issuance", code, -amount), Entry(owner, code, amount)])

    def consume(self, owner: str, code: str, amount: int) -> None:
        self._post("consume", [Entry(owner, code, -amount), Entry("issuance", code, amount)])

    def limit(self, account: str, code: str, limit: int) -> None:
        change = LimitChange(account, code, limit)
        self._do(lambda tx: ledger.append_sealed(tx, "limit", changes=[change]), allowed=True)
        if limit < self.book.limit((account, code)):
            self.lowered.add((account, code))
        self.book.limits[account, code] = limit

    def reserve(self, slot: int, deal: Deal) -> None:
        if slot in self.reserved:
            return
        allowed = self.book.allows(deal.entries)
        self._do(lambda tx: ledger.reserve(tx, debits(deal.entries)), allowed)
        if allowed:
            self.book.aside += giving(deal.entries)
            self.reserved[slot] = deal

    def unreserve(self, slot: int) -> None:
        if slot in self.reserved:
            deal = self.reserved.pop(slot)
            self._do(lambda tx: ledger.unreserve(tx, debits(deal.entries)), allowed=True)
            self.book.aside -= giving(deal.entries)

    def hold(self, slot: int, deal: Deal) -> None:
        if slot in self.held:
            return
        allowed = self.book.allows(deal.entries)
        self._do(lambda tx: ledger.hold(tx, deal.entries), allowed)
        if allowed:
            self.book.going += giving(deal.entries)
            self.book.coming += taking(deal.entries)
            self.held[slot] = deal

    def settle(self, slot: int) -> None:
        self._end(slot, settled=True)

    def release(self, slot: int) -> None:
        self._end(slot, settled=False)

    def _end(self, slot: int, settled: bool) -> None:
        if slot not in self.held:
            return
        self.done["settled" if settled else "released"] += 1
        deal = self.held.pop(slot)
        self._do(lambda tx: end_hold(tx, deal.entries, settled), allowed=True)
        self.book.going -= giving(deal.entries)
        self.book.coming -= taking(deal.entries)
        if settled:
            self.book.went += giving(deal.entries)
            self.book.came += taking(deal.entries)

    def _post(self, operation: records.Operation, entries: list[Entry]) -> None:
        allowed = self.book.allows(entries)
        self._do(lambda tx: ledger.append_sealed(tx, operation, entries), allowed)
        if allowed:
            self.book.went += giving(entries)
            self.book.came += taking(entries)

    def _do(self, fn: Callable[[Tx], object], allowed: bool) -> None:
        [outcome] = self.village.write_all([fn])
        assert isinstance(outcome, type(None) | int if allowed else LimitExceeded), outcome
        self.done["allowed" if allowed else "refused"] += 1

    def compare(self) -> None:
        found = self.village.conn.execute(
            "SELECT account, asset, debits_posted, credits_posted, debits_pending, credits_pending,"
            " reserved, debit_limit FROM balance"
        ).fetchall()
        for account, asset, *counters in found:
            place = (account, asset)
            assert Counters(*counters) == self.book.shown(place), place
            if place not in self.lowered:
                assert self.book.used(place) <= self.book.limit(place), place
        known = {row[:2] for row in found}
        for counter in (self.book.went, self.book.came, self.book.going, self.book.aside):
            assert {place for place, amount in counter.items() if amount} <= known
        for code in ASSETS:
            assert sum(row[3] - row[2] for row in found if row[1] == code) == 0
            assert sum(row[5] - row[4] for row in found if row[1] == code) == 0


@pytest.fixture(scope="module")
def founded() -> Village:
    village = Village("ose-missouri-001")
    village.write(lambda tx: logs.append_asset(tx, Asset("PANEL", "resource", 0)))
    village.write(lambda tx: logs.append_asset(tx, Asset("FLOUR", "resource", 3)))
    for member in MEMBERS[:2]:
        for code in ASSETS:
            village.write(endow(member, code))
    return village


def endowment(member: str, code: str) -> list[Entry]:
    return [Entry("issuance", code, -100), Entry(member, code, 100)]


def endow(member: str, code: str) -> Callable[[Tx], int]:
    return lambda tx: ledger.append_sealed(tx, "declare", endowment(member, code))


def fresh(founded: Village) -> Village:
    """A copy of a village, with a database of its own."""
    copy = Village.__new__(Village)
    copy.__dict__.update(founded.__dict__)
    copy.conn = sqlite3.connect(":memory:", isolation_level=None)
    founded.conn.backup(copy.conn)
    copy.start()
    return copy


@given(todo=st.lists(steps, min_size=5, max_size=40))
def test_the_one_rule(founded: Village, todo: list[tuple[Any, ...]]) -> None:
    village = fresh(founded)
    both = Both(village)
    for step in todo:
        both.step(step)
    village.conn.close()


def test_the_dice_reach_what_they_should(founded: Village) -> None:
    """The same steps from a seed: each outcome comes about often enough to be worth asking."""
    dice = random.Random(5)
    done: Counter[str] = Counter()
    for _ in range(25):
        both = Both(fresh(founded))
        for _ in range(40):
            both.step(step_from(dice))
        both.village.conn.close()
        done += both.done
    assert all(done[what] > 15 for what in ("allowed", "refused", "settled", "released")), done


def step_from(dice: random.Random) -> tuple[Any, ...]:
    who, other = dice.choice(MEMBERS), dice.choice((*MEMBERS, "treasury"))
    gives, gets = dice.sample(ASSETS, 2)
    amount, slot = dice.randint(1, 60), dice.randrange(3)
    deal = Deal(who, gives, gets, amount, dice.randint(1, 12), dice.randint(0, 3))
    return dice.choice(
        [
            ("pay", who, other, gives, amount),
            ("issue", who, amount),
            ("declare", who, gives, amount),
            ("consume", who, gives, amount),
            ("limit", dice.choice((who, CLEARING)), gives, dice.randint(0, 40)),
            ("reserve", slot, deal),
            ("unreserve", slot),
            *[("hold", slot, deal), ("settle", slot), ("release", slot)] * 2,
        ]
    )


# At the desk


@pytest.fixture
def village() -> Iterator[Village]:
    village, _ = villages.neighbours_with_goods()
    village.write(lambda tx: desk.declare(tx, "Alice", "Flour", "5", decimals=3))
    yield village
    village.conn.close()


def refused(village: Village, fn: Callable[[Tx], object]) -> BoxError:
    """Return the error of a write that is refused, having checked that it changed nothing."""
    before = list(village.conn.iterdump())
    [outcome] = village.write_all([fn])
    assert isinstance(outcome, BoxError), outcome
    assert list(village.conn.iterdump()) == before
    return outcome


BAD_AMOUNTS: Final = (
    "",
    " ",
    "0",
    "0.00",
    "-1",
    "+1",
    "1.",
    ".5",
    "1,5",
    "1e2",
    "1_0",
    "0x10",
    "01",
    "1 ",
    "1\n",
    "١",
    "１",
    "1.001",
    "NaN",
    "Infinity",
    "ten",
    "1" * 13,
    "9" * 400,
    "10000000000.01",
)


@pytest.mark.parametrize("amount", BAD_AMOUNTS)
def test_a_bad_amount_is_refused_everywhere(village: Village, amount: str) -> None:
    asks: list[Callable[[Tx], object]] = [
        lambda tx: desk.pay(tx, "Alice", "Carol", amount),
        lambda tx: desk.issue(tx, "Alice", amount),
        lambda tx: desk.declare(tx, "Alice", "Nails", amount, decimals=2),
        lambda tx: desk.consume(tx, "Alice", "Flour", amount if amount != "1.001" else "1.0001"),
        lambda tx: trade_escrow.propose(
            tx,
            members.named(tx, "Alice"),
            Proposal("ose-california-001", "Bob", ("AT", amount), ("Flour", "1")),
        ),
        lambda tx: trade_escrow.propose(
            tx,
            members.named(tx, "Alice"),
            Proposal("ose-california-001", "Bob", ("Flour", "1"), ("AT", amount)),
        ),
    ]
    if amount not in ("0", "0.00"):
        asks.append(lambda tx: desk.set_limit(tx, "Alice", "AT", amount))
    for ask in asks:
        assert type(refused(village, ask)) is InvalidAmount


def test_a_resource_without_decimals_has_none(village: Village) -> None:
    error = refused(village, lambda tx: desk.declare(tx, "Alice", "Nails", "1.0"))
    assert error.detail == "'1.0' has too many decimals: Nails has no decimals"


@pytest.mark.parametrize(
    ("fn", "error", "detail"),
    [
        (
            lambda tx: desk.pay(tx, "Alice", "Carol", "50000.01"),
            LimitExceeded,
            "Alice does not have enough AT",
        ),
        (
            lambda tx: desk.pay(tx, "treasury", "Carol", "1"),
            LimitExceeded,
            "the treasury does not have enough AT",
        ),
        (
            lambda tx: desk.consume(tx, "Alice", "Flour", "5.001"),
            LimitExceeded,
            "Alice does not have enough Flour",
        ),
        (
            lambda tx: desk.pay(tx, "Dave", "Carol", "1"),
            UnknownMember,
            "there is no member called 'Dave' here",
        ),
        (
            lambda tx: desk.pay(tx, "Alice", "Dave", "1"),
            UnknownMember,
            "there is no member called 'Dave' here",
        ),
        (
            lambda tx: desk.pay(tx, "Alice", "alice", "1"),
            InvalidInput,
            "payer and payee are the same",
        ),
        (
            lambda tx: desk.pay(tx, "Treasury", "treasury", "1"),
            InvalidInput,
            "payer and payee are the same",
        ),
        (
            lambda tx: desk.pay(tx, "Alice", "Carol", "1", "gold"),
            UnknownAsset,
            "Gold is not in this village's catalogue",
        ),
        (
            lambda tx: desk.pay(tx, "Alice", "Carol", "1", "g@ld"),
            InvalidInput,
            "'g@ld' is not an asset: letters, digits and spaces, at most 32",
        ),
        (
            lambda tx: desk.declare(tx, "Alice", "at", "1"),
            InvalidInput,
            "AT is issued, not declared",
        ),
        (
            lambda tx: desk.consume(tx, "Alice", "AT", "1"),
            InvalidInput,
            "AT is not a resource",
        ),
        (
            lambda tx: desk.declare(tx, "Alice", "Nails", "1", decimals=7),
            InvalidInput,
            "an asset has 0 to 6 decimals",
        ),
        (
            lambda tx: desk.pay(tx, "Alice", "Carol", "1", note="a\x00b"),
            InvalidInput,
            "the note has a character that cannot be shown",
        ),
        (
            lambda tx: desk.pay(tx, "Alice", "Carol", "1", note="x" * 201),
            InvalidInput,
            "the note must have 1 to 200 characters",
        ),
        (
            lambda tx: desk.set_limit(tx, "treasury", "AT", "1"),
            InvalidInput,
            "the treasury does not go below zero: issue to it",
        ),
        (
            lambda tx: desk.set_limit(tx, "ose-ohio-001", "AT", "1"),
            UnknownNeighbour,
            "ose-ohio-001 is not a neighbour of this village",
        ),
        (desk.found_village, ConfigError, "this folder already holds a village"),
    ],
)
def test_what_cannot_be_done_is_said(
    village: Village, fn: Callable[[Tx], object], error: type[BoxError], detail: str
) -> None:
    found = refused(village, fn)
    assert (type(found), found.detail) == (error, detail)


def test_a_note_is_sealed_and_can_be_erased(village: Village) -> None:
    """Apart from the posting: what is erased is the note, and the audit still agrees."""
    noted = village.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1", note="for the cheese"))
    plain = village.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    found = [records.decode(logs.record_at(village.view, OWN_LOG, i)) for i in (noted, plain)]
    assert [isinstance(each, records.SealedRecord) for each in found] == [True, True]
    assert [getattr(each, "personal", b"") is None for each in found] == [False, True]
    rows = village.conn.execute(
        "SELECT personal FROM sealed WHERE idx IN (?, ?) ORDER BY idx", (noted, plain)
    ).fetchall()
    assert rows == [(b'{"note":"for the cheese"}',), (None,)]
    public = b"".join(r for (r,) in village.conn.execute("SELECT record FROM entry"))
    assert b"cheese" not in public
    audit(village.view)
    village.conn.execute("UPDATE sealed SET personal = NULL, personal_nonce = NULL")
    audit(village.view)


def test_a_limit_lets_a_member_go_below_zero_that_far(village: Village) -> None:
    village.write(lambda tx: desk.set_limit(tx, "Carol", "AT", "20"))
    village.write(lambda tx: desk.pay(tx, "Carol", "Alice", "15"))
    error = refused(village, lambda tx: desk.pay(tx, "Carol", "Alice", "5.01"))
    assert error.more == {"asset": "AT", "available_minor": 500}
    village.write(lambda tx: desk.set_limit(tx, "Carol", "AT", "0"))
    assert refused(village, lambda tx: desk.pay(tx, "Carol", "Alice", "0.01")).more == {
        "asset": "AT",
        "available_minor": -1500,
    }
    village.write(lambda tx: desk.pay(tx, "Alice", "Carol", "15"))
    [carol] = [each for each in members.everyone(village.view) if each.name == "Carol"]
    assert desk.wallet(village.view, carol)[0]["balance"] == "0.00"


def test_one_balance_is_not_promised_twice() -> None:
    """Two offers, a payment and a consumption that one balance could each bear alone."""
    a, b = villages.neighbours_with_goods()
    a.write(lambda tx: desk.set_limit(tx, b.name, "AT", "1000000"))
    first = villages.propose(a, b, ("AT", "30000"))
    with pytest.raises(LimitExceeded, match="Alice does not have enough AT"):
        villages.propose(a, b, ("AT", "20000.01"))
    error = refused(a, lambda tx: desk.pay(tx, "Alice", "Carol", "20000.01"))
    assert error.more == {"asset": "AT", "available_minor": 20_000_00}
    second = villages.propose(a, b, ("AT", "20000"))
    refused(a, lambda tx: desk.pay(tx, "Alice", "Carol", "0.01"))
    villages.cancel(a, first.subject)
    a.write(lambda tx: desk.pay(tx, "Alice", "Carol", "30000"))
    villages.cancel(a, second.subject)
    a.write(lambda tx: desk.pay(tx, "Alice", "Carol", "20000"))
    audit(a.view)


def test_one_panel_is_not_sold_twice() -> None:
    """Bob accepts as many trades as he has panels, and no more."""
    a, b = villages.neighbours_with_goods()
    b.write(lambda tx: desk.consume(tx, "Bob", "Solar Panel", "7"))
    proposed = [villages.propose(a, b) for _ in range(3)]
    villages.sync(a, b)
    for trade in proposed[:2]:
        villages.accept(b, trade.subject)
    error = refused(
        b,
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, "Bob"), trades.by_subject(tx, proposed[2].subject)
        ),
    )
    assert error.detail == "Bob does not have enough Solar Panel"
    refused(b, lambda tx: desk.consume(tx, "Bob", "Solar Panel", "1"))
    villages.sync(a, b)
    assert [trades.by_subject(b.view, trade.subject).status for trade in proposed] == [
        "SETTLED",
        "SETTLED",
        "PENDING",
    ]
    audit(b.view)


def test_a_trade_is_accepted_once() -> None:
    a, b = villages.neighbours_with_goods()
    known = villages.propose(a, b)
    villages.sync(a, b)
    villages.accept(b, known.subject)
    again = refused(
        b,
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, "Bob"), trades.by_subject(tx, known.subject)
        ),
    )
    assert type(again) is WrongState


def test_a_line_bounds_what_a_neighbour_may_owe() -> None:
    """The token line is asked where the tokens would be owed to: at the seller's village."""
    a, b = villages.neighbours_with_goods()
    known = villages.propose(a, b, ("AT", "1000.01"))
    villages.sync(a, b)
    error = refused(
        b,
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, "Bob"), trades.by_subject(tx, known.subject)
        ),
    )
    assert error.detail == "the line for ose-missouri-001 does not allow this much AT"
    assert type(error) is LimitExceeded
    b.write(lambda tx: desk.set_limit(tx, a.name, "AT", "1000.01"))
    villages.accept(b, known.subject)
    with pytest.raises(LimitExceeded, match="the line for ose-california-001"):
        villages.propose(a, b, ("AT", "1"), ("Solar Panel", "11"))
    audit(b.view)


def test_a_member_has_so_many_open_trades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPEN_TRADES_PER_MEMBER_MAX", 2)
    a, b = villages.neighbours_with_goods()
    first = villages.propose(a, b)
    villages.propose(a, b)
    with pytest.raises(TooMany, match="Alice has 2 open trades"):
        villages.propose(a, b)
    villages.cancel(a, first.subject)
    villages.propose(a, b)


# Counters at their bound


def set_counters(village: Village, account: str, **counters: int) -> None:
    for column, value in counters.items():
        changed = village.conn.execute(
            f"UPDATE balance SET {column} = ? WHERE account = ? AND asset = 'AT'", (value, account)
        ).rowcount
        assert changed == 1


def test_a_counter_does_not_pass_its_bound(village: Village) -> None:
    village.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    set_counters(village, "member:2", credits_posted=BOUND - 100)
    village.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    error = refused(village, lambda tx: desk.pay(tx, "Alice", "Carol", "0.01"))
    assert error.detail == f"an account's count of AT would pass {BOUND}"
    assert type(error) is LimitExceeded
    assert ledger.counters(village.view, "member:2", Asset("AT", "token", 2)).available == BOUND


def test_what_is_held_has_room_to_be_posted(village: Village) -> None:
    """A hold near the bound is refused at once, or can be settled whatever is paid meanwhile."""
    entries = [
        Entry("member:1", "AT", -100),
        Entry("member:1", "SOLAR-PANEL", 1),
        Entry(CLEARING, "AT", 100),
        Entry(CLEARING, "SOLAR-PANEL", -1),
    ]
    village.write(lambda tx: logs.append_asset(tx, Asset("SOLAR-PANEL", "resource", 0)))
    village.write(lambda tx: ledger.hold(tx, entries))
    village.write(lambda tx: end_hold(tx, entries, settled=False))
    set_counters(village, CLEARING, credits_posted=BOUND - 99)
    error = refused(village, lambda tx: ledger.hold(tx, entries))
    assert error.detail == f"an account's count of AT would pass {BOUND}"
    set_counters(village, CLEARING, credits_posted=0)
    set_counters(village, "member:1", debits_posted=BOUND - 250, credits_posted=BOUND)
    village.write(lambda tx: ledger.hold(tx, entries))
    village.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    refused(village, lambda tx: desk.pay(tx, "Alice", "Carol", "0.51"))
    village.write(lambda tx: end_hold(tx, entries, settled=True))


def test_a_hold_that_cannot_be_is_undone_by_itself(village: Village) -> None:
    """Whoever catches its refusal, to go on with something else, finds nothing of it."""
    entries = [
        Entry("member:1", "AT", -100),
        Entry("member:1", "FLOUR", 1),
        Entry(CLEARING, "AT", 100),
        Entry(CLEARING, "FLOUR", -1),
    ]
    village.write(lambda tx: ledger.hold(tx, entries))
    village.write(lambda tx: end_hold(tx, entries, settled=False))
    set_counters(village, CLEARING, credits_posted=BOUND - 99)
    before = village.conn.execute("SELECT * FROM balance").fetchall()

    def hold_or_not(tx: Tx) -> bool:
        try:
            ledger.hold(tx, entries)
        except LimitExceeded:
            return False
        return True

    assert village.write(hold_or_not) is False
    assert village.conn.execute("SELECT * FROM balance").fetchall() == before


def test_ending_what_was_never_held_stops_everything(village: Village) -> None:
    entries = [Entry("member:1", "AT", -100), Entry("member:2", "AT", 100)]
    village.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    with pytest.raises(AssertionError, match="debits_pending of member:1 would fall below zero"):
        village.write(lambda tx: end_hold(tx, entries, settled=True))
    with pytest.raises(AssertionError, match="reserved of member:1 would fall below zero"):
        village.write(lambda tx: ledger.unreserve(tx, entries[:1]))


@pytest.mark.parametrize(
    "entries",
    [
        [Entry("member:1", "AT", -1)],
        [Entry("member:1", "AT", -1), Entry("member:2", "AT", 2)],
        [Entry("member:1", "AT", -1), Entry("member:2", "FLOUR", 1)],
        [Entry("member:1", "AT", 0), Entry("member:2", "AT", 0)],
        [Entry("member:1", "AT", -(10**13)), Entry("member:2", "AT", 10**13)],
    ],
)
def test_what_does_not_sum_to_zero_stops_everything(village: Village, entries: list[Entry]) -> None:
    for fn in (
        lambda tx: ledger.append_sealed(tx, "pay", entries),
        lambda tx: ledger.hold(tx, entries),
    ):
        with pytest.raises(AssertionError, match="must sum to zero"):
            village.write(fn)


# Names that look alike


@pytest.mark.parametrize(
    "name",
    [
        "alice",
        "ALICE",
        "Ａｌｉｃｅ",
        "ａlice",
        "Carol",
        "treasury",
        "Treasury",
        "ＴＲＥＡＳＵＲＹ",
        "ｔreasury",
    ],
)
def test_a_name_that_is_taken_is_refused(village: Village, name: str) -> None:
    error = refused(village, lambda tx: desk.add_member(tx, name, "-"))
    assert (type(error), error.detail) == (Conflict, f"there is already a member called {name}")


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("", "must have 1 to 60 characters"),
        ("x" * 61, "must have 1 to 60 characters"),
        (" Dave", "must not begin or end with a space"),
        ("Dave ", "must not begin or end with a space"),
        ("Dave  Smith", "two in a row"),
        ("Dave\n", "must not begin or end with a space"),
        ("Da\tve", "has a character that cannot be shown"),
        ("Da\u200bve", "has a character that cannot be shown"),
        ("Da\u202eve", "has a character that cannot be shown"),
        ("Rene\u0301", "is not in Unicode's NFC form"),
        ("Da\ud800ve", "has a character that cannot be shown"),
    ],
)
def test_a_name_that_cannot_be_shown_is_refused(village: Village, name: str, detail: str) -> None:
    error = refused(village, lambda tx: desk.add_member(tx, name, "-"))
    assert type(error) is InvalidInput
    assert detail in error.detail


def test_a_member_is_found_in_any_case(village: Village) -> None:
    village.write(lambda tx: desk.add_member(tx, "Straße Öl", "-"))
    for name in ("straße öl", "STRASSE ÖL", "Strasse öl"):
        assert members.named(village.view, name).name == "Straße Öl"


@given(st.text(max_size=12))
def test_folding_twice_changes_nothing(name: str) -> None:
    folded = members.fold(name)
    assert members.fold(folded) == folded


def test_a_request_is_answered_once(village: Village) -> None:
    done: list[bytes] = []

    def do() -> bytes:
        done.append(b"answer %d" % len(done))
        return done[-1]

    def ask(tx: Tx, id_: str, asked: bytes) -> bytes:
        return members.once(tx, "member 1", id_, asked, do)

    first = village.write(lambda tx: ask(tx, "a", b"pay 1"))
    assert village.write(lambda tx: ask(tx, "a", b"pay 1")) == first
    assert members.answered(village.view, "member 1", "a") == first
    error = refused(village, lambda tx: ask(tx, "a", b"pay 2"))
    assert type(error) is Conflict
    assert done == [first]
    village.write(lambda tx: ask(tx, "", b"pay 2"))
    village.write(lambda tx: ask(tx, "", b"pay 2"))
    assert len(done) == 3  # what has no id is asked anew each time
