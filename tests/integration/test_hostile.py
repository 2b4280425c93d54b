"""A lying neighbour against an honest village: what it says of trades, and what its members are not
allowed. Each lie has its error, and changes nothing; none stops the box."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from edge import desk, trade_escrow
from edge.core import council, crypto, limits, messages, receipt, records, trade
from edge.core.council import Certificate, Seat
from edge.core.messages import CosignatureLine, Exchange, Names, SubjectMessage
from edge.core.trade import Quantity, Terms
from edge.errors import (
    BadProof,
    BadSignature,
    BoxError,
    Conflict,
    Forbidden,
    InvalidAmount,
    InvalidInput,
    LimitExceeded,
    Malformed,
    TooLarge,
    TooMany,
    UnknownAsset,
    UnknownNeighbour,
    UnknownVillage,
    WrongState,
    WrongVersion,
)
from edge.storage import audit, ledger, members, trades
from tests.integration.liar import (
    HONEST,
    HUNDRED,
    LIAR,
    PANEL,
    Liar,
    accept,
    alice,
    copied,
    digest,
    honest_village,
    look_at,
    own_kinds,
    propose,
    the_trade,
    trouble,
)
from tests.simulation.world import Village

Lie = Callable[[Liar], object]
STRANGER = crypto.SecretKey(bytes(range(32)))


@pytest.fixture
def honest() -> Village:
    return honest_village()


@pytest.fixture
def liar(honest: Village) -> Liar:
    return Liar(honest)


@contextmanager
def refused(village: Village, error: type[BoxError], text: str | None = None) -> Iterator[None]:
    """What is done in here fails with exactly this error, and changes nothing."""
    before = digest(village)
    with pytest.raises(BoxError, match=text) as caught:
        yield
    assert (type(caught.value), caught.value.slug) == (error, error.slug)
    assert digest(village) == before


def counters(
    village: Village, account: str = "member:1", asset: str = "AT"
) -> tuple[int, int, int]:
    """Return balance, pending debits and reserved."""
    has = village.look(lambda view: ledger.balances(view, account).get(asset))
    return (has.balance, has.debits_pending, has.reserved) if has else (0, 0, 0)


# The message as a whole


def body_of(liar: Liar, **changes: Any) -> bytes:
    return messages.encode(msgspec.structs.replace(liar.message(), **changes))


ENVELOPES: dict[str, tuple[type[BoxError], Lie]] = {
    "another network": (Malformed, lambda it: it.say(network=bytes(32))),
    "not a neighbour": (UnknownVillage, lambda it: it.say(sender="ose-nowhere-001")),
    "a sender with no village's name": (UnknownVillage, lambda it: it.say(sender="\x1b[2J" * 30)),
    "another sender than the signer": (Malformed, lambda it: it.say(sign_as="ose-nowhere-001")),
    "the honest village as sender": (UnknownVillage, lambda it: it.say(sender=HONEST)),
    "another version": (WrongVersion, lambda it: it.say(protocol=2)),
    "a negative have": (Malformed, lambda it: it.say(have=-1)),
    "an enormous have": (Malformed, lambda it: it.say(have=10**30)),
    "an enormous entry stamp": (Malformed, lambda it: it.say(entry_stamp_ms=10**30)),
    "a negative entry stamp": (Malformed, lambda it: it.say(entry_stamp_ms=-1)),
    "an enormous cosigned size": (
        Malformed,
        lambda it: it.say(cosignature=CosignatureLine(10**30, "— a b\n")),
    ),
    "no JSON": (Malformed, lambda it: it.send(b"\xff\xfe")),
    "JSON of something else": (Malformed, lambda it: it.send(b'["protocol"]')),
    "cut short": (Malformed, lambda it: it.send(body_of(it)[:-9])),
    "an unknown field": (Malformed, lambda it: it.send(b'{"x":1,' + body_of(it)[1:])),
    "deeper than any message": (
        Malformed,
        lambda it: it.send(b'{"protocol":1,"sender":' + b"[" * 9_999 + b"]" * 9_999 + b"}"),
    ),
    "a number with ten thousand digits": (
        Malformed,
        lambda it: it.send(b'{"protocol":1,"have":' + b"9" * 10_000 + b"}"),
    ),
    "an enormous body": (TooLarge, lambda it: it.send(b" " * (limits.BODY_BYTES_MAX + 1))),
    "too many trades": (TooLarge, lambda it: it.say(*[it.proposal()] * 65)),
    "too many votes": (
        TooLarge,
        lambda it: it.say(
            it.proposal(votes=(council.Vote(LIAR, 0, "precommit", "ABORT", b""),) * 15)
        ),
    ),
    "another village's entry": (
        BadSignature,
        lambda it: it.say(entry=it.entry(village_id="ose-nowhere-001")),
    ),
    "an altered entry": (
        BadSignature,
        lambda it: it.say(entry=msgspec.structs.replace(it.entry(), name="Somewhere else")),
    ),
    "an entry with a terminal's commands in its name": (
        Malformed,
        lambda it: it.say(entry=it.entry(name="\x1b[2J", stamp_ms=2**52)),
    ),
    "an entry of the end of time": (Malformed, lambda it: it.say(entry=it.entry(stamp_ms=2**60))),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_message_that_is_not_one(honest: Village, liar: Liar, name: str) -> None:
    error, lie = ENVELOPES[name]
    with refused(honest, error):
        lie(liar)


# Proposals


def text_of(terms: Terms) -> bytes:
    return trade.encode_terms(terms)


def raw(liar: Liar, text: bytes, key: crypto.SecretKey | None = None) -> SubjectMessage:
    signature = (key or liar.key).sign(text)
    return SubjectMessage(msgspec.Raw(text), signature, Names("Bob", "Alice"))


def seats(liar: Liar, *more: Seat, ours: bytes = b"", theirs: bytes = b"") -> tuple[Seat, ...]:
    return (
        Seat(LIAR, theirs or liar.key.public),
        Seat(HONEST, ours or liar.honest.key.public),
        *more,
    )


TERMS: dict[str, tuple[type[BoxError], Callable[[Liar], dict[str, Any]]]] = {
    "another network": (Malformed, lambda it: {"network": bytes(32)}),
    "another charter": (Malformed, lambda it: {"charter": bytes(32)}),
    "another context": (Malformed, lambda it: {"context": "village-edge/vote/v1"}),
    "a third seat": (Malformed, lambda it: {"seats": seats(it, Seat("ose-x-001", bytes(32)))}),
    "one seat": (Malformed, lambda it: {"seats": seats(it)[:1]}),
    "seats in another order": (Malformed, lambda it: {"seats": seats(it)[::-1]}),
    "another key for the honest seat": (
        Malformed,
        lambda it: {"seats": seats(it, ours=STRANGER.public)},
    ),
    "another key for its own seat": (
        Malformed,
        lambda it: {"seats": seats(it, theirs=STRANGER.public)},
    ),
    "one key in two seats": (Malformed, lambda it: {"seats": seats(it, ours=it.key.public)}),
    "another party": (Malformed, lambda it: {"to_village": "ose-nowhere-001"}),
    "another proposer": (Malformed, lambda it: {"from_village": "ose-nowhere-001"}),
    "a trade with itself": (Malformed, lambda it: {"to_village": LIAR}),
    "a party that is no village": (Malformed, lambda it: {"to_village": "x" * 64}),
    "an id with control characters": (Malformed, lambda it: {"trade_id": "a\n\x1b[31m"}),
    "an id too long": (Malformed, lambda it: {"trade_id": "a" * 65}),
    "nothing offered": (Malformed, lambda it: {"offer": Quantity("SOLAR-PANEL", "resource", 0, 0)}),
    "less than nothing": (Malformed, lambda it: {"request": Quantity("AT", "token", 2, -1)}),
    "an enormous amount": (
        Malformed,
        lambda it: {"offer": Quantity("GOLD", "resource", 0, 10**18)},
    ),
    "an amount beyond 64 bits": (
        Malformed,
        lambda it: {"offer": Quantity("GOLD", "resource", 0, 10**40)},
    ),
    "AT with three decimals": (Malformed, lambda it: {"request": Quantity("AT", "token", 3, 1)}),
    "AT as a resource": (Malformed, lambda it: {"request": Quantity("AT", "resource", 2, 1)}),
    "another token": (Malformed, lambda it: {"offer": Quantity("GOLD", "token", 2, 1)}),
    "seven decimals": (Malformed, lambda it: {"offer": Quantity("GOLD", "resource", 7, 1)}),
    "a code in small letters": (
        Malformed,
        lambda it: {"offer": Quantity("gold", "resource", 0, 1)},
    ),
    "a code too long": (Malformed, lambda it: {"offer": Quantity("G" * 33, "resource", 0, 1)}),
    "the same asset twice": (Malformed, lambda it: {"offer": HUNDRED}),
    "a negative fee": (Malformed, lambda it: {"to_fee": -1}),
    "an enormous fee": (Malformed, lambda it: {"to_fee": 10**18}),
    "no deadline": (Malformed, lambda it: {"deadline_minute": 0}),
    "a deadline beyond time": (Malformed, lambda it: {"deadline_minute": 2**40}),
    "a deadline beyond numbers": (Malformed, lambda it: {"deadline_minute": 10**40}),
    "no window": (Malformed, lambda it: {"window_s": 0}),
    "a short nonce": (Malformed, lambda it: {"nonce": b""}),
    "a refund of half a trade": (Malformed, lambda it: {"refund_of": bytes(16)}),
}


@pytest.mark.parametrize("name", TERMS)
def test_a_proposal_on_terms_that_are_none(honest: Village, liar: Liar, name: str) -> None:
    error, changes = TERMS[name]
    with refused(honest, error):
        liar.say(liar.proposal(liar.terms(**changes(liar))))


PROPOSALS: dict[str, tuple[type[BoxError], Callable[[Liar], SubjectMessage]]] = {
    "not signed": (BadSignature, lambda it: it.proposal(from_signature=b"")),
    "signed with nothing": (BadSignature, lambda it: it.proposal(from_signature=bytes(64))),
    "signed by a stranger": (BadSignature, lambda it: raw(it, text_of(it.terms()), STRANGER)),
    "signed in the honest village's name": (
        BadSignature,
        lambda it: raw(
            it,
            text_of(it.terms(from_village=HONEST, to_village=LIAR, seats=seats(it)[::-1])),
        ),
    ),
    "altered after it was signed": (
        BadSignature,
        lambda it: msgspec.structs.replace(
            it.proposal(),
            terms=msgspec.Raw(text_of(it.terms(request=Quantity("AT", "token", 2, 1)))),
        ),
    ),
    "with spaces in the terms": (
        Malformed,
        lambda it: raw(it, text_of(it.terms()).replace(b'"from_fee":0', b'"from_fee": 0')),
    ),
    "with a field twice": (
        Malformed,
        lambda it: raw(
            it, text_of(it.terms()).replace(b'"from_fee":0', b'"from_fee":9,"from_fee":0')
        ),
    ),
    "with a field too many": (
        Malformed,
        lambda it: raw(it, text_of(it.terms())[:-1] + b',"more":1}'),
    ),
    "terms that are a number": (Malformed, lambda it: raw(it, b"7")),
    "terms too long": (TooLarge, lambda it: raw(it, b'"' + b"x" * 9_000 + b'"')),
    "a name with control characters": (
        Malformed,
        lambda it: it.proposal(names=Names("Bob\x1b[2J", "Alice")),
    ),
    "a name that turns the line around": (
        Malformed,
        lambda it: it.proposal(names=Names("Bob", "Al\u202eice")),
    ),
    "a name too long": (Malformed, lambda it: it.proposal(names=Names("B" * 61, "Alice"))),
    "rejected by who proposes it": (Malformed, lambda it: it.proposal(withdrawn="rejected")),
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_a_proposal_that_is_none(honest: Village, liar: Liar, name: str) -> None:
    error, lie = PROPOSALS[name]
    with refused(honest, error):
        liar.say(lie(liar))


def test_one_bad_proposal_undoes_the_whole_message(honest: Village, liar: Liar) -> None:
    """And what was good in it may come again."""
    liar.append(records.AssetRecord(liar.minute, "HONEY", "resource", 1))
    with refused(honest, BadSignature):
        liar.say(liar.proposal(), liar.proposal(liar.terms(trade_id="b"), from_signature=b""))
    liar.say(liar.proposal())
    assert the_trade(honest).status == "PENDING"


def test_the_same_id_with_other_terms(honest: Village, liar: Liar) -> None:
    liar.say(liar.proposal())
    with refused(honest, Conflict, "a-trade"):
        liar.say(liar.proposal(liar.terms(nonce=bytes(15) + b"x")))


def test_a_proposal_said_again_changes_nothing(honest: Village, liar: Liar) -> None:
    liar.say(liar.proposal())
    before = the_trade(honest)
    liar.say(liar.proposal(), liar.proposal())
    liar.say(liar.proposal(to_user="Carol"))
    after = msgspec.structs.replace(the_trade(honest), told=before.told)
    assert after == before


def test_whether_a_member_exists_cannot_be_told_from_the_answers() -> None:
    """Not at the proposal, not later, and not by who may accept it."""
    answers = []
    for to_user in ("Alice", "Zoe", ""):
        honest = honest_village()
        liar = Liar(honest)
        known = [liar.say(liar.proposal(to_user=to_user)), liar.say(liar.proposal(to_user=to_user))]
        honest.world.now_ms += 8 * limits.DAY_MS
        honest.now(trade_escrow.expire)
        answers.append([*known, liar.say()])
    assert answers[0] == answers[1] == answers[2]
    assert [len(each.subjects) for each in answers[0]] == [1, 1, 1]


def test_a_deadline_that_only_another_clock_allows(honest: Village, liar: Liar) -> None:
    """It is declined, not refused: all else in the message is heard."""
    far = liar.terms(trade_id="far", deadline_minute=liar.minute + 9 * 1_440)
    past = liar.terms(trade_id="past", deadline_minute=liar.minute - 1)
    answer = liar.say(liar.proposal(far), liar.proposal(past), liar.proposal())
    assert [each.withdrawn for each in answer.subjects] == ["rejected", "expired", None]


def test_more_proposals_than_a_village_keeps_open(
    honest: Village, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OPEN_TRADES_PER_NEIGHBOUR_MAX", 3)
    for number in range(6):
        liar.say(liar.proposal(liar.terms(trade_id=f"t{number}")))
    answer = liar.say(liar.proposal(liar.terms(trade_id="t6")))
    assert (answer.subjects, len(honest.look(trades.everyone))) == ((), 6)  # it may say it again
    for _ in range(3):
        propose(honest, request=("Solar Panel", "1"), offer=("AT", "1"))
    with refused(honest, TooMany, "too many proposals to"):
        propose(honest, offer=("AT", "1"))
    liar.say(liar.proposal(liar.terms(trade_id="t0"), withdrawn="cancelled"))
    liar.say(liar.proposal(liar.terms(trade_id="t6")))


# Acceptances, votes and certificates: the honest village has proposed


@pytest.fixture
def proposed(honest: Village, liar: Liar) -> trades.Trade:
    """Alice's proposal, which the liar has heard of."""
    liar.say()
    known = propose(honest)
    liar.say()
    return look_at(honest, known)


