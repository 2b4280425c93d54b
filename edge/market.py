"""What members list, and the trades that they make with each other in their own village."""

import msgspec

from edge.core import limits, listing, names, trade, words
from edge.core.accounts import Asset
from edge.core.listing import Goods, Side
from edge.core.names import TOKEN
from edge.core.trade import Event, Proposal, Quantity
from edge.errors import (
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
    TooMany,
    UnknownAsset,
    UnknownTrade,
    WrongState,
)
from edge.storage import deals, ledger, listings, logs, members, neighbours, trades
from edge.storage.deals import Deal
from edge.storage.listings import Listed
from edge.storage.members import Member
from edge.storage.tx import OWN_LOG, Tx, View


class Ask(msgspec.Struct, frozen=True):
    """A listing as a member writes it. An empty `price` is a gift."""

    side: Side
    item: str
    quantity: str
    price_asset: str = TOKEN
    price: str = ""
    text: str = ""
    days: int = limits.LISTING_S_DEFAULT * 1000 // limits.DAY_MS


# Listings


def list_goods(tx: Tx, member: Member, ask: Ask) -> str:
    """List goods that a member offers or wants; return the listing's id.

    Raises InvalidInput, InvalidAmount, UnknownAsset, TooMany.
    """
    days_max = limits.LISTING_S_MAX * 1000 // limits.DAY_MS
    if not 1 <= ask.days <= days_max:
        raise InvalidInput(f"a listing stays for 1 to {days_max} days")
    item = _quantity(tx, ask.item, ask.quantity)
    price = _quantity(tx, ask.price_asset, ask.price) if ask.price else None
    if item.kind != "resource":
        raise InvalidInput("what is listed are goods; AT is what they cost")
    if price is not None and price.asset == item.asset:
        raise InvalidInput("the price is in the same goods")
    if ask.side == "offer":
        _check_stock(tx, member, item)
    goods = Goods(ask.side, item, price, listing.text(ask.text))
    minutes = ask.days * limits.DAY_MS // limits.MINUTE_MS
    return listings.add(tx, member.id, goods, tx.minute + minutes)


def take_back(tx: Tx, member: Member, id_: str) -> None:
    """Erase a member's own listing, here now and at the neighbours with the next sync. Proposals
    that answer it stay. Raises NotFound, Forbidden."""
    listings.owned(tx, tx.identity.village, id_, member.id)
    listings.take_back(tx, tx.identity.village, id_)


def proposal(view: View, village: str, id_: str, amount: str, digest: str) -> Proposal:
    """Return what answers a listing for an amount of its item; `digest` is of the listing as it was
    seen, so that nobody agrees to another price.

    Raises NotFound, InvalidAmount, WrongState if there is less left.
    """
    found = listings.named(view, village, id_)
    goods, item = found.goods, found.goods.item
    if digest != listing.digest(goods):
        raise WrongState("the listing has changed since it was shown: look at it again")
    minor = names.amount(amount, item.decimals, item.asset)
    if minor > item.amount:
        left = names.amount_text(item.amount, item.decimals)
        raise WrongState(f"there is only {left} {words.asset_text(item.asset)} left")
    to_spend = _to_spend(view, found)
    if goods.side == "offer" and to_spend is not None and minor > to_spend:
        much = "none of it" if not to_spend else "not that much of it"
        raise WrongState(f"whoever offers this has {much} just now: ask again later")
    if goods.price is not None and not listing.cost(goods, minor).amount:
        raise InvalidInput("for this little, nothing would be paid: give more")
    offer, request = (_written(side) for side in listing.sides(goods, minor))
    return Proposal(village, "", offer, request, listing=id_)


def is_out(view: View, found: Listed) -> bool:
    """Tell whether whoever offers goods in this village has none of them to spend now. Of
    neighbours' members that is not known here."""
    return found.goods.side == "offer" and _to_spend(view, found) == 0


# Trades at home


