"""What the JSON API takes and gives: one struct for each body and each set of query parameters.

TIMES and AMOUNTS are the rules for both, in all of them. Unknown fields are errors.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from edge.core import limits, records
from edge.core.accounts import AssetKind
from edge.core.listing import Side
from edge.core.names import TOKEN
from edge.core.trade import Role, Status
from edge.storage import changes
from edge.storage.tokens import Scope

TIMES: Final = (
    "A time is an integer in a field whose name ends in `_ms`: milliseconds since 1970, UTC; a "
    "length of time names its unit, too (`deadline_s`, `valid_hours`, `days`)."
)
AMOUNTS: Final = (
    'An amount is decimal text in whole units of the asset beside it (`"12.50"` of `AT`), never a '
    "JSON number or the smallest unit."
)
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200
WAIT_S_MAX: Final = 30
INVITATION_HOURS_MAX: Final = 366 * 24

_AMOUNT: Final = r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,6})?$"
Amount = Annotated[str, msgspec.Meta(pattern=_AMOUNT, max_length=25, examples=["12.50"])]
Balance = Annotated[str, msgspec.Meta(pattern=_AMOUNT.replace("^", "^-?"), examples=["-12.50"])]
Asset = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=limits.ASSET_CODE_CHARS_MAX, examples=["AT"]),
]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.MEMBER_NAME_CHARS_MAX)]
Village = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=limits.VILLAGE_ID_CHARS_MAX, examples=["ose-missouri-001"]
    ),
]
Note = Annotated[str, msgspec.Meta(max_length=limits.NOTE_TEXT_CHARS_MAX)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=limits.COUNTER_MINOR_MAX)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str, msgspec.Meta(max_length=160)]
Since = Annotated[str, msgspec.Meta(pattern=changes.PATTERN, examples=["1795423800000.42"])]
AnyStatus = Literal[
    "",
    "PENDING",
    "ACCEPTED",
    "HELD",
    "SETTLED",
    "DELIVERED",
    "DISPUTED",
    "ABORTED",
    "REJECTED",
    "CANCELLED",
    "EXPIRED",
]
Step = Literal["accept", "reject", "cancel", "delivered", "dispute", "refund"]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of all of them."""


# Query parameters


class NoQuery(Struct, frozen=True):
    pass


class PageQuery(Struct, frozen=True):
    """`next` is what the page before gave."""

    limit: Limit = PAGE_DEFAULT
    next: Cursor = ""


class HistoryQuery(PageQuery, frozen=True):
    """From `since_ms`, and before `until_ms`. The stamp of a trade with another village is the
    beginning of the minute in which it was settled."""

    asset: Annotated[str, msgspec.Meta(max_length=limits.ASSET_CODE_CHARS_MAX)] = ""
    kind: Literal["", "payments", "trades", "goods", "issued"] = ""
    direction: Literal["", "in", "out"] = ""
    since_ms: Milliseconds = 0
    until_ms: Milliseconds = limits.COUNTER_MINOR_MAX


class TradesQuery(PageQuery, frozen=True):
    """`state=open`: those that have not ended."""

    state: Literal["", "open", "ended"] = ""
    status: AnyStatus = ""
    village: Annotated[str, msgspec.Meta(max_length=limits.VILLAGE_ID_CHARS_MAX)] = ""


class ListingsQuery(PageQuery, frozen=True):
    """`price`: AT, goods (barter) or gift. `mine=true`: only one's own."""

    search: Annotated[str, msgspec.Meta(max_length=100)] = ""
    side: Literal["", "offer", "want"] = ""
    village: Annotated[str, msgspec.Meta(max_length=limits.VILLAGE_ID_CHARS_MAX)] = ""
    price: Literal["", "AT", "goods", "gift"] = ""
    mine: bool = False


class ChangesQuery(Struct, frozen=True):
    """Without `since` the answer only says where now is. `wait_s`: if there is nothing, wait so
    long for something."""

    since: Since = ""
    wait_s: Annotated[int, msgspec.Meta(ge=0, le=WAIT_S_MAX)] = 0
    limit: Limit = PAGE_DEFAULT


class EventsQuery(Struct, frozen=True):
    """Where to begin, else with what comes from now on. A `Last-Event-ID` counts before it."""

    since: Since = ""


# What is asked


class Quantity(Struct, frozen=True):
    asset: Asset
    amount: Amount


class PayAsked(Struct, frozen=True):
    """`to` is a member of this village, or `treasury`."""

    to: Name
    amount: Amount
    asset: Asset = TOKEN
    note: Note = ""


