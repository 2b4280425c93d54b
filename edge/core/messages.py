"""What villages say to each other, one class for each message, one encoder, one decoder.

`Exchange` is the whole of sync and trade: it is posted, and answered in kind. Nothing in it needs a
request id: a trade is named by the hash of its terms, a record by its log and index, so that saying
it twice changes nothing, and other content under the same name is refused.
"""

from typing import Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from edge.core import canonical, limits
from edge.core.council import Certificate, Proposal, Vote
from edge.core.listing import Listing
from edge.core.receipt import Evidence
from edge.core.registry import RegistryEntry
from edge.core.valid import Absent
from edge.errors import Malformed, TooLarge, WrongVersion

T = TypeVar("T")
Withdrawn = Literal["rejected", "cancelled", "expired"]
UNKNOWN_ROUND: Final = -2  # whoever says it wants to be told everything
ROUNDS_SAID_MAX: Final = 4  # of a subject, in one message
PROOFS_MAX: Final = 4  # each party's hold, and the proposer's no-hold


class Push(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Records `start`... of the sender's log. `proof` shows that the tree after them is extended by
    `checkpoint` (empty if they end there)."""

    start: int
    records: tuple[bytes, ...]
    proof: tuple[bytes, ...]
    checkpoint: str


class CosignatureLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sender's cosignature on the receiver's checkpoint of `size` (a C2SP signature line)."""

    size: int
    line: str


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The people of a trade: only ever between the two villages, never in a log. `listing`: the
    receiver's listing that a proposal answers; then its box knows to whom it goes."""

    from_user: str
    to_user: str
    listing: str = ""


class DisputeText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a member of `village` has written of a dispute; empty: it is erased."""

    village: str
    text: str


class SubjectMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the sender knows of one trade: a grow-only set of signed statements, and what was
    written of a dispute.

    Holds and no-holds, deliveries and disputes travel as records of the pushed logs.
    """

    terms: msgspec.Raw
    from_signature: bytes
    names: Names | None = None
    withdrawn: Withdrawn | None = None
    votes: tuple[Vote, ...] = ()
    certificate: Certificate | None = None
    disputes: tuple[DisputeText, ...] | UnsetType = UNSET


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a council is to decide: terms that both parties have signed."""

    terms: msgspec.Raw
    from_signature: bytes
    to_signature: bytes


class CouncilMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one seat tells another of a subject: what it has come to hold since the last time, of a
    set of signed messages that only grows.

    `round`: the one that the sender is in, -1 before the first, -2 if it wants to be told all.
    Once there is a certificate, that is all that is said.
    """

    subject: bytes
    round: int
    opening: Opening | None = None
    evidence: tuple[Evidence, ...] = ()
    absents: tuple[Absent, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    votes: tuple[Vote, ...] = ()
    certificate: Certificate | None = None


class Proofs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proofs of misbehaviour that the sender passes on, numbered by it: `said`, up to `number`, and
    the number up to which it has heard the receiver's, `have`. One that does not hold is passed
    over."""

    have: int
    number: int
    said: tuple[msgspec.Raw, ...] = ()


class Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sync and trade between two neighbours, each way.

    `have`: how many records of the receiver's log the sender has stored and verified.
    `entry_stamp_ms`: stamp of the receiver's registry entry that the sender knows.
    `listings_have`: version of the receiver's listings that the sender keeps; `listings`: the
    sender's that have changed since the version that the receiver has said, oldest change first.
    `misbehaviour` is left out while there is none to speak of.
    `cosigned`: others' newest cosignatures on the sender's log, left out while there are none.
    `number`: the sender's own of this message; `heard`: that of the receiver's last answer that the
    sender has stored, 0 for none.
    """

    protocol: int
    sender: str
    network: bytes
    have: int
    entry_stamp_ms: int
    entry: RegistryEntry | None = None
    push: Push | None = None
    cosignature: CosignatureLine | None = None
    subjects: tuple[SubjectMessage, ...] = ()
    listings_have: int = 0
    listings: tuple[Listing, ...] = ()
    councils: tuple[CouncilMessage, ...] = ()
    number: int = 0
    heard: int = 0
    misbehaviour: Proofs | msgspec.UnsetType = msgspec.UNSET
    cosigned: tuple[CosignatureLine, ...] | msgspec.UnsetType = msgspec.UNSET


class Joining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An invitation taken up: its secret, and the charter that the joiner has signed."""

    secret: bytes
    charter: msgspec.Raw
    signature: bytes


class Register(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An offer of a registry entry: a candidate, or with an invitation a neighbour."""

    protocol: int
    entry: RegistryEntry
    joining: Joining | None = None


class Registered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer: what the sender now is here; to a neighbour our entry and founder's signature."""

    status: Literal["candidate", "neighbour"]
    entry: RegistryEntry | None = None
    signature: bytes | None = None


class _Version(msgspec.Struct, frozen=True):
    protocol: int


_version = msgspec.json.Decoder(_Version)
_exchange = msgspec.json.Decoder(Exchange)
_register = msgspec.json.Decoder(Register)
_registered = msgspec.json.Decoder(Registered)


def encode(message: Exchange | Register | Registered) -> bytes:
    """Return a message as it is sent."""
    return canonical.encode(message)


def decode_exchange(body: bytes) -> Exchange:
    """Return a message within all limits; raises TooLarge, Malformed or WrongVersion."""
    message = _decode(body, _exchange)
    too_many = (
        len(message.subjects) > limits.SUBJECTS_PER_MESSAGE_MAX
        or len(message.listings) > limits.LISTINGS_PER_MESSAGE_MAX
        or any(_is_too_much_of(each) for each in message.subjects)
        or len(message.councils) > limits.COUNCILS_PER_MESSAGE_MAX
        or any(_has_too_much(each) for each in message.councils)
        or (message.push is not None and _is_oversized(message.push))
    )
    if too_many:
        raise TooLarge("the message holds more than one message may")
    lines = [] if message.cosignature is None else [message.cosignature]
    lines += message.cosigned or ()
    if len(lines) > 1 + limits.COSIGNED_PER_MESSAGE_MAX:
        raise TooLarge("the message holds more than one message may")
    sizes = (message.have, *(line.size for line in lines))
    if not all(0 <= size <= limits.TREE_SIZE_MAX for size in sizes):
        raise Malformed("message: not the size of a log")
    counts = (message.entry_stamp_ms, message.listings_have, message.number, message.heard)
    if not all(0 <= each <= limits.COUNTER_MINOR_MAX for each in counts):
        raise Malformed("message: a stamp or number is out of range")
    proofs = message.misbehaviour
    if isinstance(proofs, Proofs):
        for number in (proofs.have, proofs.number):
            if not 0 <= number <= limits.COUNTER_MINOR_MAX:
                raise Malformed("message: not the number of a proof")
    return message


def decode_register(body: bytes) -> Register:
    """Return a register message; raises TooLarge, Malformed or WrongVersion."""
    return _decode(body, _register)


def decode_registered(body: bytes) -> Registered:
    """Return the answer to a register; it has no version of its own."""
    try:
        return _registered.decode(body)
    except canonical.UNREADABLE as error:
        raise Malformed(f"answer: {str(error)[:200]}") from None


def _decode(body: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    if len(body) > limits.BODY_BYTES_MAX:
        raise TooLarge(f"the body is over {limits.BODY_BYTES_MAX} bytes")
    try:
        version = _version.decode(body).protocol
        if version != limits.PROTOCOL_VERSION:
            raise WrongVersion(
                f"protocol {version} is not spoken here", protocol=limits.PROTOCOL_VERSION
            )
        return decoder.decode(body)
    except canonical.UNREADABLE as error:
        raise Malformed(f"message: {str(error)[:200]}") from None


def _has_too_much(said: CouncilMessage) -> bool:
    return (
        len(said.evidence) > PROOFS_MAX
        or len(said.absents) > 2 * limits.SEATS_MAX
        or len(said.proposals) > ROUNDS_SAID_MAX
        or len(said.votes) > ROUNDS_SAID_MAX * 2 * 3 * limits.SEATS_MAX  # a liar may say all three
    )


def _is_too_much_of(said: SubjectMessage) -> bool:
    written = said.disputes or ()
    return (
        len(said.votes) > 2 * limits.SEATS_MAX
        or len(written) > 2
        or any(len(each.text) > limits.DISPUTE_TEXT_CHARS_MAX for each in written)
    )


def _is_oversized(push: Push) -> bool:
    return (
        not 0 <= push.start <= limits.TREE_SIZE_MAX
        or len(push.records) > limits.PUSH_RECORDS_MAX
        or len(push.proof) > limits.PROOF_HASHES_MAX
        or len(push.checkpoint) > limits.NOTE_BYTES_MAX
        or any(len(record) > limits.RECORD_BYTES_MAX for record in push.records)
    )
