"""What a steward may give up, and what not: the product's own drivers and storage."""

import contextlib
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import abandon, desk, market, standing, trade_escrow, trade_receipt
from edge.core import council, receipt, trade
from edge.core.council import Certificate, Value, Vote
from edge.core.trade import Proposal, Status
from edge.errors import BadProof, InvalidInput, UnknownTrade, Unreachable, WrongState
from edge.storage import councils, deciding, members, misbehaviour, trades
from edge.storage.audit import audit
from edge.storage.deals import Deal
from edge.storage.trades import Trade
from edge.storage.tx import View
from edge.web import views
from tests.simulation.test_councils import A, B, C, D, Four, accepted, at
from tests.simulation.world import Letter, Village, World

replace = msgspec.structs.replace
BY: Final = "the steward Sam"


@pytest.fixture
async def four() -> Four:
    four = Four()
    await four.settle_down()
    return four


def give_up(village: Village, known: Trade, evidence: bytes = b"", reason: str = "") -> Trade:
    read = abandon.read_evidence(evidence) if evidence else None
    ended = village.now(lambda tx: abandon.abandon(tx, at_(tx, known), BY, reason, read))
    assert not isinstance(ended, Deal)
    return ended


def at_(view: View, known: Trade) -> Trade:
    return trades.by_subject(view, known.subject)


def available(village: Village, name: str) -> dict[str, object]:
    wallet = village.look(lambda view: desk.wallet(view, members.named(view, name)))
    return {str(row["asset"]): row["available"] for row in wallet}


def file_of(village: Village, known: Trade) -> bytes:
    """Return the receipt that any seat's `export receipt` gives."""
    found = village.look(lambda view: councils.named(view, known.subject))
    return receipt.encode(village.look(lambda view: trade_receipt.of_subject(view, found)))


async def decided_without_a(four: Four) -> Trade:
    """Let the others decide on a trade that A is bound by too, and that A does not hear of."""
    known = await accepted(four)
    await four.settle_down([four.a, four.b])
    assert at(four.a, known).status is Status.HELD
    others = [four.b, four.c, four.d]
    for name in (C, D):
        await four.a.client.exchange(name)
    for _ in range(6):
        four.world.now_ms += 20_000
        for village in others:
            village.now(trade_escrow.wake)
        await four.settle_down(others)
    assert at(four.b, known).status is Status.SETTLED
    return known


# Unbound


async def test_an_own_proposal_is_withdrawn(four: Four) -> None:
    known = four.propose()
    assert available(four.a, "Alice")["AT"] == "399.00"
    ended = give_up(four.a, known, reason="she has moved away.")
    assert ended.status is Status.CANCELLED
    assert ended.reason == f"{BY} withdrew it for Alice: she has moved away"
    assert available(four.a, "Alice")["AT"] == "500.00"
    await four.settle_down()
    assert at(four.b, known).status is Status.CANCELLED
    with pytest.raises(WrongState, match="was withdrawn: nothing is set aside"):
        give_up(four.a, known)


async def test_a_proposal_to_a_member_is_declined(four: Four) -> None:
    for to_user in ("Bob", "Nobody at all"):
        known = four.propose(to_user=to_user)
        await four.settle_down()
        ended = give_up(four.b, known)
        assert (ended.status, ended.reason) == (Status.REJECTED, f"{BY} declined it for {to_user}")
        await four.settle_down()
        assert at(four.a, known).status is Status.REJECTED
    assert available(four.a, "Alice")["AT"] == "500.00"


async def test_an_acceptance_on_its_way_is_answered_with_no_hold(four: Four) -> None:
    known = four.propose()
    await four.a.client.exchange(B)
    give_up(four.a, known)
    four.accept(known)  # before B has heard of it
    await four.settle_down()
    assert at(four.a, known).status is Status.CANCELLED
    assert at(four.b, known).status is Status.ABORTED
    withdrawn = f"{A} withdrew it, or heard of the acceptance too late"
    assert at(four.b, known).reason == withdrawn
    assert available(four.b, "Bob")["SOLAR-PANEL"] == "5"
    for village in four.all:
        village.look(audit)