@pytest.fixture
def held(honest: Village, liar: Liar, proposed: trades.Trade) -> trades.Trade:
    """The same, held by both; the liar has not voted."""
    liar.hold(proposed)
    liar.say(liar.about(proposed))
    liar.say(liar.about(proposed))
    found = look_at(honest, proposed)
    assert (found.status, counters(honest)) == ("HELD", (500_00, 101_00, 0))
    return found


def test_the_liar_can_be_truthful(honest: Village, liar: Liar, held: trades.Trade) -> None:
    """Then the trade settles: what is refused elsewhere is not refused for its form."""
    liar.say(liar.about(held, votes=(liar.vote(held, "COMMIT"),)))
    settled = look_at(honest, held)
    assert (settled.status, counters(honest)) == ("SETTLED", (399_00, 0, 0))
    made = honest.look(lambda view: trade_escrow.receipt(view, settled))
    receipt.verify(receipt.decode(receipt.encode(made)))
    honest.look(audit.audit)


@pytest.mark.parametrize("signature", [b"", bytes(64), STRANGER.sign(b"terms")])
def test_an_acceptance_that_is_not_signed(
    honest: Village, liar: Liar, proposed: trades.Trade, signature: bytes
) -> None:
    """It is no acceptance, and does not keep a true one from being heard."""
    liar.hold(proposed, to_signature=signature)
    liar.say(liar.about(proposed))
    trade_is_open(honest, proposed)
    liar.hold(proposed)
    liar.say(liar.about(proposed))
    assert look_at(honest, proposed).status == "HELD"
    honest.look(audit.audit)


