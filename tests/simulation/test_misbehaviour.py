"""What a village has done against the rules is found, kept, passed on once, and costs it its seat
in new councils, and nothing else."""

from typing import Any, Final

import msgspec
import pytest

from edge import desk, trade_escrow
from edge import misbehaviour as driver
from edge.core import limits, misbehaviour, records
from edge.core.council import Certificate, Value, Vote
from edge.core.messages import Proofs
from edge.core.trade import Proposal
from edge.errors import WrongState
from edge.exchange import compose, receive
from edge.storage import councils, members, neighbours, trades
from edge.storage import misbehaviour as kept
from edge.storage.trades import Trade
from edge.storage.tx import Tx
from tests.simulation.council_liar import Tongue
from tests.simulation.test_councils import A, B, C, D, Four, accepted, agree, at
from tests.simulation.world import Village


@pytest.fixture
async def four() -> Four:
    made = Four()
    await made.settle_down()
    return made


WORDS: Final[tuple[Value | None, ...]] = ("COMMIT", None)


def tongue(four: Four, village: Village) -> Tongue:
    return Tongue(village.name, village.key, village.rng, (), 1.0, four.world.note)


def equivocate(four: Four, known: Trade, hearer: Village) -> None:
    """D says two things in one round and step, to one seat alone."""
    opened = hearer.look(lambda view: councils.named(view, known.subject))
    liar = tongue(four, four.d)
    for value in WORDS:
        vote = liar.vote(opened, 0, "prevote", value)
        hearer.now(lambda tx, vote=vote: keep(tx, opened, vote))  # type: ignore[misc]


def keep(tx: Tx, opened: councils.Opened, vote: Vote) -> None:
    councils.keep_vote(tx, councils.held(tx, opened), vote)


def known_of(village: Village) -> list[kept.Known]:
    return village.look(lambda view: kept.everything(view, 100))


def heard(village: Village, sender: str, proofs: Any) -> None:
    """Take in an exchange in which a neighbour passes these on."""
    sent = village.world.villages[sender]
    made = sent.look(lambda view: compose(view, trade_escrow, village.name, (), 0))
    message = msgspec.structs.replace(made.message, misbehaviour=proofs)
    village.now(lambda tx: receive(tx, trade_escrow, message, None))


async def proven(four: Four) -> Trade:
    """D has lied to B alone, of a trade that is decided: it is not spoken of any more."""
    known = await accepted(four)
    await four.settle_down()
    equivocate(four, known, four.b)
    return known


# Passed on


async def test_it_is_passed_on_and_once(four: Four, caplog: pytest.LogCaptureFixture) -> None:
    known = await proven(four)
    await four.b.client.exchange(A)
    await four.a.client.exchange(C)
    assert [each.source for each in known_of(four.a)] == [B]
    assert [each.source for each in known_of(four.c)] == [A]
    await four.settle_down()
    for village in (four.a, four.b, four.c):
        assert [(each.subject, each.village) for each in known_of(village)] == [(known.subject, D)]
        for other in (each for each in four.all if each is not village):
            said = village.look(lambda view, other=other: driver.speak(view, other.name))  # type: ignore[misc]
            assert said is msgspec.UNSET or not said.said
    assert known_of(four.d) == []
    lines = [each.getMessage() for each in caplog.records if "broken the rules" in each.message]
    assert sorted(lines) == sorted(
        f"{D} has broken the rules of councils: it signed two different votes where it may only"
        f" cast one{source}"
        for source in ("", f" (heard from {A})", f" (heard from {B})")
    )
    agree(*four.all)


async def test_a_lost_answer_is_said_again(four: Four) -> None:
    """Until the neighbour says that it has heard: also by answers alone."""
    await proven(four)
    for _ in range(3):
        made = four.b.look(lambda view: compose(view, trade_escrow, C, (), 0))
        assert isinstance(made.message.misbehaviour, Proofs)
        assert len(made.message.misbehaviour.said) == 1
    four.world.only_dialler = C
    await four.c.client.exchange(B)
    assert len(known_of(four.c)) == 1
    await four.c.client.exchange(B)
    assert four.b.look(lambda view: driver.speak(view, C)) is msgspec.UNSET


async def test_a_bad_proof_spoils_nothing(four: Four) -> None:
    await proven(four)
    said = four.b.look(lambda view: driver.speak(view, A))
    assert isinstance(said, Proofs)
    [proof] = said.said
    text = bytes(proof)
    other = misbehaviour.decode(text)
    bad = [
        b"1",
        b'{"format":"village-edge/misbehaviour/v9","of":"the future"}',
        text.replace(b'"village":"ose-d-001"', b'"village":"ose-c-001"'),
        misbehaviour.encode(msgspec.structs.replace(other, votes=other.votes[:1] * 2)),
    ]
    before = four.a.look(lambda view: neighbours.named(view, C)).last_contact_ms
    for each in bad:
        four.world.now_ms += 60_000
        heard(four.a, C, Proofs(0, 1, (msgspec.Raw(each), msgspec.Raw(b"[]"))))
    assert known_of(four.a) == []
    assert four.a.look(lambda view: neighbours.named(view, C)).last_contact_ms > before
    heard(four.a, C, Proofs(0, 1, (msgspec.Raw(b"{}"), proof)))
    assert len(known_of(four.a)) == 1


