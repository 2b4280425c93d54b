"""Nobody is bound by a council of which a quorum has not cosigned both parties' logs lately."""

from collections.abc import Iterable

import msgspec
import pytest

from edge import trade_escrow, trade_seats
from edge.core import checkpoint
from edge.core.messages import CosignatureLine
from edge.core.trade import Terms
from edge.errors import WrongState
from edge.exchange import compose
from edge.storage import freshness, logs, neighbours, trades
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx
from tests.simulation.test_councils import NAMES, A, B, C, D, Four, agree, at
from tests.simulation.world import Village

HOUR_MS = 3_600_000
replace = msgspec.structs.replace


@pytest.fixture
async def four() -> Four:
    made = Four()
    await made.settle_down()
    return made


async def proposed(four: Four) -> Trade:
    known = four.propose()
    await four.a.client.exchange(B)
    return known


def seats(known: Trade) -> list[str]:
    return [seat.village for seat in known.terms.seats]


def check(village: Village, terms: Terms) -> None:
    village.now(lambda tx: trade_seats.check(tx, terms))


def fresh(village: Village, of: str) -> set[str]:
    """Return who has cosigned a log within the last minutes, as a village knows."""

    def look(tx: Tx) -> set[str]:
        log = OWN_LOG if of == village.name else neighbours.log_of(tx, of)
        return freshness.since(tx, log, tx.stamp_ms - 600_000)

    return village.now(look)


def age(village: Village, of: str, cosigners: Iterable[str]) -> None:
    """Make those not have cosigned a log lately, as a village knows."""
    log = OWN_LOG if of == village.name else village.look(lambda v: neighbours.log_of(v, of))
    for each in cosigners:
        sql = "UPDATE freshness SET fresh_ms = 0 WHERE log = ? AND village = ?"
        village.conn.execute(sql, (log, each))


async def test_a_log_that_stands_still_is_cosigned_anew(four: Four) -> None:
    """One exchange that its village begins is enough, whatever came before."""
    four.world.now_ms += HOUR_MS
    assert fresh(four.a, A) == set()
    for village in (four.b, four.c, four.d):
        await four.a.client.exchange(village.name)
    assert fresh(four.a, A) == {B, C, D}
    assert seats(four.propose()) == list(NAMES)


async def test_seats_that_answer_and_cosign_nothing_are_not_chosen(
    four: Four, monkeypatch: pytest.MonkeyPatch
) -> None:
    four.world.now_ms += HOUR_MS
    monkeypatch.setattr(freshness, "renew", lambda tx, log: None)
    await four.settle_down()
    heard_ms = four.a.look(lambda view: neighbours.named(view, C)).last_contact_ms
    assert heard_ms >= four.world.now_ms
    assert seats(four.propose()) == [A, B]


async def test_an_acceptor_is_not_bound_by_seats_that_cosign_nothing(four: Four) -> None:
    known = await proposed(four)
    assert seats(known) == list(NAMES)
    age(four.b, B, (C, D))
    with pytest.raises(WrongState, match=f"keep up with {B}: .* by {C}, {D}"):
        four.accept(known)
    assert at(four.b, known).status == "PENDING"


async def test_nor_by_seats_that_do_not_follow_the_proposer(four: Four) -> None:
    known = await proposed(four)
    age(four.b, A, (C, D))
    with pytest.raises(WrongState, match=f"keep up with {A}: .* by {C}, {D}"):
        four.accept(known)


async def test_one_of_four_that_cosigns_nothing_stops_nobody(four: Four) -> None:
    known = await proposed(four)
    age(four.b, A, (D,))
    age(four.b, B, (D,))
    four.accept(known)
    await four.settle_down()
    assert {at(four.a, known).status, at(four.b, known).status} == {"SETTLED"}


