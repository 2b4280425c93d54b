"""The villages that this one has opted into, those that have offered themselves, and charters."""

from collections.abc import Sequence
from typing import Final

import msgspec

from edge.core import canonical, crypto, limits, registry
from edge.errors import BadSignature, NotFound, TooMany, UnknownNeighbour
from edge.storage import logs
from edge.storage.tx import Tx, View

CONTACT_NOTED_MS: Final = 5_000  # how exactly it is noted when a neighbour was heard from


class Neighbour(msgspec.Struct, frozen=True):
    """`has_size`, `knows_entry_ms`, `knows_listings`: what it says it holds of our log, registry
    entry and listings; `listings_have`: the version of its listings that is kept here; `trouble`:
    why it is not traded with."""

    village: str
    log: int
    key: bytes
    charter: bytes
    network: bytes
    entry: registry.RegistryEntry
    addresses: tuple[str, ...]
    has_size: int
    knows_entry_ms: int
    last_contact_ms: int
    trouble: str
    listings_have: int
    knows_listings: int


_COLUMNS = (
    "SELECT n.village, n.log, n.public_key, n.charter, c.network, n.entry, n.addresses,"
    " n.has_size, n.knows_entry_ms, n.last_contact_ms, n.trouble,"
    " n.listings_have, n.knows_listings"
    " FROM neighbour n JOIN charter c ON c.digest = n.charter"
)


def find(view: View, village: str) -> Neighbour | None:
    row = view.one(f"{_COLUMNS} WHERE n.village = ?", village)
    return _neighbour(row) if row else None


def named(view: View, village: str) -> Neighbour:
    """Return the neighbour; raises UnknownNeighbour."""
    neighbour = find(view, village)
    if neighbour is None:
        raise UnknownNeighbour(f"{village} is not a neighbour of this village", village=village)
    return neighbour


def everyone(view: View) -> list[Neighbour]:
    return [_neighbour(row) for row in view.all(f"{_COLUMNS} ORDER BY n.village")]


def add(tx: Tx, entry: registry.RegistryEntry, charter: bytes) -> None:
    """Opt into a village under a charter that is kept already; the same again changes its entry."""
    village = entry.village_id
    known = find(tx, village)
    if known is not None:
        if known.key != entry.public_key:
            raise BadSignature(f"{village} is a neighbour here under another key")
        keep_entry(tx, known, entry)
        _join_again(tx, village, charter)
        return
    if tx.one("SELECT count(*) FROM neighbour")[0] >= limits.NEIGHBOURS_MAX:
        raise TooMany(f"a village has at most {limits.NEIGHBOURS_MAX} neighbours")
    log = tx.one("SELECT max(id) + 1 FROM log")[0]
    logs.add_log(tx, log, village, entry.public_key)
    tx.run(
        "INSERT INTO neighbour (village, log, public_key, charter, entry, addresses)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        village,
        log,
        entry.public_key,
        charter,
        registry.encode(entry),
        canonical.encode(entry.endpoints).decode(),
    )
    tx.run("DELETE FROM candidate WHERE village = ?", village)


def keep_entry(tx: Tx, known: Neighbour, entry: registry.RegistryEntry) -> None:
    """Keep a neighbour's newer registry entry; an older one changes nothing.

    Raises BadSignature."""
    if (entry.village_id, entry.public_key) != (known.village, known.key):
        raise BadSignature(f"this is not the registry entry of {known.village}")
    if entry.stamp_ms <= known.entry.stamp_ms:
        return
    addresses = entry.endpoints or known.addresses
    tx.run(
        "UPDATE neighbour SET entry = ?, addresses = ? WHERE village = ?",
        registry.encode(entry),
        canonical.encode(addresses).decode(),
        known.village,
    )


def heard_from(
    tx: Tx, neighbour: Neighbour, has_size: int, knows_entry_ms: int, knows_listings: int
) -> None:
    """Note a good message: when, and what of our log, registry entry and listings its sender
    holds. One that shows nothing new is not worth a write every time."""
    shown = (has_size, knows_entry_ms, knows_listings)
    is_known = shown == (neighbour.has_size, neighbour.knows_entry_ms, neighbour.knows_listings)
    if is_known and 0 <= tx.stamp_ms - neighbour.last_contact_ms < CONTACT_NOTED_MS:
        return
    tx.run(
        "UPDATE neighbour SET last_contact_ms = ?, has_size = ?, knows_entry_ms = ?,"
        " knows_listings = ? WHERE village = ?",
        tx.stamp_ms,
        *shown,
        neighbour.village,
    )


def keeps_listings(tx: Tx, village: str, version: int) -> None:
    tx.run(
        "UPDATE neighbour SET listings_have = max(listings_have, ?) WHERE village = ?",
        version,
        village,
    )


def set_trouble(tx: Tx, village: str, trouble: str) -> None:
    tx.run("UPDATE neighbour SET trouble = ? WHERE village = ?", trouble, village)


# Charters


