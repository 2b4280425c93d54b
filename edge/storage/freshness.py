"""Who has lately cosigned which log. A log may stand still: so cosignatures are made anew on a
checkpoint that has them already, and only the newest of each village counts here.

A neighbour's cosignature on our own log comes from itself, and is as old as our clock says. Others'
cosignatures on a neighbour's log it passes on itself; there the time in them counts.
"""

from collections.abc import Sequence
from typing import Final

from edge.core import checkpoint, limits, note
from edge.core.messages import CosignatureLine
from edge.errors import BoxError
from edge.storage import logs, neighbours
from edge.storage.neighbours import Neighbour
from edge.storage.tx import OWN_LOG, Tx, View

RENEWED_MS: Final = 30_000  # how often a checkpoint is cosigned anew, if its village speaks with us


def since(view: View, log: int, fresh_ms: int) -> set[str]:
    """Return who has shown since a stamp that it cosigns a log."""
    sql = "SELECT village FROM freshness WHERE log = ? AND fresh_ms >= ?"
    return {village for (village,) in view.all(sql, log, fresh_ms)}


def renew(tx: Tx, log: int) -> None:
    """Cosign again what is stored whole of another's log, unless that was done a moment ago."""
    own = tx.identity
    sql = "SELECT fresh_ms FROM freshness WHERE log = ? AND village = ?"
    known = tx.one(sql, log, own.village)
    if known is not None and 0 <= tx.stamp_ms - known[0] < RENEWED_MS:
        return
    last = logs.cosignature_for(tx, log, own.village)
    if last is None or last.size != logs.size_of(tx, log):
        return
    (root,) = tx.one("SELECT root FROM checkpoint WHERE log = ? AND size = ?", log, last.size)
    (origin,) = tx.one("SELECT village FROM log WHERE id = ?", log)
    head = checkpoint.Checkpoint(origin, last.size, root)
    signature = checkpoint.cosign(head, own.village, own.key, tx.stamp_ms // 1000)
    line = CosignatureLine(last.size, signature.to_text())
    _keep(tx, log, own.village, line, tx.stamp_ms // 1000, tx.stamp_ms)


def cosignature_for(view: View, log: int, own: str) -> CosignatureLine | None:
    """Return our newest cosignature on a log."""
    last = logs.cosignature_for(view, log, own)
    row = view.one("SELECT size, line FROM freshness WHERE log = ? AND village = ?", log, own)
    return CosignatureLine(*row) if row and last and row[0] == last.size else last


def keep_own(tx: Tx, cosigner: str, line: CosignatureLine) -> None:
    """Note a neighbour's checked cosignature on our log, sent by itself. It was made after
    the one before, so the neighbour's clock does not matter, but for the first."""
    signed_s = checkpoint.time_of(note.NoteSignature.from_text(line.line))
    known = _signed_s(tx, OWN_LOG, cosigner)
    if known is None:
        _keep(tx, OWN_LOG, cosigner, line, signed_s, min(tx.stamp_ms, signed_s * 1000))
    elif signed_s > known:
        _keep(tx, OWN_LOG, cosigner, line, signed_s, tx.stamp_ms)


def passed_on(view: View, village: str) -> tuple[CosignatureLine, ...]:
    """Return the newest cosignatures on our log, to show a village who follows it."""
    rows = view.all(
        "SELECT size, line FROM freshness WHERE log = ? AND village <> ? ORDER BY fresh_ms DESC"
        " LIMIT ?",
        OWN_LOG,
        village,
        limits.COSIGNED_PER_MESSAGE_MAX,
    )
    return tuple(CosignatureLine(*row) for row in rows)


def take_in(tx: Tx, neighbour: Neighbour, lines: Sequence[CosignatureLine]) -> None:
    """Note what others have cosigned of a neighbour's log, as it passes that on. What is no
    cosignature of a neighbour of ours on what we hold of that log shows nothing, and is passed
    over: whoever passes it on may know another key."""
    for line in lines[: limits.COSIGNED_PER_MESSAGE_MAX]:
        try:
            _take_in(tx, neighbour, line)
        except BoxError:
            continue


def _take_in(tx: Tx, neighbour: Neighbour, line: CosignatureLine) -> None:
    signature = note.NoteSignature.from_text(line.line)
    cosigner = neighbours.find(tx, signature.name)
    if cosigner is None or cosigner.village == neighbour.village:
        return
    signed_s = checkpoint.time_of(signature)
    if signed_s <= (_signed_s(tx, neighbour.log, cosigner.village) or -1):
        return
    if not 0 < line.size <= logs.size_of(tx, neighbour.log):
        return
    root = logs.root_of(tx, neighbour.log, line.size)
    head = checkpoint.Checkpoint(neighbour.village, line.size, root)
    checkpoint.verify_cosignature(head, signature, cosigner.village, cosigner.key)
    _keep(tx, neighbour.log, cosigner.village, line, signed_s, min(tx.stamp_ms, signed_s * 1000))


def _signed_s(view: View, log: int, village: str) -> int | None:
    sql = "SELECT signed_s FROM freshness WHERE log = ? AND village = ?"
    row = view.one(sql, log, village)
    return row[0] if row else None


def _keep(
    tx: Tx, log: int, village: str, line: CosignatureLine, signed_s: int, fresh_ms: int
) -> None:
    tx.run(
        "INSERT INTO freshness VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (log, village) DO UPDATE SET"
        " size = excluded.size, line = excluded.line, signed_s = excluded.signed_s,"
        " fresh_ms = excluded.fresh_ms",
        log,
        village,
        line.size,
        line.line,
        signed_s,
        fresh_ms,
    )
