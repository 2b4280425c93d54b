"""Every exception that the box raises on purpose.

BoxError
├── Refused               what a member, steward or integrator asked cannot be done as asked
│   ├── InvalidInput        malformed amount, name, date, JSON...
│   │   └── InvalidAmount
│   ├── NotFound            no such member, village, trade
│   │   ├── UnknownMember
│   │   ├── UnknownAsset
│   │   ├── UnknownTrade
│   │   ├── UnknownNeighbour
│   │   └── UnknownPath
│   ├── LimitExceeded       the one rule of accounts would be broken
│   ├── WrongState          a step that the trade's (or member's) state does not allow
│   ├── Conflict            the same id with other content
│   ├── NotSignedIn
│   ├── Forbidden
│   ├── WrongMethod           of HTTP; carries those that the address takes
│   ├── WrongMediaType
│   └── TooMany             rate or room used up; try later
│       └── SetBack             this box runs an old copy of itself, and first takes back the rest
├── PeerError             another village's nonsense; it costs that village, not us
│   ├── Malformed           not the one accepted form
│   ├── TooLarge
│   ├── UnknownVillage
│   ├── UnknownOrigin       a checkpoint of a log of which nothing is kept here
│   ├── UntrustedCheckpoint a checkpoint that its log has not signed
│   ├── BadSignature
│   ├── Misdirected         signed for another village
│   ├── StaleRequest        `created` too far from our clock; carries our time and a nonce to use
│   ├── ReplayedRequest
│   ├── BadProof
│   ├── StaleCheckpoint     does not extend what we hold; carries the size to resume from
│   ├── ForkedLog           two roots where one can be
│   └── WrongVersion
├── Unreachable           no answer: what happened there is unknown, never "failed"
│   ├── WrongPin            another key answers at the village's address, which may not be its doing
│   └── NoBox               nothing was asked: no box runs on this folder
├── ConfigError           settings, arguments, folders, file modes, ports
│   ├── WrongPhrase         not the recovery phrase that opens a backup
│   └── NewerSchema         a database that a newer version has made
└── StorageError          the database cannot be used
    ├── DiskFull
    ├── CorruptDatabase
    ├── BoxBusy             another process has the box's folder
    ├── BadBackup           a file that no village is restored from
    │   ├── CutShort            its end is missing
    │   └── Altered             it is not as it was written
    └── AuditDifference     the log and what was derived from it disagree
"""

from typing import ClassVar


class BoxError(Exception):
    """Base. `slug` is stable and ends up in the problem document's `type`; `more` are the members a
    caller needs to go on (RFC 9457 section 3.2)."""

    slug: ClassVar[str] = "error"

    def __init__(self, detail: str, **more: str | int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.more = more


class Refused(BoxError):
    slug = "refused"


class InvalidInput(Refused):
    slug = "invalid-input"


class InvalidAmount(InvalidInput):
    slug = "invalid-amount"


class NotFound(Refused):
    slug = "not-found"


class UnknownMember(NotFound):
    slug = "unknown-member"


class UnknownAsset(NotFound):
    slug = "unknown-asset"


class UnknownTrade(NotFound):
    slug = "unknown-trade"


class UnknownNeighbour(NotFound):
    slug = "unknown-neighbour"


class UnknownPath(NotFound):
    slug = "unknown-path"


class LimitExceeded(Refused):
    slug = "limit-exceeded"


class WrongState(Refused):
    slug = "wrong-state"


class Conflict(Refused):
    slug = "conflict"


class NotSignedIn(Refused):
    slug = "not-signed-in"


class Forbidden(Refused):
    slug = "forbidden"


class WrongMethod(Refused):
    slug = "wrong-method"


class WrongMediaType(Refused):
    slug = "wrong-media-type"


class TooMany(Refused):
    slug = "too-many"


class SetBack(TooMany):
    slug = "set-back"


class PeerError(BoxError):
    slug = "peer-error"


class Malformed(PeerError):
    slug = "malformed"


class TooLarge(PeerError):
    slug = "too-large"


class UnknownVillage(PeerError):
    slug = "unknown-village"


class UnknownOrigin(PeerError):
    slug = "unknown-origin"


class UntrustedCheckpoint(PeerError):
    slug = "untrusted-checkpoint"


class BadSignature(PeerError):
    slug = "bad-signature"


class Misdirected(PeerError):
    slug = "misdirected"


class StaleRequest(PeerError):
    slug = "stale-request"


class ReplayedRequest(PeerError):
    slug = "replayed-request"


class BadProof(PeerError):
    slug = "bad-proof"


class StaleCheckpoint(PeerError):
    slug = "stale-checkpoint"


class ForkedLog(PeerError):
    slug = "forked-log"


class WrongVersion(PeerError):
    slug = "wrong-version"


class Unreachable(BoxError):
    slug = "unreachable"


class WrongPin(Unreachable):
    slug = "wrong-pin"


class NoBox(Unreachable):
    slug = "no-box"


class ConfigError(BoxError):
    slug = "config"


class WrongPhrase(ConfigError):
    slug = "wrong-phrase"


class NewerSchema(ConfigError):
    slug = "newer-schema"


class StorageError(BoxError):
    slug = "storage"


class DiskFull(StorageError):
    slug = "disk-full"


class CorruptDatabase(StorageError):
    slug = "corrupt-database"


class BoxBusy(StorageError):
    slug = "box-busy"


class BadBackup(StorageError):
    slug = "bad-backup"


class CutShort(BadBackup):
    slug = "cut-short"


class Altered(BadBackup):
    slug = "altered"


class AuditDifference(StorageError):
    slug = "audit-difference"


def by_slug(slug: str) -> type[BoxError]:
    """Return the class with this slug, BoxError if there is none."""
    todo: list[type[BoxError]] = [BoxError]
    while todo:
        kind = todo.pop()
        if kind.slug == slug:
            return kind
        todo.extend(kind.__subclasses__())
    return BoxError
