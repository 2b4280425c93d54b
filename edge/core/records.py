"""The kinds of log entries, public and private side.

A record is canonical JSON of at most RECORD_BYTES_MAX bytes, opaque once written: the bytes
written are the bytes hashed, stored, served and verified. No record holds personal data or free
text. What is private is sealed: the record carries SHA-256(nonce || private bytes), the box keeps
both.
"""

from typing import Literal

import msgspec

from edge.core import canonical, limits
from edge.core.accounts import AssetKind, Entry
from edge.core.council import Certificate
from edge.errors import Malformed


class _Public(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    minute: int


class VillageRecord(_Public, frozen=True, tag="village"):
    """The first entry of every log: whose it is."""

    village_id: str
    key: bytes


class AssetRecord(_Public, frozen=True, tag="asset"):
    """A catalogue entry: `AT` or a resource code, approved by the steward."""

    code: str
    asset_kind: AssetKind
    decimals: int


class SealedRecord(_Public, frozen=True, tag="sealed", omit_defaults=True):
    """A private operation: commitments to its Posting and to its Personal part."""

    posting: bytes
    personal: bytes | None = None


class HoldRecord(_Public, frozen=True, tag="hold", omit_defaults=True):
    """This village is bound to a trade. Clearing entries derive from the terms; the member's and
    the treasury's legs are sealed in `posting`."""

    terms: msgspec.Raw
    from_signature: bytes
    to_signature: bytes
    posting: bytes
    personal: bytes | None = None


class NoHoldRecord(_Public, frozen=True, tag="no-hold"):
    """The proposer's word that it is not, and will not be, bound to a trade it signed."""

    terms: msgspec.Raw
    from_signature: bytes
    to_signature: bytes


class SettleRecord(_Public, frozen=True, tag="settle"):
    subject: bytes
    certificate: Certificate


class ReleaseRecord(_Public, frozen=True, tag="release"):
    subject: bytes
    certificate: Certificate


class DeliveredRecord(_Public, frozen=True, tag="delivered"):
    """Goods of a settled trade have come: its clearing entries of this asset are reversed. The
    receiver's word, and after it the giver's."""

    subject: bytes
    asset: str


class DisputedRecord(_Public, frozen=True, tag="disputed"):
    """The receiver's word that goods of a settled trade have not come as agreed. What is wrong with
    them is written beside the log."""

    subject: bytes
    asset: str


Record = (
    VillageRecord
    | AssetRecord
    | SealedRecord
    | HoldRecord
    | NoHoldRecord
    | SettleRecord
    | ReleaseRecord
    | DeliveredRecord
    | DisputedRecord
)
Operation = Literal["pay", "issue", "declare", "consume", "limit", "line", "trade", "deal"]


class LimitChange(msgspec.Struct, frozen=True, array_like=True):
    account: str
    asset: str
    limit: int


class Posting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The sealed money side of a record: what moved, or which limit was set. `stamp_ms` is UTC."""

    operation: Operation
    stamp_ms: int
    entries: tuple[Entry, ...] = ()
    limits: tuple[LimitChange, ...] = ()


class Personal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The sealed, erasable side of a record."""

    note: str = ""
    other_party: str = ""


_record_codec: canonical.Codec[Record] = canonical.Codec(
    Record,  # type: ignore[arg-type]
    "record",
    limits.RECORD_BYTES_MAX,
)
_posting_codec = canonical.Codec(Posting, "posting", limits.RECORD_BYTES_MAX)
_personal_codec = canonical.Codec(Personal, "personal part", limits.RECORD_BYTES_MAX)


def encode(record: Record) -> bytes:
    """Return the bytes of a log entry."""
    return canonical.encode(record)


def decode(record: bytes) -> Record:
    """Return the record; TooLarge or Malformed if it is not one in canonical form."""
    decoded = _record_codec.decode(record)
    if not 0 <= decoded.minute < 2**40:
        raise Malformed("record: the minute is out of range")
    return decoded


def decode_posting(private: bytes) -> Posting:
    """Return a sealed posting; TooLarge or Malformed if it is not one in canonical form."""
    return _posting_codec.decode(private)


def decode_personal(private: bytes) -> Personal:
    """Return a sealed personal part; TooLarge or Malformed if it is not one in canonical form."""
    return _personal_codec.decode(private)
