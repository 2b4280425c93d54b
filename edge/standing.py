"""How a trade with another village stands: whom it waits for, since when, and what each seat has
said, as far as this box knows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from edge.core import council
from edge.core.council import Certificate
from edge.core.trade import ENDED, UNBOUND_ENDS, Statement, Status, Terms
from edge.core.words import deciding_text, together
from edge.storage import councils, facts, logs, neighbours, trades
from edge.storage.councils import Opened
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, View

HEARD_LATELY_MS: Final = 120_000
BOUND: Final = frozenset({Status.ACCEPTED, Status.HELD})


class SeatStanding(msgspec.Struct, frozen=True):
    """What one seat has said. `statement`: a party's `hold` or `no-hold`, empty if none is known;
    `voted`: its last precommit, or *absent*, in words; `last_contact_ms`: 0 for this village, or if
    it was never heard from."""

    village: str
    here: bool
    party: bool
    statement: str
    is_proven: bool
    voted: str
    last_contact_ms: int


class Standing(msgspec.Struct, frozen=True):
    """`round`: of a council, -1 before it has begun; `decided`: `COMMIT`, `ABORT` or nothing;
    `evidence`: in words what is held of it here; `absent_from_ms`: from when on a council's seats
    may say that a hold is absent, 0 if that will not be."""

    waits_for: str
    since_ms: int
    seats: tuple[SeatStanding, ...]
    round: int
    decided: str
    evidence: str
    absent_from_ms: int


class Unshown(msgspec.Struct, frozen=True):
    """The parties whose hold is not proven here, and from when on it may be said to be absent."""

    villages: tuple[str, ...]
    absent_from_ms: int


def of(view: View, found: Trade) -> Standing:
    """Return how a trade of this village's own stands."""
    opened = councils.find(view, found.subject)
    certificate = found.certificate or (opened.certificate if opened else None)
    seats = _seats(view, found.subject, found.terms)
    is_bound = found.status is not Status.PENDING and found.status not in UNBOUND_ENDS
    return Standing(
        waits_for(found, missing(view, found.subject, found.terms)),
        found.changed_ms,
        seats,
        opened.state.round if opened else -1,
        certificate.value if certificate else "",
        _evidence(seats, certificate) if is_bound or certificate else "none: nobody is bound",
        _absent_from_ms(opened, seats) if opened and is_bound and certificate is None else 0,
    )


def of_subject(view: View, opened: Opened) -> Standing:
    """Return how a trade of others stands, which this village helps to decide."""
    seats = _seats(view, opened.id, opened.terms)
    certificate = opened.certificate
    return Standing(
        "nobody: it is decided"
        if certificate
        else _council(opened.terms, missing(view, opened.id, opened.terms)),
        opened.opened_ms,
        seats,
        opened.state.round,
        certificate.value if certificate else "",
        _evidence(seats, certificate),
        0 if certificate else _absent_from_ms(opened, seats),
    )


def in_words(stands: Standing) -> str:
    """Return how a trade of others stands as sentences."""
    if stands.decided:
        done = "carried out" if stands.decided == "COMMIT" else "not carried out"
        return f"Decided: {done}."
    return f"Not decided yet. It waits for {stands.waits_for}. Held here: {stands.evidence}."


def missing(view: View, subject: bytes, terms: Terms) -> tuple[str, ...]:
    """Return the other parties to a council's trade whose hold is not proven here: the seats decide
    nothing without it, before they may say that it is absent."""
    if len(terms.seats) == 2:
        return ()
    proven = {(each.village, said) for each, said in councils.statements(view, subject)}
    if (terms.from_village, "no-hold") in proven:
        return ()  # it proves already that the trade is not carried out
    own, parties = facts.read(view, "village_id"), (terms.from_village, terms.to_village)
    return tuple(each for each in parties if each != own and (each, "hold") not in proven)


def unshown(view: View, found: Trade) -> Unshown:
    """Return what a bound trade lacks, for the sentence of its member; nothing of any other."""
    opened = councils.find(view, found.subject) if found.status in BOUND else None
    since_ms = opened.opened_ms if opened else found.created_ms
    lacking = missing(view, found.subject, found.terms) if opened else ()
    return Unshown(lacking, councils.absent_from_ms(found.terms, since_ms))