def trade_is_open(honest: Village, known: trades.Trade) -> None:
    assert (look_at(honest, known).status, counters(honest)) == ("PENDING", (500_00, 0, 101_00))


def test_an_acceptance_of_other_terms_binds_nobody(
    honest: Village, liar: Liar, proposed: trades.Trade
) -> None:
    cheaper = msgspec.structs.replace(
        proposed.terms, request=msgspec.structs.replace(PANEL, amount=9)
    )
    liar.hold(proposed, terms=msgspec.Raw(trade.encode_terms(cheaper)))
    liar.say(liar.about(proposed))
    trade_is_open(honest, proposed)
    assert own_kinds(honest, proposed) == []


def test_an_acceptance_is_not_one_until_it_stands_in_the_log(
    honest: Village, liar: Liar, proposed: trades.Trade
) -> None:
    liar.say(liar.about(proposed, votes=(liar.vote(proposed, "COMMIT"),)))
    trade_is_open(honest, proposed)


VOTES: dict[str, tuple[type[BoxError], Callable[[Liar, trades.Trade], SubjectMessage]]] = {
    "a vote by a village without a seat": (
        BadProof,
        lambda it, known: it.about(known, votes=(it.vote(known, "COMMIT", village="ose-x-001"),)),
    ),
    "a vote in the honest village's name": (
        BadProof,
        lambda it, known: it.about(known, votes=(it.vote(known, "COMMIT", village=HONEST),)),
    ),
    "a vote by a third key": (
        BadProof,
        lambda it, known: it.about(
            known,
            votes=(council.precommit(STRANGER, LIAR, it.network, known.subject, "COMMIT"),),
        ),
    ),
    "a vote of another trade": (
        BadProof,
        lambda it, known: it.about(
            known, votes=(council.precommit(it.key, LIAR, it.network, bytes(32), "COMMIT"),)
        ),
    ),
    "a vote of another network": (
        BadProof,
        lambda it, known: it.about(
            known, votes=(council.precommit(it.key, LIAR, bytes(32), known.subject, "COMMIT"),)
        ),
    ),
    "a vote of another round": (
        BadProof,
        lambda it, known: it.about(known, votes=(it.vote(known, "COMMIT", round=1),)),
    ),
    "a vote of an enormous round": (
        BadProof,
        lambda it, known: it.about(known, votes=(it.vote(known, "COMMIT", round=10**30),)),
    ),
    "a vote for something else": (
        BadProof,
        lambda it, known: it.about(
            known, votes=(it.vote(known, "COMMIT", signature=it.vote(known, "ABORT").signature),)
        ),
    ),
    "a certificate with a forged vote": (
        BadProof,
        lambda it, known: it.about(known, certificate=it.certificate(known)),
    ),
    "a certificate of nobody": (
        BadProof,
        lambda it, known: it.about(known, certificate=Certificate("COMMIT", 0, ())),
    ),
    "a certificate with one vote": (
        BadProof,
        lambda it, known: it.about(
            known,
            certificate=Certificate("ABORT", 0, ((LIAR, it.vote(known, "ABORT").signature),)),
        ),
    ),
    "a certificate with its own vote twice": (
        BadProof,
        lambda it, known: it.about(
            known,
            certificate=Certificate("ABORT", 0, ((LIAR, it.vote(known, "ABORT").signature),) * 2),
        ),
    ),
    "a certificate with a stranger's vote": (
        BadProof,
        lambda it, known: it.about(
            known,
            certificate=Certificate(
                "ABORT",
                0,
                (
                    (LIAR, it.vote(known, "ABORT").signature),
                    ("ose-x-001", it.vote(known, "ABORT").signature),
                ),
            ),
        ),
    ),
    "a certificate with a crowd": (
        BadProof,
        lambda it, known: it.about(
            known,
            certificate=Certificate("ABORT", 0, ((LIAR, it.vote(known, "ABORT").signature),) * 8),
        ),
    ),
}


