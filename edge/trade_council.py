"""One seat of the councils that decide trades: takes in what other seats say, does what is due, and
says what they lack.

Everything here is a transaction over committed rows: what a seat says is stored in the same
transaction as the state that it was said in, and only committed rows are ever sent. What must be
done next is always recomputed by `core.council.advance`.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from edge import misbehaviour
from edge.core import council, receipt, trade, valid
from edge.core.council import Certificate, Seat, State, Value, Vote
from edge.core.messages import (
    UNKNOWN_ROUND,
    CouncilMessage,
    Opening,
)
from edge.core.receipt import Evidence
from edge.core.trade import Statement
from edge.errors import BadProof, Malformed, PeerError
from edge.storage import abstaining, allowance, councils, facts, logs, neighbours, telling
from edge.storage.councils import Held, Opened
from edge.storage.neighbours import Neighbour
from edge.storage.telling import SaidOf
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx, View

UNDECIDED_PER_PAIR_MAX: Final = 2_000  # trades of two parties with each other


def is_for(terms: trade.Terms) -> bool:
    """Tell whether a council decides this trade, not the two parties alone."""
    return len(terms.seats) > 2


def open_subject(tx: Tx, known: Trade, to_signature: bytes) -> None:
    """Open the subject of a trade that a council decides, as soon as one side is bound."""
    if is_for(known.terms):
        opened = councils.open_(tx, known.terms_bytes, known.from_signature, to_signature)
        telling.note_news(tx, opened)


def proofs(view: View, subject: bytes, value: Value) -> dict[str, Evidence]:
    """Return, by village, the proof of each party's statement that speaks for a value."""
    return {
        evidence.village: evidence
        for evidence, statement in councils.statements(view, subject)
        if (statement == "hold") == (value == "COMMIT")
    }


# What other seats say


class Received(NamedTuple):
    """What a seat's words did: the subjects that they decided, and what to say of those that we do
    not know."""

    decided: set[bytes]
    unknown: list[CouncilMessage]


class _Heard(NamedTuple):
    is_known: bool
    is_decided: bool = False
    size: int = 0  # bytes that count


def receive(tx: Tx, neighbour: Neighbour, said: Sequence[CouncilMessage]) -> Received:
    """Take in what a seat says.

    What is said of one subject is taken in whole or not at all. It never spoils the rest of what a
    neighbour says: a seat may pass on another's bad word.
    """
    decided, unknown, size = set(), [], 0
    for message in said:
        try:
            heard = tx.part(lambda: _hear(tx, neighbour, message))  # noqa: B023
        except PeerError as error:
            misbehaviour.pass_over(tx, neighbour.village, error)
            heard = _Heard(councils.is_open(tx, message.subject))
        size += heard.size
        if heard.is_decided:
            decided.add(message.subject)
        if not heard.is_known and _waits_for_us(message):
            unknown.append(CouncilMessage(message.subject, UNKNOWN_ROUND))
    if size:
        allowance.count_bytes(tx, neighbour.village, size)
    return Received(decided, unknown)


def _waits_for_us(message: CouncilMessage) -> bool:
    """Tell whether a seat must hear that we do not know a subject: not any more, or had no room
    when it opened it. Of one that is decided by then, nobody waits for our words."""
    opens_decided = message.opening is not None and message.certificate is not None
    return message.round != UNKNOWN_ROUND and not opens_decided


def _hear(tx: Tx, neighbour: Neighbour, message: CouncilMessage) -> _Heard:
    """Take in what a seat says of one subject. Raises PeerError."""
    opened = councils.find(tx, message.subject)
    if opened is None and message.opening is not None:
        opened = _meet(tx, neighbour, message.subject, message.opening)
    if opened is None:
        return _Heard(is_known=False)  # our answer says so
    if all(seat.village != neighbour.village for seat in opened.terms.seats):
        raise Malformed(f"{neighbour.village} has no seat in this subject")
    if message.round == UNKNOWN_ROUND or message.round < opened.state.round - 1:  # far behind
        telling.tell_anew(tx, neighbour.village, message.subject)
    held = councils.held(tx, opened)
    if message.opening is not None and neighbour.village in held.asks:
        telling.has_said_all(tx, neighbour.village, message.subject)
    if opened.certificate is None:
        return _take_in(tx, neighbour, held, message)
    for evidence in message.evidence:  # for the receipt
        _keep_proof(tx, held, evidence)
    if message.certificate is None:
        telling.tell(tx, neighbour.village, opened.id)
    elif message.round != UNKNOWN_ROUND:  # it has all it needs
        telling.note_told(tx, neighbour.village, SaidOf(opened.id, opened.changed_ms, True))
    return _Heard(is_known=True)


def refresh(tx: Tx) -> set[bytes]:
    """Keep the proofs of our own statements that other seats' cosignatures have made since; return
    the subjects that this has decided."""
    decided = set()
    sizes: dict[tuple[Seat, ...], int] = {}
    for opened, index, statement in councils.unproven(tx):
        seats = opened.terms.seats
        if seats not in sizes:
            sizes[seats] = _proven_size(tx, seats)
        if index < sizes[seats] and _prove(tx, opened, index, statement):
            decided.add(opened.id)
    return decided


