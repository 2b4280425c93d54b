"""What a lying neighbour writes into its own log about trades, and votes for: whatever it is, the
audit of this village agrees, and the other trades go on."""

import msgspec
import pytest

from edge import trade_escrow
from edge.core import limits, records, trade
from edge.core.council import Certificate
from edge.storage import audit, neighbours, trades
from edge.storage.trades import Trade
from tests.integration.liar import (
    LIAR,
    Liar,
    accept,
    copied,
    honest_village,
    look_at,
    own_kinds,
    propose,
    the_trade,
    trouble,
)
from tests.simulation.world import Village

NOBODYS = Certificate("COMMIT", 0, ())
ENDS = (records.SettleRecord, records.ReleaseRecord)


@pytest.fixture
def honest() -> Village:
    return honest_village()


@pytest.fixture
def liar(honest: Village) -> Liar:
    made = Liar(honest)
    made.say()
    return made


def held(liar: Liar, name: str = "Alice", offer: str = "10") -> Trade:
    """A proposal from here that both villages hold; the liar has not voted."""
    known = propose(liar.honest, name=name, offer=("AT", offer))
    liar.hold(known)
    liar.say(liar.about(known))
    liar.say(liar.about(known))
    assert look_at(liar.honest, known).status == "HELD"
    return look_at(liar.honest, known)


def settle(liar: Liar, known: Trade) -> None:
    liar.say(liar.about(known, votes=(liar.vote(known, "COMMIT"),)))
    assert look_at(liar.honest, known).status == "SETTLED"


def is_well(liar: Liar) -> None:
    """The audit agrees, nothing is held against the liar, and trades settle."""
    liar.honest.look(audit.audit)
    assert trouble(liar.honest) == ""
    settle(liar, held(liar, offer="1"))
    liar.honest.look(audit.audit)


# Ends


@pytest.mark.parametrize("first", ENDS)
def test_ends_of_a_trade_that_nobody_knows(
    honest: Village, liar: Liar, first: type[records.SettleRecord | records.ReleaseRecord]
) -> None:
    for kind in (first, *ENDS, *ENDS):
        liar.append(kind(liar.minute, bytes(range(32)), NOBODYS))
    liar.say()
    assert copied(honest) == len(liar.log)
    is_well(liar)


@pytest.mark.parametrize("how", ["waits", "is held", "is done", "was declined"])
def test_ends_of_a_trade_that_is_known(honest: Village, liar: Liar, how: str) -> None:
    """With certificates of nobody, and ones that the liar makes alone, of either value."""
    if how == "waits":
        liar.say(liar.proposal())
        known = the_trade(honest)
    else:
        known = held(liar) if how != "was declined" else propose(honest)
    if how == "is done":
        settle(liar, known)
    if how == "was declined":
        liar.say(liar.about(known, withdrawn="rejected"))
    before = look_at(honest, known)
    for kind in ENDS:
        for certificate in (
            NOBODYS,
            liar.certificate(known, "COMMIT"),
            liar.certificate(known, "ABORT"),
        ):
            liar.append(kind(liar.minute, known.subject, certificate))
    liar.say()
    liar.say(liar.about(known))
    after = look_at(honest, known)
    assert (after.status, after.certificate) == (before.status, before.certificate)
    is_well(liar)


# Holds


def test_a_hold_of_what_it_has_declined(honest: Village, liar: Liar) -> None:
    """It is answered with a no-hold, and ends by an abort certificate or not at all."""
    known = propose(honest)
    liar.say(liar.about(known, withdrawn="rejected"))
    assert look_at(honest, known).status == "REJECTED"
    liar.hold(known)
    liar.say(liar.about(known))
    assert (look_at(honest, known).status, own_kinds(honest, known)) == ("REJECTED", ["no-hold"])
    honest.look(audit.audit)
    liar.say(liar.about(known, votes=(liar.vote(known, "COMMIT"),)))
    assert look_at(honest, known).certificate is None
    liar.say(liar.about(known, votes=(liar.vote(known, "ABORT"),)))
    assert look_at(honest, known).certificate is not None
    assert own_kinds(honest, known) == ["no-hold"]
    is_well(liar)


