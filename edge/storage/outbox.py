"""The open trades as the outbox: what to say of each to the neighbour, until it is known to know.

Nothing is queued. What is said is made from the committed rows each time, so that saying it again,
after a lost answer or a restart, is the same as saying it once.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from edge.core import limits, trade
from edge.core.messages import DisputeText, Names, SubjectMessage, Withdrawn
from edge.core.trade import Status
from edge.storage import deliveries, neighbours, set_back, trades
from edge.storage.neighbours import Neighbour
from edge.storage.trades import Trade
from edge.storage.tx import Tx, View

_WITHDRAWALS: dict[Status, Withdrawn] = {
    Status.REJECTED: "rejected",
    Status.CANCELLED: "cancelled",
    Status.EXPIRED: "expired",
}


def speak(
    view: View,
    neighbour: Neighbour,
    about: Iterable[bytes] = (),
    turn: int = 0,
    said: Mapping[bytes, int] = MappingProxyType({}),
) -> list[tuple[SubjectMessage, int]]:
    """Return what to say to a neighbour about trades, each with the stamp of the row it speaks of:
    all that is open or not known to have arrived, and what it has just asked `about`.

    If there is more than one message may carry, each gets half, and `turn` moves on through the
    rest.
    """
    asked = [found for subject in about if (found := trades.find(view, subject))]
    subjects = {found.subject for found in asked}
    to_tell = trades.to_tell(view, neighbour.village, said)
    to_tell += deliveries.untold(view, neighbour.village)
    waiting = [each for each in dict.fromkeys(to_tell) if each not in subjects]
    room = limits.SUBJECTS_PER_MESSAGE_MAX
    asked = asked[: max(room // 2, room - len(waiting))]
    room -= len(asked)
    start = turn * room % len(waiting) if len(waiting) > room else 0
    chosen = (waiting[start:] + waiting[:start])[:room]
    spoken = asked + [trades.by_subject(view, subject) for subject in chosen]
    return [(_message(view, found), found.changed_ms) for found in spoken]


def told(tx: Tx, said: Iterable[tuple[bytes, int]]) -> None:
    """Note that the neighbour has stored what was said about trades, unless they have changed."""
    for subject, changed_ms in said:
        known = trades.find(tx, subject)
        if known is not None and known.changed_ms == changed_ms:
            deliveries.note_told(tx, subject)
        if known is not None and known.changed_ms == changed_ms and not known.told:
            unbound = known.status in trade.UNBOUND_ENDS and known.to_signature is None
            trades.keep(tx, subject, told=1, closed=int(unbound or known.closed))
            if known.certificate is not None:
                neighbour = neighbours.named(tx, known.neighbour)
                close(tx, neighbour, trades.by_subject(tx, subject))


def note_knowledge(tx: Tx, known: Trade, message: SubjectMessage) -> None:
    """Note what a neighbour shows that it knows, so that it need not be told: a trade of which it
    speaks, an end that it names, a certificate that it has. Villages that only ever answer learn
    by this alone. Its votes, and ours that it has, came with it."""
    set_back.note_votes_returned(tx, known.subject)
    unbound = known.status in trade.UNBOUND_ENDS and known.to_signature is None
    knows = known.status is Status.PENDING or (unbound and message.withdrawn is not None)
    if not known.told and (knows or message.certificate is not None):
        trades.keep(tx, known.subject, told=1)
    if unbound and message.withdrawn is not None and not known.closed:
        trades.keep(tx, known.subject, closed=1)


def close(tx: Tx, neighbour: Neighbour, known: Trade) -> None:
    """Stop speaking of a decided trade once the other side has the certificate and, if it held, has
    ended its hold."""
    by_council = len(known.terms.seats) > 2  # which tells the decision, too
    if known.certificate is None or known.status not in trade.ENDED:
        return
    if not (known.told or by_council):
        return
    other_held = known.certificate.value == "COMMIT" or known.role == "from"
    if not other_held or trades.has_ended_there(tx, known.subject, neighbour.log):
        trades.keep(tx, known.subject, closed=1)


def _message(view: View, known: Trade) -> SubjectMessage:
    written = deliveries.written(view, known.subject)
    proposing = (known.role, known.status) == ("from", Status.PENDING) and not known.told
    telling = known.role == "to" and bool(known.listing) and known.to_signature is not None
    return SubjectMessage(
        terms=msgspec.Raw(known.terms_bytes),
        from_signature=known.from_signature,
        names=Names(known.from_user, known.to_user, known.listing)
        if proposing or telling
        else None,
        withdrawn=_WITHDRAWALS.get(known.status),
        votes=tuple(trades.votes(view, known.subject)),
        certificate=known.certificate,
        disputes=tuple(DisputeText(*each) for each in sorted(written.items())) or msgspec.UNSET,
    )
