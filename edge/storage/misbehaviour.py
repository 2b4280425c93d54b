"""What is known of villages that have broken the rules of councils: proofs, and who was told."""

from typing import Final

import msgspec

from edge.core import limits
from edge.core.misbehaviour import IN_WORDS, Finding, Misbehaviour, What, encode
from edge.storage.tx import Tx, View

_UNTOLD: Final = (
    "SELECT n.proofs_have, n.knows_proofs, m.number, m.proof FROM neighbour AS n"
    " LEFT JOIN misbehaviour AS m ON m.number > n.knows_proofs AND m.village <> n.village"
    " AND m.source <> n.village WHERE n.village = ? ORDER BY m.number LIMIT ?"
)
_COLUMNS: Final = "SELECT subject, village, public_key, what, source, kept_ms FROM misbehaviour"


class Known(msgspec.Struct, frozen=True):
    """A proof's row without the proof. `source`: the neighbour that brought it, empty if it was
    found here."""

    subject: bytes
    village: str
    key: bytes
    what: What
    source: str
    kept_ms: int

    @property
    def text(self) -> str:
        return IN_WORDS[self.what]


def keep(tx: Tx, finding: Finding, said: Misbehaviour, source: str = "") -> bool:
    """Keep a checked proof unless there are enough of its village; tell whether it was new."""
    if has_enough(tx, finding.subject, finding.village):
        return False
    tx.run(
        "INSERT INTO misbehaviour (subject, village, public_key, what, proof, source, kept_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        finding.subject,
        finding.village,
        finding.key,
        finding.what,
        encode(said),
        source,
        tx.stamp_ms,
    )
    return True


def has_enough(view: View, subject: bytes, village: str) -> bool:
    """Tell whether a village's misbehaviour in this subject, or so much of it, is known that no
    more is kept."""
    of_it, in_it = view.one(
        "SELECT count(*), total(subject = ?) FROM misbehaviour WHERE village = ?", subject, village
    )
    return bool(in_it) or of_it >= limits.MISBEHAVIOUR_PER_VILLAGE_MAX


def is_proven(view: View, village: str, key: bytes) -> bool:
    """Tell whether a village with this key has broken the rules."""
    sql = "SELECT 1 FROM misbehaviour WHERE village = ? AND public_key = ? LIMIT 1"
    return view.one(sql, village, key) is not None


def of(view: View, village: str, key: bytes) -> list[Known]:
    """Return what is known of a village with this key, the first found first."""
    rows = view.all(
        f"{_COLUMNS} WHERE village = ? AND public_key = ? ORDER BY number", village, key
    )
    return [Known(*row) for row in rows]


def everything(view: View, limit: int) -> list[Known]:
    """Return what is known of anyone, the newest first."""
    return [Known(*row) for row in view.all(f"{_COLUMNS} ORDER BY number DESC LIMIT ?", limit)]


def proofs(view: View, limit: int, bytes_max: int) -> list[bytes]:
    """Return the newest proofs, at most so many and of so many bytes together, the oldest first."""
    found: list[bytes] = []
    for (proof,) in view.all("SELECT proof FROM misbehaviour ORDER BY number DESC LIMIT ?", limit):
        bytes_max -= len(proof)
        if bytes_max < 0:
            break
        found.insert(0, proof)
    return found


def announce(tx: Tx) -> list[Known]:
    """Return what nobody here has been told of yet; the same is not returned again."""
    found = tx.all(f"{_COLUMNS} WHERE announced = 0 ORDER BY number")
    if found:
        tx.run("UPDATE misbehaviour SET announced = 1 WHERE announced = 0")
    return [Known(*row) for row in found]


# What neighbours have heard, and what of their logs was looked through


def untold(view: View, neighbour: str, limit: int) -> tuple[int, int, list[bytes]]:
    """Return (number of the last of its proofs heard here, number of the last of ours that it has
    heard once it hears these, proofs that it lacks); it is not told of itself, nor what it told."""
    rows = view.all(_UNTOLD, neighbour, limit)
    have, knows, number, _ = rows[-1]
    return have, knows if number is None else number, [proof for *_, proof in rows if proof]


def note_heard(tx: Tx, neighbour: str, knows: int, have: int) -> None:
    """Note what a neighbour says it has heard of ours, and that we have heard it to a number."""
    tx.run(
        "UPDATE neighbour SET proofs_have = max(proofs_have, ?),"
        " knows_proofs = min(?, (SELECT coalesce(max(number), 0) FROM misbehaviour))"
        " WHERE village = ?",
        have,
        knows,
        neighbour,
    )


def unexamined(view: View, neighbour: str) -> tuple[int, int]:
    """Return how many records of a neighbour's log were looked through, and how many stand under
    its last checkpoint here."""
    row: tuple[int, int] = view.one(
        "SELECT n.examined, (SELECT coalesce(max(size), 0) FROM checkpoint WHERE log = n.log)"
        " FROM neighbour AS n WHERE n.village = ?",
        neighbour,
    )
    return row


def note_examined(tx: Tx, neighbour: str, size: int) -> None:
    tx.run("UPDATE neighbour SET examined = ? WHERE village = ?", size, neighbour)
