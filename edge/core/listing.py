"""Offers and wants: what a village shows to its members and neighbours, beside the log, so that
people can erase it.

A listing names no person. Whoever answers one proposes a trade that names the listing; the box of
its village knows whose it is.
"""

import re
import unicodedata
from typing import Final, Literal

import msgspec

from edge.core import canonical, crypto, limits, names, trade
from edge.core.trade import Quantity
from edge.errors import InvalidInput, Malformed

Side = Literal["offer", "want"]
ID_BYTES: Final = 8
_ID = re.compile(r"[0-9a-f]{16}")


class Goods(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is offered or wanted: how much of it is left, and the price of one (10^decimals minor
    units), in AT or other goods; None for nothing."""

    side: Side
    item: Quantity
    price: Quantity | None
    text: str


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One listing as villages tell it each other; without `goods` it was taken back. `version`
    grows with every change to any listing of its village."""

    id: str
    version: int
    ends_minute: int
    goods: Goods | None = None


def check(listing: Listing) -> None:
    """Raise Malformed unless this is a listing that a village may make.

    Which characters a text may have is not asked here: newer boxes know more of them.
    """
    goods = listing.goods
    well_formed = (
        is_id(listing.id)
        and 0 < listing.version <= limits.COUNTER_MINOR_MAX
        and 0 < listing.ends_minute <= limits.DEADLINE_MINUTE_MAX
        and (goods is None or _is_well_formed(goods))
    )
    if not well_formed:
        raise Malformed("a listing is not one")


def is_id(text: str) -> bool:
    """Tell whether this is 16 hex digits, as a listing's id."""
    return bool(_ID.fullmatch(text))


def text(typed: str) -> str:
    """Check what a member writes about a listing: one line, which may be empty."""
    if len(typed) > limits.LISTING_TEXT_CHARS_MAX:
        raise InvalidInput(f"the text has at most {limits.LISTING_TEXT_CHARS_MAX} characters")
    return names.line(typed, "text", limits.LISTING_TEXT_CHARS_MAX) if typed else ""


def cost(goods: Goods, minor: int) -> Quantity:
    """Return what an amount of the item costs, rounded to the price's smallest unit in favour of
    whoever listed it: up for an offer, down for a want, there maybe to zero."""
    if goods.price is None:
        return trade.NOTHING
    one = 10**goods.item.decimals
    amount = (goods.price.amount * minor + (one - 1 if goods.side == "offer" else 0)) // one
    return msgspec.structs.replace(goods.price, amount=amount)


def sides(goods: Goods, minor: int) -> tuple[Quantity, Quantity]:
    """Return what whoever answers for an amount of the item gives, and what they get."""
    item = msgspec.structs.replace(goods.item, amount=minor)
    price = cost(goods, minor)
    return (price, item) if goods.side == "offer" else (item, price)


def digest(goods: Goods) -> str:
    """Return 16 hex digits that stand for all of a listing but how much is left: who answers it
    says what it has seen, and nothing else can be agreed to."""
    constant = msgspec.structs.replace(goods, item=msgspec.structs.replace(goods.item, amount=0))
    return crypto.sha256(canonical.encode(constant)).hex()[:16]


def search_text(text: str) -> str:
    """Return the form in which a text is looked through: without case, width and accents, and not
    longer than twice the longest listing (a few signs stand for many letters)."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    spread = unicodedata.normalize("NFKD", folded).replace("-", " ")
    plain = "".join(c for c in spread if not unicodedata.combining(c))
    return plain[: 2 * limits.LISTING_TEXT_CHARS_MAX]


def _is_well_formed(goods: Goods) -> bool:
    item, price = goods.item, goods.price
    return (
        trade.is_quantity(item)
        and item.kind == "resource"
        and (price is None or (trade.is_quantity(price) and price.amount > 0))
        and (price is None or price.asset != item.asset)
        and len(goods.text) <= limits.LISTING_TEXT_CHARS_MAX
    )
