"""Four villages, of which two trade and all decide: the product's own drivers and storage."""

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from edge import commands, control, desk, trade_council, trade_escrow
from edge.core import council, limits, receipt, trade
from edge.core.council import Seat
from edge.core.crypto import SecretKey
from edge.core.messages import CouncilMessage, Opening, SubjectMessage
from edge.core.trade import Proposal
from edge.errors import BadProof, WrongState
from edge.exchange import compose
from edge.federation_client import Why
from edge.steward import Box
from edge.storage import allowance, councils, members, neighbours, telling, trades
from edge.storage.audit import audit
from edge.storage.trades import Trade
from edge.storage.tx import View
from edge.told import Told, Ways
from tests.simulation.world import Village, World

NAMES = ("ose-a-001", "ose-b-001", "ose-c-001", "ose-d-001")
A, B, C, D = NAMES
replace = msgspec.structs.replace


class Four:
    """Four villages that all are neighbours; Alice of A has AT, Bob of B has solar panels."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed)
        self.all = [self.world.village(name) for name in NAMES]
        self.a, self.b, self.c, self.d = self.all
        for one, other in itertools.combinations(self.all, 2):
            self.world.befriend(one, other)
        for village in self.all:
            village.now(lambda tx: desk.add_member(tx, "Alice", "-"))
            village.now(lambda tx: desk.add_member(tx, "Bob", "-"))
        self.a.now(lambda tx: desk.issue(tx, "Alice", "500"))
        self.b.now(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "5"))

    async def settle_down(self, villages: Iterable[Village] = ()) -> None:
        """Exchange between all pairs until nothing is left to say."""
        among = list(villages) or self.all
        for _ in range(12):
            for one, other in itertools.permutations(among, 2):
                await one.client.exchange(other.name)
            if not any(each.look(telling.urgent) for each in among):
                return

    def propose(self, **changes: Any) -> Trade:
        asked: dict[str, Any] = {
            "to_village": B,
            "to_user": "Bob",
            "offer": ("AT", "100"),
            "request": ("Solar Panel", "1"),
        }
        made = Proposal(**(asked | changes))
        return self.a.now(
            lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), made, from_fee=1_00)
        )

    def accept(self, known: Trade) -> Trade:
        return self.b.now(
            lambda tx: trade_escrow.accept(
                tx, members.named(tx, "Bob"), trades.by_subject(tx, known.subject)
            )
        )


@pytest.fixture
async def four() -> Four:
    made = Four()
    await made.settle_down()
    return made


def at(village: Village, known: Trade) -> Trade:
    return village.look(lambda view: trades.by_subject(view, known.subject))


def agree(*villages: Village) -> None:
    for village in villages:
        audit(View(village.conn))


async def test_four_seats_decide(four: Four) -> None:
    known = four.propose()
    assert [seat.village for seat in known.terms.seats] == [A, B, C, D]
    await four.a.client.exchange(B)
    four.accept(known)
    await four.settle_down()
    assert {at(four.a, known).status, at(four.b, known).status} == {"SETTLED"}
    for village in four.all:
        opened = village.look(lambda view: councils.named(view, known.subject))
        assert opened.certificate is not None and opened.certificate.value == "COMMIT"
    made = four.a.look(lambda view: trade_escrow.receipt(view, at(four.a, known)))
    assert receipt.verify(receipt.decode(receipt.encode(made))) == known.terms
    agree(*four.all)


def decided(village: Village, known: Trade) -> str:
    opened = village.look(lambda view: councils.named(view, known.subject))
    return opened.certificate.value if opened.certificate else ""


async def accepted(four: Four, price: str = "100") -> Trade:
    """Return a trade that B has accepted, of which A has not heard yet."""
    known = four.propose(offer=("AT", price))
    await four.a.client.exchange(B)
    four.accept(known)
    return known


async def test_a_withdrawn_offer_is_aborted(four: Four) -> None:
    known = await accepted(four)
    four.a.now(lambda tx: trade_escrow.cancel(tx, members.named(tx, "Alice"), at(four.a, known)))
    await four.settle_down()
    assert (at(four.a, known).status, at(four.b, known).status) == ("CANCELLED", "ABORTED")
    assert {decided(each, known) for each in four.all} == {"ABORT"}
    made = four.b.look(lambda view: trade_escrow.receipt(view, at(four.b, known)))
    assert receipt.verify(receipt.decode(receipt.encode(made))) == known.terms
    agree(*four.all)


async def test_a_proposer_that_dies_with_the_votes_stops_nothing(four: Four) -> None:
    """The votes went to it alone, and it has told nobody: the others say them to each other."""
    known = await accepted(four)
    client = four.a.client
    client._is_running = True  # as in the product: only what is urgent is said at once
    for village in (B, C, D):
        client._peer(village, start=False).task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    votes: list[council.Vote] = []
    for _ in range(10):
        for village in (C, D):
            await four.b.client._exchange_once(village, Why.ASKED)
        await four.b.client._exchange_once(A, Why.ASKED)
        for village in (C, D):
            await client._exchange_once(village, Why.ASKED)
        votes = four.a.look(lambda view: councils.votes(view, known.subject))
        if len({vote.village for vote in votes}) > 2:
            break
    assert len({vote.village for vote in votes}) > 2
    three = [four.b, four.c, four.d]
    assert "" in {decided(each, known) for each in three}
    await four.settle_down(three)
    assert {decided(each, known) for each in three} == {"COMMIT"}
    assert at(four.b, known).status == "SETTLED"
    agree(*three)


async def test_what_a_seat_said_before_it_had_the_decision_comes_late(four: Four) -> None:
    """It lacks nothing: else there would be more to say to it for ever."""
    known = await accepted(four)
    await four.settle_down()
    assert decided(four.c, known) == "COMMIT"
    c = four.a.look(lambda view: neighbours.named(view, C))
    sql = "UPDATE told SET told_ms = (SELECT changed_ms FROM subject), due = 0 WHERE village = ?"
    four.a.now(lambda tx: tx.run(sql, C))
    late = CouncilMessage(known.subject, 0)
    four.a.now(lambda tx: trade_council.receive(tx, c, [late]))
    assert four.a.look(lambda view: telling.due(view, C, 9)) == []
    four.a.now(lambda tx: tx.run("UPDATE told SET told_ms = 1 WHERE village = ?", C))
    four.a.now(lambda tx: trade_council.receive(tx, c, [late]))
    assert len(four.a.look(lambda view: telling.due(view, C, 9))) == 1


async def test_a_dead_proposer_holds_nobody(four: Four) -> None:
    """Once the deadline is over, f + 1 of the others say that its hold is absent."""
    known = await accepted(four)
    others = (four.b, four.c, four.d)
    await four.settle_down(others)
    assert at(four.b, known).status == "ACCEPTED"
    four.world.now_ms = known.terms.deadline_minute * 60_000 + councils.ABSENT_AFTER_MS
    for village in others:
        village.now(trade_escrow.wake)
    await four.settle_down(others)
    for _ in range(3):  # the proposer of a round may be the one that is dead
        if not decided(four.b, known):
            four.world.now_ms += 20_000
            for village in others:
                village.now(trade_escrow.wake)
            await four.settle_down(others)
    assert {decided(each, known) for each in others} == {"ABORT"}
    assert at(four.b, known).status == "ABORTED"
    agree(*others)
    await four.settle_down()
    assert (at(four.a, known).status, decided(four.a, known)) == ("EXPIRED", "ABORT")
    assert at(four.a, known).reason == "it was accepted, but this village heard of that too late"
    agree(*four.all)


async def test_one_dead_seat_of_four_stops_nothing(four: Four) -> None:
    known = await accepted(four)
    others = (four.a, four.b, four.d)
    await four.settle_down(others)
    assert {at(four.a, known).status, at(four.b, known).status} == {"SETTLED"}
    await four.settle_down()
    assert decided(four.c, known) == "COMMIT"
    agree(*four.all)


async def test_two_dead_seats_block_and_nothing_is_lost(four: Four) -> None:
    known = await accepted(four)
    await four.settle_down((four.a, four.b))
    assert {at(four.a, known).status, at(four.b, known).status} == {"HELD"}
    agree(four.a, four.b)
    await four.settle_down()
    assert {at(four.a, known).status, at(four.b, known).status} == {"SETTLED"}
    agree(*four.all)


async def test_the_other_party_is_the_first_to_tell_of_the_decision(four: Four) -> None:
    """An audit finds nothing wrong, and this seat passes the decision on."""
    known = await accepted(four)
    votes = [
        council.precommit(each.key, each.name, known.terms.network, known.subject, "COMMIT")
        for each in (four.a, four.c, four.d)
    ]
    certificate = council.certificate_of(votes, known.terms.seats)
    terms = msgspec.Raw(known.terms_bytes)
    said = SubjectMessage(terms, known.from_signature, certificate=certificate)
    four.b.now(lambda tx: trade_escrow.receive(tx, neighbours.named(tx, A), [said]))
    assert (at(four.b, known).status, decided(four.b, known)) == ("SETTLED", "COMMIT")
    agree(four.b)
    await four.b.client.exchange(C)
    assert decided(four.c, known) == "COMMIT"


async def test_a_seat_asks_for_a_decision_that_its_first_proposer_does_not_tell(
    four: Four,
) -> None:
    """All that it has to say it has said: the others think that the first proposer tells it."""
    known = await accepted(four)
    await four.settle_down()
    opened = four.c.look(lambda view: councils.named(view, known.subject))
    first = four.world.villages[opened.subject.proposer(0)]
    [asking, *others] = [each for each in (four.c, four.d, four.b) if each is not first]
    asking.now(lambda tx: tx.run("UPDATE subject SET certificate = NULL"))
    for village in (asking, others[0]):  # each has said all that it had to say of the votes
        village.now(lambda tx: tx.run("UPDATE told SET due = 0, told_ms = min(told_ms, 1)"))
    await asking.client.exchange(others[0].name)
    assert decided(asking, known) == "COMMIT"


async def test_what_does_not_fit_into_a_message_is_in_the_next(
    four: Four, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody knows yet whether the first was stored."""
    monkeypatch.setattr(limits, "COUNCILS_PER_MESSAGE_MAX", 2)
    subjects = {(await accepted(four, str(n))).subject for n in range(1, 4)}
    told, ways = Told(), Ways(is_whole=False, until_ms=0, looks=False)
    heard = []
    for _ in range(3):
        said = four.b.look(lambda view: compose(view, trade_escrow, C, said=told, ways=ways))
        told.keep(said.rows, said.councils)
        heard.append({each.subject for each in said.message.councils})
    assert [len(each) for each in heard] == [2, 1, 0]
    assert heard[0] | heard[1] == subjects


