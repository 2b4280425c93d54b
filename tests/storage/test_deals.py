"""Trades between two members of one village: what is set aside, what moves, what is found."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge import desk, market, trade_escrow
from edge.core import limits
from edge.core.accounts import Entry
from edge.core.trade import Proposal, Status
from edge.errors import (
    BoxError,
    Forbidden,
    InvalidAmount,
    InvalidInput,
    LimitExceeded,
    NotFound,
    TooMany,
    UnknownAsset,
    UnknownMember,
    UnknownTrade,
    WrongState,
)
from edge.market import Ask
from edge.storage import deals, ledger, listings, members
from edge.storage.audit import audit
from edge.storage.deals import Deal
from edge.storage.tx import Tx
from tests.answering import answering
from tests.storage.tampering import found_in, tampered
from tests.storage.villages import START_MS, Village

HERE: Final = "ose-missouri-001"
MINUTE: Final = START_MS // limits.MINUTE_MS

replace = msgspec.structs.replace


@pytest.fixture
def village() -> Village:
    return made()


def made() -> Village:
    """Alice has 100 AT, Bob three solar panels, Carol nothing; both kinds are in the catalogue."""
    village = Village(HERE)
    for name in ("Alice", "Bob", "Carol"):
        village.write(lambda tx, name=name: desk.add_member(tx, name, "-"))  # type: ignore[misc]
    village.write(lambda tx: desk.issue(tx, "Alice", "100"))
    village.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "3"))
    village.write(lambda tx: desk.approve(tx, "Flour", 3))
    return village


def proposal(**changes: Any) -> Proposal:
    """60 AT for two solar panels of Bob's."""
    return replace(Proposal(HERE, "Bob", ("AT", "60"), ("Solar Panel", "2")), **changes)


def propose(village: Village, by: str = "Alice", **changes: Any) -> Deal:
    asked = proposal(**changes)
    return village.write(lambda tx: market.propose(tx, members.named(tx, by), asked))


def step(
    village: Village, do: Callable[[Tx, members.Member, Deal], Deal], known: Deal, by: str
) -> Deal:
    return village.write(
        lambda tx: do(
            tx, members.named(tx, by), market.deal_of(tx, members.named(tx, by), known.id)
        )
    )


def accept(village: Village, known: Deal, by: str = "Bob") -> Deal:
    return step(village, market.accept, known, by)


def has(village: Village, name: str, code: str = "AT") -> tuple[int, int]:
    """Return what a member has of an asset, and what of it is set aside."""
    found = ledger.balances(village.view, village.member(name).account).get(code)
    return (found.balance, found.reserved) if found else (0, 0)


def rows(village: Village) -> list[str]:
    return list(village.conn.iterdump())


def refused(
    village: Village, error: type[BoxError], do: Callable[[], object], text: str | None = None
) -> None:
    """What is done fails with this error, and changes nothing."""
    before = rows(village)
    with pytest.raises(error, match=text) as caught:
        do()
    assert type(caught.value) is error
    assert rows(village) == before


# One deal


def test_a_proposal_sets_its_offer_aside(village: Village) -> None:
    known = propose(village)
    assert known == Deal(
        id=known.id,
        from_member=1,
        to_member=2,
        status=Status.PENDING,
        offer=("AT", 60_00),
        request=("SOLAR-PANEL", 2),
        listing="",
        deadline_minute=MINUTE + limits.DEADLINE_S_DEFAULT // 60,
        record=None,
        created_ms=village.now_ms,
        changed_ms=village.now_ms,
    )
    assert (has(village, "Alice"), has(village, "Bob", "SOLAR-PANEL")) == ((100_00, 60_00), (3, 0))
    assert audit(village.view).sealed == 2  # no record yet
    refused(village, LimitExceeded, lambda: propose(village), "Alice")
    refused(
        village, LimitExceeded, lambda: village.write(lambda tx: desk.pay(tx, "Alice", "Bob", "41"))
    )


