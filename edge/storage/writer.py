"""The one writer: a batch of transactions, one checkpoint signature, one COMMIT."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge.core import checkpoint, limits, merkle, records
from edge.errors import DiskFull, PeerError
from edge.storage import database, logs
from edge.storage.tx import OWN_LOG, Head, Identity, Tx, View

_LAST_CHANGE = (  # each of these has an index that holds its changed_ms, or finds the few rows
    "SELECT coalesce(max(changed_ms), 0) FROM (SELECT max(changed_ms) AS changed_ms FROM trade"
    " UNION ALL SELECT max(changed_ms) FROM deal UNION ALL SELECT max(changed_ms) FROM listing"
    " UNION ALL SELECT max(changed_ms) FROM subject WHERE certificate IS NULL)"
)
Write = Callable[[Tx], Any]
Outcome = tuple[Any, BaseException | None]  # result, or the error that was raised instead


class Writer:
    """Owns what the writing side remembers between batches: the log's head and the last stamp.

    Memory is replaced only after COMMIT has succeeded. If COMMIT fails, for anything but a full
    disk, the caller must stop the process.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        identity: Identity,
        random: Callable[[int], bytes],
        path: Path = Path("the database"),
    ) -> None:
        self.conn = conn
        self.identity = identity
        self._random = random
        self._path = path
        self._empties_wal = False
        self._empty_wal_ms = 0
        view = View(conn)
        try:
            self._head = _stored_head(view)
            self._last_stamp_ms = last_stamp_ms(view)
        except (AssertionError, PeerError) as error:
            raise database.damaged(path, error) from error

    @property
    def stamp_ms(self) -> int:
        """The stamp of the last batch that is on disk."""
        return self._last_stamp_ms

    def run(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Run each function in its own savepoint, all in one transaction; return their outcomes.

        A function that raises writes nothing. AssertionError, and SQLite's own trouble, undo the
        whole batch: the first is raised, the second becomes everyone's outcome.
        """
        stamp_ms = max(now_ms, self._last_stamp_ms + 1)
        tx = Tx(self.conn, self.identity, self._head.size, stamp_ms, now_ms, self._random)
        try:
            self.conn.execute("BEGIN IMMEDIATE")
            outcomes = [self._one(tx, write) for write in writes]
            head = self._close(tx)
        except sqlite3.Error as error:
            self._undo()
            return [(None, database.explain(error, self._path))] * len(writes)
        except BaseException:
            self._undo()
            raise
        if (full := self._commit()) is not None:
            return [(None, full)] * len(writes)
        self._head, self._last_stamp_ms = head, max(stamp_ms, tx.least_stamp_ms)
        self._empties_wal |= tx.empties_wal
        self._empty_wal()
        return outcomes

    def _one(self, tx: Tx, write: Write) -> Outcome:
        mark = tx.mark()
        self.conn.execute("SAVEPOINT one")
        try:
            result = write(tx)
        except (AssertionError, sqlite3.Error):
            raise
        except Exception as error:  # noqa: BLE001 - it is the caller's, and goes back to it
            self.conn.execute("ROLLBACK TO one")
            self.conn.execute("RELEASE one")
            tx.return_to(mark)
            return None, error
        self.conn.execute("RELEASE one")
        return result, None

    def _close(self, tx: Tx) -> Head:
        head = tx.flush(self._head)
        if head.size > self._head.size:
            signed = checkpoint.Checkpoint(self.identity.village, head.size, head.root)
            text = checkpoint.sign_checkpoint(signed, self.identity.key)
            logs.keep_checkpoint(tx, OWN_LOG, signed, text)
        return head

    def _commit(self) -> DiskFull | None:
        """Make the batch durable. A full disk undoes it: SQLite says so when it cannot write the
        frame that would have made it count."""
        try:
            self.conn.execute("COMMIT")
        except sqlite3.Error as error:
            explained = database.explain(error, self._path)
            if not isinstance(explained, DiskFull):
                raise CommitFailed(str(explained)) from error
            self._undo()
            return explained
        return None

    def _empty_wal(self) -> None:
        """Empty the write-ahead log if that was asked for; while others read, once a minute."""
        if not self._empties_wal or self._last_stamp_ms < self._empty_wal_ms:
            return
        self.conn.execute("PRAGMA busy_timeout = 0")
        try:
            is_busy = self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:  # such as no room to move pages to: what is committed stays so
            is_busy = 1
        self.conn.execute(f"PRAGMA busy_timeout = {database.BUSY_MS}")
        self._empties_wal = bool(is_busy)
        self._empty_wal_ms = self._last_stamp_ms + limits.MINUTE_MS

    def _undo(self) -> None:
        self.conn.rollback()  # nothing, if SQLite has done it already


class CommitFailed(Exception):
    """Nobody knows what is on the disk: the process must stop, and begin again from that."""


def _stored_head(view: View) -> Head:
    """Return where the own log ends, which is what was signed last."""
    head = logs.head_of(view, OWN_LOG)
    size, root, _ = logs.last_checkpoint(view, OWN_LOG) or (0, merkle.EMPTY_ROOT, "")
    assert (head.size, head.root) == (size, root), "the log differs from its own last checkpoint"
    return head


def last_stamp_ms(view: View) -> int:
    """Return the greatest stamp that the own log, the trades, what councils have still to decide,
    and the listings show, 0 for an empty log."""
    size = logs.size_of(view, OWN_LOG)
    if size == 0:
        return 0
    minute = records.decode(logs.record_at(view, OWN_LOG, size - 1)).minute
    row = view.one("SELECT posting FROM sealed ORDER BY idx DESC LIMIT 1")
    sealed_ms = records.decode_posting(row[0]).stamp_ms if row else 0
    changed_ms: int = view.one(_LAST_CHANGE)[0]
    return max(minute * limits.MINUTE_MS, sealed_ms, changed_ms)
