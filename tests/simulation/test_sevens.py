"""Councils of seven, where the charter says so: chosen, checked, and as safe with two seats dead as
four are with one."""

import itertools
from typing import Final

import msgspec
import pytest

from edge import desk, peering, trade_escrow, trade_seats
from edge.core import charter, invitation
from edge.core.council import Seat
from edge.core.messages import Joining
from edge.errors import InvalidInput, Malformed, WrongState
from edge.storage import councils, neighbours
from edge.storage.trades import Trade
from tests.simulation.test_councils import Four, at, decided
from tests.simulation.world import Village, World

NAMES: Final = tuple(f"ose-{letter}-001" for letter in "abcdefg")
A, B = NAMES[:2]
replace = msgspec.structs.replace


class Seven(Four):
    """Seven villages that all are neighbours; Alice of A has AT, Bob of B has solar panels."""

    def __init__(self, council_seats: int = 7, count: int = 7) -> None:
        self.world = World(1)
        self.all = [self.world.village(name) for name in NAMES[:count]]
        self.a, self.b, self.c, self.d = self.all[:4]
        for one, other in itertools.combinations(self.all, 2):
            self.world.befriend(one, other, council_seats)
        for village in self.all:
            village.now(lambda tx: desk.add_member(tx, "Alice", "-"))
            village.now(lambda tx: desk.add_member(tx, "Bob", "-"))
        self.a.now(lambda tx: desk.issue(tx, "Alice", "500"))
        self.b.now(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "5"))


async def made(council_seats: int = 7, count: int = 7) -> Seven:
    seven = Seven(council_seats, count)
    await seven.settle_down()
    return seven


async def accepted(seven: Seven) -> Trade:
    known = seven.propose()
    await seven.a.client.exchange(B)
    seven.accept(known)
    return known


def seats(known: Trade) -> list[str]:
    return [seat.village for seat in known.terms.seats]


# Choosing


@pytest.mark.parametrize(
    ("council_seats", "count", "expected"),
    [(7, 7, 7), (7, 6, 4), (7, 4, 4), (4, 7, 4)],
)
async def test_as_many_as_the_charter_says_and_there_are(
    council_seats: int, count: int, expected: int
) -> None:
    seven = await made(council_seats, count)
    assert seats(seven.propose()) == list(NAMES[:expected])


async def test_with_fewer_heard_from_lately_there_are_four_or_two() -> None:
    seven = await made()
    for name in NAMES[4:]:
        seven.a.conn.execute("UPDATE freshness SET fresh_ms = 0 WHERE village = ?", (name,))
    assert seats(seven.propose()) == list(NAMES[:4])
    seven.a.conn.execute("UPDATE freshness SET fresh_ms = 0 WHERE village = ?", (NAMES[3],))
    assert seats(seven.propose()) == list(NAMES[:2])


async def test_more_seats_than_the_charter_says_are_refused() -> None:
    """By an acceptor; and by a proposer, whatever its own box would have chosen."""
    seven = await made(council_seats=4)
    known = seven.propose()
    more = [Seat(v.name, v.key.public) for v in seven.all]
    terms = replace(known.terms, seats=tuple(more))
    for village in (seven.a, seven.b):
        with pytest.raises(WrongState, match=r"7 villages are to decide it, .* 4 at most"):
            village.now(lambda tx: trade_seats.check(tx, terms))


async def test_fewer_seats_than_the_charter_says_are_accepted() -> None:
    """The acceptor sees on its page who decides; whom the proposer could ask it cannot know."""
    seven = await made()
    for name in NAMES[4:]:
        seven.a.conn.execute("UPDATE freshness SET fresh_ms = 0 WHERE village = ?", (name,))
    known = await accepted(seven)
    assert seats(known) == list(NAMES[:4])
    await seven.settle_down()
    assert at(seven.b, known).status == "SETTLED"


# The charter


def test_what_an_invitation_says_is_what_the_charter_says() -> None:
    world = World(1)
    a, b = world.village(A), world.village(B)
    invited = a.now(lambda tx: peering.invite(tx, council_seats=7))
    assert invitation.from_text(invitation.to_text(invited)) == invited
    sent = b.now(lambda tx: peering.take_up(tx, invited))
    assert sent.joining is not None
    assert charter.decode(bytes(sent.joining.charter)).council_seats == 7
    mine = charter.decode(bytes(sent.joining.charter))
    other = charter.genesis((mine.members[0], mine.members[1]), mine.nonce)  # for four
    wrong = Joining(sent.joining.secret, msgspec.Raw(other), b.key.sign(other))
    with pytest.raises(Malformed, match="not for councils of 7"):
        a.now(lambda tx: peering.answer(tx, replace(sent, joining=wrong), a.profile))
    answered = a.now(lambda tx: peering.answer(tx, sent, a.profile))
    b.now(lambda tx: peering.complete(tx, invited, sent, answered, b.profile))
    for village, neighbour in ((a, B), (b, A)):
        assert council_seats(village, neighbour) == 7


def council_seats(village: Village, neighbour: str) -> int:
    return village.look(
        lambda view: neighbours.council_seats(view, neighbours.named(view, neighbour))
    )


@pytest.mark.parametrize("seats_", [-1, 0, 2, 5, 10])
def test_no_other_councils_are_invited_to(seats_: int) -> None:
    world = World(1)
    a = world.village(A)
    with pytest.raises(InvalidInput, match="4 seats, or 7"):
        a.now(lambda tx: peering.invite(tx, council_seats=seats_))


# Deciding


async def test_two_dead_seats_of_seven_stop_nothing() -> None:
    seven = await made()
    known = await accepted(seven)
    living = [*seven.all[:2], *seven.all[4:]]
    await seven.settle_down(living)
    assert {at(seven.a, known).status, at(seven.b, known).status} == {"SETTLED"}
    await seven.settle_down()
    assert {decided(village, known) for village in seven.all} == {"COMMIT"}
    made_ = seven.a.look(lambda view: trade_escrow.receipt(view, at(seven.a, known)))
    assert len(made_.certificate.precommits) == 5


async def test_three_dead_seats_of_seven_block_and_nothing_is_lost() -> None:
    seven = await made()
    known = await accepted(seven)
    await seven.settle_down(seven.all[:4])
    assert {at(seven.a, known).status, at(seven.b, known).status} == {"HELD"}
    await seven.settle_down()
    assert {decided(village, known) for village in seven.all} == {"COMMIT"}


async def test_two_absents_of_seven_are_not_enough() -> None:
    """Two may lie: it takes a third that misses the proposer's hold."""
    seven = await made()
    known = await accepted(seven)
    others = seven.all[1:]
    await seven.settle_down(others)
    seven.world.now_ms = known.terms.deadline_minute * 60_000 + councils.ABSENT_AFTER_MS
    for village in (seven.b, seven.c):
        village.now(trade_escrow.wake)
    await seven.settle_down((seven.b, seven.c))
    opened = seven.b.look(lambda view: councils.named(view, known.subject))
    assert len(seven.b.look(lambda view: councils.absents(view, known.subject))) == 2
    assert not seven.b.look(lambda view: councils.held(view, opened)).known.provable
    for _ in range(3):
        for village in others:
            village.now(trade_escrow.wake)
        await seven.settle_down(others)
        seven.world.now_ms += 20_000
    assert {decided(village, known) for village in others} == {"ABORT"}