async def test_only_so_many_of_a_message_are_looked_at(four: Four) -> None:
    await proven(four)
    said = four.b.look(lambda view: driver.speak(view, A))
    assert isinstance(said, Proofs)
    none = (msgspec.Raw(b"{}"),) * limits.MISBEHAVIOUR_PER_MESSAGE_MAX
    heard(four.a, C, Proofs(0, 1, (*none, *said.said)))
    assert known_of(four.a) == []


async def test_so_much_is_kept_of_one_village(four: Four) -> None:
    """A village that accuses itself without end fills nobody's disk."""
    four.a.now(lambda tx: desk.issue(tx, "Alice", "500"))
    four.b.now(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "5"))
    known = [await accepted(four) for _ in range(limits.MISBEHAVIOUR_PER_VILLAGE_MAX + 2)]
    for each in known:
        equivocate(four, each, four.b)
    await four.settle_down()
    for village in (four.a, four.b, four.c):
        assert len(known_of(village)) == limits.MISBEHAVIOUR_PER_VILLAGE_MAX
    agree(*four.all)


async def test_another_key_under_a_villages_name_accuses_nobody(four: Four) -> None:
    """Anybody can make up terms in which a village has a key of his own."""
    known = await proven(four)
    said = four.b.look(lambda view: driver.speak(view, A))
    assert isinstance(said, Proofs)
    four.a.conn.execute("UPDATE neighbour SET public_key = ? WHERE village = ?", (bytes(32), D))
    heard(four.a, C, Proofs(0, 1, said.said))
    assert (known_of(four.a), at(four.a, known).status) == ([], "SETTLED")


# What it costs


async def test_a_proven_liar_gets_no_seat_in_new_councils(four: Four) -> None:
    known = await proven(four)
    await four.settle_down()
    assert {at(four.a, known).status, at(four.b, known).status} == {"SETTLED"}  # as it was agreed
    assert four.a.look(lambda view: neighbours.named(view, D)).trouble == ""
    later = four.propose()
    assert [seat.village for seat in later.terms.seats] == [A, B]
    with_liar = four.a.now(
        lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), _offer_to(D), from_fee=0)
    )
    assert [seat.village for seat in with_liar.terms.seats] == [A, D, B, C]


async def test_who_has_not_heard_of_it_is_refused_until_it_has(four: Four) -> None:
    """A proposes with a seat for D; B knows better, and tells A so with the refusal."""
    await proven(four)
    later = four.propose()
    assert D in {seat.village for seat in later.terms.seats}
    await four.a.client.exchange(B)
    with pytest.raises(WrongState, match=f"{D} .* has broken the rules of councils"):
        four.accept(later)
    assert four.propose().terms.seats == later.terms.seats[:2]


def _offer_to(village: str) -> Proposal:
    return Proposal(village, "Bob", ("AT", "1"), None)


# What stands in a log


async def test_a_settle_without_certificate_is_found_in_the_log(four: Four) -> None:
    known = await accepted(four)
    end = records.SettleRecord(
        four.world.now_ms // 60_000, known.subject, Certificate("COMMIT", 0, ())
    )
    four.b.now(lambda tx: tx.append(end))
    await four.b.client.exchange(C)
    [found] = known_of(four.c)
    assert (found.village, found.what, found.source) == (B, "end without certificate", "")
    await four.c.client.exchange(D)
    assert [each.village for each in known_of(four.d)] == [B]


async def test_a_hold_and_a_no_hold_are_found_in_the_log(four: Four) -> None:
    known = await accepted(four)
    await four.settle_down((four.a, four.b))
    held = at(four.a, known)
    assert held.to_signature is not None
    terms = msgspec.Raw(held.terms_bytes)
    said = records.NoHoldRecord(
        four.world.now_ms // 60_000, terms, held.from_signature, held.to_signature
    )
    four.a.now(lambda tx: tx.append(said))
    await four.a.client.exchange(C)
    [found] = known_of(four.c)
    assert (found.village, found.what) == (A, "hold and no-hold")
    exported = four.c.look(driver.export)
    assert [each.village for each in misbehaviour.verify_list(exported)] == [A]


async def test_what_honest_villages_do_is_none(four: Four) -> None:
    """Settles that come before their certificates are heard of, and releases, included."""
    for _ in range(3):
        await accepted(four)
    withdrawn = await accepted(four)
    four.a.now(
        lambda tx: trade_escrow.cancel(
            tx, members.named(tx, "Alice"), trades.by_subject(tx, withdrawn.subject)
        )
    )
    await four.settle_down()
    assert at(four.b, withdrawn).status == "ABORTED"
    examined = four.c.look(lambda view: view.all("SELECT examined FROM neighbour"))
    assert all(size for (size,) in examined)
    assert [known_of(village) for village in four.all] == [[], [], [], []]