async def test_a_party_that_lacks_a_proof_is_given_it(four: Four) -> None:
    """It may have heard of the decision alone, and can make no receipt of that."""
    known = await accepted(four)
    await four.settle_down()
    four.b.now(lambda tx: tx.run("DELETE FROM proof WHERE village = ?", A))
    with pytest.raises(WrongState, match="proof"):
        four.b.look(lambda view: trade_escrow.receipt(view, at(four.b, known)))
    opened = four.b.look(lambda view: councils.named(view, known.subject))
    four.b.now(lambda tx: telling.ask_anew(tx, opened))
    await four.settle_down([four.b, four.c])
    made = four.b.look(lambda view: trade_escrow.receipt(view, at(four.b, known)))
    assert receipt.verify(made) == known.terms
    agree(*four.all)


async def test_a_clock_that_goes_back_in_a_restart_hides_nothing(four: Four) -> None:
    """What a seat says after it is said under stamps that are later than all before."""
    known = await accepted(four)
    await four.a.client.exchange(B)
    four.world.now_ms += 60_000
    for one, other in ((A, C), (A, D), (B, C), (B, D)):
        await four.world.villages[one].client.exchange(other)
    assert decided(four.a, known) == decided(four.b, known) == ""
    for village in (four.a, four.b):
        village.offset_ms = -3_600_000
        village.start()
    await four.settle_down()
    assert {decided(each, known) for each in four.all} == {"COMMIT"}
    agree(*four.all)


