"""The proof of an ended trade, from what this village holds."""

import msgspec

from edge import trade_council
from edge.core import trade
from edge.core.receipt import FORMAT, Receipt
from edge.errors import WrongState
from edge.storage import trades
from edge.storage.trades import Trade
from edge.storage.tx import View


def receipt(view: View, known: Trade) -> Receipt:
    """Return the proof of an ended trade; WrongState if there is none (yet)."""
    if known.certificate is None or known.to_signature is None:
        raise WrongState(
            f"the trade {trade.HOW_IT_STANDS[known.status]}, and has no receipt: that comes once "
            "an accepted trade is decided",
            trade_status=known.status,
        )
    by_council = trade_council.is_for(known.terms)
    evidence = (
        trade_council.proofs(view, known.subject, known.certificate.value)
        if by_council
        else trades.proofs(view, known)
    )
    needed = set() if by_council else {known.terms.from_village}
    if known.certificate.value == "COMMIT":
        needed = {known.terms.from_village, known.terms.to_village}
    if not evidence.keys() >= needed:
        raise WrongState("the proof for a receipt has not come yet", trade_status=known.status)
    return Receipt(
        FORMAT,
        msgspec.Raw(known.terms_bytes),
        known.from_signature,
        known.to_signature,
        known.certificate,
        tuple(evidence.values()),
    )
