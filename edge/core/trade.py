"""A trade between two villages: terms, status table, and the one function that says what is next.

    PENDING --accept--> ACCEPTED --both held--> HELD --commit certificate--> SETTLED
       | reject, cancel, expiry   | abort certificate  | abort certificate     | ^
       v                          v                    v                       v | all delivered
    REJECTED CANCELLED EXPIRED  ABORTED             ABORTED              DISPUTED --> DELIVERED

Once a village is bound (its hold is in its log), no clock ends the hold: only a certificate does.
What comes after SETTLED is told in core/delivery.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal

import msgspec

from edge.core import canonical, council, crypto, limits, names
from edge.core.accounts import (
    TREASURY,
    Asset,
    AssetKind,
    Entry,
    clearing_account,
)
from edge.errors import BadSignature, Malformed, WrongState

TERMS_CONTEXT: Final = "village-edge/terms/v1"
TERMS_BYTES_MAX: Final = 8_192
COUNCIL_SIZES: Final = (2, 4, 7)

Role = Literal["from", "to"]
Addressed = Literal["name", "listing", "nobody"]  # to whom: a name there, a listing's maker


class Status(StrEnum):
    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    HELD = "HELD"
    SETTLED = "SETTLED"
    DELIVERED = "DELIVERED"
    DISPUTED = "DISPUTED"
    ABORTED = "ABORTED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class Event(StrEnum):
    ACCEPT = "accept"
    BOTH_HELD = "both held"
    COMMIT = "commit certificate"
    ABORT = "abort certificate"
    REJECT = "reject"
    CANCEL = "cancel"
    EXPIRE = "expiry"
    DELIVER = "all delivered"
    DISPUTE = "dispute"
    CLEAR = "dispute over"  # and something else is still to be delivered


TRANSITIONS: Final = {
    (Status.PENDING, Event.ACCEPT): Status.ACCEPTED,
    (Status.PENDING, Event.REJECT): Status.REJECTED,
    (Status.PENDING, Event.CANCEL): Status.CANCELLED,
    (Status.PENDING, Event.EXPIRE): Status.EXPIRED,
    (Status.ACCEPTED, Event.BOTH_HELD): Status.HELD,
    (Status.ACCEPTED, Event.ABORT): Status.ABORTED,
    (Status.HELD, Event.COMMIT): Status.SETTLED,
    (Status.HELD, Event.ABORT): Status.ABORTED,
    (Status.SETTLED, Event.DELIVER): Status.DELIVERED,
    (Status.SETTLED, Event.DISPUTE): Status.DISPUTED,
    (Status.DISPUTED, Event.DELIVER): Status.DELIVERED,
    (Status.DISPUTED, Event.CLEAR): Status.SETTLED,
}
HOW_IT_STANDS: Final = {
    Status.PENDING: "waits to be accepted",
    Status.ACCEPTED: "has been accepted",
    Status.HELD: "has been accepted by both villages",
    Status.SETTLED: "is done",
    Status.DELIVERED: "is done, and has been delivered",
    Status.DISPUTED: "is done, and what came of it is disputed",
    Status.ABORTED: "was not carried out",
    Status.REJECTED: "was declined",
    Status.CANCELLED: "was withdrawn",
    Status.EXPIRED: "ran out",
}
_NOT_POSSIBLE: Final = {
    Event.ACCEPT: "it can no longer be accepted",
    Event.REJECT: "it can no longer be declined",
    Event.CANCEL: "it can no longer be withdrawn",
    Event.EXPIRE: "it can no longer run out",
    Event.BOTH_HELD: "no hold is due",
    Event.COMMIT: "no certificate is due",
    Event.ABORT: "no certificate is due",
    Event.DELIVER: "nothing is to be delivered",
    Event.DISPUTE: "nothing can be disputed",
    Event.CLEAR: "there is no dispute",
}
UNBOUND_ENDS: Final = frozenset({Status.REJECTED, Status.CANCELLED, Status.EXPIRED})
CARRIED_OUT: Final = frozenset({Status.SETTLED, Status.DELIVERED, Status.DISPUTED})
ENDED: Final = UNBOUND_ENDS | CARRIED_OUT | {Status.ABORTED}  # nothing is held any more


class Quantity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An amount of one asset, in minor units, with what both ledgers must agree on. Zero AT is the
    empty side of a gift, of goods or of AT."""

    asset: str
    kind: AssetKind
    decimals: int
    amount: int

    @property
    def text(self) -> str:
        return f"{names.amount_text(self.amount, self.decimals)} {self.asset}"


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What both parties sign. No names of people. Fees are in AT minor units, each on its payer's
    ledger."""

    context: str
    network: bytes
    charter: bytes
    from_village: str
    to_village: str
    trade_id: str
    seats: tuple[council.Seat, ...]
    offer: Quantity
    request: Quantity
    from_fee: int
    to_fee: int
    deadline_minute: int
    window_s: int
    nonce: bytes
    refund_of: bytes | None

    def village_of(self, role: Role) -> str:
        return self.from_village if role == "from" else self.to_village

    def key_of(self, village: str) -> bytes:
        """Return a seat's key; KeyError if the village has no seat."""
        return {seat.village: seat.key for seat in self.seats}[village]


