"""A neighbour that proposes without end: its proposals cost this box and its members no more than
so much, and tell it nothing."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from edge import market, trade_escrow
from edge.core import limits
from edge.core.messages import Names
from edge.core.trade import Event, Proposal
from edge.errors import WrongState
from edge.market import Ask
from edge.storage import audit, listings, trades
from edge.storage.listings import Query
from edge.web import views
from tests.integration.liar import (
    HONEST,
    Liar,
    accept,
    alice,
    honest_village,
    look_at,
    propose,
    the_trade,
)
from tests.simulation.world import Village

ROOM = limits.SUBJECTS_PER_MESSAGE_MAX
PER_PERSON = limits.PROPOSALS_PER_PERSON_MAX


@pytest.fixture
def honest() -> Village:
    return honest_village()


@pytest.fixture
def liar(honest: Village) -> Liar:
    made = Liar(honest)
    made.say()
    return made


def flood(
    liar: Liar, count: int, tag: str, people: Names | None = None, **changes: int
) -> list[str | None]:
    """Make so many proposals, as many in a message as fit; return what is answered to each."""
    people = people or Names("Bob", "Alice")
    made = [
        liar.proposal(liar.terms(trade_id=f"{tag}-{number}", **changes), names=people)
        for number in range(count)
    ]
    answers = [liar.say(*made[at : at + ROOM]) for at in range(0, count, ROOM)]
    told = {bytes(each.terms): each.withdrawn for answer in answers for each in answer.subjects}
    return [told[bytes(each.terms)] for each in made]


@contextmanager
def counted(village: Village, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count the trades that are loaded, and the queries, in here."""
    counts: Counter[str] = Counter()
    load = trades._trade

    def count_and_load(row: tuple[object, ...]) -> trades.Trade:
        counts["trades"] += 1
        return load(row)

    with monkeypatch.context() as patched:
        patched.setattr(trades, "_trade", count_and_load)
        village.conn.set_trace_callback(lambda _: counts.update(["queries"]))
        try:
            yield counts
        finally:
            village.conn.set_trace_callback(None)


