"""One line of text by which a steward lets a neighbour in.

It carries who invites (id, key, pin, addresses), the charter to join if one is shared (zero
digests if not), when it ends, a secret for one use, and how many seats councils are to have. It is
for one reader: whoever has it first may join.
"""

import base64

import msgspec

from edge.core import canonical, crypto, limits, names
from edge.core.charter import COUNCIL_SEATS, COUNCIL_SEATS_DEFAULT
from edge.errors import InvalidInput, Malformed, TooLarge

PREFIX = "village-invitation:"
TEXT_CHARS_MAX = 4_096
SECRET_BYTES = 16


class Invitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    village_id: str
    key: bytes
    spki_sha256: bytes
    addresses: tuple[str, ...]
    network: bytes
    charter: bytes
    expires_minute: int
    secret: bytes
    council_seats: int = COUNCIL_SEATS_DEFAULT


_codec = canonical.Codec(Invitation, "invitation", TEXT_CHARS_MAX)


def to_text(invitation: Invitation) -> str:
    """Return the one line, with a short checksum against copying errors."""
    body = canonical.encode(invitation)
    return PREFIX + base64.urlsafe_b64encode(body + _checksum(body)).decode().rstrip("=")


def from_text(text: str) -> Invitation:
    """Return the invitation; InvalidInput if the line is not a whole, unaltered one."""
    encoded = text.strip().removeprefix(PREFIX)
    if not text.strip().startswith(PREFIX) or len(encoded) > TEXT_CHARS_MAX:
        raise InvalidInput(f"not an invitation: it is one line that begins with {PREFIX}")
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        body = raw[:-4]
        if raw[-4:] != _checksum(body):
            raise InvalidInput("the invitation is cut short or altered: copy the whole line")
        invitation = _codec.decode(body)
    except (ValueError, Malformed, TooLarge):  # not base64, or not ASCII
        raise InvalidInput("the invitation cannot be read: copy the whole line") from None
    if to_text(invitation) != text.strip():
        raise InvalidInput("the invitation is altered: copy the whole line")
    if not _well_formed(invitation):
        raise InvalidInput("the invitation holds something that is not a village's")
    return invitation


def _well_formed(invitation: Invitation) -> bool:
    return (
        names.accepts(names.village_id, invitation.village_id)
        and len(invitation.key) == crypto.KEY_BYTES
        and len(invitation.spki_sha256) == len(invitation.network) == 32
        and len(invitation.charter) == 32
        and len(invitation.secret) == SECRET_BYTES
        and 1 <= len(invitation.addresses) <= limits.ADDRESSES_MAX
        and all(names.accepts(names.address, address) for address in invitation.addresses)
        and 0 < invitation.expires_minute < 2**40
        and invitation.council_seats in COUNCIL_SEATS
    )


def _checksum(body: bytes) -> bytes:
    return crypto.sha256(body)[:4]
