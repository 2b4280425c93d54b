"""What comes after a trade is settled: its goods are delivered, disputed, or refunded.

Goods that were traded stand in both villages' clearing accounts until they have come. *Delivered*
is the receiver's record, and after it the giver's: each takes the goods out of its clearing account
again, the receiver as if they had been declared there, the giver as if they had been consumed.

A *refund* is a new trade the other way round: it gives back goods that have not come, all of an
asset, and at most what was given for them. So goods are delivered or refunded, never both: in each
log the refund's hold excludes *delivered* until it is released, and *delivered* excludes the hold.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import msgspec

from edge.core import council, names, trade
from edge.core.accounts import ISSUANCE, Entry, clearing_account
from edge.core.trade import Event, Quantity, Role, Status, Terms
from edge.errors import InvalidInput, WrongState


class Leg(NamedTuple):
    """Goods that one side of a trade receives."""

    goods: Quantity
    receiver: Role


class Word(NamedTuple):
    """One record of a log about goods of a trade: they were `delivered`, or are `disputed`."""

    kind: str
    asset: str


class Stand(NamedTuple):
    """What was delivered of a trade on this ledger, and what its receivers dispute, by code."""

    delivered: frozenset[str]
    disputed: frozenset[str]


def legs(terms: Terms) -> tuple[Leg, ...]:
    """Return what is to be delivered once a trade is settled: nothing of AT, and nothing of a
    refund, which only gives back what never came."""
    if terms.refund_of is not None:
        return ()
    sides = (Leg(terms.offer, "to"), Leg(terms.request, "from"))
    return tuple(leg for leg in sides if leg.goods.kind == "resource")


def leg_of(terms: Terms, role: Role, *, receives: bool = True) -> Leg | None:
    """Return the goods that the side of that role receives, or gives; None if there are none."""
    return next((leg for leg in legs(terms) if (leg.receiver == role) == receives), None)


def entries(terms: Terms, leg: Leg, role: Role) -> list[Entry]:
    """Return what *delivered* moves on the ledger of the side of that role: the reverse of what the
    trade's hold moved in its clearing account; goods begin or end in issuance."""
    other = clearing_account(terms.to_village if role == "from" else terms.from_village)
    amount = leg.goods.amount if leg.receiver == role else -leg.goods.amount
    return [Entry(other, leg.goods.asset, amount), Entry(ISSUANCE, leg.goods.asset, -amount)]


def stand(
    terms: Terms,
    role: Role,
    ours: Iterable[Word],
    theirs: Iterable[Word],
    given_back: Collection[str] = (),
) -> Stand:
    """Return what both logs say of a settled trade. Only a receiver's dispute counts, and only of
    goods that no settled refund has given back."""
    own, other = list(ours), list(theirs)
    disputed = [
        leg.goods.asset
        for leg in legs(terms)
        if leg.goods.asset in said(own if leg.receiver == role else other, "disputed")
        and leg.goods.asset not in given_back
    ]
    return Stand(said(own, "delivered"), frozenset(disputed))


def said(words: Iterable[Word], kind: str) -> frozenset[str]:
    """Return the codes of the goods of which this is said."""
    return frozenset(word.asset for word in words if word.kind == kind)


def status(terms: Terms, so_far: Stand) -> Status:
    """Return the status of a settled trade."""
    goods = {leg.goods.asset for leg in legs(terms)}
    left = goods - so_far.delivered
    if goods and not left:
        return Status.DELIVERED
    return Status.DISPUTED if left & so_far.disputed else Status.SETTLED


def event(before: Status, after: Status) -> Event | None:
    """Return the step from one status of a settled trade to another, None if they are the same."""
    return None if before is after else _EVENTS[after]


# Refunds


def refund_sides(
    terms: Terms, role: Role, delivered: Collection[str], tokens: int | None = None
) -> tuple[Quantity, Quantity]:
    """Return what the side of that role gives and gets in a refund of a settled trade: all that the
    trade moved but goods that have come; of AT only `tokens`, in minor units, unless that is None.
    Raises WrongState if there are no other goods, InvalidInput if there is not so much AT in it."""
    gives, gets = (terms.request, terms.offer) if role == "from" else (terms.offer, terms.request)
    goods = {leg.goods.asset for leg in legs(terms)}.difference(delivered)
    if not goods:
        raise WrongState("this trade has no goods that have not come: nothing is to be refunded")
    kept = [
        each if each.kind == "token" or each.asset in goods else trade.NOTHING
        for each in (gives, gets)
    ]
    if tokens is not None:
        kept = [_part(each, tokens) for each in kept]
        if not any(each.kind == "token" and each.amount for each in (gives, gets)):
            raise InvalidInput("no AT was paid in this trade: only its goods are given back")
    return kept[0], kept[1]


def returned(refund: Terms) -> frozenset[str]:
    """Return the codes of the goods that a refund gives back."""
    sides = (refund.offer, refund.request)
    return frozenset(each.asset for each in sides if each.kind == "resource")