class Proposal(msgspec.Struct, frozen=True):
    """What a member offers and asks for: each one asset and an amount as people write it, or None
    for nothing (a gift). To the member called `to_user`, or to whoever made `listing` there.
    `refund_of`: the subject of the settled trade that this gives back."""

    to_village: str
    to_user: str
    offer: tuple[str, str] | None
    request: tuple[str, str] | None
    deadline_s: int = limits.DEADLINE_S_DEFAULT
    listing: str = ""
    refund_of: bytes | None = None


NOTHING: Final = Quantity(names.TOKEN, "token", names.TOKEN_DECIMALS, 0)  # one side of a gift

_terms_codec = canonical.Codec(Terms, "terms", TERMS_BYTES_MAX)


def subject_of(terms_bytes: bytes) -> bytes:
    """Return SHA-256(terms): what everything signed about a trade names."""
    return crypto.sha256(terms_bytes)


def id_of(subject: bytes) -> str:
    """Return how people and programs of a village call a trade: its subject's first 16 digits."""
    return subject.hex()[:16]


def ids_beginning(id_: str) -> tuple[bytes, bytes] | None:
    """Return the first and the last subject whose id is, or begins with, `id_`; None if that is no
    beginning of an id, which has at least 4 digits."""
    digits = id_.lower()
    if not 4 <= len(digits) <= 64 or not all(c in "0123456789abcdef" for c in digits):
        return None
    return bytes.fromhex(digits.ljust(64, "0")), bytes.fromhex(digits.ljust(64, "f"))


def encode_terms(terms: Terms) -> bytes:
    """Return the bytes that both parties sign."""
    return canonical.encode(terms)


@lru_cache(512)
def decode_terms(terms_bytes: bytes) -> Terms:
    """Return well-formed terms; raises Malformed naming the first thing wrong with them.

    Remembered, since each exchange reads all open trades.
    """
    terms = _terms_codec.decode(terms_bytes)
    for wrong, what in _faults(terms):
        if wrong:
            raise Malformed(f"terms: {what}")
    return terms


def verify_party(terms: Terms, terms_bytes: bytes, role: Role, signature: bytes) -> None:
    """Raise BadSignature unless the party of that role signed these terms with its seat's key."""
    village = terms.village_of(role)
    if not crypto.verify(terms.key_of(village), terms_bytes, signature):
        raise BadSignature(f"the signature of {village} over the terms does not hold")