async def test_clocks_that_were_far_ahead_and_are_put_right_keep_nobody_waiting(four: Four) -> None:
    """A has died, and would have been the first to propose: the others have to wait for that, two
    of them by stamps that are 40 days ahead."""
    known = await accepted(four)
    others = (four.b, four.c, four.d)
    for village in others[1:]:
        village.offset_ms = 40 * 86_400_000
        village.now(lambda tx: desk.issue(tx, "Alice", "1"))
        village.offset_ms = 0
    four.world.now_ms = known.terms.deadline_minute * 60_000 + councils.ABSENT_AFTER_MS
    for _ in range(12):
        four.world.now_ms += 10_000
        for village in others:
            village.now(trade_escrow.wake)
        await four.settle_down(others)
    assert {decided(each, known) for each in others} == {"ABORT"}
    agree(*others)


async def test_seats_that_only_the_parties_join(four: Four) -> None:
    """C and D never speak with each other: what either says is passed on."""
    known = await accepted(four)
    for _ in range(12):
        for one, other in ((A, B), (A, C), (A, D), (B, C), (B, D)):
            await four.world.villages[one].client.exchange(other)
            await four.world.villages[other].client.exchange(one)
    assert {decided(each, known) for each in four.all} == {"COMMIT"}
    agree(*four.all)