def check_refund(refund: Terms, original: Terms, delivered: Collection[str]) -> None:
    """Raise InvalidInput unless one trade is the refund of the other: between the same villages,
    each giving back of what it got, all of some goods, and at most the AT. Raises WrongState if the
    goods were delivered."""
    if {refund.from_village, refund.to_village} != {original.from_village, original.to_village}:
        raise InvalidInput("a refund is between the villages of the trade that it refunds")
    goods = returned(refund)
    if original.refund_of is not None or not goods:
        raise InvalidInput("a refund gives back goods, and is not refunded itself")
    for village, gives in (
        (refund.from_village, refund.offer),
        (refund.to_village, refund.request),
    ):
        got = original.request if village == original.from_village else original.offer
        if gives.amount and not _is_part(gives, got):
            raise InvalidInput(f"{village} would not give back what it got")
    if not goods.isdisjoint(delivered):
        raise WrongState("it has been delivered: what came is given back by a new trade")


class Owed:
    """What the settled trades of one log have still to deliver, and the refunds under way, as its
    records say. What does not follow the rules raises InvalidInput or WrongState."""

    __slots__ = ("_refunds", "_settled")

    def __init__(self) -> None:
        self._settled: dict[bytes, _Settled] = {}
        self._refunds: set[tuple[bytes, str]] = set()  # trades, and which goods a hold gives back

    def hold(self, terms: Terms) -> None:
        """A hold: what a refund gives back is not delivered, until it is released."""
        if terms.refund_of is None:
            return
        original = self._settled.get(terms.refund_of)
        if original is None:
            raise WrongState("the trade that it refunds is not settled, or has all been delivered")
        gone = {leg.goods.asset for leg in legs(original.terms)} - original.left
        check_refund(terms, original.terms, gone)
        places = _places(terms)
        if places & self._refunds:
            raise WrongState("it is refunded by another trade")
        self._refunds |= places

    def end(self, subject: bytes, terms: Terms, role: Role, value: council.Value) -> None:
        """A settle or release of what was held."""
        if terms.refund_of is not None:
            self._refunds -= _places(terms)
            if value == "COMMIT":
                self._take(terms.refund_of, returned(terms))
        elif value == "COMMIT" and (to_come := legs(terms)):
            goods = {leg.goods.asset for leg in to_come}
            self._settled[subject] = _Settled(terms, role, goods, set())

    def deliver(self, subject: bytes, asset: str) -> list[Entry]:
        """A *delivered*; return what it moves."""
        settled, leg = self._leg(subject, asset)
        if (subject, asset) in self._refunds:
            raise WrongState("it is refunded by another trade")
        self._take(subject, {asset})
        return entries(settled.terms, leg, settled.role)

    def dispute(self, subject: bytes, asset: str) -> None:
        """A *disputed*: the receiver's, and once."""
        settled, leg = self._leg(subject, asset)
        if leg.receiver != settled.role or asset in settled.disputed:
            raise WrongState("this is said by whom the goods were to come to, once")
        settled.disputed.add(asset)

    def _leg(self, subject: bytes, asset: str) -> "tuple[_Settled, Leg]":
        settled = self._settled.get(subject)
        if settled is None or asset not in settled.left:
            raise WrongState("no such goods of a settled trade are still to come")
        [leg] = [each for each in legs(settled.terms) if each.goods.asset == asset]
        return settled, leg

    def _take(self, subject: bytes, goods: Collection[str]) -> None:
        self._settled[subject].left.difference_update(goods)
        if not self._settled[subject].left:
            del self._settled[subject]


class _Settled(NamedTuple):
    """A settled trade: our side of it, the goods that have not come, and which are disputed."""

    terms: Terms
    role: Role
    left: set[str]
    disputed: set[str]


_EVENTS: Final = {
    Status.DELIVERED: Event.DELIVER,
    Status.DISPUTED: Event.DISPUTE,
    Status.SETTLED: Event.CLEAR,
}


def _places(refund: Terms) -> set[tuple[bytes, str]]:
    assert refund.refund_of is not None
    return {(refund.refund_of, asset) for asset in returned(refund)}


def _part(quantity: Quantity, tokens: int) -> Quantity:
    if quantity.kind != "token" or not quantity.amount:
        return quantity
    if not 0 <= tokens <= quantity.amount:
        paid = names.amount_text(quantity.amount, quantity.decimals)
        raise InvalidInput(f"{paid} AT were paid: more cannot be given back")
    return msgspec.structs.replace(quantity, amount=tokens) if tokens else trade.NOTHING


def _is_part(gives: Quantity, got: Quantity) -> bool:
    """Tell whether this gives back of what was got: goods all, AT at most."""
    same = (gives.asset, gives.kind, gives.decimals) == (got.asset, got.kind, got.decimals)
    enough = gives.amount == got.amount if gives.kind == "resource" else True
    return same and enough and gives.amount <= got.amount