@pytest.mark.parametrize("name", VOTES)
def test_votes_and_certificates_that_do_not_hold(
    honest: Village, liar: Liar, held: trades.Trade, name: str
) -> None:
    error, lie = VOTES[name]
    message = lie(liar, held)
    with refused(honest, error):
        liar.say(message)


def honest_vote(honest: Village, known: trades.Trade) -> council.Vote:
    votes = honest.look(lambda view: trades.votes(view, known.subject))
    return next(vote for vote in votes if vote.village == HONEST)


def test_a_certificate_of_votes_for_two_values(
    honest: Village, liar: Liar, held: trades.Trade
) -> None:
    """The honest vote to commit, mixed with the liar's to abort, makes neither."""
    ours = honest_vote(honest, held)
    mixed = ((HONEST, ours.signature), (LIAR, liar.vote(held, "ABORT").signature))
    for value in ("COMMIT", "ABORT"):
        with refused(honest, BadProof):
            liar.say(liar.about(held, certificate=Certificate(value, 0, mixed)))


def test_a_certificate_of_another_trade(honest: Village, liar: Liar, held: trades.Trade) -> None:
    liar.say(liar.about(held, votes=(liar.vote(held, "COMMIT"),)))
    certificate = look_at(honest, held).certificate
    assert certificate is not None
    second = propose(honest, offer=("AT", "5"))
    liar.hold(second)
    liar.say(liar.about(second))
    with refused(honest, BadProof):
        liar.say(liar.about(second, certificate=certificate))


