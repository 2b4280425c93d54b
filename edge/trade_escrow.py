"""The atomic swap handler: drives each trade to its one end on this village's side.

Everything here is a transaction over committed rows. What must be done next is always recomputed
from them by `core.trade.next_action`, so the first message, a retry and a restart are one path.
"""

from collections.abc import Iterable, Sequence

from edge import trade_council, trade_delivery, trade_ends, trade_receipt, trade_seats, trade_terms
from edge.core import council, limits, listing, names, records, trade, words
from edge.core.accounts import member_account
from edge.core.council import Certificate, Seat
from edge.core.listing import Side
from edge.core.messages import CouncilMessage, Names, SubjectMessage, Withdrawn
from edge.core.trade import Action, Event, Proposal, Quantity, Role, Status
from edge.errors import (
    BadProof,
    Conflict,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    Malformed,
    TooMany,
    WrongState,
)
from edge.storage import (
    catalogue,
    councils,
    deals,
    holds,
    listings,
    logs,
    members,
    neighbours,
    outbox,
    trades,
)
from edge.storage.members import Member
from edge.storage.neighbours import Neighbour
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx

_HEARD_LATE = "it was accepted, but this village heard of that too late"
_EVENTS: dict[Withdrawn, Event] = {
    "rejected": Event.REJECT,
    "cancelled": Event.CANCEL,
    "expired": Event.EXPIRE,
}


# What people do


def propose(tx: Tx, member: Member, proposal: Proposal, from_fee: int = 0) -> Trade:
    """Keep a proposal and set its offer aside. Nobody is bound yet."""
    neighbour = _tradeable(tx, proposal.to_village)
    trade_terms.check_proposal(proposal)
    if not limits.MINUTE_MS // 1000 <= proposal.deadline_s <= limits.DEADLINE_S_MAX:
        raise InvalidInput("a trade's deadline lies one minute to seven days ahead")
    proposed = trades.count_open(tx, member=member.id, role="from")
    if proposed >= limits.OPEN_TRADES_PER_MEMBER_MAX:
        raise TooMany(f"{member.name} has {limits.OPEN_TRADES_PER_MEMBER_MAX} open trades")
    proposed = trades.count_open(tx, neighbour=neighbour.village, role="from")
    if proposed >= limits.OPEN_TRADES_PER_NEIGHBOUR_MAX:
        raise TooMany(f"too many proposals to {neighbour.village} are open")
    terms = trade_terms.make(tx, neighbour, proposal, from_fee)
    terms_bytes = trade.encode_terms(trade.decode_terms(trade.encode_terms(terms)))
    trade_delivery.check_refund(tx, terms, member.id)
    holds.set_aside(tx, terms, member.account)
    return trades.add(
        tx,
        terms_bytes,
        terms,
        "from",
        tx.identity.key.sign(terms_bytes),
        (member.name, proposal.to_user),
        member.id,
        reserved=True,
        listing=proposal.listing,
    )


def accept(tx: Tx, member: Member, known: Trade) -> Trade:
    """Accept a proposal made to this member: append this village's hold. From here on only a
    certificate ends it."""
    _check_ours(known, member, "to")
    trade.after(known.status, Event.ACCEPT)
    neighbour = _tradeable(tx, known.neighbour)
    if known.terms.deadline_minute < tx.minute:
        raise WrongState("the trade's deadline has passed", trade_status=known.status)
    for quantity in (known.terms.offer, known.terms.request):
        catalogue.check(tx, neighbour, quantity)
    trade_seats.check(tx, known.terms)
    trade_delivery.check_refund(tx, known.terms, member.id)
    _take_listed(tx, known, 1)
    signature = tx.identity.key.sign(known.terms_bytes)
    holds.append_hold(tx, known, signature, member.account)
    trade_council.open_subject(tx, known, signature)
    return trades.advance(tx, known, Event.ACCEPT)


def reject(tx: Tx, member: Member, known: Trade) -> Trade:
    """Decline a proposal made to this member."""
    _check_ours(known, member, "to")
    return trades.advance(tx, known, Event.REJECT, f"{member.name} declined it")


