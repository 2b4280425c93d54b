"""What a hostile neighbour, seat or party does, or a lost line or a full disk: none of it stops a
box, undoes what others write, or keeps a trade from ending."""

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from edge import desk, trade_council, trade_escrow
from edge.core import crypto, limits, merkle, messages, records, trade
from edge.core.council import Seat, Vote, vote_bytes
from edge.core.crypto import SecretKey
from edge.core.messages import CouncilMessage, Exchange, Push, SubjectMessage
from edge.core.trade import Proposal
from edge.errors import DiskFull, Unreachable
from edge.exchange import compose, receive
from edge.federation_client import Why
from edge.storage import councils, logs, members, telling, trades
from edge.storage.tx import OWN_LOG, View
from tests.simulation.test_councils import A, B, C, D, Four, accepted, at
from tests.simulation.world import Village

replace = msgspec.structs.replace


@pytest.fixture
async def four() -> Four:
    made = Four()
    await made.settle_down()
    return made


def says(sender: Village, to: str, **changes: Any) -> Exchange:
    """Return what a village would say, with some of it changed."""
    made = sender.look(lambda view: compose(view, trade_escrow, to, (), 0))
    return replace(made.message, **changes)


def hear(village: Village, message: Exchange) -> None:
    village.now(lambda tx: receive(tx, trade_escrow, message, None))


# A neighbour stops the box


async def test_statements_on_both_sides_of_a_checkpoint_do_not_stop_the_box(four: Four) -> None:
    """D's log has a hold under its last checkpoint here and a no-hold that was stored after it: no
    trade, no signature of anybody else is needed for that."""
    terms, ours, theirs = _made_up(four)
    hold = records.HoldRecord(1, msgspec.Raw(terms), ours, theirs, bytes(32), bytes(32))
    no_hold = records.NoHoldRecord(1, msgspec.Raw(terms), ours, theirs)
    four.d.now(lambda tx: tx.append(hold))
    hear(four.a, says(four.d, A, have=10**9))  # so that the rest of the message is not looked at
    four.d.now(lambda tx: tx.append(no_hold))
    four.d.now(lambda tx: tx.append(replace(no_hold, minute=2)))  # what the copy here will lack
    part = four.d.look(_all_but_the_last)
    hear(four.a, says(four.d, A, have=10**9, push=part))
    hear(four.a, says(four.d, A, push=part))  # AssertionError here stops the whole box


def _made_up(four: Four) -> tuple[bytes, bytes, bytes]:
    """Return terms of a trade between D and a village that it has just invented, and signatures."""
    other = SecretKey(bytes(range(32)))
    terms = replace(
        four.propose().terms,
        from_village=D,
        to_village="ose-x-001",
        seats=(Seat(D, four.d.key.public), Seat("ose-x-001", other.public)),
    )
    made = trade.encode_terms(terms)
    return made, four.d.key.sign(made), other.sign(made)


def _all_but_the_last(view: View) -> Push:
    made = logs.push_for(view, 0)
    assert made is not None
    end = len(made.records) - 1
    nodes = logs.read_nodes(view, OWN_LOG, merkle.nodes_for_consistency(end, end + 1))
    proof = merkle.consistency_proof(end, end + 1, nodes)
    return replace(made, records=made.records[:-1], proof=tuple(proof))


# A neighbour undoes what others write


async def test_a_nil_vote_in_a_councils_trade_undoes_no_other_write(four: Four) -> None:
    """B says to A, beside the trade's terms, a vote of its own for no value: nothing that others
    write in the same batch may be lost."""
    known = await accepted(four)
    await four.b.client.exchange(A)
    message = _with_nil_votes(four, known, 1)
    four.a.now(lambda tx: None)
    outcomes = four.a.runner.writer.run(
        [
            lambda tx: tx.run("UPDATE fact SET value = value"),
            lambda tx: receive(tx, trade_escrow, message, None),
        ],
        four.a.clock_ms(),
    )
    assert outcomes[0][1] is None, outcomes[0][1]


def _with_nil_votes(four: Four, known: trades.Trade, count: int) -> Exchange:
    terms = known.terms
    votes = tuple(
        Vote(
            B,
            round_,
            "prevote",
            None,
            four.b.key.sign(vote_bytes(terms.network, known.subject, round_, "prevote", None)),
        )
        for round_ in range(count)
    )
    said = SubjectMessage(msgspec.Raw(known.terms_bytes), known.from_signature, votes=votes)
    return says(four.b, A, subjects=(said,))