# What a hostile reviewer tried


async def test_a_hold_that_comes_after_the_decision_is_none(four: Four) -> None:
    """The proposer, whose clock is slow, hears of the ABORT before it hears of the acceptance."""
    known = await accepted(four)
    others = (four.b, four.c, four.d)
    four.a.offset_ms = -3_600_000
    four.world.now_ms = known.terms.deadline_minute * 60_000 + councils.ABSENT_AFTER_MS
    for _ in range(4):
        for village in others:
            village.now(trade_escrow.wake)
        await four.settle_down(others)
        four.world.now_ms += 20_000
    assert {decided(each, known) for each in others} == {"ABORT"}
    await four.c.client.exchange(A)
    assert (at(four.a, known).status, decided(four.a, known)) == ("PENDING", "ABORT")
    await four.b.client.exchange(A)
    assert (at(four.a, known).status, at(four.b, known).status) == ("EXPIRED", "ABORTED")
    agree(*four.all)


def opening(four: Four, by: str, key: SecretKey, seats: tuple[Seat, ...]) -> CouncilMessage:
    """Return what opens a subject of a trade between `by` and C that nobody has made."""
    terms = replace(
        four.propose().terms, from_village=by, to_village=C, seats=seats, trade_id="made-up"
    )
    text = trade.encode_terms(terms)
    signatures = key.sign(text), four.c.key.sign(text)
    return CouncilMessage(trade.subject_of(text), 0, Opening(msgspec.Raw(text), *signatures))


async def test_a_subject_of_strangers_is_passed_over_and_the_rest_is_heard(four: Four) -> None:
    sock = SecretKey(bytes(range(32)))
    seats = [Seat(each.name, each.key.public) for each in four.all]
    stranger = Seat("ose-sock-001", sock.public)
    asked = [
        opening(four, stranger.village, sock, (stranger, seats[2], seats[0], seats[1])),
        opening(four, D, four.d.key, (seats[3], seats[2], seats[0])),  # of three seats
        opening(four, D, sock, (seats[3], seats[2], seats[0], seats[1])),  # D has not signed
    ]
    good = opening(four, D, four.d.key, (seats[3], seats[2], seats[0], seats[1]))
    c = four.a.look(lambda view: neighbours.named(view, C))
    four.a.now(lambda tx: trade_council.receive(tx, c, [*asked, good]))
    known = four.a.look(lambda view: view.all("SELECT subject FROM subject"))
    assert known == [(good.subject,)]