def keep_charter(
    tx: Tx, charter: bytes, network: bytes, signatures: Sequence[tuple[str, bytes]]
) -> bytes:
    """Keep a charter and what villages have signed it; return its digest."""
    digest = crypto.sha256(charter)
    tx.run(
        "INSERT INTO charter (digest, network, charter) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        digest,
        network,
        charter,
    )
    for village, signature in signatures:
        tx.run(
            "INSERT INTO charter_signature VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            digest,
            village,
            signature,
        )
    return digest


# Invitations given out, and taken up


def keep_invitation(tx: Tx, secret: bytes, expires_minute: int) -> None:
    tx.run("DELETE FROM invitation WHERE used_by IS NULL AND expires_minute < ?", tx.minute)
    if tx.one("SELECT count(*) FROM invitation WHERE used_by IS NULL")[0] >= limits.CANDIDATES_MAX:
        raise TooMany("too many invitations are waiting to be taken up")
    tx.run(
        "INSERT INTO invitation (secret_digest, expires_minute) VALUES (?, ?)",
        crypto.sha256(secret),
        expires_minute,
    )


def take_invitation(tx: Tx, secret: bytes, village: str, charter: bytes) -> None:
    """Use an invitation up for one village and charter; the same two may come again.

    Raises NotFound, the same for unknown, used and expired ones.
    """
    row = tx.one(
        "SELECT expires_minute, used_by, charter FROM invitation WHERE secret_digest = ?",
        crypto.sha256(secret),
    )
    unusable = NotFound("this invitation is unknown, used up or expired: ask for a new one")
    if row is None:
        raise unusable
    expires_minute, used_by, used_for = row
    if used_by is not None and (used_by, used_for) != (village, charter):
        raise unusable
    if used_by is None and expires_minute < tx.minute:
        raise unusable
    tx.run(
        "UPDATE invitation SET used_by = ?, charter = ? WHERE secret_digest = ?",
        village,
        charter,
        crypto.sha256(secret),
    )


def joining_charter(tx: Tx, invited: bytes, make: bytes) -> bytes:
    """Return the charter drafted for an invitation (its secret and who invites), keeping `make` if
    there is none yet: a second try sends the same bytes."""
    row = tx.one("SELECT charter FROM joining WHERE invited_digest = ?", crypto.sha256(invited))
    if row is not None:
        return bytes(row[0])
    tx.run("INSERT INTO joining VALUES (?, ?)", crypto.sha256(invited), make)
    return make


# Candidates


def keep_candidate(tx: Tx, entry: registry.RegistryEntry, source: str) -> None:
    """Keep an offered entry: never trust, only something a steward may look at, for a while."""
    tx.run("DELETE FROM candidate WHERE seen_ms < ?", tx.stamp_ms - limits.CANDIDATE_S_MAX * 1000)
    known = tx.one("SELECT entry FROM candidate WHERE village = ?", entry.village_id)
    if known is None:
        if tx.one("SELECT count(*) FROM candidate")[0] >= limits.CANDIDATES_MAX:
            raise TooMany("there are too many candidates: try again later")
    elif not _replaces(entry, registry.decode(bytes(known[0]))):
        return
    tx.run(
        "INSERT INTO candidate VALUES (?, ?, ?, ?) ON CONFLICT (village) DO UPDATE"
        " SET entry = excluded.entry, source = excluded.source, seen_ms = excluded.seen_ms",
        entry.village_id,
        registry.encode(entry),
        source,
        tx.stamp_ms,
    )


def candidates(view: View) -> list[tuple[registry.RegistryEntry, str, int]]:
    """Return (entry, source, seen_ms) of the villages that have offered themselves."""
    rows = view.all("SELECT entry, source, seen_ms FROM candidate ORDER BY village")
    return [(registry.decode(bytes(entry)), source, seen) for entry, source, seen in rows]


def log_of(view: View, village: str) -> int:
    """Return the number of a neighbour's log copy."""
    row = view.one("SELECT id FROM log WHERE village = ?", village)
    assert row is not None, f"no log of {village} is kept"
    number: int = row[0]
    return number


def _join_again(tx: Tx, village: str, charter: bytes) -> None:
    """Take a later charter with a neighbour that may never have had the answer to an earlier one:
    nothing has been said under that yet."""
    tx.run(
        "UPDATE neighbour SET charter = ? WHERE village = ? AND last_contact_ms = 0"
        " AND NOT EXISTS (SELECT 1 FROM trade t WHERE t.neighbour = neighbour.village)",
        charter,
        village,
    )


def _replaces(new: registry.RegistryEntry, old: registry.RegistryEntry) -> bool:
    return new.public_key != old.public_key or new.stamp_ms > old.stamp_ms


def _neighbour(
    row: tuple[str, int, bytes, bytes, bytes, bytes, str, int, int, int, str, int, int],
) -> Neighbour:
    (
        village,
        log,
        key,
        charter,
        network,
        entry,
        addresses,
        has_size,
        knows_ms,
        contact_ms,
        trouble,
        *versions,
    ) = row
    return Neighbour(
        village,
        log,
        key,
        charter,
        network,
        registry.decode(entry),
        tuple(msgspec.json.decode(addresses, type=list[str])),
        has_size,
        knows_ms,
        contact_ms,
        trouble,
        *versions,
    )
