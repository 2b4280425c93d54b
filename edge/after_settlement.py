"""What stewards have done after a trade is settled, on the word of its member."""

import msgspec

from edge import trade_delivery, trade_escrow
from edge.control import TradeDelivered, TradeDispute, TradeRefund
from edge.errors import Refused, WrongState
from edge.storage import members, swaps, trades
from edge.storage.deals import Deal
from edge.storage.members import Member
from edge.storage.swaps import Swap
from edge.storage.trades import Trade
from edge.storage.tx import Tx

STEWARD = "steward"  # whose ids the answers to commands are kept under


def go_on(tx: Tx, command: TradeDelivered | TradeDispute | TradeRefund) -> Swap:
    """Confirm or dispute a delivery, or propose a refund, for the member whose trade it is."""
    found = swaps.named(tx, command.trade)
    if isinstance(found, Deal):
        raise WrongState("a trade within the village is done at once: nothing comes after it")
    member = members.by_id(tx, found.member) if found.member is not None else None
    if member is None:
        raise Refused(f"trade {found.id} is addressed to nobody here")
    match command:
        case TradeDelivered():
            return trade_delivery.deliver(tx, member, found)
        case TradeDispute():
            return trade_delivery.dispute(tx, member, found, command.reason)
        case TradeRefund():
            return _refund(tx, command, member, found)


def _refund(tx: Tx, command: TradeRefund, member: Member, found: Trade) -> Trade:
    def propose() -> bytes:
        proposal = trade_delivery.refund(tx, member, found, command.tokens)
        return trade_escrow.propose(tx, member, proposal).subject

    asked = msgspec.json.encode(command)
    return trades.by_subject(tx, members.once(tx, STEWARD, command.id, asked, propose))