def to_ask(view: View, found: Trade, stands: Standing, now_ms: int) -> list[str]:
    """Return the other villages whose stewards may help: those not heard from lately, and those
    whose hold is not proven here."""
    lacking = missing(view, found.subject, found.terms)
    return [
        seat.village
        for seat in stands.seats
        if not seat.here
        and (seat.village in lacking or now_ms - seat.last_contact_ms > HEARD_LATELY_MS)
    ]


def waits_for(found: Trade, lacking: Sequence[str] = ()) -> str:
    """Return who has to do something next; `lacking` as `missing` says."""
    if found.status in ENDED:
        return "nobody: it has ended"
    if found.status is not Status.PENDING and len(found.terms.seats) > 2:
        return _council(found.terms, lacking)
    if found.status is not Status.PENDING or (found.role == "from" and not found.told):
        return f"the box of {found.neighbour}"
    if found.role == "from":
        return f"{found.to_user or 'a member'} of {found.neighbour}"
    return found.to_user if found.member is not None else "nobody: no member here has that name"


def _council(terms: Terms, lacking: Sequence[str]) -> str:
    if not lacking:
        return f"any {deciding_text(terms)} to reach each other"
    boxes = "box" if len(lacking) == 1 else "boxes"
    return f"the {boxes} of {together(lacking)}, to show what is held to any {deciding_text(terms)}"


def _evidence(seats: Iterable[SeatStanding], certificate: Certificate | None) -> str:
    """Return in words what is held of a trade by which somebody is bound."""
    if certificate is not None:
        signers = [village for village, _ in certificate.precommits]
        return f"the decision, signed by {together(signers)}"
    said = []
    for seat in seats:
        if seat.party:
            how = "proven" if seat.is_proven else "not proven yet"
            known = f"the {seat.statement} of {seat.village}, {how}"
            said.append(known if seat.statement else f"no hold of {seat.village} yet")
    voters = [seat.village for seat in seats if seat.voted]
    return "; ".join(said + ([f"the votes of {together(voters)}"] if voters else []))


def _absent_from_ms(opened: Opened, seats: Iterable[SeatStanding]) -> int:
    proven = [seat.statement for seat in seats if seat.party and seat.is_proven]
    if proven == ["hold", "hold"] or "no-hold" in proven:
        return 0
    return councils.absent_from_ms(opened.terms, opened.opened_ms)


def _seats(view: View, subject: bytes, terms: Terms) -> tuple[SeatStanding, ...]:
    proven: dict[str, Statement] = {
        each.village: statement for each, statement in councils.statements(view, subject)
    }
    villages = [seat.village for seat in terms.seats]
    return tuple(
        SeatStanding(
            village,
            village == own,
            village in (terms.from_village, terms.to_village),
            *_stated(view, subject, villages, village, proven),
            _voted(view, subject, village),
            known.last_contact_ms if (known := neighbours.find(view, village)) else 0,
        )
        for own in [facts.read(view, "village_id")]
        for village in villages
    )


def _stated(
    view: View, subject: bytes, seats: list[str], village: str, proven: Mapping[str, Statement]
) -> tuple[str, bool]:
    """Return a party's statement, empty if none is known, and if it is proven here."""
    if village in proven:
        return proven[village], True
    log = _log_of(view, village)
    first = trades.first_statement(view, subject, log) if log is not None else None
    if first is None or log is None:
        return "", False
    if len(seats) > 2:
        return first[1], False  # of a council, what is proven is kept
    needed = council.quorum(len(seats))
    return first[1], first[0] < logs.proven_size(view, log, village, seats, needed)


def _log_of(view: View, village: str) -> int | None:
    if village == facts.read(view, "village_id"):
        return OWN_LOG
    known = neighbours.find(view, village)
    return known.log if known else None


def _voted(view: View, subject: bytes, village: str) -> str:
    votes = [*trades.votes(view, subject), *councils.votes(view, subject)]
    said = [
        vote.value or "none"
        for vote in votes
        if (vote.village, vote.step) == (village, "precommit")
    ]
    missing = [each.about for each in councils.absents(view, subject) if each.village == village]
    if said:
        return f"for {said[-1]}"
    return f"that {' and '.join(missing)} is absent" if missing else ""