def test_a_checkpoint_with_others_signatures_is_no_evidence() -> None:
    """It would be passed on to all: as many lines as a note may have, of whoever."""
    text = "x" * (receipt.CHECKPOINT_BYTES_MAX + 1)
    proof = receipt.Evidence(A, 0, b"", (), text)
    with pytest.raises(BadProof, match="at most 2048 bytes"):
        receipt.verify_evidence(proof, (Seat(A, bytes(32)), Seat(B, bytes(32))))


async def test_a_start_begins_a_rounds_waits_anew(four: Four) -> None:
    """By a clock that may have been far ahead when they were stored."""
    known = await accepted(four)
    opened = four.b.look(lambda view: councils.named(view, known.subject))
    far_ms = four.world.now_ms + 30 * 86_400_000
    state = council.State(round=0, propose_ms=far_ms)
    four.b.now(lambda tx: councils.keep_state(tx, opened, state, far_ms))
    four.b.now(trade_escrow.begin)
    wakes_ms = four.b.look(councils.next_wake)
    assert wakes_ms is not None and wakes_ms <= four.world.now_ms + 2 * council.TIMEOUT_MS


async def test_a_box_that_is_off_every_night_does_not_wait_for_ever(four: Four) -> None:
    """A round's wait of a day ends when it was to end, though no day has so many hours of light."""
    known = await accepted(four)
    opened = four.b.look(lambda view: councils.named(view, known.subject))
    day_ms, hour_ms = 86_400_000, 3_600_000
    began_ms = four.world.now_ms
    state = council.State(round=16, propose_ms=began_ms + day_ms)
    four.b.now(lambda tx: councils.keep_state(tx, opened, state, began_ms + day_ms))
    wakes_ms = None
    for _ in range(3):
        four.b.now(trade_escrow.begin)
        wakes_ms = four.b.look(councils.next_wake)
        assert wakes_ms is not None
        if wakes_ms <= four.world.now_ms + 10 * hour_ms:
            break
        four.world.now_ms += day_ms  # ten hours on, fourteen off
    assert four.world.now_ms <= began_ms + day_ms
    assert wakes_ms is not None
    assert wakes_ms <= began_ms + day_ms + council.TIMEOUT_MS


async def test_a_clock_that_is_set_far_back_stretches_no_wait(four: Four) -> None:
    """Stamps stand still until it has caught up; rounds go on."""
    known = await accepted(four)
    opened = four.b.look(lambda view: councils.named(view, known.subject))
    wait_ms = council.timeout_ms(2, 600)
    four.b.now(trade_escrow.wake)
    state = council.State(round=2, propose_ms=four.world.now_ms + wait_ms)
    four.b.now(lambda tx: councils.keep_state(tx, opened, state, state.propose_ms))
    four.b.offset_ms = -30 * 86_400_000
    waited_ms = 0
    while four.b.look(lambda view: councils.named(view, known.subject)).state.phase == "propose":
        _, left_ms = four.b.now(trade_escrow.wake)
        assert waited_ms <= wait_ms
        four.world.now_ms += (step_ms := min(left_ms, 1_000))
        waited_ms += step_ms
    assert wait_ms - 1_000 <= waited_ms <= wait_ms + 1_000


# How much is taken in, and what is passed over


def taken(village: Village, neighbour: str) -> int:
    (found,) = village.conn.execute(
        "SELECT taken_bytes FROM neighbour WHERE village = ?", (neighbour,)
    ).fetchone()
    return int(found)


async def test_what_is_brought_to_a_council_counts(four: Four) -> None:
    """Once: what is said again takes no room."""
    known = await accepted(four)
    before = {each: taken(four.c, each) for each in (A, B, D)}
    records = four.b.look(lambda view: view.one("SELECT sum(length(record)) FROM entry")[0])
    await four.settle_down()
    brought = sum(taken(four.c, each) - before[each] for each in before)
    size = sum(
        len(str(row))
        for table in ("proof", "ballot", "proposal", "absence")
        for row in four.c.conn.execute(f"SELECT * FROM {table}")
    )
    assert size / 2 < brought < 4 * size + 4 * records
    after = {each: taken(four.c, each) for each in before}
    for _ in range(3):
        four.c.now(lambda tx: telling.tell_anew(tx, A, known.subject))
        await four.settle_down()
    grown = sum(taken(four.c, each) - after[each] for each in before)
    assert grown == 0


