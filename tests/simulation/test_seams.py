"""What a random story shows too seldom: small worlds, each made for one question."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from edge import desk, peering, trade_escrow
from edge.core import limits
from edge.core.trade import Proposal
from edge.errors import Unreachable
from edge.storage import audit, members, neighbours, trades
from edge.storage.trades import Trade
from edge.storage.writer import last_stamp_ms
from tests.simulation.loop import Crashed
from tests.simulation.world import Village, World

A, B = "ose-missouri-001", "ose-california-001"


@pytest.fixture
def world() -> World:
    return World(7)


@pytest.fixture
def two(world: World) -> tuple[Village, Village]:
    """Alice of A has 500 AT, Bob of B five solar panels."""
    a, b = world.village(A), world.village(B)
    a.now(lambda tx: desk.add_member(tx, "Alice", ""))
    a.now(lambda tx: desk.issue(tx, "Alice", "500"))
    b.now(lambda tx: desk.add_member(tx, "Bob", ""))
    b.now(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "5"))
    world.befriend(a, b)
    exchange(b, a)
    return a, b


def exchange(village: Village, other: Village) -> None:
    asyncio.run(village.client.exchange(other.name))


def propose(a: Village, tokens: str = "10") -> Trade:
    proposal = Proposal(B, "Bob", ("AT", tokens), ("Solar Panel", "1"))
    return a.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), proposal))


def answer(b: Village, known: Trade, accept: bool) -> Trade:
    do = trade_escrow.accept if accept else trade_escrow.reject
    return b.now(lambda tx: do(tx, members.named(tx, "Bob"), trades.by_subject(tx, known.subject)))


def status(village: Village, known: Trade) -> str:
    return village.look(lambda view: trades.by_subject(view, known.subject).status)


def still_said(village: Village) -> list[Trade]:
    return [known for known in village.look(trades.everyone) if not known.closed]


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("dials", [A, B])
def test_a_village_that_can_only_answer_trades_like_any_other(
    world: World, two: tuple[Village, Village], dials: str, accept: bool
) -> None:
    """It cannot dial out, as behind a mobile network; what it has to say goes with its answers, and
    what the other has heard shows in what the other says."""
    a, b = two
    dialler, other = (a, b) if dials == A else (b, a)
    known = propose(a)
    exchange(dialler, other)
    answer(b, known, accept)
    for _ in range(2):
        exchange(dialler, other)
    assert {status(a, known), status(b, known)} == {"SETTLED" if accept else "REJECTED"}
    assert (still_said(a), still_said(b)) == ([], [])


def test_many_ended_trades_do_not_stand_before_a_new_one(
    world: World, two: tuple[Village, Village]
) -> None:
    a, b = two
    for _ in range(120):
        known = propose(a, "1")
        a.now(lambda tx, k=known: trade_escrow.cancel(tx, members.named(tx, "Alice"), k))  # type: ignore[misc]
    known = propose(a)
    for _ in range(3):
        exchange(b, a)
    assert status(b, known) == "PENDING"
    assert still_said(a) == [a.look(lambda view: trades.by_subject(view, known.subject))]


def test_a_stamp_is_not_used_again_after_a_restart(two: tuple[Village, Village]) -> None:
    """Else what is said of a trade as it was could be taken for what it is now."""
    a, _ = two
    a.offset_ms = limits.DAY_MS
    known = propose(a)
    a.offset_ms = 0
    assert a.look(last_stamp_ms) == known.changed_ms
    a.start()
    cancelled = a.now(lambda tx: trade_escrow.cancel(tx, members.named(tx, "Alice"), known))
    assert cancelled.changed_ms > known.changed_ms


def test_a_lost_answer_to_an_invitation_and_then_a_new_invitation(world: World) -> None:
    a, b = world.village(A), world.village(B)
    first = a.now(peering.invite)
    a.now(lambda tx: peering.answer(tx, b.now(lambda at: peering.take_up(at, first)), a.profile))
    world.befriend(a, b)
    for village, other in ((a, b), (b, a)):
        exchange(village, other)
        assert village.look(neighbours.everyone)[0].last_contact_ms > 0


@pytest.mark.parametrize("where", ["before commit", "after commit"])
def test_a_crash_leaves_all_of_a_batch_or_nothing(
    world: World, two: tuple[Village, Village], where: str
) -> None:
    a, _ = two
    before = list(a.conn.iterdump())
    a.crash_in = 0 if where == "before commit" else 1

    async def three_writes_and_a_crash() -> list[object]:
        pays = [a.runner.write(lambda tx: desk.pay(tx, "Alice", "treasury", "1")) for _ in range(3)]
        return await asyncio.gather(*pays, return_exceptions=True)

    world.yields = 1
    ends = asyncio.run(three_writes_and_a_crash())
    assert [type(end) for end in ends] == [Crashed] * 3
    assert not a.up
    is_there = list(a.conn.iterdump()) != before
    assert is_there == (where == "after commit")
    a.start()
    a.look(audit.audit)


def test_a_dead_incarnation_does_nothing_more(world: World, two: tuple[Village, Village]) -> None:
    """Its exchange is under way when the power goes; the answer comes to nobody."""
    a, b = two
    known = propose(a)
    answered = b.client.answer

    async def while_it_answers(village: str, body: bytes) -> bytes:
        reply = await answered(village, body)
        with pytest.raises(Crashed):
            a.crash("at a test's wish")
        a.start()
        return reply

    world.strangers[B] = Answers(while_it_answers)
    before = list(a.conn.iterdump())
    with pytest.raises(Crashed):
        exchange(a, b)
    assert list(a.conn.iterdump()) == before
    assert (status(a, known), status(b, known)) == ("PENDING", "PENDING")
    del world.strangers[B]
    exchange(a, b)
    assert a.look(lambda view: trades.by_subject(view, known.subject)).told


class Answers:
    def __init__(self, fn: Callable[[str, bytes], Awaitable[bytes]]) -> None:
        self._fn = fn

    async def answer(self, village: str, body: bytes) -> bytes:
        return await self._fn(village, body)


def test_nobody_answers_for_a_village_that_is_down(two: tuple[Village, Village]) -> None:
    a, b = two
    with pytest.raises(Crashed):
        b.crash("at a test's wish")
    with pytest.raises(Unreachable):
        exchange(a, b)


def test_a_trade_proposed_before_the_first_sync_names_what_it_knows(world: World) -> None:
    """The neighbour's catalogue has not come yet: only what this village has can be named."""
    a, b = world.village(A), world.village(B)
    world.befriend(a, b)
    a.now(lambda tx: desk.add_member(tx, "Alice", ""))
    a.now(lambda tx: desk.declare(tx, "Alice", "Honey", "3.5", 1))
    asked = Proposal(B, "Bob", ("Honey", "1.5"), ("AT", "7"))
    known = a.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), asked))
    b.now(lambda tx: desk.add_member(tx, "Bob", ""))
    b.now(lambda tx: desk.issue(tx, "Bob", "7"))
    exchange(a, b)
    answer(b, known, accept=True)
    exchange(b, a)
    assert (status(a, known), status(b, known)) == ("SETTLED", "SETTLED")
    for village in (a, b):
        village.look(audit.audit)
    assert msgspec.json.decode(known.terms_bytes)["offer"]["decimals"] == 1
