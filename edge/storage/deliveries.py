"""What the logs say of deliveries, and what members write of a dispute, beside the log."""

from edge.core import limits
from edge.core.delivery import Word
from edge.core.replay import Delivery
from edge.storage.tx import Tx, View


def keep(tx: Tx, log: int, index: int, said: Delivery) -> None:
    tx.run(
        "INSERT INTO delivery (subject, log, idx, kind, asset) VALUES (?, ?, ?, ?, ?)",
        said.subject,
        log,
        index,
        said.kind,
        said.asset,
    )


def keep_copied(tx: Tx, log: int, index: int, said: Delivery) -> None:
    """Keep a neighbour's word; if the trade is known here, something may have to be done."""
    keep(tx, log, index, said)
    tx.run("UPDATE trade SET heard = 1 WHERE subject = ?", said.subject)


def words(view: View, subject: bytes, log: int) -> list[Word]:
    """Return what a log says of a trade's goods, in its order."""
    rows = view.all(
        "SELECT kind, asset FROM delivery WHERE subject = ? AND log = ? ORDER BY idx",
        subject,
        log,
    )
    return [Word(*row) for row in rows]


def disputed_at(view: View, subject: bytes, log: int) -> int | None:
    """Return the index of a log's first word that goods of a trade are disputed, None for none."""
    index: int | None = view.one(
        "SELECT min(idx) FROM delivery WHERE subject = ? AND log = ? AND kind = 'disputed'",
        subject,
        log,
    )[0]
    return index


def heard(view: View, neighbour: str) -> list[bytes]:
    """Return the subjects of the trades of whose delivery a neighbour has said something new."""
    rows = view.all("SELECT subject FROM trade WHERE neighbour = ? AND heard = 1", neighbour)
    return sorted(row[0] for row in rows)


def due(view: View, minute: int) -> list[bytes]:
    """Return the subjects of trades whose goods count as delivered now, the longest due first."""
    rows = view.all(
        "SELECT subject FROM trade WHERE deliver_minute <= ? ORDER BY deliver_minute, subject"
        " LIMIT ?",
        minute,
        limits.DELIVERIES_PER_RUN_MAX,
    )
    return [row[0] for row in rows]


# What is written of a dispute


def write(tx: Tx, subject: bytes, village: str, text: str, told: bool) -> bool:
    """Keep what a member of a village has written, or with an empty text erase it; tell whether
    that is new. What was written before leaves no copy in the database's files."""
    before = written(tx, subject).get(village)
    if before == text or (before is None and not text):
        return False
    tx.empties_wal |= bool(before)
    tx.run(
        "INSERT INTO dispute (subject, village, text, told) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (subject, village) DO UPDATE SET text = excluded.text, told = excluded.told",
        subject,
        village,
        text,
        int(told),
    )
    return True


def written(view: View, subject: bytes) -> dict[str, str]:
    """Return what was written of a trade's dispute, by village; empty: it was erased."""
    return dict(view.all("SELECT village, text FROM dispute WHERE subject = ?", subject))


def untold(view: View, neighbour: str) -> list[bytes]:
    """Return the subjects of which a neighbour has not been told what is written."""
    rows = view.all(
        "SELECT d.subject FROM dispute AS d JOIN trade AS t ON t.subject = d.subject"
        " WHERE d.told = 0 AND t.neighbour = ? ORDER BY t.changed_ms, d.subject",
        neighbour,
    )
    return [row[0] for row in rows]


def note_told(tx: Tx, subject: bytes) -> None:
    """Note that the other village has stored all that is written."""
    tx.run("UPDATE dispute SET told = 1 WHERE subject = ? AND told = 0", subject)