def test_a_second_word_of_one_seat(honest: Village, liar: Liar, held: trades.Trade) -> None:
    """Its vote to abort proves nothing and counts for nothing; its other one can be proven."""
    liar.say(liar.about(held, votes=(liar.vote(held, "ABORT"),)))
    assert look_at(honest, held).status == "HELD"
    both = (liar.vote(held, "ABORT"), liar.vote(held, "COMMIT"))
    liar.say(liar.about(held, votes=both))
    assert look_at(honest, held).status == "SETTLED"
    honest.look(audit.audit)


def test_a_certificate_to_abort_a_trade_that_both_hold(
    honest: Village, liar: Liar, held: trades.Trade
) -> None:
    """It cannot be made, since the honest seat has voted and votes once."""
    with refused(honest, BadProof):
        liar.say(liar.about(held, certificate=liar.certificate(held, "ABORT")))
    assert honest_vote(honest, held).value == "COMMIT"


@pytest.mark.parametrize("withdrawn", ["rejected", "cancelled", "expired"])
def test_nothing_but_a_certificate_ends_a_hold(
    honest: Village, liar: Liar, held: trades.Trade, withdrawn: str
) -> None:
    """Not a word of the other side, not its log, not the clock, not the member."""
    liar.say(liar.about(held, withdrawn=withdrawn))
    liar.no_hold(held)
    liar.append(records.ReleaseRecord(liar.minute, held.subject, liar.certificate(held, "ABORT")))
    liar.append(records.SettleRecord(liar.minute, held.subject, liar.certificate(held)))
    liar.say(liar.about(held))
    honest.world.now_ms += 30 * limits.DAY_MS
    honest.now(trade_escrow.expire)
    with refused(honest, WrongState):
        honest.now(lambda tx: trade_escrow.cancel(tx, alice(honest), look_at(honest, held)))
    assert (look_at(honest, held).status, counters(honest)) == ("HELD", (500_00, 101_00, 0))
    assert own_kinds(honest, held) == ["hold"]
    liar.say(liar.about(held, votes=(liar.vote(held, "COMMIT"),)))
    assert look_at(honest, held).status == "SETTLED"


def test_only_the_acceptor_rejects(honest: Village, liar: Liar, proposed: trades.Trade) -> None:
    with refused(honest, Malformed, "cancelled"):
        liar.say(liar.about(proposed, withdrawn="cancelled"))
    liar.say(liar.about(proposed, withdrawn="rejected"))
    assert (look_at(honest, proposed).status, counters(honest)) == ("REJECTED", (500_00, 0, 0))


def test_only_the_proposer_cancels(honest: Village, liar: Liar) -> None:
    liar.say(liar.proposal())
    with refused(honest, Malformed, "rejected"):
        liar.say(liar.proposal(withdrawn="rejected"))
    liar.say(liar.proposal(withdrawn="cancelled"))
    assert the_trade(honest).status == "CANCELLED"


# Acceptances that come too late


def end_by_no_hold(honest: Village, liar: Liar, known: trades.Trade, status: str) -> None:
    """The liar accepts; the honest village answers no-hold, and both vote to abort."""
    liar.hold(known)
    liar.say(liar.about(known))
    assert own_kinds(honest, known) == ["no-hold"]
    liar.say(liar.about(known, votes=(liar.vote(known, "COMMIT"),)))
    ended = look_at(honest, known)
    assert (ended.status, ended.certificate, counters(honest)) == (status, None, (500_00, 0, 0))