def cost_of_an_exchange(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What an exchange costs in which nobody says anything new."""
    for _ in range(2):
        liar.say()
    with counted(liar.honest, monkeypatch) as counts:
        assert liar.say(push=None, cosignature=None).subjects == ()
    return counts


# What is dead on arrival


@pytest.mark.parametrize(("deadline", "end"), [(1, "expired"), (3_999_999_999, "rejected")])
def test_what_is_dead_on_arrival_is_forgotten(
    honest: Village, liar: Liar, monkeypatch: pytest.MonkeyPatch, deadline: int, end: str
) -> None:
    """It is answered, closed at once, kept for a while, and costs nothing from then on."""
    monkeypatch.setattr(limits, "DEAD_PROPOSALS_KEPT_MAX", 100)
    flood(liar, ROOM, "first", deadline_minute=deadline)
    little = cost_of_an_exchange(liar, monkeypatch)
    answers = flood(liar, 10 * ROOM, "more", deadline_minute=deadline)
    assert Counter(answers) == {end: 10 * ROOM}
    assert cost_of_an_exchange(liar, monkeypatch) == little
    assert little["trades"] == 0
    kept = honest.look(trades.everyone)
    assert len(kept) == 100
    assert all(known.closed for known in kept)
    assert {known.terms.trade_id.split("-")[0] for known in kept} == {"more"}
    honest.look(audit.audit)


def test_the_same_again_is_answered_the_same(honest: Village, liar: Liar) -> None:
    """As by a neighbour that has not got the answer."""
    first = flood(liar, 3, "dead", deadline_minute=1)
    again = flood(liar, 3, "dead", deadline_minute=1)
    assert Counter(first) == Counter(again) == {"expired": 3}
    assert len(honest.look(trades.everyone)) == 3


def test_what_comes_to_nothing_later_is_forgotten_too(
    honest: Village, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proposals that were good, and that the liar withdraws: the oldest go, and none that binds."""
    monkeypatch.setattr(limits, "DEAD_PROPOSALS_KEPT_MAX", 20)
    liar.say(liar.proposal())
    bound = accept(honest, the_trade(honest))
    own = propose(honest, offer=("AT", "1"))
    for turn in range(4):
        made = [
            liar.proposal(liar.terms(trade_id=f"{turn}-{number}"), to_user=f"Nobody {number}")
            for number in range(ROOM)
        ]
        liar.say(*made)
        liar.say(*(msgspec.structs.replace(each, withdrawn="cancelled") for each in made))
    found = honest.look(trades.everyone)
    assert len(found) == 20 + 2
    assert {look_at(honest, known).status for known in (bound, own)} == {"ACCEPTED", "PENDING"}
    assert {known.terms.trade_id[0] for known in found if known.closed} == {"3"}
    honest.look(audit.audit)


def test_what_waits_for_members_is_not_loaded(
    honest: Village, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood(liar, 10, "few", Names("Bob", "Nobody"))
    little = cost_of_an_exchange(liar, monkeypatch)
    for number in range(12):
        flood(liar, PER_PERSON, f"many-{number}", Names("Bob", f"Nobody {number}"))
    assert {known.status for known in honest.look(trades.everyone)} == {"PENDING"}
    assert len(honest.look(trades.everyone)) == 10 + 12 * PER_PERSON
    assert cost_of_an_exchange(liar, monkeypatch) == little


# What waits for one person


def test_a_member_can_still_propose_and_sees_what_is_theirs(honest: Village, liar: Liar) -> None:
    own = propose(honest, offer=("AT", "1"))
    honest.world.now_ms += limits.MINUTE_MS
    answers = [*flood(liar, 60, "a"), *flood(liar, 60, "b")]
    assert Counter(answers) == {None: PER_PERSON, "rejected": 120 - PER_PERSON}
    another = propose(honest, offer=("AT", "1"))
    seen = honest.look(lambda view: views.home(view, alice(honest), honest.clock_ms())).trades
    assert {own.id, another.id} <= {each.id for each in seen}
    first = honest.look(lambda view: trades.of_member(view, alice(honest).id, limit=2))
    assert {known.id for known in first} == {own.id, another.id}


def test_what_others_propose_takes_none_of_a_members_own_room(
    honest: Village, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many neighbours do it."""
    monkeypatch.setattr(limits, "PROPOSALS_PER_PERSON_MAX", 200)
    flood(liar, limits.OPEN_TRADES_PER_MEMBER_MAX + 20, "a")
    propose(honest, offer=("AT", "1"))
    proposal = Proposal(HONEST, "Carol", ("Solar Panel", "1"), None)
    honest.now(lambda tx: market.propose(tx, alice(honest), proposal))


def test_there_is_room_again(honest: Village, liar: Liar) -> None:
    """Once one of those that wait has ended, whoever ended it."""
    flood(liar, PER_PERSON + 1, "a")
    found = [known for known in honest.look(trades.everyone) if known.status == "PENDING"]
    honest.now(lambda tx: trade_escrow.reject(tx, alice(honest), found[0]))
    assert Counter(flood(liar, 2, "b")) == {None: 1, "rejected": 1}
    assert Counter(flood(liar, 1, "c", Names("Bob", "Carol"))) == {None: 1}


def test_the_answers_do_not_tell_who_is_a_member() -> None:
    """Not by how many may wait, and however a name is written."""
    found = []
    for name in ("Alice", "Zelda"):
        honest = honest_village()
        liar = Liar(honest)
        found.append(answers := list[str | None]())
        for number in range(PER_PERSON + 10):
            written = (name, name.upper(), name.lower(), name.swapcase())[number % 4]
            answers += flood(liar, 1, f"t{number}", Names("Bob", written))
    assert found[0] == found[1] == [None] * PER_PERSON + ["rejected"] * 10


def test_the_answers_do_not_tell_who_has_listed_it(honest: Village, liar: Liar) -> None:
    """With no room left for Alice's name there still is for her listing, as for anybody's."""
    for name, side in (("Alice", "offer"), ("Carol", "want")):
        ask = Ask("offer" if side == "offer" else "want", "Solar Panel", "1", price="100")
        honest.now(lambda tx, name=name, ask=ask: market.list_goods(tx, alice(honest, name), ask))  # type: ignore[misc]
    minute = honest.clock_ms() // limits.MINUTE_MS
    listed = honest.look(lambda view: listings.search(view, Query(village=HONEST), minute))
    assert len(listed) == 2
    assert Counter(flood(liar, PER_PERSON + 1, "name")) == {None: PER_PERSON, "rejected": 1}
    for each in listed:
        answers = flood(liar, PER_PERSON + 1, each.id, Names("Bob", "", each.id))
        assert Counter(answers) == {None: PER_PERSON, "rejected": 1}


def test_nobody_is_asked_about_what_was_refused_at_once(honest: Village, liar: Liar) -> None:
    """The member whose it would be cannot accept it."""
    flood(liar, 1, "dead", deadline_minute=1)
    dead = the_trade(honest)
    with pytest.raises(WrongState):
        accept(honest, dead)
    with pytest.raises(WrongState):
        honest.now(lambda tx: trades.advance(tx, dead, Event.ACCEPT))
