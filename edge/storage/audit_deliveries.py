"""The part of the audit that is about what comes after a trade: the rows of both logs' words, the
status that they make, and the mirror: *delivered* with *delivered*.

That goods are delivered or refunded, never both, is checked as the own log is replayed.
"""

from edge.core import delivery, limits, records
from edge.core.replay import Delivery, difference
from edge.core.trade import CARRIED_OUT
from edge.storage import deliveries, logs, set_back, trades
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, View


def check_row(view: View, log: int, index: int, where: str, said: Delivery) -> None:
    """Compare what a record says of a delivery with its row. Raises AuditDifference."""
    row = view.one(
        "SELECT kind, asset FROM delivery WHERE subject = ? AND log = ? AND idx = ?",
        said.subject,
        log,
        index,
    )
    if row != (said.kind, said.asset):
        raise difference(where, "its row among the deliveries", said[1:], row)


def check_count(view: View, log: int, shown: str, expected: int, size: int) -> None:
    """Find rows that no record of a log has made: there are as many as records."""
    found, last = view.one("SELECT count(*), max(idx) FROM delivery WHERE log = ?", log)
    if found != expected or (last is not None and last >= size):
        raise difference(shown, "how many rows of deliveries it has", expected, found)


def check(view: View, known: Trade, their_log: int) -> None:
    """Check what the row of a trade says of its delivery. Raises AuditDifference."""
    terms = known.terms
    (refund_of,) = view.one("SELECT refund_of FROM trade WHERE subject = ?", known.subject)
    if refund_of != terms.refund_of:
        raise _fault(known, "which trade it gives back", terms.refund_of, refund_of)
    ours = deliveries.words(view, known.subject, OWN_LOG)
    theirs = deliveries.words(view, known.subject, their_log)
    back = trades.given_back(view, known.subject)
    so_far = delivery.stand(terms, known.role, ours, theirs, back)
    if known.status in CARRIED_OUT:
        heard = delivery.status(terms, so_far)
        unheard = ((ours, (), back), (ours, theirs))
        before = {delivery.status(terms, delivery.stand(terms, known.role, *of)) for of in unheard}
        if known.status is not heard and not (known.heard and known.status in before):
            raise _fault(known, "its status", heard, known.status)
        _check_mirror(view, known, so_far.delivered, delivery.said(theirs, "delivered"))
    _check_day(view, known, so_far)
    _check_written(view, known)


def _check_mirror(view: View, known: Trade, ours: frozenset[str], theirs: frozenset[str]) -> None:
    """What this village gave is delivered here once the receiver has said so, and not before."""
    leg = delivery.leg_of(known.terms, known.role, receives=False)
    if leg is None:
        return
    here, there = (leg.goods.asset in each for each in (ours, theirs))
    if here and not there and not set_back.was_away(view, known.subject):
        raise _fault(known, f"what {known.neighbour} said of it", "delivered", None)
    if there and not here and not known.heard and not _is_refunded(view, known, leg.goods.asset):
        raise _fault(known, f"its delivery, which {known.neighbour} has", "delivered", None)


def _check_day(view: View, known: Trade, so_far: delivery.Stand) -> None:
    """Goods that are awaited, and not disputed, have a day from which they count as delivered."""
    leg = delivery.leg_of(known.terms, known.role)
    is_awaited = (
        known.status in CARRIED_OUT
        and leg is not None
        and leg.goods.asset not in so_far.delivered | so_far.disputed
        and not _is_refunded(view, known, leg.goods.asset)
    )
    earliest = _settled_minute(view, known) + limits.UNDISPUTED_S_MAX // 60 if is_awaited else None
    found = known.deliver_minute
    if earliest is None or found is None:
        if (earliest, found) != (None, None):
            raise _fault(known, "when it counts as delivered", earliest, found)
    elif found < earliest:
        raise _fault(known, "when it counts as delivered", f"{earliest} or later", found)


def _settled_minute(view: View, known: Trade) -> int:
    said = logs.statements(view, known.subject, OWN_LOG)
    [index] = [index for index, kind in said if kind == "settle"]
    return records.decode(logs.record_at(view, OWN_LOG, index)).minute


def _is_refunded(view: View, known: Trade, asset: str) -> bool:
    return asset in trades.given_back(view, known.subject)


def _check_written(view: View, known: Trade) -> None:
    own = known.terms.village_of(known.role)
    for village, text in deliveries.written(view, known.subject).items():
        role = known.role if village == own else "to" if known.role == "from" else "from"
        named = village in (own, known.neighbour)
        if not named or delivery.leg_of(known.terms, role) is None:
            raise _fault(known, "who wrote of a dispute", "who receives goods", village)
        if len(text) > limits.DISPUTE_TEXT_CHARS_MAX:
            most = f"{limits.DISPUTE_TEXT_CHARS_MAX} characters"
            raise _fault(known, "what is written of a dispute", most, len(text))


def _fault(known: Trade, what: str, expected: object, found: object) -> Exception:
    return difference(f"trade {known.subject.hex()[:16]}", what, expected, found)