def fee(offer: tuple[str, str] | None, basis_points: int) -> int:
    """Return the fee on an offer, in AT minor units, rounded up; nothing but AT costs one."""
    if offer is None or names.asset_code(offer[0]) != names.TOKEN:
        return 0
    return -(-names.amount(offer[1], names.TOKEN_DECIMALS, names.TOKEN) * basis_points // 10_000)


def check_parties(terms: Terms, ours: council.Seat, theirs: council.Seat) -> None:
    """Raise Malformed unless the trade is between these two, with their keys, as the first seats of
    a council of one of the sizes that there are."""
    if {terms.from_village, terms.to_village} != {ours.village, theirs.village}:
        raise Malformed("the trade is not between the two of us")
    proposer, acceptor = (ours, theirs) if terms.from_village == ours.village else (theirs, ours)
    if terms.seats[:2] != (proposer, acceptor):
        raise Malformed("the first seats are not the two parties with their keys")
    if len(terms.seats) not in COUNCIL_SIZES:
        raise Malformed(f"a council of {len(terms.seats)} seats: there are ones of 2, 4 and 7")


def clearing_entries(terms: Terms, role: Role) -> list[Entry]:
    """The public legs on one side's ledger: what the other village comes to owe or be owed."""
    other = clearing_account(terms.to_village if role == "from" else terms.from_village)
    sign = 1 if role == "from" else -1
    return _moves(other, terms, sign)


def member_entries(terms: Terms, role: Role, member: str) -> list[Entry]:
    """The sealed legs on one side's ledger: the member's, and the fee into the treasury."""
    sign = 1 if role == "from" else -1
    fee = terms.from_fee if role == "from" else terms.to_fee
    entries = _moves(member, terms, -sign)
    if fee:
        entries += [Entry(member, names.TOKEN, -fee), Entry(TREASURY, names.TOKEN, fee)]
    return entries


def entries(terms: Terms, role: Role, member: str) -> list[Entry]:
    """All legs on one side's ledger; they sum to zero."""
    return member_entries(terms, role, member) + clearing_entries(terms, role)


def after(status: Status, event: Event) -> Status:
    """Return the status after `event`; WrongState if the table has no such step."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise WrongState(
            f"the trade {HOW_IT_STANDS[status]}: {_NOT_POSSIBLE[event]}", trade_status=status
        ) from None


Statement = Literal["hold", "no-hold"]


class Facts(msgspec.Struct, frozen=True):
    """What one side's committed rows say about a subject. A statement is the first hold or no-hold
    of a side's log; *proven* means that a quorum of the seats has cosigned a checkpoint over it."""

    role: Role
    mine: Statement | None
    mine_proven: bool
    theirs: Statement | None
    theirs_proven: bool
    voted: bool
    certificate: council.Value | None
    ended: bool  # settle or release is appended, or this side never held


class Action(StrEnum):
    ANSWER = "append hold, or no-hold if a check fails"
    PRECOMMIT = "vote for the one provable value"
    SETTLE = "append settle"
    RELEASE = "append release"


def next_action(facts: Facts) -> Action | None:
    """Say what this side must do now, or None if it waits for the other.

    A side that has stated nothing has nothing to vote on or to end. The same function serves the
    first message, every retry and every start-up.
    """
    if facts.mine is None:
        accepted = facts.role == "from" and facts.theirs == "hold"
        return Action.ANSWER if accepted else None
    if facts.certificate is not None:
        if facts.ended:
            return None
        return Action.SETTLE if facts.certificate == "COMMIT" else Action.RELEASE
    if not facts.voted and provable(facts) is not None:
        return Action.PRECOMMIT
    return None


def provable(facts: Facts) -> council.Value | None:
    """The value that two seats can prove: COMMIT when both holds are proven, ABORT when the
    proposer's first statement is a proven no-hold."""
    proposer, proven = (
        (facts.mine, facts.mine_proven)
        if facts.role == "from"
        else (facts.theirs, facts.theirs_proven)
    )
    if proposer == "no-hold" and proven:
        return "ABORT"
    both = facts.mine == "hold" and facts.theirs == "hold"
    return "COMMIT" if both and facts.mine_proven and facts.theirs_proven else None


def is_quantity(quantity: Quantity) -> bool:
    """Tell whether this is an amount, zero included, of something that may be an asset."""
    return (
        names.is_asset_code(quantity.asset)
        and 0 <= quantity.decimals <= limits.DECIMALS_MAX
        and 0 <= quantity.amount <= limits.AMOUNT_MINOR_MAX
        and (quantity.asset == names.TOKEN) == (quantity.kind == "token")
        and (quantity.kind == "resource" or quantity.decimals == names.TOKEN_DECIMALS)
    )


def same_asset(quantity: Quantity, asset: Asset) -> bool:
    """Tell whether the ledger's asset and the terms' agree in kind and decimals."""
    return (quantity.asset, quantity.kind, quantity.decimals) == (
        asset.code,
        asset.kind,
        asset.decimals,
    )


def _moves(account: str, terms: Terms, sign: int) -> list[Entry]:
    """The offer into an account and the request out of it, or for -1 the other way round; nothing
    for the empty side of a gift."""
    sides = ((terms.offer, sign), (terms.request, -sign))
    return [Entry(account, each.asset, way * each.amount) for each, way in sides if each.amount]


def _faults(terms: Terms) -> list[tuple[bool, str]]:
    seats = terms.seats
    return [
        (terms.context != TERMS_CONTEXT, "unknown context"),
        (len(terms.network) != 32 or len(terms.charter) != 32, "network and charter have 32 bytes"),
        (len(terms.nonce) != 16, "the nonce has 16 bytes"),
        (terms.refund_of is not None and len(terms.refund_of) != 32, "refund_of has 32 bytes"),
        (
            not names.accepts(names.village_id, terms.from_village),
            "from_village is not a village id",
        ),
        (not names.accepts(names.village_id, terms.to_village), "to_village is not a village id"),
        (terms.from_village == terms.to_village, "a village does not trade with itself"),
        (not names.accepts(names.trade_id, terms.trade_id), "trade_id is not one"),
        (not 2 <= len(seats) <= limits.SEATS_MAX, "2 to 7 seats"),
        (any(_bad_seat(seat) for seat in seats), "malformed seat"),
        (len({s.village for s in seats}) != len(seats), "a village has two seats"),
        (len({s.key for s in seats}) != len(seats), "a key has two seats"),
        (
            not {terms.from_village, terms.to_village} <= {s.village for s in seats},
            "a party has no seat",
        ),
        (not is_quantity(terms.offer) or _is_nothing(terms.offer), "malformed offer"),
        (not is_quantity(terms.request) or _is_nothing(terms.request), "malformed request"),
        (_is_exchange_in_kind(terms), "offer and request are the same asset"),
        (not 0 <= terms.from_fee <= limits.AMOUNT_MINOR_MAX, "malformed fee"),
        (not 0 <= terms.to_fee <= limits.AMOUNT_MINOR_MAX, "malformed fee"),
        (not 0 < terms.deadline_minute < 2**40, "malformed deadline"),  # any that logs may hold
        (not 0 < terms.window_s <= limits.WINDOW_S_MAX, "malformed window"),
    ]


def _is_nothing(quantity: Quantity) -> bool:
    return quantity.amount == 0 and quantity.asset != names.TOKEN


def _is_exchange_in_kind(terms: Terms) -> bool:
    """Tell whether both sides are of one asset; a gift of AT, which has an empty side, is not."""
    is_gift = (terms.offer.amount == 0) != (terms.request.amount == 0)
    return terms.offer.asset == terms.request.asset and not is_gift


def _bad_seat(seat: council.Seat) -> bool:
    return len(seat.key) != crypto.KEY_BYTES or not names.accepts(names.village_id, seat.village)
