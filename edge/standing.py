"""How a trade with another village stands: whom it waits for, since when, and what each seat has
said, as far as this box knows."""

import msgspec

from edge.core import council
from edge.core.trade import ENDED, Status
from edge.core.words import deciding_text
from edge.storage import councils, facts, logs, neighbours, trades
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, View


class SeatStanding(msgspec.Struct, frozen=True):
    """What one seat has said. `statement`: a party's `hold` or `no-hold`, empty if none is known;
    `voted`: its last precommit, or *absent*, in words; `last_contact_ms`: 0 for this village, or if
    it was never heard from."""

    village: str
    here: bool
    statement: str
    is_proven: bool
    voted: str
    last_contact_ms: int


class Standing(msgspec.Struct, frozen=True):
    """`round`: of a council, -1 before it has begun; `decided`: `COMMIT`, `ABORT` or nothing."""

    waits_for: str
    since_ms: int
    seats: tuple[SeatStanding, ...]
    round: int
    decided: str


def of(view: View, found: Trade) -> Standing:
    opened = councils.find(view, found.subject)
    certificate = found.certificate or (opened.certificate if opened else None)
    return Standing(
        waits_for(found),
        found.changed_ms,
        tuple(_seat(view, found, seat.village) for seat in found.terms.seats),
        opened.state.round if opened else -1,
        certificate.value if certificate else "",
    )


def waits_for(found: Trade) -> str:
    """Return who has to do something next."""
    if found.status in ENDED:
        return "nobody: it has ended"
    if found.status is not Status.PENDING and len(found.terms.seats) > 2:
        return f"any {deciding_text(found.terms)}"
    if found.status is not Status.PENDING or (found.role == "from" and not found.told):
        return f"the box of {found.neighbour}"
    if found.role == "from":
        return f"{found.to_user or 'a member'} of {found.neighbour}"
    return found.to_user if found.member is not None else "nobody: no member here has that name"


def _seat(view: View, found: Trade, village: str) -> SeatStanding:
    here = village == facts.read(view, "village_id")
    known = None if here else neighbours.find(view, village)
    log = OWN_LOG if here else known.log if known else None
    first = trades.first_statement(view, found.subject, log) if log is not None else None
    statement = first[1] if first else ""
    return SeatStanding(
        village,
        here,
        statement,
        bool(first) and _is_proven(view, found, village, log, first[0] if first else 0),
        _voted(view, found, village),
        known.last_contact_ms if known else 0,
    )


def _is_proven(view: View, found: Trade, village: str, log: int | None, index: int) -> bool:
    if len(found.terms.seats) > 2:
        return councils.is_proven(view, found.subject, village)
    assert log is not None, "a statement stands in a log"
    seats = [seat.village for seat in found.terms.seats]
    return index < logs.proven_size(view, log, village, seats, council.quorum(len(seats)))


def _voted(view: View, found: Trade, village: str) -> str:
    votes = [*trades.votes(view, found.subject), *councils.votes(view, found.subject)]
    said = [
        vote.value or "none"
        for vote in votes
        if (vote.village, vote.step) == (village, "precommit")
    ]
    missing = [
        each.about for each in councils.absents(view, found.subject) if each.village == village
    ]
    if said:
        return f"for {said[-1]}"
    return f"that {' and '.join(missing)} is absent" if missing else ""