def propose(tx: Tx, member: Member, proposal: Proposal) -> Deal:
    """Propose a trade to another member of this village, and set the offer aside.

    Raises UnknownMember, NotFound, InvalidInput, InvalidAmount, LimitExceeded, TooMany.
    """
    other = _addressed(tx, proposal)
    if other.id == member.id:
        raise InvalidInput("a trade is with somebody else: this is you")
    if not limits.MINUTE_MS // 1000 <= proposal.deadline_s <= limits.DEADLINE_S_MAX:
        raise InvalidInput("a trade's deadline lies one minute to seven days ahead")
    open_now = deals.count_open(tx, member.id)
    open_now += trades.count_open(tx, member=member.id, role="from")
    if open_now >= limits.OPEN_TRADES_PER_MEMBER_MAX:
        raise TooMany(f"{member.name} has {limits.OPEN_TRADES_PER_MEMBER_MAX} open trades")
    if deals.count_waiting(tx, member.id, other.id) >= limits.DEALS_PER_PAIR_MAX:
        raise TooMany(f"{limits.DEALS_PER_PAIR_MAX} of your proposals wait for {other.name}")
    offer, request = _side(tx, proposal.offer), _side(tx, proposal.request)
    is_gift = (offer[1] == 0) != (request[1] == 0)
    if offer[0] == request[0] and not is_gift:
        raise InvalidInput("a trade is of two different assets, or of one as a gift")
    deadline = tx.minute + -(-proposal.deadline_s * 1000 // limits.MINUTE_MS)
    return deals.add(tx, (member.id, other.id), offer, request, proposal.listing, deadline)


def accept(tx: Tx, member: Member, known: Deal) -> Deal:
    """Accept a proposal: both sides move at once. Raises WrongState, LimitExceeded."""
    _check_addressed(known, member)
    trade.after(known.status, Event.ACCEPT)
    if known.deadline_minute < tx.minute:
        raise WrongState("the trade's deadline has passed", trade_status=known.status)
    _check_still_covered(tx, known)
    if known.listing:
        _take_listed(tx, known)
    return deals.settle(tx, known)


def reject(tx: Tx, member: Member, known: Deal) -> Deal:
    _check_addressed(known, member)
    return deals.end(tx, known, Event.REJECT)


def cancel(tx: Tx, member: Member, known: Deal) -> Deal:
    """Withdraw a proposal; what was set aside is free again. Raises WrongState, Forbidden."""
    if known.from_member != member.id:
        raise Forbidden("this is for the member who proposed the trade")
    return deals.end(tx, known, Event.CANCEL)


def deal_of(view: View, member: Member, id_: str) -> Deal:
    """Return a member's own deal; raises UnknownTrade for anybody else's, as for none."""
    found = deals.named(view, id_)
    if member.id not in (found.from_member, found.to_member):
        raise UnknownTrade(f"there is no trade {id_[:64]} here")
    return found


def _addressed(tx: Tx, proposal: Proposal) -> Member:
    if not proposal.listing:
        return members.named(tx, proposal.to_user)
    listed = listings.named(tx, tx.identity.village, proposal.listing)
    member = members.by_id(tx, listed.member) if listed.member is not None else None
    if member is None:
        raise NotFound("this listing is not there any more")
    return member


def _check_addressed(known: Deal, member: Member) -> None:
    if known.to_member != member.id:
        raise Forbidden("this is for the member to whom the trade is addressed")


def _check_still_covered(tx: Tx, known: Deal) -> None:
    """Raise LimitExceeded if the proposer's limit was lowered below what is set aside. How much is
    missing is not for who accepts."""
    (code, amount), proposer = known.offer, members.by_id(tx, known.from_member)
    assert proposer is not None, "members are never deleted"
    if amount and ledger.counters(tx, proposer.account, ledger.asset(tx, code)).available < 0:
        raise LimitExceeded(f"{proposer.name} cannot give this any more", asset=code)


def _take_listed(tx: Tx, known: Deal) -> None:
    sides: tuple[tuple[Side, tuple[str, int]], ...]
    sides = (("want", known.offer), ("offer", known.request))
    for side, (asset, amount) in sides:
        left = listings.take(tx, known.listing, side, asset, amount)
        if left is not None and amount > left:
            shown = names.amount_text(left, ledger.asset(tx, asset).decimals)
            raise WrongState(f"your listing has only {shown} {words.asset_text(asset)} left")


def _check_stock(tx: Tx, member: Member, item: Quantity) -> None:
    asset = ledger.asset(tx, item.asset)
    has = ledger.counters(tx, member.account, asset).available
    if item.amount > has:
        raise InvalidInput(
            f"you have {names.amount_text(has, asset.decimals)} {words.asset_text(asset.code)}: "
            "declare in your wallet what you have before you offer it"
        )


def _to_spend(view: View, found: Listed) -> int | None:
    """Return how much of what is listed its maker has to spend, None for a neighbour's."""
    maker = members.by_id(view, found.member) if found.member is not None else None
    asset = logs.asset_in(view, OWN_LOG, found.goods.item.asset)
    if maker is None or asset is None:
        return None
    return max(0, ledger.counters(view, maker.account, asset).available)


def _quantity(tx: Tx, name: str, amount: str) -> Quantity:
    """Return an amount of an asset that this village or a neighbour has in its catalogue."""
    asset = _known_asset(tx, names.asset_code(name))
    minor = names.amount(amount, asset.decimals, asset.code)
    return Quantity(asset.code, asset.kind, asset.decimals, minor)


def _known_asset(view: View, code: str) -> Asset:
    for log in (OWN_LOG, *(each.log for each in neighbours.everyone(view))):
        found = logs.asset_in(view, log, code)
        if found is not None and (log == OWN_LOG or found.kind == "resource"):
            return found
    raise UnknownAsset(
        f"{words.asset_text(code)} is in no catalogue yet: your steward approves what is traded",
        asset=code,
    )


def _side(tx: Tx, side: tuple[str, str] | None) -> tuple[str, int]:
    if side is None:
        return TOKEN, 0
    asset = ledger.asset(tx, names.asset_code(side[0]))
    return asset.code, names.amount(side[1], asset.decimals, asset.code)


def _written(quantity: Quantity) -> tuple[str, str] | None:
    if not quantity.amount:
        return None
    return quantity.asset, names.amount_text(quantity.amount, quantity.decimals)