def cancel(tx: Tx, member: Member, known: Trade) -> Trade:
    """Withdraw a proposal that nobody is bound by; its set-aside comes back at once."""
    _check_ours(known, member, "from")
    return _end_unbound(tx, known, Event.CANCEL, f"{member.name} withdrew it")


def expire(tx: Tx) -> int:
    """End what the clock ends: proposals, those within the village too, listings, and the waiting
    for goods; return how many. Old answers to requests are forgotten, too, and erased listings
    wiped."""
    past = trades.pending_past(tx, tx.minute)
    for known in past:
        _end_unbound(tx, known, Event.EXPIRE, "nobody accepted it in time")
    members.forget_answers(tx)
    count = len(past) + deals.expire(tx) + listings.drop_ended(tx) + trade_delivery.expire(tx)
    listings.wipe(tx)
    return count


# What the other village says


def receive(
    tx: Tx,
    neighbour: Neighbour,
    messages: Sequence[SubjectMessage],
    about: Iterable[bytes] = (),
) -> set[bytes]:
    """Take in a neighbour's words on trades, then do all that is now due; return the subjects of
    which something is new. `about`: the trades that its new records speak of, or that it has heard
    of. Raises PeerError or Conflict, and then nothing is changed."""
    heard = {}
    moved = set()
    for message in messages:
        subject = trade.subject_of(bytes(message.terms))
        known = trades.find(tx, subject)
        if known is None and (known := _meet(tx, neighbour, message)) is not None:
            moved.add(subject)
        if known is None:
            continue  # no room: it may be said again
        heard[subject] = message
        if _take_in(tx, neighbour, known, message):
            moved.add(subject)
    known_here = {subject for subject in about if _is_with(tx, neighbour, subject)}
    moved |= advance_all(tx, neighbour, [*heard, *sorted(known_here)])
    voted = {subject for subject in heard if _take_votes(tx, neighbour, heard[subject], subject)}
    if voted:
        moved |= voted | advance_all(tx, neighbour, voted)
    for subject, message in heard.items():
        outbox.note_knowledge(tx, trades.by_subject(tx, subject), message)
    for subject in sorted(moved | heard.keys() | known_here):
        outbox.close(tx, neighbour, trades.by_subject(tx, subject))
    if heard:
        trades.drop_dead(tx, neighbour.village)
    return moved


def _is_with(tx: Tx, neighbour: Neighbour, subject: bytes) -> bool:
    known = trades.find(tx, subject)
    return known is not None and known.neighbour == neighbour.village


def take_certificate(tx: Tx, known: Trade, certificate: Certificate) -> bool:
    """Keep a decision, whoever brings it; tell whether it was news. Raises BadProof."""
    if known.certificate is not None:
        return False
    terms = known.terms
    council.verify_certificate(certificate, terms.network, known.subject, terms.seats)
    if trades.first_statement(tx, known.subject, OWN_LOG) is None:
        return False  # nothing to end
    trades.keep_certificate(tx, known.subject, certificate)
    trade_council.keep_decision(tx, known.subject, certificate)
    return True


def advance_all(tx: Tx, neighbour: Neighbour, about: Iterable[bytes] = ()) -> set[bytes]:
    """Do what is due in each trade with a neighbour; return the subjects that moved."""
    due = trades.may_move(tx, neighbour.village)
    moved = set()
    for subject in dict.fromkeys([*due, *about]):
        while _step(tx, neighbour, trades.by_subject(tx, subject)):
            moved.add(subject)
    return moved | trade_delivery.advance(tx, neighbour)


def receive_council(
    tx: Tx, neighbour: Neighbour, said: Sequence[CouncilMessage], cosigned: bool
) -> list[CouncilMessage]:
    """Take in what a seat says, `cosigned`: who has just cosigned our log; end what was decided.
    Return what to say of subjects that we do not know."""
    decided, unknown = trade_council.receive(tx, neighbour, said)
    if cosigned:
        decided |= trade_council.refresh(tx)
    _end_decided(tx, decided)
    return unknown


def begin(tx: Tx) -> None:
    """Go on with what councils waited for when the box stopped."""
    _end_decided(tx, trade_council.begin(tx))