def test_an_acceptance_moves_both_sides_in_one_record(village: Village) -> None:
    before = audit(village.view).size
    known = propose(village)
    settled = accept(village, known)
    assert (settled.status, settled.record) == ("SETTLED", before)
    assert (has(village, "Alice"), has(village, "Alice", "SOLAR-PANEL")) == ((40_00, 0), (2, 0))
    assert (has(village, "Bob"), has(village, "Bob", "SOLAR-PANEL")) == ((60_00, 0), (1, 0))
    posting = ledger.posting_of(village.view, before)
    assert (posting.operation, posting.entries) == ("deal", tuple(settled.entries))
    assert settled.entries == [
        Entry("member:1", "AT", -60_00),
        Entry("member:2", "AT", 60_00),
        Entry("member:2", "SOLAR-PANEL", -2),
        Entry("member:1", "SOLAR-PANEL", 2),
    ]
    assert audit(village.view).size == before + 1


ENDS: dict[str, tuple[Callable[[Tx, members.Member, Deal], Deal], str]] = {
    "REJECTED": (market.reject, "Bob"),
    "CANCELLED": (market.cancel, "Alice"),
}


@pytest.mark.parametrize("status", ENDS)
def test_an_end_without_a_trade_frees_what_was_set_aside(village: Village, status: str) -> None:
    do, by = ENDS[status]
    known = propose(village)
    ended = step(village, do, known, by)
    assert (ended.status, ended.record) == (status, None)
    assert ended.changed_ms > known.changed_ms
    assert (has(village, "Alice"), has(village, "Bob", "SOLAR-PANEL")) == ((100_00, 0), (3, 0))
    audit(village.view)


def test_the_clock_ends_a_proposal_after_its_deadline(village: Village) -> None:
    known = propose(village, deadline_s=60)
    later = propose(village, offer=("AT", "1"), deadline_s=limits.DEADLINE_S_MAX)
    village.now_ms = (known.deadline_minute + 1) * limits.MINUTE_MS - 2_000
    assert village.write(trade_escrow.expire) == 0  # in the last second of its last minute
    refused(
        village, WrongState, lambda: accept(village, known), "deadline has passed"
    )  # a second later
    assert village.write(trade_escrow.expire) == 1
    assert [deals.named(village.view, each.id).status for each in (known, later)] == [
        "EXPIRED",
        "PENDING",
    ]
    assert has(village, "Alice") == (100_00, 1_00)
    audit(village.view)


def test_what_has_ended_stays_so(village: Village) -> None:
    for status, by in (("SETTLED", "Bob"), ("REJECTED", "Bob"), ("CANCELLED", "Alice")):
        known = propose(village, offer=("AT", "1"), request=("Solar Panel", "1"))
        step(village, ENDS.get(status, (market.accept, by))[0], known, by)
        for do, person in ((market.accept, "Bob"), *ENDS.values()):
            refused(village, WrongState, lambda d=do, k=known, p=person: step(village, d, k, p))  # type: ignore[misc]
        assert deals.named(village.view, known.id).status == status


def test_it_is_for_two_members_and_nobody_else(village: Village) -> None:
    known = propose(village)
    for do in (market.accept, market.reject):
        refused(village, Forbidden, lambda d=do: step(village, d, known, "Alice"))  # type: ignore[misc]
    refused(village, Forbidden, lambda: step(village, market.cancel, known, "Bob"))
    carol = village.member("Carol")
    for do in (market.accept, market.reject, market.cancel):
        refused(village, UnknownTrade, lambda d=do: step(village, d, known, "Carol"))  # type: ignore[misc]
        refused(village, Forbidden, lambda d=do: village.write(lambda tx: d(tx, carol, known)))  # type: ignore[misc]


def test_anothers_deal_is_like_none(village: Village) -> None:
    known, carol = propose(village), village.member("Carol")
    said = []
    for id_ in (known.id, "0" * 16):
        with pytest.raises(UnknownTrade) as caught:
            market.deal_of(village.view, carol, id_)
        said.append((type(caught.value), caught.value.detail.replace(id_, "...")))
    assert said[0] == said[1]
    assert [each.id for each in deals.of_member(village.view, 3)] == []
    assert [[d.id for d in deals.of_member(village.view, m)] for m in (1, 2)] == [[known.id]] * 2


def test_who_accepts_must_have_it(village: Village) -> None:
    known = propose(village, request=("Solar Panel", "4"))
    refused(village, LimitExceeded, lambda: accept(village, known), "Bob")
    assert has(village, "Alice") == (100_00, 60_00)
    village.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "1"))
    assert accept(village, known).status == "SETTLED"
    audit(village.view)