def test_an_acceptance_after_it_was_cancelled(
    honest: Village, liar: Liar, proposed: trades.Trade
) -> None:
    honest.now(lambda tx: trade_escrow.cancel(tx, alice(honest), proposed))
    assert counters(honest) == (500_00, 0, 0)
    end_by_no_hold(honest, liar, proposed, "CANCELLED")


def test_an_acceptance_after_it_expired(
    honest: Village, liar: Liar, proposed: trades.Trade
) -> None:
    honest.world.now_ms += 2 * limits.DAY_MS
    end_by_no_hold(honest, liar, proposed, "EXPIRED")


def test_a_late_acceptance_ends_by_a_certificate(
    honest: Village, liar: Liar, proposed: trades.Trade
) -> None:
    """With a receipt that says so, and once told nothing more is said of it."""
    honest.now(lambda tx: trade_escrow.cancel(tx, alice(honest), proposed))
    liar.hold(proposed)
    liar.say(liar.about(proposed))
    liar.say(liar.about(proposed))
    answer = liar.say(liar.about(proposed, votes=(liar.vote(proposed, "ABORT"),)))
    assert answer.subjects[0].certificate is not None
    ended = look_at(honest, proposed)
    assert (ended.status, ended.closed) == ("CANCELLED", False)
    made = honest.look(lambda view: trade_escrow.receipt(view, ended))
    assert receipt.verify(receipt.decode(receipt.encode(made))).trade_id == ended.terms.trade_id
    liar.append(records.ReleaseRecord(liar.minute, ended.subject, answer.subjects[0].certificate))
    liar.say(liar.about(proposed, certificate=answer.subjects[0].certificate))
    assert look_at(honest, proposed).closed
    assert liar.say().subjects == ()
    honest.look(audit.audit)


def test_an_acceptance_of_a_trade_that_the_box_has_forgotten(honest: Village, liar: Liar) -> None:
    """The terms carry this village's signature, so they are answered: with no-hold."""
    liar.say()
    terms = liar.terms(
        from_village=HONEST, to_village=LIAR, seats=seats(liar)[::-1], offer=HUNDRED, request=PANEL
    )
    text = text_of(terms)
    message = SubjectMessage(msgspec.Raw(text), honest.key.sign(text))
    liar.append(
        records.HoldRecord(
            liar.minute, msgspec.Raw(text), message.from_signature, liar.key.sign(text), bytes(32)
        )
    )
    liar.say(message)
    forgotten = the_trade(honest)
    assert (forgotten.status, forgotten.member) == ("EXPIRED", None)
    assert own_kinds(honest, forgotten) == ["no-hold"]
    liar.say(message)
    liar.say(msgspec.structs.replace(message, votes=(liar.vote(forgotten, "ABORT"),)))
    ended = look_at(honest, forgotten)
    assert ended.certificate is not None and ended.certificate.value == "ABORT"
    honest.look(audit.audit)


# The liar has proposed


@pytest.fixture
def asked(honest: Village, liar: Liar) -> trades.Trade:
    """The liar's proposal to Alice: a solar panel for 100 AT."""
    liar.say(liar.proposal())
    return the_trade(honest)


def test_a_no_hold_before_anybody_accepted(
    honest: Village, liar: Liar, asked: trades.Trade
) -> None:
    """Without an acceptance it answers nothing; said again to one, it does."""
    liar.no_hold(asked)
    abort = liar.vote(asked, "ABORT")
    liar.say(liar.about(asked, votes=(abort,)))
    liar.say(liar.about(asked))
    assert honest.look(lambda view: trades.votes(view, asked.subject)) == []
    assert look_at(honest, asked).status == "PENDING"
    accept(honest, look_at(honest, asked))
    liar.say(liar.about(asked, votes=(abort,)))
    assert look_at(honest, asked).status == "ACCEPTED"
    liar.no_hold(asked)
    liar.say(liar.about(asked, votes=(abort,)))
    ended = look_at(honest, asked)
    assert (ended.status, counters(honest)) == ("ABORTED", (500_00, 0, 0))
    honest.look(audit.audit)


def test_a_hold_before_anybody_accepted(honest: Village, liar: Liar, asked: trades.Trade) -> None:
    liar.hold(asked)
    liar.say(liar.about(asked, votes=(liar.vote(asked, "COMMIT"),)))
    assert (look_at(honest, asked).status, own_kinds(honest, asked)) == ("PENDING", [])
    honest.now(lambda tx: trade_escrow.reject(tx, alice(honest), asked))
    liar.say(liar.about(asked))
    assert look_at(honest, asked).status == "REJECTED"


def test_of_a_hold_and_a_no_hold_the_first_counts(
    honest: Village, liar: Liar, asked: trades.Trade
) -> None:
    accept(honest, asked)
    liar.say()
    liar.no_hold(asked)
    liar.hold(asked)
    liar.say(liar.about(asked))
    liar.say(liar.about(asked, votes=(liar.vote(asked, "ABORT"),)))
    assert (look_at(honest, asked).status, own_kinds(honest, asked)) == (
        "ABORTED",
        ["hold", "release"],
    )