def wake(tx: Tx) -> tuple[int | None, int]:
    """Do what time has made due in councils; return when there is more, or None, and in how many
    milliseconds."""
    _end_decided(tx, trade_council.wake(tx))
    next_ms = councils.next_wake(tx)
    return next_ms, max(0, (next_ms or 0) - tx.now_ms)


def _end_decided(tx: Tx, subjects: Iterable[bytes]) -> None:
    for subject in sorted(subjects):
        known = trades.find(tx, subject)
        if known is None or known.certificate is not None:
            continue
        certificate = councils.named(tx, subject).certificate
        assert certificate is not None
        if trades.first_statement(tx, subject, OWN_LOG) is not None:  # else nothing to end
            trades.keep_certificate(tx, subject, certificate)
            neighbour = neighbours.named(tx, known.neighbour)
            advance_all(tx, neighbour, [subject])
            outbox.close(tx, neighbour, trades.by_subject(tx, subject))


receipt = trade_receipt.of_trade
speak = outbox.speak
told = outbox.told
next_wake = councils.next_wake


# Checks


def _tradeable(tx: Tx, village: str) -> Neighbour:
    neighbour = neighbours.named(tx, village)
    if neighbour.trouble:
        raise WrongState(f"no new trades with {village}: {neighbour.trouble}")
    return neighbour


def _check_ours(known: Trade, member: Member, role: Role) -> None:
    if known.role != role or known.member != member.id:
        raise Forbidden(
            "this is for the member to whom the trade is addressed"
            if role == "to"
            else "this is for the member who proposed the trade"
        )


# Taking in


def _take_in(tx: Tx, neighbour: Neighbour, known: Trade, message: SubjectMessage) -> bool:
    """Take in what is said of a known trade, but for votes; tell whether there was anything new."""
    if known.neighbour != neighbour.village:
        raise Conflict("this trade is with another village")
    new = False
    if message.names is not None and (known.role, known.to_user) == ("from", ""):
        _check_names(message.names)  # whoever made the listing that our proposal answers
        trades.keep(tx, known.subject, to_user=message.names.to_user)
    if message.withdrawn is not None:
        new |= _withdrawn(tx, known, message.withdrawn)
    new |= trade_delivery.take_in(tx, known, message.disputes or ())
    place = known.terms.network, known.subject, known.terms.seats
    if not all(council.vote_is_valid(vote, *place) for vote in message.votes):
        raise BadProof("a vote does not hold")
    if message.certificate is not None:
        new |= take_certificate(tx, known, message.certificate)
    return new


def _take_votes(tx: Tx, neighbour: Neighbour, message: SubjectMessage, subject: bytes) -> bool:
    """Keep the votes for what can be proven here; tell whether one was new. Any other vote is
    passed over: an honest seat says it again until it can be counted."""
    known = trades.by_subject(tx, subject) if message.votes else None
    if known is None or known.certificate is not None:
        return False
    value = trade.provable(trades.facts(tx, known, tx.identity.village, neighbour.log))
    votes = [vote for vote in message.votes if vote.value == value and value is not None]
    kept = [trades.keep_vote(tx, subject, vote) for vote in votes]
    return any(kept)


def _meet(tx: Tx, neighbour: Neighbour, message: SubjectMessage) -> Trade | None:
    """Keep a trade that was not known here: a proposal to this village, or one of its own that it
    has forgotten and must still answer. None if there is no room for it now."""
    terms_bytes = bytes(message.terms)
    terms = trade.decode_terms(terms_bytes)
    own = tx.identity.village
    trade.check_parties(
        terms, Seat(own, tx.identity.key.public), Seat(neighbour.village, neighbour.key)
    )
    if (terms.network, terms.charter) != (neighbour.network, neighbour.charter):
        raise Malformed("the trade is under a charter that we do not share")
    if terms.deadline_minute > limits.DEADLINE_MINUTE_MAX:
        raise Malformed("terms: malformed deadline")
    trade.verify_party(terms, terms_bytes, "from", message.from_signature)
    signature = message.from_signature
    if terms.from_village == own:
        forgotten = trades.add(tx, terms_bytes, terms, "from", signature, ("", ""), None, False)
        return trades.advance(tx, forgotten, Event.EXPIRE, "this box no longer knew of it")
    # Twice what the proposer's box allows itself, which may know of ends that are not known here.
    unclosed = trades.count_unclosed(tx, neighbour.village)
    if unclosed >= 2 * limits.OPEN_TRADES_PER_NEIGHBOUR_MAX:
        return None
    people = message.names or Names("", "")
    _check_names(people)
    member = _addressed(tx, people)
    known = trades.add(
        tx,
        terms_bytes,
        terms,
        "to",
        signature,
        (people.from_user, member.name if member else people.to_user),
        member.id if member else None,
        reserved=False,
        listing=people.listing,
    )
    return known if message.withdrawn else _refuse_at_once(tx, known)


