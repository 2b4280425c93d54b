"""What anybody may read of the logs that are kept here: checkpoints and tiles, as committed.

Nothing is made in advance: the leaf hashes and tree nodes of a tile are one run of the table that
holds them, so an append writes no tile, and a tile is read without a look at the rest of the log.
"""

from typing import Final

import msgspec

from edge.core import checkpoint, crypto, limits, merkle, note, tiles
from edge.core.log_proof import LogProof
from edge.core.tiles import ENTRIES, Tile
from edge.errors import NotFound, UnknownOrigin
from edge.storage import logs
from edge.storage.tx import OWN_LOG, View, position


class Published(msgspec.Struct, frozen=True):
    """A log's newest checkpoint that another village than its own has cosigned, whose records are
    all here: its size, and the note with the log's signature and all cosignatures."""

    size: int
    signed: str


def log_of(view: View, origin_hash: str) -> int:
    """Return the log whose origin has this SHA-256, in lower-case hex. Raises UnknownOrigin."""
    for log, village in view.all("SELECT id, village FROM log"):
        if crypto.sha256(village.encode()).hex() == origin_hash:
            return int(log)
    raise UnknownOrigin("no log of this origin is kept here")


def published(view: View, log: int = OWN_LOG) -> Published:
    """Return what is published of a log. Raises NotFound if nothing is yet."""
    found = newest_cosigned(view, log)
    if found is None:
        raise NotFound(_NOTHING)
    return found


def newest_cosigned(view: View, log: int) -> Published | None:
    """Return the same, None if nothing is published yet."""
    size = _cosigned_size(view, log)
    if size is None:
        return None
    (text,) = view.one("SELECT note FROM checkpoint WHERE log = ? AND size = ?", log, size)
    lines = view.all(
        "SELECT line FROM cosignature WHERE log = ? AND size = ? ORDER BY village LIMIT ?",
        log,
        size,
        limits.NOTE_SIGNATURES_MAX - 1,
    )
    cosignatures = [note.NoteSignature.from_text(line) for (line,) in lines]
    return Published(size, checkpoint.with_signatures(text, cosignatures))


def prove(view: View, log: int, index: int, against: Published) -> LogProof:
    """Return the proof that record `index`, which goes with it, is in a checkpoint's log. Requires
    index < against.size."""
    nodes = logs.read_nodes(view, log, merkle.nodes_for_inclusion(index, against.size))
    hashes = merkle.inclusion_proof(index, against.size, nodes)
    return LogProof(index, tuple(hashes), against.signed, logs.record_at(view, log, index))


def read_hashes(view: View, log: int, tile: Tile) -> bytes:
    """Return a tile of hashes. Raises NotFound if not all of it is published."""
    _check_published(view, log, tile)
    level, start = tile.first
    first = position(log, level, start)
    sql = "SELECT leaf FROM entry" if level == 0 else "SELECT hash FROM node"
    rows = view.all(
        f"{sql} WHERE position >= ? AND position < ? ORDER BY position",
        first,
        first + tile.width,
    )
    assert len(rows) == tile.width, f"log {log} lacks hashes of {tile.to_path()}"
    return b"".join([row[0] for row in rows])


def entries_bytes(view: View, log: int, tile: Tile) -> int:
    """Return how many bytes a tile of records has. Raises NotFound as `read_hashes` does."""
    assert tile.level == ENTRIES, "not a tile of records"
    _check_published(view, log, tile)
    first = position(log, *tile.first)
    count, total = view.one(
        "SELECT count(*), sum(length(record)) FROM entry WHERE position >= ? AND position < ?",
        first,
        first + tile.width,
    )
    assert count == tile.width, f"log {log} lacks records of {tile.to_path()}"
    return int(total) + tile.width * tiles.LENGTH_BYTES


def read_entries(view: View, log: int, tile: Tile, done: int, bytes_max: int) -> list[bytes]:
    """Return the records of a published tile after the first `done`, up to about `bytes_max` bytes
    of them, but at least one."""
    _, start = tile.first
    return logs.records_from(view, log, start + done, tile.width - done, bytes_max)


def _check_published(view: View, log: int, tile: Tile) -> None:
    size = _cosigned_size(view, log)
    if size is None:
        raise NotFound(_NOTHING)
    if not tile.is_in(size):
        raise NotFound("the published log has no such tile, or not all of it yet")


def _cosigned_size(view: View, log: int) -> int | None:
    size: int | None = view.one("SELECT max(size) FROM cosignature WHERE log = ?", log)[0]
    return size


_NOTHING: Final = "no other village has cosigned this log yet: nothing of it is published"