def keep_decision(tx: Tx, subject: bytes, certificate: Certificate) -> None:
    """Keep a checked certificate that the other party has shown before any seat did, if a council
    decides this subject."""
    opened = councils.find(tx, subject)
    if opened is not None and opened.certificate is None:
        _decide(tx, opened, certificate, by=tx.identity.village)


def decision(view: View, subject: bytes) -> Certificate | None:
    """Return what was decided of a subject, if it is known here."""
    opened = councils.find(view, subject)
    return opened.certificate if opened is not None else None


def begin(tx: Tx) -> set[bytes]:
    """Bring a round's waits within bounds after a start, or once the clock was set back; return the
    subjects that time has decided meanwhile."""
    decided = set()
    for opened in councils.waiting(tx):
        state = council.begin_waits_anew(opened.subject, opened.state, tx.now_ms)
        if _go_on(tx, msgspec.structs.replace(opened, state=state)):
            decided.add(opened.id)
    return decided


def wake(tx: Tx) -> set[bytes]:
    """Do what time alone has made due; return the subjects that this has decided. Waits go by the
    clock, not by stamps: those stand still while a clock that was set back catches up."""
    decided = begin(tx) if facts.is_clock_set_back(tx) else set()
    for opened in councils.woken(tx, tx.now_ms):
        if _go_on(tx, opened):
            decided.add(opened.id)
    return decided


# Helpers


def _meet(tx: Tx, neighbour: Neighbour, subject: bytes, opening: Opening) -> Opened | None:
    """Open a subject in which this village has a seat, None if there is no room for it now.

    Both parties are neighbours of ours and have signed, so there are only as many subjects as there
    are trades; and no more than whoever brings them has room for. Raises Malformed, BadSignature.
    """
    terms_bytes = bytes(opening.terms)
    terms = trade.decode_terms(terms_bytes)
    own = tx.identity
    if trade.subject_of(terms_bytes) != subject or not is_for(terms):
        raise Malformed("the terms are not those of the subject")
    if len(terms.seats) not in trade.COUNCIL_SIZES:
        raise Malformed("a council of this size is none")
    seats = {seat.village: seat.key for seat in terms.seats}
    if seats.get(own.village) != own.key.public or seats.get(neighbour.village) != neighbour.key:
        raise Malformed("the seats are not ours with their keys")
    for village, key in seats.items():
        known = neighbours.find(tx, village)
        if known is not None and known.key != key:
            raise Malformed(f"{village} has another key here")
    parties = (terms.from_village, terms.to_village)
    if any(each != own.village and neighbours.find(tx, each) is None for each in parties):
        raise Malformed("a party is no neighbour of this village")
    trade.verify_party(terms, terms_bytes, "from", opening.from_signature)
    trade.verify_party(terms, terms_bytes, "to", opening.to_signature)
    if councils.count_undecided(tx, parties) >= UNDECIDED_PER_PAIR_MAX:
        return None
    if not allowance.has_room(tx, neighbour, tx.stamp_ms):
        return None
    allowance.count_bytes(tx, neighbour.village, allowance.SUBJECT_BYTES + len(terms_bytes))
    return councils.open_(tx, terms_bytes, opening.from_signature, opening.to_signature)


def _take_in(tx: Tx, neighbour: Neighbour, held: Held, message: CouncilMessage) -> _Heard:
    """Keep what is new and do what it makes due."""
    opened = held.opened
    place = opened.terms.network, opened.id, opened.terms.seats
    if message.certificate is not None:
        council.verify_certificate(message.certificate, *place)
    votes = councils.new_votes(held, message.votes)
    if not all(council.vote_is_valid(vote, *place) for vote in votes):
        raise BadProof("a vote does not hold")
    if not all(council.proposal_is_valid(each, opened.subject) for each in message.proposals):
        raise BadProof("a proposal does not hold")
    if not all(valid.absent_is_valid(each, opened.terms, opened.id) for each in message.absents):
        raise BadProof("a seat's word that a hold is absent does not hold")
    news = [_keep_proof(tx, held, each) for each in message.evidence]
    news += [councils.keep_absent(tx, held, each) for each in message.absents]
    news += [councils.keep_proposal(tx, held, each) for each in message.proposals]
    news += [councils.keep_vote(tx, held, each) for each in votes]
    size = allowance.size_of_words(message.evidence, news)
    if message.certificate is not None:
        is_decided = _decide(tx, opened, message.certificate, by=neighbour.village)
    else:
        is_decided = any(news) and _advance(tx, held)
    return _Heard(True, is_decided, size)


def _keep_proof(tx: Tx, held: Held, evidence: Evidence) -> bool:
    opened = held.opened
    if (evidence.village, receipt.claimed_by(evidence)) in held.stated:
        return False
    statement = receipt.statement_of(evidence, opened.terms, opened.terms_bytes)
    return councils.keep_proof(tx, held, evidence, statement)