def _addressed(tx: Tx, people: Names) -> Member | None:
    """Return the member to whom a proposal goes: by name, or whoever made the listing."""
    if not people.listing:
        return members.find(tx, people.to_user)
    listed = listings.find(tx, tx.identity.village, people.listing)
    return members.by_id(tx, listed.member) if listed and listed.member else None


def _take_listed(tx: Tx, known: Trade, sign: int) -> None:
    """Take what a trade moves out of the own listing that it answers, or put it back.

    Raises WrongState if there is not that much left in it."""
    if known.role != "to" or not known.listing:
        return
    sides: tuple[tuple[Side, Quantity], ...]
    sides = (("want", known.terms.offer), ("offer", known.terms.request))
    for side, quantity in sides:
        left = listings.take(tx, known.listing, side, quantity.asset, sign * quantity.amount)
        if left is not None and sign * quantity.amount > left:
            shown = names.amount_text(left, quantity.decimals)
            what = words.asset_text(quantity.asset)
            raise WrongState(f"your listing has only {shown} {what} left")


def _refuse_at_once(tx: Tx, known: Trade) -> Trade:
    """End a new proposal that cannot wait for its member. It is no error: the clock may be wrong,
    and all else in the message must be heard. Its sender hears of it in the answer."""
    ahead = known.terms.deadline_minute - tx.minute
    latest = (limits.DEADLINE_S_MAX + limits.CLOCKS_APART_S_MAX) * 1000 // limits.MINUTE_MS
    event, reason = Event.REJECT, ""
    if ahead < 0:
        event, reason = Event.EXPIRE, "it came after its deadline"
    elif ahead > latest:
        reason = "its deadline is over seven days ahead"
    elif known.listing and known.member is None:
        reason = "the listing is not there any more"
    elif trades.count_waiting(tx, known) > limits.PROPOSALS_PER_PERSON_MAX:
        reason = f"{limits.PROPOSALS_PER_PERSON_MAX} proposals wait for the same person already"
    if not reason:
        return known
    trades.advance(tx, known, event, reason)
    trades.keep(tx, known.subject, closed=1)
    return trades.by_subject(tx, known.subject)


def _check_names(people: Names) -> None:
    for name in (people.from_user, people.to_user):
        if name and not names.accepts(names.member_name, name):
            raise Malformed("a name in the trade is not one")
    if people.listing and not listing.is_id(people.listing):
        raise Malformed("the listing that a trade names is not one")


def _withdrawn(tx: Tx, known: Trade, withdrawn: Withdrawn) -> bool:
    """The other side's word that it will not be bound; without effect on a hold."""
    if known.status is not Status.PENDING:
        return False
    if withdrawn != "expired" and (withdrawn == "rejected") != (known.role == "from"):
        raise Malformed(f"a trade is not {withdrawn} by that side")
    person = known.to_user if known.role == "from" else known.from_user
    reason = {
        "rejected": f"{person or known.neighbour} declined it",
        "cancelled": f"{person or known.neighbour} withdrew it",
        "expired": "nobody accepted it in time",
    }[withdrawn]
    _end_unbound(tx, known, _EVENTS[withdrawn], reason)
    return True


def _end_unbound(tx: Tx, known: Trade, event: Event, reason: str) -> Trade:
    ended = trades.advance(tx, known, event, reason)
    holds.free(tx, known)
    return ended


# Doing what is due


