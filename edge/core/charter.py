"""The federation's founding paper: members with their keys, and the council that decides.

Charter 0, the genesis, is signed by all founders with a zero network id; the network id is its
SHA-256. Two villages and an invitation make one, with both as council.

`council_seats`: how many villages at most decide a trade under this charter, where so many can.
"""

from typing import Final

import msgspec

from edge.core import canonical, crypto, limits
from edge.core.council import Seat
from edge.errors import BadSignature, Malformed

CONTEXT = "village-edge/charter/v1"
CHARTER_BYTES_MAX = 60_000
COUNCIL_SEATS: Final = (4, 7)
COUNCIL_SEATS_DEFAULT: Final = 4


class Charter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    context: str
    network: bytes
    number: int
    members: tuple[Seat, ...]
    council: tuple[str, ...]
    nonce: bytes
    council_seats: int = COUNCIL_SEATS_DEFAULT


_codec = canonical.Codec(Charter, "charter", CHARTER_BYTES_MAX)


def genesis(
    founders: tuple[Seat, Seat], nonce: bytes, council_seats: int = COUNCIL_SEATS_DEFAULT
) -> bytes:
    """Return the bytes of a two-village charter, both in the council, ordered by village id."""
    members = tuple(sorted(founders, key=lambda seat: seat.village))
    villages = tuple(seat.village for seat in members)
    return canonical.encode(Charter(CONTEXT, bytes(32), 0, members, villages, nonce, council_seats))


def decode(charter: bytes) -> Charter:
    """Return a well-formed genesis charter; raises Malformed otherwise."""
    decoded = _codec.decode(charter)
    keys = {seat.key for seat in decoded.members}
    villages = [seat.village for seat in decoded.members]
    well_formed = (
        decoded.context == CONTEXT
        and decoded.network == bytes(32)
        and decoded.number == 0
        and len(decoded.nonce) == 16
        and 2 <= len(villages) <= limits.SEATS_MAX
        and len(keys) == len(set(villages)) == len(villages)
        and villages == sorted(villages)
        and list(decoded.council) == villages
        and all(len(key) == crypto.KEY_BYTES for key in keys)
        and decoded.council_seats in COUNCIL_SEATS
    )
    if not well_formed:
        raise Malformed("charter: not a genesis of distinct founders who are all its council")
    return decoded


def digest(charter: bytes) -> bytes:
    """Return SHA-256(charter); for the genesis this is the network id."""
    return crypto.sha256(charter)


def verify_founder(charter: bytes, village: str, signature: bytes) -> None:
    """Raise BadSignature unless `village` is a founder and signed these bytes."""
    founder = next((s for s in decode(charter).members if s.village == village), None)
    if founder is None or not crypto.verify(founder.key, charter, signature):
        raise BadSignature(f"{village} has not signed this charter")