async def test_of_an_ended_trade_no_hold_is_said_to_be_absent(four: Four) -> None:
    known = four.propose()
    await four.a.client.exchange(B)
    give_up(four.a, known)
    four.accept(known)
    await four.settle_down([four.a, four.b])  # too few to decide
    assert at(four.b, known).status is Status.ACCEPTED
    stands = four.a.look(lambda view: standing.of(view, at_(view, known)))
    assert at(four.a, known).status is Status.CANCELLED
    assert (stands.waits_for, stands.absent_from_ms) == ("nobody: it has ended", 0)


async def test_a_trade_at_home_that_nobody_answers(four: Four) -> None:
    """What it set aside comes back, and both read who ended it, and why."""
    made = four.a.now(
        lambda tx: market.propose(
            tx, members.named(tx, "Alice"), Proposal(A, "Bob", ("AT", "1"), None)
        )
    )
    before = available(four.a, "Alice")["AT"]
    read = abandon.read_evidence(file_of(four.c, await settled_elsewhere(four)))
    with pytest.raises(WrongState, match="needs no evidence"):
        four.a.now(lambda tx: abandon.abandon(tx, made, BY, "", read))
    ended = four.a.now(lambda tx: abandon.abandon(tx, made, BY, "Bob has moved away."))
    assert isinstance(ended, Deal) and ended.status is Status.CANCELLED
    assert available(four.a, "Alice")["AT"] != before
    for name in ("Alice", "Bob"):
        member = four.a.look(lambda view: members.named(view, name))  # noqa: B023
        shown = four.a.look(lambda view: views.deal_shown(view, ended, member))  # noqa: B023
        said = "Ended: the steward Sam withdrew it for Alice: Bob has moved away."
        assert shown.sentence == said
    with pytest.raises(WrongState, match="nothing is set aside"):
        four.a.now(lambda tx: abandon.abandon(tx, ended, BY))
    four.a.look(audit)


async def settled_elsewhere(four: Four) -> Trade:
    known = await accepted(four)
    await four.settle_down()
    return known


async def test_a_village_that_only_helps_to_decide_gives_nothing_up(four: Four) -> None:
    known = await accepted(four)
    await four.b.client.exchange(C)
    said = f"only helps to decide trade {known.id}: only its two parties, {A} and {B}, can"
    with pytest.raises(WrongState, match=said):
        four.c.look(lambda view: abandon.named(view, known.id))
    with pytest.raises(UnknownTrade, match="there is no trade"):
        four.c.look(lambda view: abandon.named(view, "0" * 16))
    assert four.b.look(lambda view: abandon.named(view, known.id)).id == known.id


async def test_a_reason_is_one_line(four: Four) -> None:
    known = four.propose()
    for reason in ("two\nlines", "x" * 2_000):
        with pytest.raises(InvalidInput):
            give_up(four.a, known, reason=reason)
    assert at(four.a, known).status is Status.PENDING


# Bound


async def test_nothing_ends_a_bound_trade_without_evidence(four: Four) -> None:
    known = four.propose()
    await four.a.client.exchange(B)
    four.accept(known)
    before = available(four.b, "Bob")
    with pytest.raises(WrongState) as error:
        give_up(four.b, known)
    for said in (
        "this village is bound by it, and neither a clock nor a steward ends that",
        f"waits for the box of {A}, to show what is held to any 3 of the 4 villages {A}, {B}, ",
        f"Ask the steward of {A} if its box runs, and try again.",
        "the seats may say that it is absent from",
        "the receipt that it exports brings it here as a file",
    ):
        assert said in error.value.detail
    four.world.now_ms += 30 * 86_400_000
    with pytest.raises(WrongState, match=f"Ask the stewards of {A}, {C} and {D} if their boxes"):
        give_up(four.b, known)
    assert (at(four.b, known).status, available(four.b, "Bob")) == (Status.ACCEPTED, before)


async def test_a_receipt_of_another_seat_settles(four: Four) -> None:
    known = await decided_without_a(four)
    ended = give_up(four.a, known, file_of(four.c, known))
    assert (ended.status, ended.reason) == (Status.SETTLED, "")
    assert available(four.a, "Alice")["AT"] == "399.00"
    made = four.a.look(lambda view: trade_escrow.receipt(view, at_(view, known)))
    assert receipt.verify(made).from_village == A  # A proves it now, too
    opened = four.a.look(lambda view: councils.named(view, known.subject))
    assert opened.certificate is not None  # and passes it on
    with pytest.raises(WrongState, match="the trade is done"):
        give_up(four.a, known, file_of(four.c, known))
    await four.settle_down()
    for village in four.all:
        village.look(audit)


