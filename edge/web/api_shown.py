"""What the JSON API shows of what is kept: from rows to the structs of api_types."""

from typing import get_args

from edge import trade_council
from edge.core import limits, trade
from edge.core import listing as core_listing
from edge.core.accounts import Asset
from edge.core.council import quorum
from edge.core.listing import Goods
from edge.core.names import TOKEN_DECIMALS, amount_text
from edge.core.trade import ENDED, Role
from edge.errors import LimitExceeded, UnknownTrade
from edge.storage import deals, ledger, listings, members
from edge.storage.deals import Deal
from edge.storage.listings import Listed
from edge.storage.members import Member
from edge.storage.movements import Movement
from edge.storage.swaps import Swap
from edge.storage.trades import Trade
from edge.storage.tx import View
from edge.web import api_types as types
from edge.web import history, views


def swap(view: View, found: Swap, member: Member, village: str, now_ms: int) -> types.Trade:
    """Return a trade with another village, or at home, as one of its two members sees it."""
    if isinstance(found, Deal):
        return _deal(view, found, member, village)
    return _trade(view, found, now_ms)


def own_swap(view: View, member: Member, id_: str) -> Swap:
    """Return a member's own trade of either kind; UnknownTrade for anybody else's, as for none."""
    try:
        return views.own_trade(view, member, id_)
    except UnknownTrade:
        found = deals.named(view, id_)
    if member.id not in (found.from_member, found.to_member):
        raise UnknownTrade(f"there is no trade {id_} here")
    return found


def held(view: View, account: str) -> list[types.Held]:
    """Return what an account has of each asset that it ever had."""
    return [
        types.Held(
            code,
            *(
                amount_text(minor, ledger.asset(view, code).decimals)
                for minor in (has.balance, has.on_hold, has.available, has.limit)
            ),
        )
        for code, has in ledger.balances(view, account).items()
    ]


def movement(view: View, member: Member, found: Movement) -> types.Movement:
    line = history.line(view, member.account, found)
    return types.Movement(
        record=line.index,
        asset=line.code,
        amount=line.amount,
        balance=line.balance,
        operation=found.operation,
        stamp_ms=found.stamp_ms,
        other=line.party,
        village=line.village,
        note=line.note,
        fee=line.fee or amount_text(0, TOKEN_DECIMALS),
        trade=line.path.rpartition("/")[2],
    )


def listing(view: View, found: Listed, member: Member) -> types.Listing:
    goods = found.goods
    lister = members.by_id(view, found.member) if found.member is not None else None
    return types.Listing(
        village=found.village,
        id=found.id,
        side=goods.side,
        asset=goods.item.asset,
        quantity=amount_text(goods.item.amount, goods.item.decimals),
        price=_price(goods),
        text=goods.text,
        by=lister.name if lister else "",
        mine=found.member == member.id,
        digest=core_listing.digest(goods),
        listed_ms=found.listed_ms,
        ends_ms=found.ends_minute * limits.MINUTE_MS,
    )


def listing_change(view: View, village: str, id_: str, member: Member) -> types.ListingChange:
    found = listings.find(view, village, id_)
    shown = listing(view, found, member) if found else None
    return types.ListingChange(village, id_, shown)


def asset(found: Asset, villages: list[str]) -> types.AssetShown:
    return types.AssetShown(found.code, found.kind, found.decimals, villages)


def exceeded(view: View, error: LimitExceeded) -> LimitExceeded:
    """Return the error with what was available as people write amounts."""
    more = dict(error.more)
    minor = more.pop("available_minor", None)
    if isinstance(minor, int):
        more["available"] = amount_text(minor, ledger.asset(view, str(more["asset"])).decimals)
    return LimitExceeded(error.detail, **more)


def _trade(view: View, found: Trade, now_ms: int) -> types.Trade:
    shown, terms = views.shown(view, found, now_ms), found.terms
    return types.Trade(
        id=found.id,
        role=found.role,
        status=found.status,
        ended=found.status in ENDED,
        offer=_quantity(terms.offer),
        request=_quantity(terms.request),
        fee=amount_text(terms.from_fee if found.role == "from" else terms.to_fee, TOKEN_DECIMALS),
        village=found.neighbour,
        other=found.to_user if found.role == "from" else found.from_user,
        listing=found.listing,
        message=shown.sentence,
        steps=_steps(shown),
        decided_by=_deciding(terms),
        has_receipt=shown.has_receipt,
        proposed_ms=found.created_ms,
        changed_ms=found.changed_ms,
        deadline_ms=terms.deadline_minute * limits.MINUTE_MS,
        refund=shown.refund,
        refund_of=shown.refund_of,
        disputes=[
            types.Dispute(terms.village_of(found.role) if each.mine else found.neighbour, each.text)
            for each in shown.disputes
        ],
        deliver_ms=shown.deliver_ms,
    )


def _deal(view: View, found: Deal, member: Member, village: str) -> types.Trade:
    shown = views.deal_shown(view, found, member)
    role: Role = "from" if found.from_member == member.id else "to"
    return types.Trade(
        id=found.id,
        role=role,
        status=found.status,
        ended=found.status in ENDED,
        offer=_side(view, found.offer),
        request=_side(view, found.request),
        fee=amount_text(0, TOKEN_DECIMALS),
        village=village,
        other=shown.other_user,
        listing=found.listing,
        message=shown.sentence,
        steps=_steps(shown),
        decided_by=None,
        has_receipt=False,
        proposed_ms=found.created_ms,
        changed_ms=found.changed_ms,
        deadline_ms=found.deadline_minute * limits.MINUTE_MS,
        refund="",
        refund_of="",
        disputes=[],
        deliver_ms=0,
    )


def _deciding(terms: trade.Terms) -> types.Deciding:
    seats = [seat.village for seat in terms.seats]
    return types.Deciding(seats, quorum(len(seats)), not trade_council.is_for(terms))


def _steps(shown: views.TradeView) -> list[types.Step]:
    return [step for step in get_args(types.Step) if step in shown.steps]


def _quantity(quantity: trade.Quantity) -> types.Quantity | None:
    if not quantity.amount:
        return None
    return types.Quantity(quantity.asset, amount_text(quantity.amount, quantity.decimals))


def _side(view: View, side: tuple[str, int]) -> types.Quantity | None:
    code, amount = side
    if not amount:
        return None
    return types.Quantity(code, amount_text(amount, ledger.asset(view, code).decimals))


def _price(goods: Goods) -> types.Quantity | None:
    return _quantity(goods.price) if goods.price is not None else None
