"""Receipts of decided trades, made from what this box keeps: as a party, or as one of the seats."""

import msgspec

from edge import trade_council
from edge.core import trade
from edge.core.council import Certificate
from edge.core.receipt import FORMAT, Evidence, Receipt
from edge.errors import WrongState
from edge.storage import trades
from edge.storage.councils import Opened
from edge.storage.trades import Trade
from edge.storage.tx import View


def of_trade(view: View, known: Trade) -> Receipt:
    """Return the proof of an ended trade; WrongState if there is none (yet)."""
    if known.certificate is None or known.to_signature is None:
        raise WrongState(
            f"the trade {trade.HOW_IT_STANDS[known.status]}, and has no receipt: that comes once "
            "an accepted trade is decided",
            trade_status=known.status,
        )
    evidence = (
        trade_council.proofs(view, known.subject, known.certificate.value)
        if trade_council.is_for(known.terms)
        else trades.proofs(view, known)
    )
    signatures = known.from_signature, known.to_signature
    return _made(known.terms, known.terms_bytes, signatures, known.certificate, evidence)


def of_subject(view: View, opened: Opened) -> Receipt:
    """Return the proof of a trade that this village has helped to decide; WrongState if there is
    none (yet)."""
    if opened.certificate is None:
        raise WrongState("the trade is not decided yet, as far as this village knows")
    evidence = trade_council.proofs(view, opened.id, opened.certificate.value)
    signatures = opened.from_signature, opened.to_signature
    return _made(opened.terms, opened.terms_bytes, signatures, opened.certificate, evidence)


def _made(
    terms: trade.Terms,
    terms_bytes: bytes,
    signatures: tuple[bytes, bytes],
    certificate: Certificate,
    evidence: dict[str, Evidence],
) -> Receipt:
    needed = set() if trade_council.is_for(terms) else {terms.from_village}
    if certificate.value == "COMMIT":
        needed = {terms.from_village, terms.to_village}
    if not evidence.keys() >= needed:
        raise WrongState("the proof for a receipt has not come yet")
    return Receipt(
        FORMAT, msgspec.Raw(terms_bytes), *signatures, certificate, tuple(evidence.values())
    )