class TradeAsked(Struct, frozen=True):
    """`offer` is what you give, `request` what you get; one may be null, for a gift. `village`: of
    `to`, your own if it is empty. `fee`: what you agree to pay on top in AT, at most; the village
    may take less."""

    to: Name
    offer: Quantity | None
    request: Quantity | None
    village: Annotated[str, msgspec.Meta(max_length=limits.VILLAGE_ID_CHARS_MAX)] = ""
    deadline_s: Annotated[int, msgspec.Meta(ge=60, le=limits.DEADLINE_S_MAX)] = (
        limits.DEADLINE_S_DEFAULT
    )
    fee: Amount = "0"


class AnswerAsked(Struct, frozen=True):
    """How much of what is listed, and the listing's `digest` as it was seen: if its price has
    changed since, nothing is proposed. `fee` as in a trade."""

    quantity: Amount
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    fee: Amount = "0"


class DisputeAsked(Struct, frozen=True):
    """What is wrong with what came, or did not come: the other member reads it. Sent again it is
    written anew; empty, it is erased in both villages."""

    reason: Annotated[str, msgspec.Meta(max_length=limits.DISPUTE_TEXT_CHARS_MAX)]


class ListingAsked(Struct, frozen=True):
    """`price` is for one of the asset; null: for nothing."""

    side: Side
    asset: Asset
    quantity: Amount
    price: Quantity | None = None
    text: Annotated[str, msgspec.Meta(max_length=limits.LISTING_TEXT_CHARS_MAX)] = ""
    days: Annotated[int, msgspec.Meta(ge=1, le=limits.LISTING_S_MAX // 86_400)] = (
        limits.LISTING_S_DEFAULT // 86_400
    )


class MemberAsked(Struct, frozen=True):
    name: Name
    pin: Annotated[
        str, msgspec.Meta(min_length=limits.PIN_CHARS_MIN, max_length=limits.PIN_CHARS_MAX)
    ]


class LimitAsked(Struct, frozen=True):
    """How far below zero a member may go."""

    member: Name
    amount: Amount
    asset: Asset = TOKEN


class LineAsked(Struct, frozen=True):
    """How much this village may be owed by a neighbour."""

    village: Village
    amount: Amount
    asset: Asset = TOKEN


class GoodsAsked(Struct, frozen=True):
    """Your own goods, of what the catalogue has."""

    asset: Asset
    amount: Amount = "1"


class ApproveAsked(Struct, frozen=True):
    """A new asset, which the catalogue keeps for ever."""

    asset: Asset
    decimals: Annotated[int, msgspec.Meta(ge=0, le=limits.DECIMALS_MAX)] = 0


class IssueAsked(Struct, frozen=True):
    to: Name
    amount: Amount
    note: Note = ""


class DeclareAsked(Struct, frozen=True):
    """`decimals` counts for an asset that the catalogue does not have yet."""

    owner: Name
    asset: Asset
    amount: Amount = "1"
    decimals: Annotated[int, msgspec.Meta(ge=0, le=limits.DECIMALS_MAX)] = 0


class ConsumeAsked(Struct, frozen=True):
    owner: Name
    asset: Asset
    amount: Amount = "1"


class InviteAsked(Struct, frozen=True):
    valid_hours: Annotated[int, msgspec.Meta(ge=1, le=INVITATION_HOURS_MAX)] = 168


class JoinAsked(Struct, frozen=True):
    invitation: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]


# What is answered


class Me(Struct, frozen=True):
    """Who the token stands for, and what it may do."""

    member: str
    village: str
    village_name: str
    steward: bool
    token: str
    scopes: list[Scope]


class Held(Struct, frozen=True):
    """What an account has of one asset. `available` may be spent now; `limit` is how far below zero
    it may go."""

    asset: str
    balance: Balance
    on_hold: Amount
    available: Balance
    limit: Amount


class Balances(Struct, frozen=True):
    balances: list[Held]


class Movement(Struct, frozen=True):
    """What one record posted to your account; an amount above zero came in, and made the balance.
    `other`: the other party, of `village` if that is not yours; `fee`: what of an amount of AT is
    one; `trade`: the trade that it settled."""

    record: int
    asset: str
    amount: Balance
    balance: Balance
    operation: records.Operation
    stamp_ms: int
    other: str
    village: str
    note: str
    fee: Amount
    trade: str


class History(Struct, frozen=True):
    """Newest first. `next` is empty on the last page."""

    movements: list[Movement]
    next: str