async def test_a_receipt_of_another_seat_releases(four: Four) -> None:
    known = await accepted(four)
    four.a.now(lambda tx: trade_escrow.cancel(tx, members.named(tx, "Alice"), at_(tx, known)))
    await four.a.client.exchange(B)
    assert at(four.b, known).status is Status.ACCEPTED
    await four.settle_down([four.a, four.c, four.d])
    file = file_of(four.d, known)
    ended = give_up(four.b, known, file)
    assert ended.status is Status.ABORTED
    assert ended.reason == f"{A} withdrew it, or heard of the acceptance too late"
    assert available(four.b, "Bob")["SOLAR-PANEL"] == "5"
    await four.settle_down()
    for village in four.all:
        village.look(audit)


async def test_two_parties_alone() -> None:
    """The one who knows how it ended writes a file; the other ends it with that."""
    world = World(1)
    a, b = world.village(A), world.village(B)
    world.befriend(a, b)
    for village, name in ((a, "Alice"), (b, "Bob")):
        village.now(lambda tx: desk.add_member(tx, name, "-"))  # noqa: B023
    a.now(lambda tx: desk.issue(tx, "Alice", "500"))
    b.now(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "5"))
    asked = Proposal(B, "Bob", ("AT", "100"), ("Solar Panel", "1"))
    await a.client.exchange(B)
    await b.client.exchange(A)
    known = a.now(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), asked))
    await a.client.exchange(B)
    b.now(lambda tx: trade_escrow.accept(tx, members.named(tx, "Bob"), at_(tx, known)))
    with pytest.raises(
        WrongState, match=f"It waits for the box of {A}. (The other boxes|Ask the steward of {A})"
    ):
        give_up(b, known)
    deliver = world.deliver

    async def lose_the_answer(letter: Letter) -> bytes:
        await deliver(letter)
        raise Unreachable("the answer was lost")

    world.deliver = lose_the_answer  # type: ignore[method-assign]
    for _ in range(8):
        for one, other in ((b, A), (a, B)):
            if {at(a, known).status, at(b, known).status}.isdisjoint({Status.SETTLED}):
                with contextlib.suppress(Unreachable):
                    await one.client.exchange(other)
    ended, waits = (a, b) if at(a, known).status is Status.SETTLED else (b, a)
    assert (at(ended, known).status, at(waits, known).status) == (Status.SETTLED, Status.HELD)
    made = ended.look(lambda view: trade_escrow.receipt(view, at_(view, known)))
    assert give_up(waits, known, receipt.encode(made)).status is Status.SETTLED
    for village in (a, b):
        village.look(audit)


# Evidence that is none


async def test_evidence_that_does_not_hold(four: Four) -> None:
    known = await decided_without_a(four)
    whole = receipt.decode(file_of(four.c, known))
    certificate = whole.certificate
    seats = {each.name: each for each in four.all}

    def votes(round_: int, villages: str, value: Value = "COMMIT") -> tuple[tuple[str, bytes], ...]:
        place = known.terms.network, known.subject, round_
        message = council.vote_bytes(*place, "precommit", value)
        named = [name for name in seats if name[4] in villages]
        return tuple((name, seats[name].key.sign(message)) for name in named)

    def changed(**fields: Any) -> bytes:
        return receipt.encode(replace(whole, **fields))

    for file, said in (
        (changed(certificate=Certificate("COMMIT", 0, votes(0, "ab"))), "2 votes of 3 needed"),
        (changed(certificate=Certificate("COMMIT", 0, votes(0, "ab") + votes(1, "c"))), "of ose-c"),
        (changed(certificate=Certificate("COMMIT", 1, votes(0, "abc"))), "vote of ose-a"),
        (changed(certificate=Certificate("ABORT", 0, votes(0, "abc"))), "vote of ose-a"),
        (changed(certificate=Certificate("COMMIT", 0, votes(0, "aab") * 2)), "a seat twice"),
        (changed(evidence=whole.evidence[:1]), "shows the holds of both villages"),
        (changed(evidence=whole.evidence * 4), "more evidence than"),
        (changed(to_signature=bytes(64)), "does not hold"),
        (changed(format="village-edge/receipt/v2"), "not of the form"),
        (changed(certificate=replace(certificate, precommits=())), "0 votes of 3"),
    ):
        with pytest.raises(BadProof, match=said):
            give_up(four.a, known, file)
        assert at(four.a, known).status is Status.HELD