def _step(tx: Tx, neighbour: Neighbour, known: Trade) -> bool:
    decided = trade_council.decision(tx, known.subject) if known.certificate is None else None
    if decided and trades.first_statement(tx, known.subject, OWN_LOG) is not None:
        trades.keep_certificate(tx, known.subject, decided)
        return True
    facts = trades.facts(tx, known, tx.identity.village, neighbour.log)
    if known.status is Status.ACCEPTED and facts.mine == facts.theirs == "hold":
        trades.advance(tx, known, Event.BOTH_HELD)
        return True
    action = trade.next_action(facts)
    if trade_council.is_for(known.terms) and action is Action.PRECOMMIT:
        return False  # that is for the council
    if action is Action.ANSWER:
        _answer(tx, neighbour, known)
    elif action is Action.PRECOMMIT:
        value = trade.provable(facts)
        assert value is not None
        vote = council.precommit(
            tx.identity.key, tx.identity.village, known.terms.network, known.subject, value
        )
        trades.keep_vote(tx, known.subject, vote)
    elif action is not None:
        _end(tx, known)
    elif known.certificate is None and not trade_council.is_for(known.terms):
        return _certify(tx, known)
    return action is not None


def _answer(tx: Tx, neighbour: Neighbour, known: Trade) -> None:
    """Answer an acceptance that stands in the neighbour's log: with our hold, or, if the proposal
    is not open any more or a check fails, with no-hold."""
    first = trades.first_statement(tx, known.subject, neighbour.log)
    assert first is not None
    record = records.decode(logs.record_at(tx, neighbour.log, first[0]))
    assert isinstance(record, records.HoldRecord)
    trade.verify_party(known.terms, known.terms_bytes, "to", record.to_signature)
    trades.keep(tx, known.subject, to_signature=record.to_signature)
    known = _why_not(tx, neighbour, known)
    if known.status is Status.PENDING:
        assert known.member is not None
        holds.free(tx, known)
        try:
            holds.append_hold(tx, known, record.to_signature, member_account(known.member))
        except LimitExceeded as error:
            known = trades.advance(tx, known, Event.CANCEL, error.detail)
        else:
            trades.advance(tx, trades.advance(tx, known, Event.ACCEPT), Event.BOTH_HELD)
            trade_council.open_subject(tx, known, record.to_signature)
            return
    if known.status is Status.EXPIRED:
        trades.keep(tx, known.subject, reason=_HEARD_LATE)
    holds.append_no_hold(tx, known, record.to_signature)
    trade_council.open_subject(tx, known, record.to_signature)
    trades.keep(tx, known.subject, told=0, closed=0)


def _why_not(tx: Tx, neighbour: Neighbour, known: Trade) -> Trade:
    if known.status is not Status.PENDING:
        return known
    if known.terms.deadline_minute < tx.minute or trade_council.decision(tx, known.subject):
        return _end_unbound(tx, known, Event.EXPIRE, _HEARD_LATE)
    if neighbour.trouble:
        return _end_unbound(tx, known, Event.CANCEL, neighbour.trouble)
    try:
        trade_seats.check(tx, known.terms)
        trade_delivery.check_refund(tx, known.terms, known.member)
    except (WrongState, InvalidInput) as error:
        return _end_unbound(tx, known, Event.CANCEL, error.detail)
    return known


def _certify(tx: Tx, known: Trade) -> bool:
    certificate = council.certificate_of(trades.votes(tx, known.subject), known.terms.seats)
    if certificate is None:
        return False
    trades.keep_certificate(tx, known.subject, certificate)
    return True


def _end(tx: Tx, known: Trade) -> None:
    certificate = known.certificate
    assert certificate is not None
    settled = certificate.value == "COMMIT"
    if settled and known.status is Status.ACCEPTED:
        known = trades.advance(tx, known, Event.BOTH_HELD)
    holds.end_hold(tx, known, certificate)
    if not settled:
        _take_listed(tx, known, -1)
    reason = "" if settled else trade_ends.why_aborted(tx, known)
    ended = trades.advance(tx, known, Event.COMMIT if settled else Event.ABORT, reason)
    trade_delivery.note_end(tx, ended)
