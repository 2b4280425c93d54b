"""What has changed since a position: whoever asks again and again knows all, whatever is written
meanwhile, by however many at once, and when the box and its clock begin again."""

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import desk, market, trade_escrow
from edge.core import listing
from edge.core.listing import Goods, Listing
from edge.core.trade import Proposal, Quantity
from edge.errors import InvalidInput
from edge.storage import changes, listings, members, movements
from edge.storage.changes import Position
from edge.storage.movements import Wanted
from edge.storage.tx import Tx, View
from edge.storage.writer import last_stamp_ms
from tests.storage.villages import Village, befriend

A, B = "ose-missouri-001", "ose-california-001"
HOE: Final = Quantity("HOE", "resource", 0, 3)
START: Final = Position(0, 0)


def village() -> Village:
    """Alice and Carol with something of everything, and a neighbour whose listings are kept."""
    a, b = Village(A), Village(B)
    for each in (a, b):
        each.write(lambda tx: desk.approve(tx, "Hoe"))
    for name in ("Alice", "Carol"):
        a.write(lambda tx, name=name: desk.add_member(tx, name, "x"))  # type: ignore[misc]
        a.write(lambda tx, name=name: desk.issue(tx, name, "100"))  # type: ignore[misc]
        a.write(lambda tx, name=name: desk.declare(tx, name, "Hoe", "50"))  # type: ignore[misc]
    befriend(a, b)
    return a


def write(step: int, version: int) -> Any:
    """Return one of several kinds of writes."""

    def one(tx: Tx) -> None:
        alice, carol = members.named(tx, "Alice"), members.named(tx, "Carol")
        if step == 0:
            desk.pay(tx, "Alice", "Carol", "0.01")
        elif step == 1:
            market.propose(tx, alice, Proposal(A, "Carol", ("Hoe", "1"), None))
        elif step == 2:
            given_ = market.propose(tx, carol, Proposal(A, "Alice", ("Hoe", "1"), None))
            market.accept(tx, alice, given_)
        elif step == 3:
            proposal = Proposal(B, "Bob", ("Hoe", "1"), ("AT", "1"))
            trade_escrow.cancel(tx, alice, trade_escrow.propose(tx, alice, proposal))
        elif step == 4:
            made = market.list_goods(tx, alice, market.Ask("want", "Hoe", "1"))
            if version % 2:
                market.take_back(tx, alice, made)
        elif step == 5:
            goods = Goods("offer", HOE, None, "") if version % 3 else None
            told = Listing(f"{version % 4:016x}", version + 1, tx.minute + 100, goods)
            listing.check(told)
            listings.keep(tx, B, 0, [told])
        else:
            desk.pay(tx, "Carol", "Alice", "0.01")
            desk.issue(tx, "Alice", "0.01")

    return one


class Follower:
    """Knows only what it was told: the stamp of each row, and each movement."""

    def __init__(self) -> None:
        self.position = START
        self.rows: dict[tuple[str, str, str], int] = {}
        self.moved: list[tuple[int, str]] = []

    def ask(self, view: View, limit: int) -> bool:
        """Ask once; tell whether there was anything."""
        found = changes.since(view, members.named(view, "Alice"), self.position, limit)
        places = found.places(self.position)
        assert len(places) == len(found.rows) + len(found.moved)
        assert not places or places[-1] == found.position
        for row in found.rows:
            assert row.stamp_ms > self.position.stamp_ms
            self.rows[row.kind, row.village, row.key] = row.stamp_ms
        self.moved += [(each.index, each.asset) for each in found.moved]
        assert bool(found.rows or found.moved) == (found.position != self.position)
        self.position = found.position
        return bool(places)

    def check(self, view: View) -> None:
        """Assert that what it knows is what there is."""
        while self.ask(view, 3):
            pass
        alice = members.named(view, "Alice")
        rows = {
            **{
                ("trade", "", key): at
                for key, at in view.all(
                    "SELECT lower(hex(subject)), changed_ms FROM trade WHERE member = ?", alice.id
                )
            },
            **{("deal", "", key): at for key, at in view.all("SELECT id, changed_ms FROM deal")},
            **{
                ("listing", where, key): at
                for where, key, at in view.all("SELECT village, id, changed_ms FROM listing")
            },
        }
        assert self.rows == rows
        page = movements.page(view, alice.account, Wanted(), 10_000)
        assert self.moved == sorted((row.index, row.asset) for row in page.rows)
        assert changes.latest(view, alice).position == self.position
        assert not changes.latest(view, alice).is_after(self.position)


batches = st.lists(
    st.tuples(
        st.lists(st.integers(0, 6), min_size=1, max_size=6),
        st.sampled_from(["go on", "ask", "begin again", "begin again, clock back"]),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40)
@given(batches)
def test_nothing_is_missed(script: list[tuple[list[int], str, int]]) -> None:
    a, follower, version = village(), Follower(), 0
    for steps, then, limit in script:
        writes = []
        for step in steps:
            version += 1
            writes.append(write(step, version))
        a.write_all(writes)
        if then == "ask":
            follower.ask(a.view, limit)
        elif then.startswith("begin again"):
            while follower.ask(a.view, limit):
                pass
            known = follower.position.stamp_ms
            a.now_ms -= 3_600_000 * then.endswith("back")
            a.start()
            assert last_stamp_ms(a.view) >= known
    follower.check(a.view)


@pytest.mark.parametrize("step", range(7))
def test_a_position_outlives_a_restart(step: int) -> None:
    """Even if nothing but one row had the last stamp, and the clock has gone back since."""
    a, follower = village(), Follower()
    a.now_ms += 60_000
    a.write(write(step, 1))
    while follower.ask(a.view, 10):
        pass
    a.now_ms -= 3_600_000
    a.start()
    assert last_stamp_ms(a.view) >= follower.position.stamp_ms
    a.write(write(step, 2))
    follower.check(a.view)


def test_what_was_written_under_one_stamp_is_not_parted() -> None:
    a = village()
    alice = a.member("Alice")
    before = changes.latest(a.view, alice).position
    a.write_all([write(1, n) for n in range(5)] + [write(4, 2) for _ in range(5)])
    found = changes.since(a.view, alice, before, 3)
    assert len(found.rows) == 10
    assert [place is None for place in found.places(before)] == [True] * 9 + [False]
    assert not changes.since(a.view, alice, found.position, 3).rows


def test_a_position_has_one_text() -> None:
    for position in (START, Position(1_795_423_800_000, 42)):
        assert Position.from_text(position.to_text()) == position
    assert Position.from_text("0") == START
    for text in ("", "1", "1.", ".1", "01.1", "1.01", "-1.1", "1.1.1", "1.1\n", "1e3.1", "٣.1"):
        with pytest.raises(InvalidInput):
            Position.from_text(text)
    with pytest.raises(InvalidInput):
        Position.from_text(f"{10**15}.1")


def test_each_question_uses_an_index() -> None:
    """None of them may look at all there is."""
    a = village()
    plans = [
        row[3]
        for sql, values in (
            (changes._ROWS, (1, 5, 10)),
            ("SELECT max(changed_ms) FROM trade WHERE member = ?1", (1,)),
            ("SELECT max(changed_ms) FROM listing", ()),
            ("SELECT max(changed_ms) FROM deal", ()),
            ("SELECT max(changed_ms) FROM trade", ()),
        )
        for row in a.view.all(f"EXPLAIN QUERY PLAN {sql}", *values)
    ]
    assert plans
    for plan in plans:
        if plan.startswith(("SCAN", "SEARCH")):
            assert "INDEX" in plan, plan