def test_a_certificate_over_what_this_village_never_stated(
    honest: Village, liar: Liar, asked: trades.Trade
) -> None:
    """Even a true one, as after a disk was set back: there is nothing to end, and nothing ends."""
    votes = {
        name: council.precommit(key, name, liar.network, asked.subject, "COMMIT").signature
        for name, key in ((LIAR, liar.key), (HONEST, honest.key))
    }
    certificate = Certificate("COMMIT", 0, tuple(votes.items()))
    liar.say(liar.about(asked, certificate=certificate))
    assert (look_at(honest, asked).status, look_at(honest, asked).certificate) == ("PENDING", None)


def test_a_trade_of_another_neighbour(honest: Village, liar: Liar, asked: trades.Trade) -> None:
    """What two villages have between them is not a third one's business."""
    third = honest.world.village("ose-nowhere-001")
    honest.world.befriend(honest, third)
    message = Exchange(
        limits.PROTOCOL_VERSION,
        third.name,
        honest.look(lambda view: view.one("SELECT network FROM charter ORDER BY rowid DESC"))[0],
        have=0,
        entry_stamp_ms=0,
        subjects=(liar.about(asked),),
    )
    with refused(honest, Conflict):
        asyncio.run(honest.client.answer(third.name, messages.encode(message)))


# What members may not do


def test_a_member_cannot_promise_what_is_not_there(honest: Village, liar: Liar) -> None:
    liar.say()
    with refused(honest, LimitExceeded, "Alice does not have enough AT"):
        propose(honest, offer=("AT", "500"))  # and the fee of 1 AT
    with refused(honest, LimitExceeded, "line"):
        propose(honest, offer=("AT", "5"), request=("Solar Panel", "11"))
    with refused(honest, InvalidAmount, "too many decimals"):
        propose(honest, offer=("AT", "5.001"))
    with refused(honest, InvalidAmount, "too large"):
        propose(honest, offer=("AT", "9" * 17))
    with refused(honest, UnknownAsset, "Gold"):
        propose(honest, request=("Gold", "1"))
    with refused(honest, InvalidInput, "two different assets"):
        propose(honest, request=("AT", "1"))
    with refused(honest, InvalidInput, "deadline"):
        propose(honest, deadline_s=8 * 86_400)
    with refused(honest, InvalidInput, "cannot be shown"):
        propose(honest, to_user="Bob\x07")
    with refused(honest, UnknownNeighbour, "ose-nowhere-001"):
        propose(honest, to_village="ose-nowhere-001")


def test_one_balance_is_not_in_two_trades(honest: Village, liar: Liar) -> None:
    liar.say()
    first = propose(honest, offer=("AT", "300"))
    with refused(honest, LimitExceeded):
        propose(honest, offer=("AT", "300"))
    with refused(honest, LimitExceeded):
        honest.now(lambda tx: desk.pay(tx, "Alice", "Carol", "200"))
    honest.now(lambda tx: trade_escrow.cancel(tx, alice(honest), first))
    propose(honest, offer=("AT", "300"))


def test_other_decimals(honest: Village, liar: Liar) -> None:
    liar.append(records.AssetRecord(liar.minute, "HONEY", "resource", 3))
    honest.now(lambda tx: desk.declare(tx, "Alice", "Honey", "5.5", 1))
    liar.say(liar.proposal(liar.terms(request=Quantity("HONEY", "resource", 3, 1_000))))
    with refused(honest, InvalidInput, "Honey has 1 decimals here and 3"):
        accept(honest, the_trade(honest))
    with refused(honest, InvalidInput, "Honey has 1 decimals here and 3"):
        propose(honest, offer=("Honey", "1"))


def test_an_asset_that_nobody_approved(honest: Village, liar: Liar) -> None:
    liar.say(liar.proposal(liar.terms(offer=Quantity("GOLD", "resource", 0, 1))))
    with refused(honest, UnknownAsset, "Gold"):
        accept(honest, the_trade(honest))


def test_the_line_bounds_what_the_liar_can_cost(honest: Village, liar: Liar) -> None:
    """Here the seller's village becomes the creditor for AT; a hold counts like a debt."""
    owing = Quantity("AT", "token", 2, 600_00)
    for number in range(2):
        terms = liar.terms(trade_id=f"t{number}", offer=owing, request=PANEL)
        liar.say(liar.proposal(terms))
    first, second = honest.look(trades.everyone)
    accept(honest, first)
    with refused(honest, LimitExceeded, "the line for ose-california-001"):
        accept(honest, second)


def test_an_overdraft_at_acceptance(honest: Village, liar: Liar) -> None:
    liar.say(liar.proposal(to_user="Carol"))
    with refused(honest, LimitExceeded, "Carol does not have enough AT"):
        accept(honest, the_trade(honest), "Carol")


def test_a_trade_is_its_members_own(honest: Village, liar: Liar, asked: trades.Trade) -> None:
    with refused(honest, Forbidden):
        accept(honest, asked, "Carol")
    with refused(honest, Forbidden):
        honest.now(lambda tx: trade_escrow.reject(tx, alice(honest, "Carol"), asked))
    with refused(honest, Forbidden):
        honest.now(lambda tx: trade_escrow.cancel(tx, alice(honest), asked))