async def test_the_receipt_of_another_trade(four: Four) -> None:
    first = await decided_without_a(four)
    other = await accepted(four)
    await four.settle_down([four.a, four.b])
    with pytest.raises(BadProof, match=f"the receipt of another trade, {first.id}"):
        give_up(four.a, other, file_of(four.c, first))
    assert at(four.a, other).status is Status.HELD


async def test_evidence_that_this_box_was_set_back(four: Four) -> None:
    """It is not bound as far as it knows, and the others have seen its hold."""
    known = await decided_without_a(four)
    read = abandon.read_evidence(file_of(four.c, known))
    before = replace(at(four.a, known), status=Status.PENDING, certificate=None)
    with pytest.raises(WrongState, match="it was set back to an old copy"):
        four.a.now(lambda tx: abandon.abandon(tx, before, BY, "", read))


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\n",
        b"{}",
        b"null",
        b"\0",
        b"[" * 100_000,
        b'{"format":' * 20_000,
        b'{"format":"village-edge/receipt/v1"}',
        b"9" * 100_000,
        b"x" * (receipt.RECEIPT_BYTES_MAX + 1),
        b"\xff\xfe",
    ],
)
def test_files_that_are_no_receipts(file: bytes) -> None:
    with pytest.raises(InvalidInput):
        abandon.read_evidence(file)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_receipt_or_refused(file: bytes) -> None:
    with pytest.raises((InvalidInput, BadProof)):
        abandon.read_evidence(file)


async def test_any_changed_letter_spoils_a_receipt(four: Four) -> None:
    known = await decided_without_a(four)
    file = file_of(four.c, known).rstrip(b"\n")
    for place in range(0, len(file), 97):
        letter = b"A" if file[place] != ord("A") else b"B"
        with pytest.raises((InvalidInput, BadProof)):
            give_up(four.a, known, file[:place] + letter + file[place + 1 :])
    assert at(four.a, known).status is Status.HELD


# How it stands


async def test_how_a_trade_stands_at_a_party_and_at_a_seat(four: Four) -> None:
    known = four.propose()
    stands = four.a.look(lambda view: standing.of(view, at_(view, known)))
    assert (stands.evidence, stands.absent_from_ms) == ("none: nobody is bound", 0)
    await four.a.client.exchange(B)
    four.accept(known)
    await four.b.client.exchange(C)
    stands = four.b.look(lambda view: standing.of(view, at_(view, known)))
    assert stands.evidence == f"no hold of {A} yet; the hold of {B}, not proven yet"
    [opened] = four.c.look(lambda view: deciding.page(view, 10))
    stands = four.c.look(lambda view: standing.of_subject(view, opened))
    assert stands.evidence == f"no hold of {A} yet; the hold of {B}, not proven yet"
    minute = known.terms.deadline_minute
    assert stands.absent_from_ms == minute * 60_000 + councils.ABSENT_AFTER_MS
    said = f"Not decided yet. It waits for the boxes of {A} and {B}, to show what is held to any"
    assert said in standing.in_words(stands)
    await four.settle_down()
    [opened] = four.c.look(lambda view: deciding.page(view, 10))
    stands = four.c.look(lambda view: standing.of_subject(view, opened))
    assert (stands.decided, stands.waits_for) == ("COMMIT", "nobody: it is decided")
    assert stands.evidence.startswith("the decision, signed by ose-")
    assert standing.in_words(stands) == "Decided: carried out."