def test_what_the_acceptor_has_set_aside_is_not_given_twice(village: Village) -> None:
    known = propose(village)
    other = propose(village, "Bob", to_user="Carol", offer=("Solar Panel", "2"), request=None)
    refused(village, LimitExceeded, lambda: accept(village, known))
    accept(village, other, "Carol")
    refused(village, LimitExceeded, lambda: accept(village, known))


def test_a_proposer_whose_limit_went_down_meanwhile(village: Village) -> None:
    village.write(lambda tx: desk.set_limit(tx, "Carol", "AT", "20"))
    known = propose(village, "Carol", offer=("AT", "15"))
    village.write(lambda tx: desk.set_limit(tx, "Carol", "AT", "10"))
    audit(village.view)
    refused(village, LimitExceeded, lambda: accept(village, known), "Carol cannot give this")
    with pytest.raises(LimitExceeded) as error:
        accept(village, known)
    assert "available_minor" not in error.value.more
    step(village, market.cancel, known, "Carol")
    assert has(village, "Carol") == (0, 0)
    audit(village.view)


def test_a_gift_at_home(village: Village) -> None:
    given = propose(village, "Bob", to_user="Carol", offer=("Solar Panel", "1"), request=None)
    asked = propose(village, "Carol", to_user="Bob", offer=None, request=("Solar Panel", "1"))
    assert (given.reserved, asked.reserved) == ([Entry("member:2", "SOLAR-PANEL", -1)], [])
    assert has(village, "Bob", "SOLAR-PANEL") == (3, 1)
    for known, by in ((given, "Carol"), (asked, "Bob")):
        settled = accept(village, known, by)
        assert [each.amount for each in settled.entries] == [-1, 1]
    assert (has(village, "Bob", "SOLAR-PANEL"), has(village, "Carol", "SOLAR-PANEL")) == (
        (1, 0),
        (2, 0),
    )
    assert has(village, "Carol") == has(village, "Bob") == (0, 0)
    audit(village.view)


def test_a_gift_of_tokens_at_home(village: Village) -> None:
    given = propose(village, "Alice", to_user="Carol", offer=("AT", "5"), request=None)
    asked = propose(village, "Carol", to_user="Alice", offer=None, request=("AT", "7"))
    assert has(village, "Alice") == (100_00, 5_00)
    for known, by in ((given, "Carol"), (asked, "Alice")):
        accept(village, known, by)
    assert (has(village, "Alice"), has(village, "Carol")) == ((88_00, 0), (12_00, 0))
    audit(village.view)


PROPOSALS: dict[str, tuple[type[BoxError], dict[str, Any]]] = {
    "to itself": (InvalidInput, {"to_user": "Alice"}),
    "to itself in other letters": (InvalidInput, {"to_user": "ALICE"}),
    "to nobody": (UnknownMember, {"to_user": "Zoe"}),
    "to no name": (UnknownMember, {"to_user": ""}),
    "for nothing on both sides": (InvalidInput, {"offer": None, "request": None}),
    "the same on both sides": (InvalidInput, {"request": ("AT", "60")}),
    "an unknown asset": (UnknownAsset, {"request": ("Gold", "1")}),
    "zero": (InvalidAmount, {"request": ("Solar Panel", "0")}),
    "half a panel": (InvalidAmount, {"request": ("Solar Panel", "0.5")}),
    "more than there is": (LimitExceeded, {"offer": ("AT", "100.01")}),
    "no time": (InvalidInput, {"deadline_s": 59}),
    "too much time": (InvalidInput, {"deadline_s": limits.DEADLINE_S_MAX + 1}),
    "an answer to no listing": (NotFound, {"listing": "0123456789abcdef"}),
    "an answer to no id": (NotFound, {"listing": "' OR 1 --"}),
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_what_cannot_be_proposed(village: Village, name: str) -> None:
    error, changes = PROPOSALS[name]
    refused(village, error, lambda: propose(village, **changes))


def test_a_member_has_only_so_many_open(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPEN_TRADES_PER_MEMBER_MAX", 2)
    first = propose(village, offer=("AT", "1"))
    propose(village, offer=("AT", "1"))
    refused(village, TooMany, lambda: propose(village, offer=("AT", "1")))
    propose(village, "Bob", to_user="Alice", offer=("Solar Panel", "1"), request=("AT", "1"))
    step(village, market.cancel, first, "Alice")
    propose(village, offer=("AT", "1"))


# Answers to a listing


def list_goods(village: Village, by: str = "Bob", **changes: Any) -> str:
    ask = replace(Ask("offer", "Solar Panel", "3", price="20"), **changes)
    return village.write(lambda tx: market.list_goods(tx, members.named(tx, by), ask))


def answer(village: Village, id_: str, amount: str, by: str) -> Deal:
    asked = answering(village.view, HERE, id_, amount)
    return village.write(lambda tx: market.propose(tx, members.named(tx, by), asked))


def left(village: Village, id_: str) -> int:
    return listings.named(village.view, HERE, id_).goods.item.amount


def test_two_answers_to_one_listing(village: Village) -> None:
    """Each proposal is let in; what is left is asked when one is accepted."""
    village.write(lambda tx: desk.issue(tx, "Carol", "100"))
    id_ = list_goods(village)
    first, second = answer(village, id_, "2", "Alice"), answer(village, id_, "2", "Carol")
    assert (first.to_member, first.offer, first.listing) == (2, ("AT", 40_00), id_)
    assert left(village, id_) == 3
    accept(village, first)
    assert left(village, id_) == 1
    village.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "5"))
    refused(village, WrongState, lambda: accept(village, second), "only 1 Solar Panel left")
    step(village, market.reject, second, "Bob")
    accept(village, answer(village, id_, "1", "Carol"))
    assert left(village, id_) == 0
    with pytest.raises(WrongState, match="only 0 Solar Panel left"):
        answering(village.view, HERE, id_, "1")
    audit(village.view)