async def test_who_has_used_up_its_room_opens_no_new_subjects(
    four: Four, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is heard on those that are open: without its votes nobody would get back what is held."""
    known = await accepted(four)
    await four.b.client.exchange(C)
    assert four.c.look(lambda view: councils.find(view, known.subject)) is not None
    later = await accepted(four)
    for name in ("FIRST_BYTES", "BOUND_BYTES"):
        monkeypatch.setattr(allowance, name, 0)
    for name in (A, B, D):
        await four.world.villages[name].client.exchange(C)
    assert four.c.look(lambda view: councils.find(view, later.subject)) is None
    vote = council.Vote(D, 0, "prevote", None, b"")
    signed = council.vote_bytes(known.terms.network, known.subject, 0, "prevote", None)
    said = CouncilMessage(
        known.subject, 0, votes=(replace(vote, signature=four.d.key.sign(signed)),)
    )
    d = four.c.look(lambda view: neighbours.named(view, D))
    four.c.now(lambda tx: trade_council.receive(tx, d, [said]))
    votes = four.c.look(lambda view: councils.votes(view, known.subject))
    assert D in {each.village for each in votes}
    monkeypatch.undo()
    await four.settle_down()
    assert {decided(each, later) for each in four.all} == {"COMMIT"}
    agree(*four.all)


async def test_a_bad_word_is_told_of_once_an_hour(
    four: Four, caplog: pytest.LogCaptureFixture
) -> None:
    known = await accepted(four)
    await four.b.client.exchange(C)
    forged = council.Vote(A, 0, "prevote", "COMMIT", bytes(64))
    said = [CouncilMessage(known.subject, 0, votes=(forged,))]
    d = four.c.look(lambda view: neighbours.named(view, D))

    def told() -> list[str]:
        lines = [each.getMessage() for each in caplog.records]
        return [line for line in lines if line.startswith("passed over")]

    for _ in range(5):
        four.c.now(lambda tx: trade_council.receive(tx, d, said * 3))
    first = f"passed over what {D} says, since it does not hold: a vote does not hold"
    assert told() == [first]
    four.world.now_ms += 3_600_000
    four.c.now(lambda tx: trade_council.receive(tx, d, said))
    assert told() == [first, f"{first}; 14 more were passed over before"]
    four.c.offset_ms = -(10**9)  # a clock that is set back silences nothing for long
    four.c.now(lambda tx: trade_council.receive(tx, d, said))
    assert len(told()) == 3


@pytest.mark.parametrize(("how", "late"), [("CANCELLED", 0), ("CANCELLED", 20), ("EXPIRED", 20)])
async def test_a_withdrawn_proposal_that_was_never_heard(four: Four, how: str, late: int) -> None:
    """It comes without names, and is kept as what it is: nobody is told that it is addressed to
    nobody."""
    known = four.propose(deadline_s=600)
    if how == "CANCELLED":
        four.a.now(
            lambda tx: trade_escrow.cancel(tx, members.named(tx, "Alice"), at(four.a, known))
        )
    four.world.now_ms += late * 60_000
    four.a.now(trade_escrow.expire)
    await four.a.client.exchange(B)
    there = at(four.b, known)
    assert (there.status, there.closed) == (how, True)
    assert at(four.a, known).closed
    box = Box(four.b.runner, four.b.client, None, four.b.profile, 0, None, False)  # type: ignore[arg-type]
    said = "was withdrawn" if how == "CANCELLED" else "ran out"
    with pytest.raises(WrongState, match=f"the trade {said}: nothing is due"):
        await commands.run(box, control.TradeAccept(there.id))
    agree(*four.all)