def _go_on(tx: Tx, opened: Opened) -> bool:
    """Do what time alone has made due; tell whether that decided the subject."""
    return _advance(tx, councils.held(tx, opened), is_news=False)


def _advance(tx: Tx, held: Held, urgent_to: Collection[str] = (), *, is_news: bool = True) -> bool:
    """Do all that is due at this seat; tell whether that decided the subject. `is_news`: something
    was kept just now, and is urgent to those."""
    own, opened = tx.identity, held.opened
    if abstaining.abstains(tx, held):
        return _follow(tx, held, is_news=is_news)
    has_said = _say_absent(tx, held)
    moved = council.advance(
        opened.subject, own.village, own.key, opened.state, held.known, tx.now_ms
    )
    wakes_ms = _wakes_ms(tx, opened, moved.state)
    if moved.certificate is None and (moved.state, wakes_ms) != (opened.state, opened.wakes_ms):
        councils.keep_state(tx, opened, moved.state, wakes_ms)
    held.opened = msgspec.structs.replace(opened, state=moved.state)
    for proposal in moved.proposals:
        councils.keep_proposal(tx, held, proposal)
    for vote in moved.votes:
        councils.keep_vote(tx, held, vote)
    has_said = bool(has_said or moved.proposals or moved.votes)
    if has_said:
        telling.note_news(tx, opened, _who_waits(held.opened, own.village, moved.votes))
    elif is_news:
        telling.note_news(tx, opened, urgent_to)
    if moved.state.round > opened.state.round + 1:
        telling.ask_anew(tx, opened)
    return moved.certificate is not None and _decide(tx, opened, moved.certificate, by=own.village)


def _follow(tx: Tx, held: Held, *, is_news: bool) -> bool:
    """Do what is due without a word of our own, where we may have said one that is forgotten; tell
    whether others have decided the subject."""
    opened = held.opened
    if opened.wakes_ms is not None:
        councils.keep_state(tx, opened, opened.state, None)
    if is_news:
        telling.note_news(tx, opened, ())
    certificate = council.certificate_of(held.votes, opened.terms.seats)
    return certificate is not None and _decide(tx, opened, certificate, by=tx.identity.village)


def _decide(tx: Tx, opened: Opened, certificate: Certificate, by: str) -> bool:
    councils.decide(tx, opened, certificate)
    telling.note_decided(tx, opened, by)
    if _lacks_proof(tx, opened, certificate.value):
        telling.ask_anew(tx, opened)
    return True


def _who_waits(opened: Opened, own: str, votes: Sequence[Vote]) -> tuple[str, ...] | None:
    """Return to whom what we have just said is urgent, None: to all. As long as all goes well that
    is the first proposer, who tells the others; they hear of it from us a little later."""
    is_first = opened.proposer == own
    goes_well = opened.state.round == 0 and votes and all(each.value for each in votes)
    return (opened.proposer,) if goes_well and not is_first else None


def _lacks_proof(tx: Tx, opened: Opened, value: Value) -> bool:
    """Tell whether this village is a party, and could not show why it was decided so."""
    parties = {opened.terms.from_village, opened.terms.to_village}
    if tx.identity.village not in parties:
        return False
    return value == "COMMIT" and not proofs(tx, opened.id, value).keys() >= parties


def _proven_size(tx: Tx, seats: Sequence[Seat]) -> int:
    own, villages = tx.identity.village, [seat.village for seat in seats]
    return logs.proven_size(tx, OWN_LOG, own, villages, council.quorum(len(seats)))


def _prove(tx: Tx, opened: Opened, index: int, statement: Statement) -> bool:
    """Keep the proof of our own statement, urgent to who has it to propose; tell whether that
    decided the subject."""
    own, seats = tx.identity.village, opened.terms.seats
    held = councils.held(tx, opened)
    proof = logs.evidence(tx, OWN_LOG, own, index, seats, council.quorum(len(seats)))
    if not councils.keep_proof(tx, held, proof, statement):
        return False
    if opened.certificate is not None:
        telling.note_news(tx, opened, ())
        return False
    return _advance(tx, held, (opened.proposer,))


def _wakes_ms(tx: Tx, opened: Opened, state: State) -> int | None:
    """Return when time alone may move the subject: a round's waits, or that a hold is absent."""
    absent_ms = councils.absent_from_ms(opened.terms, opened.opened_ms)
    later = [] if absent_ms <= tx.stamp_ms else [absent_ms]
    return min(later + ([] if state.wakes_ms is None else [state.wakes_ms]), default=None)


def _say_absent(tx: Tx, held: Held) -> bool:
    """Say of the other parties whose hold is not proven here that it is absent, once it is time;
    tell whether that was news."""
    opened, own, terms = held.opened, tx.identity, held.opened.terms
    if tx.stamp_ms < councils.absent_from_ms(terms, opened.opened_ms):
        return False
    place = terms.network, opened.id
    proven = {village for village, _ in held.stated} | {own.village}
    missed = [each for each in (terms.from_village, terms.to_village) if each not in proven]
    kept = [
        councils.keep_absent(tx, held, valid.absent(own.key, own.village, *place, about))
        for about in missed
    ]
    return any(kept)