async def test_a_hold_that_was_never_shown_waits_for_its_box(four: Four) -> None:
    """The proposer's box holds its side while the two others are away, and then dies."""
    known = await accepted(four)
    await four.settle_down([four.a, four.b])
    assert (at(four.a, known).status, at(four.b, known).status) == (Status.HELD, Status.HELD)
    others = [four.b, four.c, four.d]
    await four.settle_down(others)
    assert at(four.b, known).status is Status.HELD
    absent_ms = known.terms.deadline_minute * 60_000 + councils.ABSENT_AFTER_MS
    after = views.local_time(absent_ms).text
    deciding_ = f"any 3 of the 4 villages {A}, {B}, {C} and {D}"
    stands = four.b.look(lambda view: standing.of(view, at_(view, known)))
    waits = f"the box of {A}, to show what is held to {deciding_}"
    assert (stands.waits_for, stands.absent_from_ms) == (waits, absent_ms)
    shown = four.b.look(lambda view: views.shown(view, at_(view, known), absent_ms))
    assert (
        f"Waiting for the box of {A} to show what is held there to the other villages. If it does "
        f"not come back, this ends by itself soon after {after}, once {deciding_} have reached "
        "each other, and what is held comes back"
    ) in shown.sentence
    assert "decide it together" not in shown.sentence
    [opened] = four.c.look(lambda view: deciding.page(view, 1))
    assert four.c.look(lambda view: standing.of_subject(view, opened)).waits_for == waits
    four.world.now_ms = absent_ms
    for _ in range(6):
        four.world.now_ms += 20_000
        for village in others:
            village.now(trade_escrow.wake)
        await four.settle_down(others)
    assert at(four.b, known).status is Status.ABORTED
    assert at(four.b, known).reason == "the holds of both villages were not shown in time"
    assert available(four.b, "Bob")["SOLAR-PANEL"] == "5"


async def test_holds_that_are_proven_wait_for_any_of_the_villages(four: Four) -> None:
    known = await accepted(four)
    await four.settle_down()
    bound = replace(at(four.a, known), status=Status.HELD)
    for village in four.all:
        lacking = village.look(lambda view: standing.missing(view, known.subject, known.terms))
        assert lacking == ()
    waits = f"any 3 of the 4 villages {A}, {B}, {C} and {D} to reach each other"
    assert standing.waits_for(bound, lacking) == waits
    shown = four.a.look(lambda view: views.shown(view, bound, four.a.clock_ms()))
    why = four.a.look(lambda view: abandon.why_not(view, bound, four.a.clock_ms()))
    assert "The other boxes were all heard from within the last 2 minutes: try again soon." in why
    assert "absent" not in why
    assert "decide it together" in shown.sentence and "come back" not in shown.sentence


async def test_what_a_seat_decides_is_found_page_by_page(four: Four) -> None:
    subjects = []
    for _ in range(3):
        known = await accepted(four)
        subjects.append(known.subject)
    await four.settle_down()
    late = await accepted(four)
    await four.b.client.exchange(C)
    everything = four.c.look(lambda view: deciding.page(view, 10))
    assert (everything[0].id, len(everything)) == (late.subject, 4)
    assert {each.id for each in everything[1:]} == set(subjects)
    assert [e.id for e in four.c.look(lambda view: deciding.page(view, 9, None, False))] == [
        late.subject
    ]
    pages, before = [], None
    while page := four.c.look(lambda view: deciding.page(view, 2, before, True)):  # noqa: B023
        pages += [each.id for each in page]
        before = (page[-1].opened_ms, page[-1].id)
    assert pages == [each.id for each in everything[1:]]
    assert four.c.look(deciding.count_undecided) == 1
    for village in (four.a, four.b):  # their own are no trades of others
        assert village.look(lambda view: deciding.page(view, 10)) == []
        with pytest.raises(UnknownTrade):
            village.look(lambda view: deciding.named(view, late.id))
    assert four.c.look(lambda view: deciding.named(view, late.id[:6])).id == late.subject
    for id_ in ("", "abc", "0" * 16, "x" * 16, "f" * 65):
        with pytest.raises(UnknownTrade):
            four.c.look(lambda view: deciding.named(view, id_))  # noqa: B023


async def test_misbehaviour_is_found(four: Four) -> None:
    known = await accepted(four)
    await four.b.client.exchange(C)
    opened = four.c.look(lambda view: councils.named(view, known.subject))

    def say(value: Value) -> Vote:
        message = council.vote_bytes(known.terms.network, known.subject, 0, "prevote", value)
        return Vote(D, 0, "prevote", value, four.d.key.sign(message))

    for value in ("COMMIT", "ABORT"):
        four.c.now(lambda tx: councils.keep_vote(tx, councils.held(tx, opened), say(value)))  # noqa: B023
    [found] = four.c.look(lambda view: misbehaviour.everything(view, 9))
    assert (found.village, trade.id_of(found.subject)) == (D, known.id)
