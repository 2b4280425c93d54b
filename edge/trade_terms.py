"""The terms that a village offers another: made of what a member proposes."""

from edge import trade_seats
from edge.core import limits, listing, names, trade
from edge.core.trade import Proposal, Quantity
from edge.errors import InvalidInput
from edge.storage import catalogue
from edge.storage.neighbours import Neighbour
from edge.storage.tx import Tx


def make(tx: Tx, neighbour: Neighbour, proposal: Proposal, from_fee: int) -> trade.Terms:
    own = tx.identity
    return trade.Terms(
        context=trade.TERMS_CONTEXT,
        network=neighbour.network,
        charter=neighbour.charter,
        from_village=own.village,
        to_village=neighbour.village,
        trade_id=tx.random(8).hex(),
        seats=trade_seats.choose(tx, neighbour),
        offer=_quantity(tx, neighbour, proposal.offer),
        request=_quantity(tx, neighbour, proposal.request),
        from_fee=from_fee,
        to_fee=0,
        deadline_minute=tx.minute + -(-proposal.deadline_s * 1000 // limits.MINUTE_MS),
        window_s=limits.WINDOW_S_DEFAULT,
        nonce=tx.random(16),
        refund_of=proposal.refund_of,
    )


def _quantity(tx: Tx, neighbour: Neighbour, side: tuple[str, str] | None) -> Quantity:
    return trade.NOTHING if side is None else catalogue.quantity(tx, neighbour, *side)


def check_proposal(proposal: Proposal) -> None:
    if proposal.to_user or not proposal.listing:
        names.member_name(proposal.to_user)
    if proposal.listing and not listing.is_id(proposal.listing):
        raise InvalidInput("that is not the id of a listing")
    sides = [names.asset_code(side[0]) for side in (proposal.offer, proposal.request) if side]
    if not sides or len(sides) != len(set(sides)):
        raise InvalidInput("a trade is of two different assets, or of one as a gift")