async def test_a_nil_vote_for_a_mere_proposal_stops_no_box(four: Four) -> None:
    """It takes no more than a proposal of B's to A that nobody has answered; and what the box
    itself writes in the same batch ends its federation client, and so the box."""
    made = Proposal(A, "Alice", ("Solar Panel", "1"), ("AT", "100"))
    known = four.b.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Bob"), made))
    await four.b.client.exchange(A)
    assert at(four.a, known).status == "PENDING"
    body = messages.encode(_with_nil_votes(four, known, 1))
    four.world.yields = 4
    for _ in range(50):
        running = asyncio.create_task(four.a.client.run())
        await asyncio.gather(four.a.client.answer(B, body), return_exceptions=True)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not (running.done() and running.exception()), running.exception()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


# What is said to a seat that has no room is said no more


async def test_a_seat_that_had_no_room_hears_of_it_once_it_has(
    four: Four, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D is dead, and C has no room for the subject when A and B tell it: what they said counts as
    stored there. Three of four are up, and can reach each other: it must end."""
    three = (four.a, four.b, four.c)
    known = await accepted(four)
    with monkeypatch.context() as full:
        full.setattr(trade_council, "UNDECIDED_PER_PAIR_MAX", 0)
        await four.settle_down(three)
    assert not four.c.look(lambda view: councils.is_open(view, known.subject))
    for _ in range(1, 3 * 24 * 60, 60):
        four.world.now_ms += 60 * 60_000
        for village in three:
            village.now(trade_escrow.wake)
        for one, other in itertools.permutations(three, 2):
            await one.client._try(other.name, Why.DUE, 0)  # the heartbeat
    assert {at(four.a, known).status, at(four.b, known).status} == {"SETTLED"}


# Work that is not counted


async def test_votes_that_are_not_kept_cost_little(
    four: Four, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D signs votes of rounds so far ahead that C keeps none of them, and says them again and
    again: each signature is verified while nobody else can write, and none is counted."""
    known = await accepted(four)
    for other in (C, D):
        await four.b.client.exchange(other)
    network, subject = known.terms.network, known.subject
    votes = [
        Vote(D, round_, "prevote", None, four.d.key.sign(_nil(network, subject, round_)))
        for round_ in range(100, 100 + 168 * limits.COUNCILS_PER_MESSAGE_MAX)
    ]
    said = [
        CouncilMessage(subject, 0, votes=tuple(votes[start : start + 168]))
        for start in range(0, len(votes), 168)
    ]
    message = says(four.d, C, councils=tuple(said))
    assert len(messages.encode(message)) < limits.BODY_BYTES_MAX
    messages.decode_exchange(messages.encode(message))
    verified = [0]
    verify = crypto.verify

    def counting(*args: bytes) -> bool:
        verified[0] += 1
        return verify(*args)

    monkeypatch.setattr(crypto, "verify", counting)
    hear(four.c, message)
    assert four.c.conn.execute("SELECT count(*) FROM ballot").fetchone() == (0,)
    assert verified[0] < 500


def _nil(network: bytes, subject: bytes, round_: int) -> bytes:
    return vote_bytes(network, subject, round_, "prevote", None)


# An answer is lost


async def test_what_a_lost_answer_said_is_said_again(four: Four) -> None:
    """A is dead, and C and D are not joined: B passes on. What B has said in an answer that C never
    got must not count as told because of what B says after it."""
    known = await accepted(four)
    for other in (C, D):
        await four.b.client.exchange(other)
    client = four.b.client
    client._is_running = True  # as in the product: what to say depends on why
    for other in (C, D):
        client._peer(other, start=False).task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    peer = client._peers[C]
    peer.failures = 1  # B cannot call C; C calls B
    four.world.now_ms = known.terms.deadline_minute * 60_000 + councils.ABSENT_AFTER_MS
    four.b.now(trade_escrow.wake)  # B says that A's hold is absent
    await client.answer(C, messages.encode(says(four.c, B)))  # and C never gets this
    peer.failures = await client._try(C, Why.ASKED, 1)  # the line is whole again
    four.d.now(trade_escrow.wake)
    await client._try(D, Why.ASKED, 0)  # news for C: D misses it, too
    for _ in range(3):
        assert await client._try(C, Why.SOON, 0) == 0
    for _ in range(3):
        await four.c.client.exchange(B)
        assert await client._try(C, Why.DUE, 0) == 0  # heartbeats
    said = [each.village for each in four.c.look(lambda v: councils.absents(v, known.subject))]
    there = [each.village for each in four.b.look(lambda v: councils.absents(v, known.subject))]
    assert said == there


async def test_what_a_lost_request_said_is_said_again(
    four: Four, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can dial C; B tries as ever, and waits. What that request says must not count as told
    because of an answer that B gives C meanwhile."""
    known = await accepted(four)
    for other in (C, D):
        await four.b.client.exchange(other)
    client = four.b.client
    client._is_running = True
    for other in (C, D):
        client._peer(other, start=False).task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    peer, gone, transport = client._peers[C], asyncio.Event(), four.b.client._transport
    peer.failures = 1
    dial = transport.exchange

    async def out_of_reach(village: str, path: str, body: bytes) -> bytes:
        if village != C:
            return await dial(village, path, body)
        await gone.wait()
        raise Unreachable(f"{village} does not answer")

    monkeypatch.setattr(transport, "exchange", out_of_reach)
    four.world.now_ms = known.terms.deadline_minute * 60_000 + councils.ABSENT_AFTER_MS
    four.b.now(trade_escrow.wake)  # B says that A's hold is absent
    trying = asyncio.create_task(client._try(C, Why.DUE, 1))
    while not peer.told.whole:
        await asyncio.sleep(0)
    four.d.now(trade_escrow.wake)
    await client._try(D, Why.ASKED, 0)  # news for C
    await four.c.client.exchange(B)
    gone.set()
    peer.failures = await trying
    for _ in range(3):
        await four.c.client.exchange(B)
        peer.failures = await client._try(C, Why.DUE, peer.failures)
    said = [each.village for each in four.c.look(lambda v: councils.absents(v, known.subject))]
    there = [each.village for each in four.b.look(lambda v: councils.absents(v, known.subject))]
    assert set(said) >= set(there)


# Work that grows with all that ever was


@pytest.mark.parametrize(
    "hot",
    [
        lambda view: telling.due(view, B, 32),  # in each message and each answer
        councils.first_unproven,  # in each message and each answer
        councils.unproven,  # for each cosignature that comes, while writing
        lambda view: trades.count_open(view, neighbour=B, role="from"),  # for each proposal
        lambda view: trades.count_open(view, member=1),  # and for each of a member
        lambda view: trades.of_trade_id(view, "0123456789abcdef"),  # whoever follows a trade
    ],
)
async def test_what_each_message_asks_looks_at_what_is_open_only(four: Four, hot: Any) -> None:
    """By the database's plan: each table by an index of what is open, or by its whole key."""
    plans = []

    class Asking(View):
        def all(self, sql: str, *values: object) -> list[Any]:
            plans.extend(self.conn.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall())
            return super().all(sql, *values)

        def one(self, sql: str, *values: object) -> Any:
            plans.extend(self.conn.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall())
            return super().one(sql, *values)

    hot(Asking(four.a.conn))
    steps = [plan[3] for plan in plans if plan[3].startswith(("SCAN", "SEARCH"))]
    first = steps[0]
    assert any(
        index in first for index in ("told_due", "subject_unproven", "trade_open", "trade_by_id")
    ), steps
    assert all("subject=?" in step for step in steps[1:]), steps


# A full disk


async def test_a_disk_that_is_full_refuses_writes_and_stops_no_box(
    four: Four, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the operations page says: the write is refused. The box goes on once there is space."""
    writer = four.a.runner.writer

    def full() -> DiskFull:
        four.a.conn.rollback()
        return DiskFull("the disk is full")

    monkeypatch.setattr(writer, "_commit", full)
    running = asyncio.create_task(four.a.client.run())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not running.done(), running.exception()
    running.cancel()


# A message too long to be taken in


async def test_what_is_said_fits_into_a_message(
    four: Four, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many records, beside all else that there is to say: the records wait, not everything."""
    known = await accepted(four)
    for _ in range(60):
        four.b.now(lambda tx: desk.issue(tx, "Bob", "1"))
    whole = says(four.b, C)
    size = len(messages.encode(whole))
    with monkeypatch.context() as patched:
        patched.setattr(limits, "PUSH_BYTES_MAX", 8_000)
        for body_bytes_max in range(size - 1, size // 2, -997):
            patched.setattr(limits, "BODY_BYTES_MAX", body_bytes_max)
            made = says(four.b, C)
            assert len(messages.encode(made)) <= body_bytes_max
            assert made.push is not None and whole.push is not None
            assert 0 < len(made.push.records) < len(whole.push.records)
            assert [each.subject for each in made.councils] == [known.subject]
    hear(four.c, whole)
    hear(four.c, made)  # late, a part of what is held by now: no news, and no fault
    await four.settle_down()
    assert at(four.b, known).status == "SETTLED"
