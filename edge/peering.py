"""How two villages become neighbours: an invitation given, taken up, answered; registry entries.

The joiner drafts and signs a two-village charter, the inviter countersigns it. Each step is stored
before anything is sent, so that a lost answer is asked for again with the same bytes.
"""

import msgspec

from edge.core import charter, limits, registry
from edge.core.council import Seat
from edge.core.invitation import SECRET_BYTES, Invitation
from edge.core.messages import Joining, Register, Registered
from edge.core.registry import Location, RegistryEntry
from edge.errors import BadSignature, InvalidInput, Malformed, WrongState
from edge.storage import facts, neighbours
from edge.storage.tx import Tx, View

REGISTER_PATH = "/federation/register"
INVITATION_S_DEFAULT = 7 * 86_400
INVITATION_S_MAX = 366 * 86_400


class Profile(msgspec.Struct, frozen=True):
    """What this village says of itself: from its settings and its certificate."""

    name: str
    location: Location
    endpoints: tuple[str, ...]
    spki_sha256: bytes


def refresh_entry(tx: Tx, profile: Profile) -> RegistryEntry:
    """Sign and keep a new registry entry if anything in it has changed; return the current one."""
    before = facts.read(tx, "entry")
    current = registry.decode(before.encode()) if before else None
    draft = RegistryEntry(
        village_id=tx.identity.village,
        name=profile.name,
        location=profile.location,
        public_key=tx.identity.key.public,
        federation_enabled=True,
        trusted_villages=tuple(each.village for each in neighbours.everyone(tx)),
        protocol=limits.PROTOCOL_VERSION,
        endpoints=profile.endpoints,
        spki_sha256=profile.spki_sha256,
        stamp_ms=current.stamp_ms if current else 0,
        signature=current.signature if current else b"",
        last_sync=0,
    )
    if current == draft:
        return current
    fresh = msgspec.structs.replace(draft, stamp_ms=max(tx.stamp_ms, draft.stamp_ms + 1))
    signed = registry.sign(fresh, tx.identity.key)
    registry.verify(signed)
    facts.keep_own_entry(tx, signed)
    return signed


def invite(
    tx: Tx,
    valid_s: int = INVITATION_S_DEFAULT,
    council_seats: int = charter.COUNCIL_SEATS_DEFAULT,
) -> Invitation:
    """Make an invitation for one neighbour; it is this steward's yes to whoever takes it up.

    Raises InvalidInput, or WrongState if the village has no address to invite to.
    """
    own = facts.own_entry(tx)
    if not 0 < valid_s <= INVITATION_S_MAX:
        raise InvalidInput("an invitation is good for one hour to 366 days")
    if council_seats not in charter.COUNCIL_SEATS:
        raise InvalidInput("a council has 4 seats, or 7")
    if not own.endpoints:
        raise WrongState("this village has no address yet: run its box once")
    invitation = Invitation(
        village_id=own.village_id,
        key=own.public_key,
        spki_sha256=own.spki_sha256,
        addresses=own.endpoints,
        network=bytes(32),
        charter=bytes(32),
        expires_minute=tx.minute + -(-valid_s // 60),
        secret=tx.random(SECRET_BYTES),
        council_seats=council_seats,
    )
    neighbours.keep_invitation(tx, invitation.secret, invitation.expires_minute, council_seats)
    return invitation


def take_up(tx: Tx, invitation: Invitation) -> Register:
    """Return what to send to the inviter; the same invitation gives the same bytes."""
    own = facts.own_entry(tx)
    if invitation.village_id == own.village_id:
        raise InvalidInput("this invitation is this village's own")
    if invitation.expires_minute < tx.minute:
        raise InvalidInput("the invitation has expired: ask for a new one")
    known = neighbours.find(tx, invitation.village_id)
    if known is not None and known.key != invitation.key:
        raise BadSignature(f"{invitation.village_id} is a neighbour here under another key")
    founders = (
        Seat(own.village_id, own.public_key),
        Seat(invitation.village_id, invitation.key),
    )
    is_other = invitation.council_seats != charter.COUNCIL_SEATS_DEFAULT
    seats = bytes([invitation.council_seats]) if is_other else b""  # another draft, if altered
    draft = neighbours.joining_charter(
        tx,
        invitation.secret + invitation.village_id.encode() + invitation.key + seats,
        charter.genesis(founders, tx.random(16), invitation.council_seats),
    )
    joining = Joining(invitation.secret, msgspec.Raw(draft), tx.identity.key.sign(draft))
    return Register(limits.PROTOCOL_VERSION, own, joining)


def answer(tx: Tx, message: Register, profile: Profile) -> Registered:
    """Take in a register message: an offered entry becomes a candidate, one with a valid invitation
    a neighbour. The same message again gets the same answer."""
    registry.verify(message.entry)
    own = tx.identity.village
    if message.entry.village_id == own:
        raise Malformed("a village does not register with itself")
    joining = message.joining
    if joining is None:
        known = neighbours.find(tx, message.entry.village_id)
        if known is not None:
            neighbours.keep_entry(tx, known, message.entry)
            return Registered("neighbour")
        neighbours.keep_candidate(tx, message.entry, "register")
        return Registered("candidate")
    text = bytes(joining.charter)
    _check_charter(tx, text, message.entry.village_id, message.entry.public_key)
    charter.verify_founder(text, message.entry.village_id, joining.signature)
    invited_for = neighbours.take_invitation(
        tx, joining.secret, message.entry.village_id, charter.digest(text)
    )
    if charter.decode(text).council_seats != invited_for:
        raise Malformed(f"the charter is not for councils of {invited_for}, as it was invited to")
    signature = tx.identity.key.sign(text)
    signatures = [(message.entry.village_id, joining.signature), (own, signature)]
    _join(tx, message.entry, text, signatures)
    return Registered("neighbour", refresh_entry(tx, profile), signature)


def complete(
    tx: Tx, invitation: Invitation, sent: Register, answered: Registered, profile: Profile
) -> None:
    """Take in the inviter's answer and make it a neighbour. Raises Malformed or BadSignature."""
    if sent.joining is None or answered.entry is None or answered.signature is None:
        raise Malformed(f"{invitation.village_id} did not countersign the charter")
    registry.verify(answered.entry)
    if (answered.entry.village_id, answered.entry.public_key) != (
        invitation.village_id,
        invitation.key,
    ):
        raise BadSignature("the answer is from another village than the invitation")
    text = bytes(sent.joining.charter)
    charter.verify_founder(text, invitation.village_id, answered.signature)
    signatures = [
        (tx.identity.village, sent.joining.signature),
        (invitation.village_id, answered.signature),
    ]
    _join(tx, answered.entry, text, signatures)
    refresh_entry(tx, profile)


def listed(view: View) -> list[RegistryEntry]:
    """Return this village's entry and its neighbours', each with when it was last heard from."""
    others = [
        msgspec.structs.replace(each.entry, last_sync=each.last_contact_ms // 1000)
        for each in neighbours.everyone(view)
    ]
    return [facts.own_entry(view), *others]


def _check_charter(tx: Tx, text: bytes, village: str, key: bytes) -> None:
    expected = {Seat(village, key), Seat(tx.identity.village, tx.identity.key.public)}
    if set(charter.decode(text).members) != expected:
        raise Malformed("the charter is not of the two of us")


def _join(tx: Tx, entry: RegistryEntry, text: bytes, signatures: list[tuple[str, bytes]]) -> None:
    digest = charter.digest(text)
    neighbours.keep_charter(tx, text, digest, signatures)
    neighbours.add(tx, entry, digest)