def test_a_second_acceptance(honest: Village, liar: Liar, asked: trades.Trade) -> None:
    accept(honest, asked)
    for member_does in (trade_escrow.accept, trade_escrow.reject):
        with refused(honest, WrongState, "has been accepted"):
            honest.now(lambda tx, do=member_does: do(tx, alice(honest), look_at(honest, asked)))  # type: ignore[misc]


def test_an_acceptance_after_the_deadline(honest: Village, liar: Liar, asked: trades.Trade) -> None:
    honest.world.now_ms += 61 * limits.MINUTE_MS
    with refused(honest, WrongState, "deadline"):
        accept(honest, asked)
    assert honest.now(trade_escrow.expire) == 1
    with refused(honest, WrongState, "ran out"):
        accept(honest, look_at(honest, asked))


def test_an_acceptance_after_it_was_withdrawn(
    honest: Village, liar: Liar, asked: trades.Trade
) -> None:
    liar.say(liar.proposal(withdrawn="cancelled"))
    with refused(honest, WrongState, "was withdrawn"):
        accept(honest, look_at(honest, asked))


# Being kept busy


def test_stuck_trades_do_not_starve_the_others(honest: Village, liar: Liar) -> None:
    """A hundred and fifty trades that the liar holds and never votes on; then one more."""
    liar.say()
    members_count = 2
    for number in range(members_count):
        name = f"Dora {number}"
        honest.now(lambda tx, name=name: desk.add_member(tx, name, ""))  # type: ignore[misc]
        honest.now(lambda tx, name=name: desk.issue(tx, name, "300"))  # type: ignore[misc]
    honest.now(lambda tx: desk.set_limit(tx, LIAR, "Solar Panel", "1000"))
    for number in range(150):
        who = f"Dora {number % members_count}"
        liar.hold(propose(honest, offer=("AT", "1"), name=who))
    for _ in range(5):
        liar.say()
    stuck = honest.look(trades.everyone)
    assert {known.status for known in stuck} == {"HELD"}
    one_more = propose(honest)
    heard = []

    async def answer(village: str, body: bytes) -> bytes:
        heard.append(messages.decode_exchange(body))
        asked = liar.message(*(liar.about(known) for known in stuck[:64]))
        return messages.encode(asked)

    honest.world.strangers[LIAR] = Scripted(answer)
    asyncio.run(four_exchanges(honest))
    assert one_more.subject in subjects_of(heard)
    assert len(heard) < 20
    another = propose(honest, offer=("AT", "1"))
    answers = [liar.say(*(liar.about(known) for known in stuck[:64])) for _ in range(8)]
    assert another.subject in subjects_of(answers)


def subjects_of(said: list[Exchange]) -> set[bytes]:
    return {trade.subject_of(bytes(each.terms)) for one in said for each in one.subjects}


class Scripted:
    """A stranger that answers as a test says."""

    def __init__(self, answer: Callable[[str, bytes], Any]) -> None:
        self._answer = answer

    async def answer(self, village: str, body: bytes) -> bytes:
        found: bytes = await self._answer(village, body)
        return found


async def four_exchanges(honest: Village) -> None:
    for _ in range(4):
        await honest.client.exchange(LIAR)


def test_a_neighbour_that_takes_nothing_in_is_not_talked_to_for_ever(
    honest: Village, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our log does not fit into one message, and the liar never has more of it."""
    monkeypatch.setattr(limits, "PUSH_RECORDS_MAX", 1)
    sent = []

    async def answer(village: str, body: bytes) -> bytes:
        sent.append(body)
        return messages.encode(
            msgspec.structs.replace(liar.message(), have=0, push=liar.push(0, 1))
        )

    honest.world.strangers[LIAR] = Scripted(answer)
    asyncio.run(four_exchanges(honest))
    assert len(sent) <= 6
    assert copied(honest) == 1


def test_an_answer_in_another_name(honest: Village, liar: Liar) -> None:
    async def answer(village: str, body: bytes) -> bytes:
        return messages.encode(msgspec.structs.replace(liar.message(), sender="ose-nowhere-001"))

    honest.world.strangers[LIAR] = Scripted(answer)
    with refused(honest, Malformed, "answered as"):
        asyncio.run(honest.client.exchange(LIAR))


def test_a_village_that_holds_more_of_our_log_than_we_do(
    honest: Village, liar: Liar, proposed: trades.Trade
) -> None:
    """This box was set back, or the other one lies: no new trades with it, and nothing is said on
    old ones, since what was said of them may be lost."""
    liar.hold(proposed)
    liar.say(liar.about(proposed), have=999)
    assert "set back" in trouble(honest)
    assert own_kinds(honest, proposed) == []
    with refused(honest, WrongState, "no new trades with ose-california-001"):
        propose(honest)
    members_still_pay = honest.now(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    assert members_still_pay > 0
    liar.say(liar.about(proposed))
    assert own_kinds(honest, proposed) == ["no-hold"]
    assert honest.look(lambda view: members.named(view, "Alice")).name == "Alice"
