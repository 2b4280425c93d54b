"""Which villages are to decide a trade, and whether this one trusts them to, before it is bound.

Whoever is bound stays bound until a quorum decides. So that it will, a quorum of the seats must
have cosigned a checkpoint of each party within the window in the terms; two alone skip that.
"""

from typing import Final

from edge.core import council, limits, trade
from edge.core.council import Seat
from edge.errors import WrongState
from edge.storage import freshness, neighbours
from edge.storage import misbehaviour as proofs_of
from edge.storage.neighbours import Neighbour
from edge.storage.tx import OWN_LOG, Tx, View

LATELY_MS: Final = 2 * limits.MINUTE_MS  # at least two heartbeats ago


def choose(tx: Tx, neighbour: Neighbour) -> tuple[Seat, ...]:
    """Return who is to decide a trade with a neighbour: the two parties and five others or two, as
    many as the charter says and there are that could; or else the parties alone.

    The others are neighbours of both, and say so; they have cosigned our log a short while ago. Of
    too many those come first that did so in the last two minutes, then those whose ids do.
    """
    own = tx.identity
    parties = (Seat(own.village, own.key.public), Seat(neighbour.village, neighbour.key))
    others = others_for(tx, neighbour, own.village, tx.stamp_ms)
    return parties + tuple(Seat(each.village, each.key) for each in others)


def others_for(view: View, neighbour: Neighbour, own: str, now_ms: int) -> list[Neighbour]:
    """Return who would decide a trade with a neighbour beside the two, nobody if the two would."""
    fresh = freshness.since(view, OWN_LOG, _since_ms(now_ms, limits.WINDOW_S_DEFAULT))
    lately = freshness.since(view, OWN_LOG, now_ms - LATELY_MS)
    found = [
        each
        for each in neighbours.everyone(view)
        if each.village != neighbour.village
        and each.village in fresh
        and each.village in neighbour.entry.trusted_villages
        and not _why_no_seat(view, each, own, neighbour.village)
    ]
    found.sort(key=lambda each: each.village not in lately)
    seats_max = min(neighbours.council_seats(view, neighbour), 2 + len(found))
    size = max(size for size in trade.COUNCIL_SIZES if size <= seats_max)
    return found[: size - 2]


def check(tx: Tx, terms: trade.Terms) -> None:
    """Raise WrongState unless this village trusts every seat of a council to decide, and a quorum
    of them follows both parties, before it is bound. Fewer seats than the charter allows are taken
    as the proposer's best: whom it could ask is not known here."""
    parties = (terms.from_village, terms.to_village)
    [other] = [each for each in parties if each != tx.identity.village]
    neighbour = neighbours.named(tx, other)
    seats_max = neighbours.council_seats(tx, neighbour)
    if len(terms.seats) > seats_max:
        raise WrongState(
            f"{len(terms.seats)} villages are to decide it, and the charter with {other} says"
            f" {seats_max} at most"
        )
    if len(terms.seats) == len(parties):
        return
    for seat in terms.seats:
        if seat.village in parties:
            continue
        known = neighbours.find(tx, seat.village)
        if known is None or known.key != seat.key:
            raise WrongState(f"{seat.village} is to decide with others, and is no neighbour here")
        if why := _why_no_seat(tx, known, *parties):
            raise WrongState(why)
    _check_freshness(tx, terms, tx.identity.village, OWN_LOG)
    _check_freshness(tx, terms, other, neighbour.log)


def _check_freshness(tx: Tx, terms: trade.Terms, party: str, log: int) -> None:
    """Raise WrongState unless a quorum of the seats, the party counted, has cosigned its log within
    the window."""
    fresh = freshness.since(tx, log, _since_ms(tx.stamp_ms, terms.window_s)) | {party}
    missed = [seat.village for seat in terms.seats if seat.village not in fresh]
    needed = council.quorum(len(terms.seats))
    if len(terms.seats) - len(missed) < needed:
        raise WrongState(
            f"too few of those who are to decide keep up with {party}: nothing new of its log was"
            f" signed lately by {', '.join(missed)}. Try again in a few minutes"
        )


def _why_no_seat(view: View, known: Neighbour, *parties: str) -> str:
    """Return why a neighbour cannot have a seat in a trade between two others, nothing if it
    can."""
    if known.trouble:
        return f"{known.village} is to decide with others, and is not trusted: {known.trouble}"
    if proofs_of.is_proven(view, known.village, known.key):
        return f"{known.village} is to decide with others, and has broken the rules of councils"
    if not set(parties) <= set(known.entry.trusted_villages):
        return f"{known.village} is to decide with others, and is not a neighbour of both villages"
    return ""


def _since_ms(now_ms: int, window_s: int) -> int:
    """Return the begin of a window; the clocks of two may be a little apart."""
    return now_ms - (window_s + limits.CLOCK_SKEW_S_MAX) * 1000
