"""Answering a listing as it is shown at this moment."""

from edge import market
from edge.core import listing
from edge.core.trade import Proposal
from edge.storage import listings
from edge.storage.tx import View


def answering(view: View, village: str, id_: str, amount: str) -> Proposal:
    found = listings.find(view, village, id_)
    seen = listing.digest(found.goods) if found is not None else ""
    return market.proposal(view, village, id_, amount, seen)