def test_a_want_is_answered(village: Village) -> None:
    id_ = list_goods(village, "Alice", side="want", quantity="9", price="30")
    known = answer(village, id_, "2", "Bob")
    assert (known.offer, known.request) == (("SOLAR-PANEL", 2), ("AT", 60_00))
    accept(village, known, "Alice")
    assert left(village, id_) == 7


def test_a_want_pays_nobody_nothing(village: Village) -> None:
    """Rounded down in favour of who wants it, so too little is refused and is no gift."""
    village.write(lambda tx: desk.declare(tx, "Bob", "Flour", "1.000", 3))
    id_ = list_goods(village, "Alice", side="want", item="Flour", quantity="9", price="0.30")
    with pytest.raises(InvalidInput, match="nothing would be paid"):
        answering(village.view, HERE, id_, "0.033")
    assert answer(village, id_, "0.034", "Bob").request == ("AT", 1)


def test_a_listed_gift_is_answered_with_nothing(village: Village) -> None:
    id_ = list_goods(village, price="")
    known = answer(village, id_, "1", "Carol")
    assert (known.offer, known.request) == (("AT", 0), ("SOLAR-PANEL", 1))
    accept(village, known)
    assert (left(village, id_), has(village, "Carol", "SOLAR-PANEL")) == (2, (1, 0))
    audit(village.view)


def test_whoever_brings_more_of_what_is_offered_takes_nothing_out_of_it(village: Village) -> None:
    village.write(lambda tx: desk.declare(tx, "Carol", "Solar Panel", "9"))
    id_ = list_goods(village)
    known = propose(
        village, "Carol", to_user="", offer=("Solar Panel", "9"), request=None, listing=id_
    )
    accept(village, known)
    assert (left(village, id_), has(village, "Bob", "SOLAR-PANEL")) == (3, (12, 0))


def test_an_answer_outlives_its_listing(village: Village) -> None:
    id_ = list_goods(village)
    known = answer(village, id_, "2", "Alice")
    village.write(lambda tx: market.take_back(tx, members.named(tx, "Bob"), id_))
    assert accept(village, known).status == "SETTLED"
    refused(village, NotFound, lambda: propose(village, to_user="", listing=id_), "not there")


def test_stock_is_not_taken_by_an_acceptance_that_fails(village: Village) -> None:
    id_ = list_goods(village)
    known = answer(village, id_, "2", "Alice")
    village.write(lambda tx: desk.consume(tx, "Bob", "Solar Panel", "2"))
    refused(village, LimitExceeded, lambda: accept(village, known))
    assert left(village, id_) == 3


def test_nobody_answers_its_own_listing(village: Village) -> None:
    id_ = list_goods(village)
    refused(village, InvalidInput, lambda: answer(village, id_, "1", "Bob"), "this is you")


