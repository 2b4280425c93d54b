"""A trade as a member's own program posts it: the mission's JSON as it stands.

{"trade_id": "trade_001", "from_village": "ose-missouri-001", "to_village": "ose-california-001",
 "from_user": "Alice", "to_user": "Bob", "offer": {"AT": 100},
 "request": {"Resource": "Solar Panel"}, "status": "PENDING"}
"""

from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from edge.core import canonical, names
from edge.core.trade import Proposal, Status
from edge.errors import Forbidden, InvalidAmount, InvalidInput
from edge.storage import members
from edge.storage.members import Member

BODY_BYTES_MAX: Final = 16_384
RESOURCE: Final = "Resource"


class MemberTrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`trade_id` is the member's own: the same one is the same trade, however often it is sent."""

    trade_id: str
    from_village: str
    to_village: str
    from_user: str
    to_user: str
    offer: dict[str, Any]
    request: dict[str, Any]
    status: Literal["PENDING"] = "PENDING"


_decoder = msgspec.json.Decoder(MemberTrade, float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def decode(body: bytes) -> MemberTrade:
    """Return what was posted, its numbers exact. Raises InvalidInput or InvalidAmount."""
    try:
        return _decoder.decode(body)
    except canonical.UNREADABLE as error:
        raise InvalidInput(f"not a trade: {str(error)[:200]}") from None
    except ArithmeticError:
        raise InvalidAmount("the amount is not a plain number") from None


def proposal_of(posted: MemberTrade, village: str, member: Member) -> Proposal:
    """Return the proposal that a member of `village` has posted.

    Raises Forbidden for somebody else's, InvalidInput, InvalidAmount.
    """
    names.trade_id(posted.trade_id)
    if posted.from_village != village:
        raise InvalidInput(f"from_village is {village} here")
    if members.fold(posted.from_user) != members.fold(member.name):
        raise Forbidden("from_user is not the member who is signed in")
    return Proposal(
        names.village_id(posted.to_village),
        names.member_name(posted.to_user),
        quantity(posted.offer, "offer"),
        quantity(posted.request, "request"),
    )


def quantity(side: dict[str, Any], name: str) -> tuple[str, str]:
    """Return (asset code, amount) of one side: `{"AT": 100}`, `{"SOLAR-PANEL": "2"}`, or
    `{"Resource": "Solar Panel"}` for one of it."""
    if len(side) != 1:
        raise InvalidInput(f"{name} names exactly one asset")
    [(asset, value)] = side.items()
    if asset != RESOURCE:
        return names.asset_code(asset), names.plain_number(value)
    if not isinstance(value, str):
        raise InvalidInput(f'{name}: write {{"{RESOURCE}": "Solar Panel"}} or {{"SOLAR-PANEL": 2}}')
    return names.asset_code(value), "1"


def encode(posted: MemberTrade, status: Status, id_: str, message: str) -> bytes:
    """Return what was posted with the trade's status now, its id here, and its state in words."""
    shown = msgspec.to_builtins(posted, builtin_types=(Decimal,))
    return _encoder.encode({**shown, "status": status, "id": id_, "message": message})
