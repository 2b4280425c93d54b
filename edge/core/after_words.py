"""What came of a settled trade in plain words, for pages and terminals: after `words.describe`."""

from typing import Final

import msgspec

from edge.core import delivery, words
from edge.core.delivery import Leg, Stand
from edge.core.trade import CARRIED_OUT, Role, Status, Terms


class After(msgspec.Struct, frozen=True):
    """What is known of a trade beside its own row. `refund`: the id of the trade that gives it
    back, or is to, and how that stands; `refund_of`: the id of the one that it gives back itself.
    `deliver_by`: when the goods that came count as delivered, as the reader sees times.
    `is_barred`: they cannot be said to have come, as this side refunds them, or proposes to."""

    stand: Stand
    refund: str = ""
    refund_status: Status | None = None
    refund_of: str = ""
    deliver_by: str = ""
    is_barred: bool = False


_DELIVERED: Final = "Delivered: {goods}."
_GIVEN_BACK: Final = "Not delivered, and given back: {goods}."
_AWAITED: Final = (
    "{You} can say that {goods} came, or dispute it; on {deliver_by} it counts as delivered by "
    "itself."
)
_PUT_OFF: Final = "{You} can say that {goods} came, or dispute it."
_BARRED: Final = "It cannot be said that {goods} came while a refund is proposed or under way."
_DISPUTED: Final = (
    "By {your} word {goods} did not come as agreed. {You} can still say that it came after all, "
    "and both sides can agree on a refund."
)
_DISPUTED_AND_BARRED: Final = "By {your} word {goods} did not come as agreed."
_THEY_WAIT: Final = "{Them} has not said yet that {goods} came."
_THEY_DISPUTE: Final = (
    "{Them} disputes that {goods} came as agreed. That ends when {them} says that it came after "
    "all, or with a refund."
)
_PROPOSED: Final = "A refund is proposed: trade {refund}."
_UNDER_WAY: Final = "A refund is under way: trade {refund}."
_REFUNDS: Final = {
    Status.PENDING: _PROPOSED,
    Status.ACCEPTED: _UNDER_WAY,
    Status.HELD: _UNDER_WAY,
    Status.SETTLED: "It was refunded: trade {refund}.",
}


def after(
    role: Role, status: Status, terms: Terms, known: After, me: str, them: str, *, yours: bool
) -> str:
    """Return what came of one side's trade as sentences: to its member, or if not `yours` to
    anybody else here. Empty if there is nothing to say."""
    said = [f"This is the refund of trade {known.refund_of}."] if known.refund_of else []
    other = them or "the other side"
    if status in CARRIED_OUT:
        said += [
            _template(leg, role, known).format(
                goods=words.quantity_text(leg.goods),
                deliver_by=known.deliver_by,
                You="You" if yours else me or "The member",
                your="your" if yours else f"{me or 'the member'}'s",
                them=other,
                Them=words.capital(other),
            )
            for leg in delivery.legs(terms)
        ]
        if known.refund_status is not None:
            said.append(_REFUNDS[known.refund_status].format(refund=known.refund))
    return " ".join(said)


def _template(leg: Leg, role: Role, known: After) -> str:
    asset, is_mine = leg.goods.asset, leg.receiver == role
    if asset in known.stand.delivered:
        return _DELIVERED
    if known.refund_status is Status.SETTLED:
        return _GIVEN_BACK
    if asset in known.stand.disputed:
        mine = _DISPUTED_AND_BARRED if known.is_barred else _DISPUTED
        return mine if is_mine else _THEY_DISPUTE
    if not is_mine:
        return _THEY_WAIT
    if known.is_barred:
        return _BARRED
    return _AWAITED if known.deliver_by else _PUT_OFF