async def test_a_proposer_is_not_bound_by_seats_that_do_not_follow_the_acceptor(
    four: Four, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not been told; and nobody is the worse for it."""
    monkeypatch.setattr(freshness, "passed_on", lambda view, village: ())
    known = await proposed(four)
    age(four.b, A, ())
    monkeypatch.setattr(trade_seats, "check", lambda tx, terms: None)
    four.accept(known)
    monkeypatch.undo()
    monkeypatch.setattr(freshness, "passed_on", lambda view, village: ())
    age(four.a, B, (C, D))
    await four.settle_down()
    assert (at(four.a, known).status, at(four.b, known).status) == ("CANCELLED", "ABORTED")
    assert f"keep up with {B}" in at(four.a, known).reason
    agree(*four.all)


async def test_the_window_in_the_terms_counts(four: Four) -> None:
    terms = (await proposed(four)).terms
    four.world.now_ms += 30 * 60_000
    with pytest.raises(WrongState, match="keep up with"):
        check(four.b, terms)
    check(four.b, replace(terms, window_s=3_600))


async def test_two_parties_alone_need_nobody(four: Four) -> None:
    terms = (await proposed(four)).terms
    four.world.now_ms += HOUR_MS
    check(four.b, replace(terms, seats=terms.seats[:2]))


async def test_a_proposal_brings_what_shows_who_follows_the_proposer(four: Four) -> None:
    """So that nobody has to ask, and a first trade needs no more exchanges than any."""
    four.propose()
    said = four.a.look(lambda view: compose(view, trade_escrow, B)).message
    assert said.subjects
    lines = said.cosigned or ()
    assert {each.line.split(" ")[1] for each in lines} == {C, D}
    assert all(0 < each.size <= four.a.look(lambda v: logs.size_of(v, OWN_LOG)) for each in lines)


async def test_what_is_passed_on_counts_by_its_own_time(four: Four) -> None:
    """A party may keep old words and show them late; a clock ahead makes nobody fresh for long."""
    log = four.b.look(lambda view: neighbours.log_of(view, A))
    size, root, _ = four.b.look(lambda view: logs.last_checkpoint(view, log)) or (0, b"", "")
    head = checkpoint.Checkpoint(A, size, root)
    now_s = four.world.now_ms // 1000
    neighbour = four.b.look(lambda view: neighbours.named(view, A))

    def bring(cosigner: Village, time_s: int, name: str = "") -> None:
        line = checkpoint.cosign(head, name or cosigner.name, cosigner.key, time_s).to_text()
        said = [CosignatureLine(size, line)]
        four.b.now(lambda tx: freshness.take_in(tx, neighbour, said))

    age(four.b, A, (C, D))
    four.world.now_ms += HOUR_MS
    bring(four.c, now_s + 60)
    assert C not in fresh(four.b, A)
    bring(four.d, now_s + 3_600, C)  # by another key
    bring(four.a, now_s + 3_600)  # by the log's own village
    assert not {A, C} & fresh(four.b, A)
    bring(four.d, now_s + 10 * 3_600)
    assert D in fresh(four.b, A)
    four.world.now_ms += HOUR_MS
    assert D not in fresh(four.b, A)


async def test_what_is_passed_on_of_records_not_held_here_shows_nothing(four: Four) -> None:
    neighbour = four.b.look(lambda view: neighbours.named(view, A))
    size = four.b.look(lambda view: logs.size_of(view, neighbour.log)) + 1
    head = checkpoint.Checkpoint(A, size, bytes(32))
    four.world.now_ms += HOUR_MS
    line = checkpoint.cosign(head, C, four.c.key, four.world.now_ms // 1000).to_text()
    for said in (CosignatureLine(size, line), CosignatureLine(0, line), CosignatureLine(1, "x")):
        four.b.now(lambda tx: freshness.take_in(tx, neighbour, [said]))  # noqa: B023
    assert C not in fresh(four.b, A)


async def test_a_trade_hours_after_the_last_needs_no_more_than_the_heartbeats(four: Four) -> None:
    four.world.now_ms += 5 * HOUR_MS
    await four.settle_down()
    known = await proposed(four)
    assert seats(known) == list(NAMES)
    four.accept(known)
    await four.settle_down()
    assert {at(four.a, known).status, at(four.b, known).status} == {"SETTLED"}
    assert four.b.look(lambda view: trades.by_subject(view, known.subject)).certificate
    agree(*four.all)


async def test_of_too_many_those_with_a_seat_have_been_there_lately(four: Four) -> None:
    """C comes first by its id, and has been dead for three minutes: D gets the seat."""
    five = four.world.village("ose-e-001")
    for each in four.all:
        four.world.befriend(each, five)
    await four.settle_down([*four.all, five])
    alive = [four.a, four.b, four.d, five]
    for _ in range(3):
        four.world.now_ms += 61_000
        await four.settle_down(alive)
    neighbour = four.a.look(lambda view: neighbours.named(view, B))
    now_ms = four.world.now_ms
    chosen = four.a.look(lambda view: trade_seats.others_for(view, neighbour, A, now_ms))
    assert [each.village for each in chosen] == [D, five.name]
    await four.settle_down([*alive, four.c])
    chosen = four.a.look(lambda view: trade_seats.others_for(view, neighbour, A, now_ms))
    assert [each.village for each in chosen] == [C, D]