def test_holds_that_are_not_signed_stop_no_other_trade(honest: Village, liar: Liar) -> None:
    """They are kept with the log, and mean nothing, today and after months."""
    good = held(liar)
    bad = propose(honest, name="Carol", offer=("AT", "10"))
    liar.hold(bad, to_signature=bytes(64))
    liar.hold(bad, from_signature=bytes(64))
    cheaper = msgspec.structs.replace(bad.terms, from_fee=0)
    liar.hold(bad, terms=msgspec.Raw(trade.encode_terms(cheaper)))
    liar.say(have=len(liar.heard))
    assert copied(honest) == len(liar.log)
    assert honest.look(lambda view: trades.first_statement(view, bad.subject, log(honest))) is None
    for days in (0, 2, 400):
        honest.world.now_ms += days * limits.DAY_MS
        honest.now(trade_escrow.expire)
        liar.say(liar.about(good))
        assert (look_at(honest, good).status, own_kinds(honest, bad)) == ("HELD", [])
    settle(liar, good)
    liar.minute = honest.clock_ms() // limits.MINUTE_MS
    is_well(liar)


def test_a_true_hold_after_one_that_is_not_signed(honest: Village, liar: Liar) -> None:
    known = propose(honest)
    liar.hold(known, to_signature=bytes(64))
    liar.say(liar.about(known))
    assert look_at(honest, known).status == "PENDING"
    index = liar.hold(known)
    liar.say(liar.about(known))
    liar.say(liar.about(known))
    found = honest.look(lambda view: trades.first_statement(view, known.subject, log(honest)))
    assert found == (index, "hold")
    settle(liar, look_at(honest, known))
    is_well(liar)


def test_a_no_hold_that_is_not_signed(honest: Village, liar: Liar) -> None:
    """The liar has proposed, Alice accepted: it takes nothing back, and a true hold counts."""
    liar.say(liar.proposal())
    known = the_trade(honest)
    accept(honest, known)
    liar.say()
    proof = look_at(honest, known)
    assert proof.to_signature is not None
    false = records.NoHoldRecord(
        liar.minute, msgspec.Raw(known.terms_bytes), known.from_signature, bytes(64)
    )
    for signatures in (
        {"to_signature": bytes(64)},
        {"to_signature": proof.to_signature, "from_signature": bytes(64)},
    ):
        liar.append(msgspec.structs.replace(false, **signatures))
    liar.say(liar.about(known))
    assert honest.look(lambda view: trades.votes(view, known.subject)) == []
    liar.hold(known)
    liar.say(liar.about(known))
    assert look_at(honest, known).status == "HELD"
    liar.say(liar.about(known))
    settle(liar, known)
    is_well(liar)


# Votes


@pytest.mark.parametrize("value", ["ABORT", "COMMIT"])
def test_a_vote_for_what_is_not_proven(honest: Village, liar: Liar, value: str) -> None:
    """It is passed over, however often it comes, and stands in nobody's way."""
    known = propose(honest)
    early = liar.vote(known, "ABORT" if value == "ABORT" else "COMMIT")
    for _ in range(2):
        liar.say(liar.about(known, votes=(early,)))
    assert honest.look(lambda view: trades.votes(view, known.subject)) == []
    liar.hold(known)
    if value == "ABORT":
        liar.say(liar.about(known, votes=(early,)))
    for _ in range(2):
        liar.say(liar.about(known))
    assert {vote.village for vote in honest.look(lambda v: trades.votes(v, known.subject))} == {
        honest.name
    }
    settle(liar, look_at(honest, known))
    is_well(liar)


def log(honest: Village) -> int:
    return honest.look(lambda view: neighbours.log_of(view, LIAR))
