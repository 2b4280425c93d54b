"""One seat of the councils that decide trades: takes in what other seats say, does what is due, and
says what they lack.

Everything here is a transaction over committed rows: what a seat says is stored in the same
transaction as the state that it was said in, and only committed rows are ever sent. What must be
done next is always recomputed by `core.council.advance`.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from edge import misbehaviour
from edge.core import canonical, council, receipt, trade, valid
from edge.core.council import Certificate, Seat, State, Value
from edge.core.messages import (
    UNKNOWN_ROUND,
    CouncilMessage,
    Opening,
)
from edge.core.receipt import Evidence
from edge.core.trade import Statement
from edge.errors import BadProof, Malformed, PeerError
from edge.storage import allowance, councils, facts, logs, neighbours, telling
from edge.storage.councils import Held, Opened
from edge.storage.neighbours import Neighbour
from edge.storage.telling import Due, SaidOf
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx, View
from edge.told import ALL, Told, Ways

UNDECIDED_PER_PAIR_MAX: Final = 2_000  # trades of two parties with each other
SAID_BYTES_MAX: Final = 400_000  # in one message, of which there is always one subject whole


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


def receive(tx: Tx, neighbour: Neighbour, said: Sequence[CouncilMessage]) -> set[bytes]:
    """Take in what a seat says; return the subjects that have just been decided.

    What is said of one subject is taken in whole or not at all. It never spoils the rest of what a
    neighbour says: a seat may pass on another's bad word.
    """
    decided = set()
    for message in said:
        try:
            if tx.part(lambda: _hear(tx, neighbour, message)):  # noqa: B023
                decided.add(message.subject)
        except PeerError as error:
            misbehaviour.pass_over(tx, neighbour.village, error)
    return decided


def _hear(tx: Tx, neighbour: Neighbour, message: CouncilMessage) -> bool:
    """Take in what a seat says of one subject; tell whether that decided it. Raises PeerError."""
    opened = councils.find(tx, message.subject)
    if opened is None and message.opening is not None:
        opened = _meet(tx, neighbour, message.subject, message.opening)
    if opened is None:
        return False  # unknown here: our answer says so
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
    if message.certificate is not None and message.round != UNKNOWN_ROUND:  # it has all it needs
        telling.note_told(tx, neighbour.village, SaidOf(opened.id, opened.changed_ms, True))
    return False


def answer_unknown(view: View, said: Iterable[CouncilMessage]) -> list[CouncilMessage]:
    """Return what tells a seat that we do not know its subjects: not any more, or had no room when
    it opened them. Of one that is decided by then, nobody waits for our words."""
    return [
        CouncilMessage(message.subject, UNKNOWN_ROUND)
        for message in said
        if (message.opening is None or message.certificate is None)
        and message.round != UNKNOWN_ROUND
        and not councils.is_open(view, message.subject)
    ]


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
        _decide(tx, opened, certificate)


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


# What to say


def speak(
    view: View, own: str, village: str, room: int, said: Told, ways: Ways
) -> tuple[list[tuple[CouncilMessage | None, SaidOf]], int, bool]:
    """Return what another seat lacks, of at most `room` subjects, the newest stamp of any that it
    lacks, and whether there may be more. No message: it lacks nothing of that after all."""
    found: list[tuple[CouncilMessage | None, SaidOf]] = []
    size = newest_ms = 0
    for each in telling.due(view, village, room + len(said)):  # those it has been told included
        if len(found) == room:
            return found, newest_ms, True
        opened, asked = each.opened, each.told_ms == telling.NOTHING_TOLD
        if asked and opened.id in said.anew and ways != ALL:
            continue  # it may have no room for it: once for each heartbeat
        newest_ms = max(newest_ms, opened.changed_ms)
        is_whole = asked or (ways.is_whole and opened.changed_ms <= ways.until_ms)
        if not (is_whole or each.urgent):
            continue
        since_ms = each.told_ms
        if not asked:
            since_ms = max(since_ms, said.until_ms(opened.id, whole=is_whole))
        if since_ms >= opened.changed_ms:
            continue
        message = _say(view, each, (own, village), since_ms, is_whole=is_whole)
        size += 0 if message is None else len(canonical.encode(message))
        if found and size > SAID_BYTES_MAX:
            return found, newest_ms, True
        found.append((message, SaidOf(opened.id, opened.changed_ms, is_whole, since_ms)))
    return found, newest_ms, False


def told(tx: Tx, village: str, said: Iterable[SaidOf]) -> None:
    """Note that a seat has stored what was said."""
    for each in said:
        telling.note_told(tx, village, each)


def _say(
    view: View, due: Due, between: tuple[str, str], told_ms: int, *, is_whole: bool
) -> CouncilMessage | None:
    """Return what we say to a seat of a subject: the decision, all that it lacks, or our own words;
    None for nothing."""
    message: CouncilMessage | None
    own, village = between
    if due.opened.certificate is not None:
        message = _decided(view, due)
    elif is_whole:
        message = _message(view, due, village, told_ms)
    else:
        message = _own_words(view, due.opened, own, told_ms)
    if due.asks and message is not None:
        message = msgspec.structs.replace(message, round=UNKNOWN_ROUND)
    return message


def _decided(view: View, due: Due) -> CouncilMessage:
    """Return the decision; to a seat that has signed nothing yet, or asks, with all that opens the
    subject and proves it."""
    opened = due.opened
    lacks = due.told_ms == telling.NOTHING_TOLD or (due.told_ms == 0 and due.reached < 0)
    return CouncilMessage(
        opened.id,
        opened.state.round,
        _opening(opened) if lacks else None,
        tuple(councils.proofs(view, opened.id)) if lacks else (),
        certificate=opened.certificate,
    )


def _message(view: View, due: Due, village: str, told_ms: int) -> CouncilMessage:
    """Return all that was kept since `told_ms`, but what that seat has said itself: that it only
    needs if it has lost everything."""
    opened, id_, rounds = due.opened, due.opened.id, _rounds_said(due.opened.state)
    own = village if told_ms > 0 else ""
    proposals, votes = councils.proposals(view, id_, told_ms), councils.votes(view, id_, told_ms)
    return CouncilMessage(
        id_,
        opened.state.round,
        None if told_ms > 0 else _opening(opened),
        tuple(each for each in councils.proofs(view, id_, told_ms) if each.village != own),
        tuple(each for each in councils.absents(view, id_, told_ms) if each.village != own),
        tuple(each for each in proposals if each.village != own and each.round in rounds),
        tuple(each for each in votes if each.village != own and each.round in rounds),
    )


def _own_words(view: View, opened: Opened, own: str, told_ms: int) -> CouncilMessage | None:
    """Return what this village itself has said since `told_ms`, None for nothing: with what opens
    the subject, if it is a party that has not said it, and what proves a proposal. After another's
    proposal its own proof is not urgent: that came with it."""
    id_, state, rounds = opened.id, opened.state, _rounds_said(opened.state)
    opens = told_ms <= 0 and own in (opened.terms.from_village, opened.terms.to_village)
    known = [each for each in councils.proposals(view, id_) if each.round == state.round]
    proposes = any(each.village == own for each in known)
    proves = not known or proposes
    votes = councils.votes(view, id_, told_ms)
    proposals = councils.proposals(view, id_, told_ms)
    said = CouncilMessage(
        id_,
        state.round,
        _opening(opened) if opens else None,
        tuple(
            each
            for each in (councils.proofs(view, id_, told_ms) if proves else ())
            if proposes or each.village == own
        ),
        tuple(
            each for each in councils.absents(view, id_, told_ms) if proposes or each.village == own
        ),
        tuple(each for each in proposals if each.village == own and each.round in rounds),
        tuple(each for each in votes if each.village == own and each.round in rounds),
    )
    is_empty = not (opens or said.evidence or said.absents or said.proposals or said.votes)
    return None if is_empty else said


def _opening(opened: Opened) -> Opening:
    return Opening(msgspec.Raw(opened.terms_bytes), opened.from_signature, opened.to_signature)


def _rounds_said(state: State) -> set[int]:
    return {state.round - 1, state.round, state.round + 1, state.valid_round}


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


def _take_in(tx: Tx, neighbour: Neighbour, held: Held, message: CouncilMessage) -> bool:
    """Keep what is new and do what it makes due; tell whether that decided the subject."""
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
    if any(news):
        allowance.count_words(tx, neighbour.village, message.evidence, news)
    if message.certificate is not None:
        return _decide(tx, opened, message.certificate)
    return any(news) and _advance(tx, held)


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
    if has_said or is_news:
        telling.note_news(tx, opened, None if has_said else urgent_to)
    if moved.state.round > opened.state.round + 1:
        telling.ask_anew(tx, opened)
    return moved.certificate is not None and _decide(tx, opened, moved.certificate)


def _decide(tx: Tx, opened: Opened, certificate: Certificate) -> bool:
    councils.decide(tx, opened, certificate)
    if _lacks_proof(tx, opened, certificate.value):
        telling.ask_anew(tx, opened)
    telling.note_news(tx, opened, ())  # each seat sees the votes, as a rule
    return True


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
    return _advance(tx, held, (opened.subject.proposer(max(opened.state.round, 0)),))


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