class Deciding(Struct, frozen=True):
    """Who decides an accepted trade: `needed` of the villages in `seats`, the two that trade first.
    If these are the `parties_alone`, one that is silent blocks it; with more villages none does."""

    seats: list[str]
    needed: int
    parties_alone: bool


class Dispute(Struct, frozen=True):
    """What the member of `village` has written of it."""

    village: str
    text: str


class Trade(Struct, frozen=True):
    """A trade as one of its two members sees it. `role`: `from` if you proposed it. `offer` is what
    the proposer gives; null is a gift's empty side. `other` is of `village`. `steps`: what you may
    do now. `decided_by`: null at home. `refund`, `refund_of`: the trade that gives this back, or
    that it gives back. `deliver_ms`: when goods count as delivered by themselves; 0: never."""

    id: str
    role: Role
    status: Status
    ended: bool
    offer: Quantity | None
    request: Quantity | None
    fee: Amount
    village: str
    other: str
    listing: str
    message: str
    steps: list[Step]
    decided_by: Deciding | None
    has_receipt: bool
    proposed_ms: int
    changed_ms: int
    deadline_ms: int
    refund: str
    refund_of: str
    disputes: list[Dispute]
    deliver_ms: int


class Trades(Struct, frozen=True):
    """The latest proposed first. `next` is empty on the last page."""

    trades: list[Trade]
    next: str


class Listing(Struct, frozen=True):
    """What is left of an offer or a want; `price` is for one of the asset, null for nothing. `by`:
    who listed it, told of this village's only. `digest` stands for all but the quantity."""

    village: str
    id: str
    side: Side
    asset: str
    quantity: Amount
    price: Quantity | None
    text: str
    by: str
    mine: bool
    digest: str
    listed_ms: int
    ends_ms: int


class Listings(Struct, frozen=True):
    """The newest first. `next` is empty on the last page."""

    listings: list[Listing]
    next: str


class TradeChange(Struct, frozen=True, tag_field="kind", tag="trade"):
    trade: Trade


class MovementChange(Struct, frozen=True, tag_field="kind", tag="movement"):
    movement: Movement


class ListingChange(Struct, frozen=True, tag_field="kind", tag="listing"):
    """`listing` is null if it was taken back."""

    village: str
    id: str
    listing: Listing | None


Change = TradeChange | MovementChange | ListingChange


class Changes(Struct, frozen=True):
    """Ask with this `since` next. If there is `more`, ask at once."""

    changes: list[Change]
    since: str
    more: bool


class VillageShown(Struct, frozen=True):
    """This village (`own`) or a neighbour. `trouble`: why it is not traded with, if it is not.
    `last_contact_ms` is 0 for never."""

    village: str
    name: str
    own: bool
    last_contact_ms: int
    trouble: str


class Villages(Struct, frozen=True):
    villages: list[VillageShown]


class AssetShown(Struct, frozen=True):
    """`villages`: in whose catalogue it is."""

    asset: str
    kind: AssetKind
    decimals: int
    villages: list[str]


class Assets(Struct, frozen=True):
    """By code. `next` is empty on the last page."""

    assets: list[AssetShown]
    next: str


class Names(Struct, frozen=True):
    """The members of this village, by name. `next` is empty on the last page."""

    members: list[str]
    next: str


class Done(Struct, frozen=True):
    """`record`: its index in the village's log."""

    record: int


class MemberBalances(Struct, frozen=True):
    name: str
    steward: bool
    balances: list[Held]


class Members(Struct, frozen=True):
    """By name. `next` is empty on the last page."""

    members: list[MemberBalances]
    next: str


class Invited(Struct, frozen=True):
    """One line for the other village's steward, good for one village."""

    invitation: str


class Joined(Struct, frozen=True):
    village: str


class Problem(Struct, frozen=True, omit_defaults=True):
    """RFC 9457. `type` is stable, `title` and `detail` are for people. Of the others each comes
    with some types only: `field`: what of the request is wrong (`offer.amount`); `asset` and
    `available`: of what there is only so much; `fee`: in AT, to be agreed to; `scope`: what the
    token lacks; `village`, `trade_status`: of what was named; `allow`: the methods that the address
    takes; `retry_after_s`: as in Retry-After."""

    type: str
    title: str
    status: int
    detail: str
    field: str | UnsetType = UNSET
    asset: str | UnsetType = UNSET
    available: Balance | UnsetType = UNSET
    fee: Amount | UnsetType = UNSET
    scope: Scope | UnsetType = UNSET
    village: str | UnsetType = UNSET
    trade_status: Status | UnsetType = UNSET
    allow: str | UnsetType = UNSET
    retry_after_s: int | UnsetType = UNSET