# Any order of anything


class Market(RuleBasedStateMachine):
    """Three members do what they like. Sums stay zero, and the audit agrees after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.village = made()
        self.taken: Counter[str] = Counter()
        self.listed: dict[str, int] = {}

    people = st.sampled_from(("Alice", "Bob", "Carol"))
    sides = st.sampled_from(
        (None, ("AT", "7.50"), ("AT", "40"), ("Solar Panel", "1"), ("Solar Panel", "2"))
    )
    picks = st.integers(0, 20)

    @initialize()
    def begin(self) -> None:
        self.village.write(lambda tx: desk.issue(tx, "Carol", "30"))

    @rule(by=people, to=people, offer=sides, request=sides, minutes=st.integers(1, 5))
    def propose(
        self,
        by: str,
        to: str,
        offer: tuple[str, str] | None,
        request: tuple[str, str] | None,
        minutes: int,
    ) -> None:
        asked = Proposal(HERE, to, offer, request, deadline_s=60 * minutes)
        self._try(lambda tx: market.propose(tx, members.named(tx, by), asked))

    @rule(by=people, side=st.sampled_from(("offer", "want")), price=st.sampled_from(("", "5")))
    def list_goods(self, by: str, side: Any, price: str) -> None:
        ask = Ask(side, "Solar Panel", "2", price=price, days=1)
        id_ = self._try(lambda tx: market.list_goods(tx, members.named(tx, by), ask))
        if isinstance(id_, str):
            self.listed[id_] = 2

    @rule(pick=picks, by=people, amount=st.sampled_from(("1", "2")))
    def answer(self, pick: int, by: str, amount: str) -> None:
        if self.listed:
            id_ = list(self.listed)[pick % len(self.listed)]

            def propose(tx: Tx) -> Deal:
                asked = answering(tx, HERE, id_, amount)
                return market.propose(tx, members.named(tx, by), asked)

            self._try(propose)

    @rule(
        pick=picks,
        do=st.sampled_from((market.accept, market.accept, *[v[0] for v in ENDS.values()])),
    )
    def end(self, pick: int, do: Callable[[Tx, members.Member, Deal], Deal]) -> None:
        waiting = deals.pending(self.village.view)
        if waiting:
            known = waiting[pick % len(waiting)]
            person = known.from_member if do is market.cancel else known.to_member
            member = members.by_id(self.village.view, person)
            assert member is not None
            ended = self._try(lambda tx: do(tx, member, known))
            if isinstance(ended, Deal) and ended.status == "SETTLED" and ended.listing:
                moved = dict((ended.offer, ended.request))
                self.taken[ended.listing] += moved["SOLAR-PANEL"]

    @rule(pick=picks)
    def take_back(self, pick: int) -> None:
        if self.listed:
            id_ = list(self.listed)[pick % len(self.listed)]
            self.village.write(lambda tx: listings.take_back(tx, HERE, id_))
            del self.listed[id_]

    @rule(minutes=st.integers(1, 3))
    def wait(self, minutes: int) -> None:
        self.village.now_ms += minutes * limits.MINUTE_MS
        self.village.write(trade_escrow.expire)

    @rule(payer=people, payee=people)
    def pay(self, payer: str, payee: str) -> None:
        self._try(lambda tx: desk.pay(tx, payer, payee, "12"))

    @invariant()
    def the_audit_agrees(self) -> None:
        audit(self.village.view)

    @invariant()
    def sums_are_zero_and_what_waits_is_set_aside(self) -> None:
        conn = self.village.conn
        sums = conn.execute(
            "SELECT sum(credits_posted - debits_posted) FROM balance GROUP BY asset"
        )
        assert {total for (total,) in sums} <= {0}
        expected: Counter[tuple[str, str]] = Counter()
        for member, asset, amount in conn.execute(
            "SELECT from_member, offer_asset, offer FROM deal WHERE status = 'PENDING'"
        ):
            expected[f"member:{member}", asset] += amount
        reserved = conn.execute("SELECT account, asset, reserved FROM balance WHERE reserved")
        assert {(account, asset): n for account, asset, n in reserved} == +expected

    @invariant()
    def what_is_listed_is_what_is_left(self) -> None:
        for id_, amount in self.listed.items():
            found = listings.find(self.village.view, HERE, id_)
            assert found is not None
            assert found.goods.item.amount == amount - self.taken[id_]

    def teardown(self) -> None:
        self.village.conn.close()

    def _try(self, fn: Callable[[Tx], Any]) -> Any:
        before = rows(self.village)
        try:
            return self.village.write(fn)
        except BoxError as error:
            assert rows(self.village) == before
            return error


Market.TestCase.settings = settings(max_examples=25, stateful_step_count=15)
TestMarket = Market.TestCase


# What the audit finds


@pytest.fixture
def changed(village: Village) -> Iterator[sqlite3.Connection]:
    """A copy in which deals of every status lie, to be tampered with: two settled, others not."""
    for do, by in ((market.accept, "Bob"), (market.accept, "Bob"), *ENDS.values()):
        known = propose(village, offer=("AT", "2"), request=("Solar Panel", "1"))
        step(village, do, known, by)
    propose(village, offer=("AT", "3"), deadline_s=60)
    village.now_ms += 2 * limits.MINUTE_MS
    village.write(trade_escrow.expire)
    propose(village, offer=("AT", "5"))
    audit(village.view)
    yield from tampered(village)


SETTLED: Final = "id = (SELECT min(id) FROM deal WHERE status = 'SETTLED')"
_OTHERS: Final = (
    "from_member, to_member, status, offer_asset, offer, request_asset, request, listing,"
    " deadline_minute, record, created_ms, changed_ms, reason"
)
TAMPERINGS: dict[str, tuple[str, str]] = {
    "a settled one is said to be declined": (
        f"UPDATE deal SET status = 'REJECTED' WHERE {SETTLED}",
        "deal ",
    ),
    "a settled one is said to be declined, and to have no record": (
        f"UPDATE deal SET status = 'REJECTED', record = NULL WHERE {SETTLED}",
        "record ",
    ),
    "a settled one is said to wait": (
        f"UPDATE deal SET status = 'PENDING', record = NULL WHERE {SETTLED}",
        "record ",
    ),
    "a settled one is gone": (f"DELETE FROM deal WHERE {SETTLED}", "record "),
    "a settled one is there twice": (
        f"INSERT INTO deal SELECT 'f{'0' * 15}', {_OTHERS} FROM deal WHERE {SETTLED}",
        "record ",
    ),
    "its offer": (f"UPDATE deal SET offer = offer + 1 WHERE {SETTLED}", "deal "),
    "its request": (f"UPDATE deal SET request = 0 WHERE {SETTLED}", "deal "),
    "its assets": (f"UPDATE deal SET offer_asset = 'FLOUR' WHERE {SETTLED}", "deal "),
    "its members": (
        f"UPDATE deal SET from_member = to_member, to_member = from_member WHERE {SETTLED}",
        "deal ",
    ),
    "another member": (f"UPDATE deal SET to_member = 3 WHERE {SETTLED}", "deal "),
    "a member that is none": (f"UPDATE deal SET to_member = 99 WHERE {SETTLED}", "table deal"),
    "its record, which is another deal's": (
        "UPDATE deal SET record = (SELECT max(record) FROM deal)",
        "deal ",
    ),
    "its record, which is a payment": (f"UPDATE deal SET record = 2 WHERE {SETTLED}", "deal "),
    "its record, which is none": (f"UPDATE deal SET record = 999 WHERE {SETTLED}", "deal "),
    "a declined one has a record": (
        "UPDATE deal SET record = (SELECT max(record) FROM deal) WHERE status = 'REJECTED'",
        "deal ",
    ),
    "a declined one is said to be settled": (
        "UPDATE deal SET status = 'SETTLED' WHERE status = 'REJECTED'",
        "deal ",
    ),
    "one that waits is said to be withdrawn": (
        "UPDATE deal SET status = 'CANCELLED' WHERE status = 'PENDING'",
        "balance of member:1 in AT: reserved",
    ),
    "one that waits offers more": (
        "UPDATE deal SET offer = 600 WHERE status = 'PENDING'",
        "balance of member:1 in AT: reserved",
    ),
    "one that waits is another's": (
        "UPDATE deal SET from_member = 3 WHERE status = 'PENDING'",
        "balance of member:",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_the_audit_names_what_was_changed(changed: sqlite3.Connection, name: str) -> None:
    sql, where = TAMPERINGS[name]
    changed.execute(sql)
    assert found_in(changed).startswith(where)
