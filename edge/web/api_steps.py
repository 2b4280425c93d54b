"""What the JSON API changes: for each operation a function in a transaction, that returns what the
one that shows it is to find it by."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from edge import desk, market, peering, steward, trade_delivery, trade_escrow
from edge.core import invitation, names, trade
from edge.core.names import TOKEN, TOKEN_DECIMALS
from edge.core.trade import Proposal
from edge.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PeerError,
    Refused,
    TooMany,
    WrongState,
)
from edge.storage import ledger, listings
from edge.storage.deals import Deal
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import Tx, View
from edge.web import api_looks, api_shown
from edge.web import api_types as types
from edge.web.operations import Call

_HOME_STEPS: Final[Mapping[str, Callable[[Tx, Member, Deal], Deal]]] = {
    "accept": market.accept,
    "reject": market.reject,
    "cancel": market.cancel,
}
_STEPS: Final[Mapping[str, Callable[[Tx, Member, Trade], Trade]]] = {
    "accept": trade_escrow.accept,
    "reject": trade_escrow.reject,
    "cancel": trade_escrow.cancel,
    "delivered": trade_delivery.deliver,
}
_AT_HOME: Final = "a trade within the village is done at once: nothing comes after it"

_OF_AN_INVITATION: Final = (InvalidInput, NotFound, WrongState, Conflict, TooMany)


# What members do


def pay(tx: Tx, call: Call[types.PayAsked]) -> str:
    asked = call.asked
    return str(desk.pay(tx, call.member.name, asked.to, asked.amount, asked.asset, asked.note))


def propose(tx: Tx, call: Call[types.TradeAsked]) -> str:
    asked = call.asked
    proposal = Proposal(
        names.village_id(asked.village) if asked.village else call.shop.village,
        names.member_name(asked.to),
        _side(asked.offer),
        _side(asked.request),
        asked.deadline_s,
    )
    return _propose(tx, call, proposal, asked.fee)


def answer(tx: Tx, call: Call[types.AnswerAsked]) -> str:
    """Propose the trade that a listing asks for."""
    village, id_ = call.path["village"], call.path["id"]
    proposal = market.proposal(tx, village, id_, call.asked.quantity, call.asked.digest)
    return _propose(tx, call, proposal, call.asked.fee)


def step(name: types.Step) -> Callable[[Tx, Call[Any]], str]:
    """Return what accepts, rejects or cancels a trade of either kind."""

    def take(tx: Tx, call: Call[Any]) -> str:
        found = api_shown.own_swap(tx, call.member, call.path["id"])
        if not isinstance(found, Deal):
            return _STEPS[name](tx, call.member, found).id
        if name not in _HOME_STEPS:
            raise WrongState(_AT_HOME, trade_status=found.status)
        return _HOME_STEPS[name](tx, call.member, found).id

    return take


def dispute(tx: Tx, call: Call[types.DisputeAsked]) -> str:
    found = _own_trade(tx, call)
    return trade_delivery.dispute(tx, call.member, found, call.asked.reason).id


def refund(tx: Tx, call: Call[Any]) -> str:
    """Propose the trade that gives one back."""
    proposal = trade_delivery.refund(tx, call.member, _own_trade(tx, call))
    return trade_escrow.propose(tx, call.member, proposal).id


def _own_trade(tx: Tx, call: Call[Any]) -> Trade:
    found = api_shown.own_swap(tx, call.member, call.path["id"])
    if isinstance(found, Deal):
        raise WrongState(_AT_HOME, trade_status=found.status)
    return found


def list_goods(tx: Tx, call: Call[types.ListingAsked]) -> str:
    asked = call.asked
    price = asked.price
    ask = market.Ask(
        asked.side,
        asked.asset,
        asked.quantity,
        price.asset if price else TOKEN,
        price.amount if price else "",
        asked.text,
        asked.days,
    )
    return market.list_goods(tx, call.member, ask)


def take_back(tx: Tx, call: Call[Any]) -> str:
    market.take_back(tx, call.member, call.path["id"])
    return call.path["id"]


def declare_own(tx: Tx, call: Call[types.GoodsAsked]) -> str:
    return str(desk.declare_known(tx, call.member, call.asked.asset, call.asked.amount))


def consume_own(tx: Tx, call: Call[types.GoodsAsked]) -> str:
    return str(desk.consume(tx, call.member.name, call.asked.asset, call.asked.amount))


# What stewards do


async def hash_pin(call: Call[types.MemberAsked]) -> str:
    return await steward.hash_pin(call.asked.pin)


def add_member(tx: Tx, call: Call[types.MemberAsked]) -> str:
    return desk.add_member(tx, call.asked.name, call.prepared).name


def set_limit(tx: Tx, call: Call[types.LimitAsked]) -> str:
    asked = call.asked
    return str(desk.set_member_limit(tx, asked.member, asked.asset, asked.amount))


def set_line(tx: Tx, call: Call[types.LineAsked]) -> str:
    asked = call.asked
    return str(desk.set_line(tx, asked.village, asked.asset, asked.amount))


def issue(tx: Tx, call: Call[types.IssueAsked]) -> str:
    return str(desk.issue(tx, call.asked.to, call.asked.amount, call.asked.note))


def declare(tx: Tx, call: Call[types.DeclareAsked]) -> str:
    asked = call.asked
    return str(desk.declare(tx, asked.owner, asked.asset, asked.amount, asked.decimals))


def consume(tx: Tx, call: Call[types.ConsumeAsked]) -> str:
    asked = call.asked
    return str(desk.consume(tx, asked.owner, asked.asset, asked.amount))


def approve(tx: Tx, call: Call[types.ApproveAsked]) -> str:
    return desk.approve(tx, call.asked.asset, call.asked.decimals).code


def invite(tx: Tx, call: Call[types.InviteAsked]) -> str:
    return invitation.to_text(peering.invite(tx, call.asked.valid_hours * 3_600))


async def join(call: Call[types.JoinAsked]) -> str:
    """Raises what says that the invitation cannot be used. The inviter's own words are its own: as
    a status here, its 401 would be of this token."""
    try:
        return await call.shop.join(call.asked.invitation)
    except (Refused, PeerError) as error:
        kind = type(error) if isinstance(error, _OF_AN_INVITATION) else Refused
        raise kind(error.detail) from None


def joined(tx: Tx, call: Call[types.JoinAsked]) -> str:
    return call.prepared


# What is shown of it


def record_shown(view: View, call: Call[Any], index: str) -> types.Done:
    return types.Done(int(index))


def trade_shown(view: View, call: Call[Any], id_: str) -> types.Trade:
    return api_looks.show_trade(view, call, id_)


def listing_shown(view: View, call: Call[Any], id_: str) -> types.Listing:
    found = listings.named(view, call.shop.village, id_)
    return api_shown.listing(view, found, call.member)


def taken_back_shown(view: View, call: Call[Any], id_: str) -> types.ListingChange:
    return api_shown.listing_change(view, call.shop.village, id_, call.member)


def member_shown(view: View, call: Call[types.MemberAsked], name: str) -> types.MemberBalances:
    return types.MemberBalances(name, False, [])


def asset_shown(view: View, call: Call[Any], code: str) -> types.AssetShown:
    return api_shown.asset(ledger.asset(view, code), [call.shop.village])


def invitation_shown(view: View, call: Call[Any], text: str) -> types.Invited:
    return types.Invited(text)


def village_shown(view: View, call: Call[Any], village: str) -> types.Joined:
    return types.Joined(village)


def _propose(tx: Tx, call: Call[Any], proposal: Proposal, agreed: str) -> str:
    if proposal.to_village == call.shop.village:
        return market.propose(tx, call.member, proposal).id
    fee = trade.fee(proposal.offer, call.shop.fee_basis_points)
    if fee > names.signless_amount(agreed, TOKEN_DECIMALS, TOKEN):
        text = names.amount_text(fee, TOKEN_DECIMALS)
        raise Refused(f"this village takes a fee of {text} {TOKEN}: agree to it in `fee`", fee=text)
    return trade_escrow.propose(tx, call.member, proposal, fee).id


def _side(side: types.Quantity | None) -> tuple[str, str] | None:
    return (side.asset, side.amount) if side else None
