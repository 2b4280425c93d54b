"""A box's disk: SQLite in memory, with what can happen to a disk.

It is durable as SQLite is: with `synchronous = FULL` a commit is on the disk when it returns; with
less, a power cut loses what was committed lately. It can be full, and it can be copied.
"""

import re
import sqlite3
from functools import cache
from typing import Any, Final

from edge.storage import database

_WRITES: Final = re.compile(
    r"\s*(?:INSERT (?:OR \w+ )?INTO|REPLACE INTO|UPDATE|DELETE FROM)\s+(\w+)", re.IGNORECASE
)
_migrate: Final = database.migrate
_FULL: Final = 2  # PRAGMA synchronous
_UNSYNCED_COMMITS_MAX: Final = 8  # then the system writes them anyway
_NO_LIMIT: Final = 1 << 30


class Disk(sqlite3.Connection):
    """The runner of transactions says when one begins and is committed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.is_full = False
        self._touched: set[str] = set()
        self._noted = self._counted = 0  # changed rows
        self._is_another = False  # than it was: the power was lost
        self._fails_commits = False
        self._syncs = -1  # not looked up yet
        self._safe: sqlite3.Connection | None = None  # what a power cut leaves, if not all
        self._unsynced = 0

    def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:
        cursor = super().executemany(sql, parameters)
        self.note(sql, cursor.rowcount)
        return cursor

    def note(self, sql: str, rows: int) -> None:
        """Note that a statement has changed so many rows. What is not noted is found by its count:
        see `changed`."""
        if rows > 0:
            self._noted += rows
            self._touched.add(_table(sql))

    def changed(self) -> set[str] | None:
        """Return the tables that may have changed since the last call: None for all of them."""
        count, self._counted = self.total_changes - self._counted, self.total_changes
        noted, self._noted = self._noted, 0
        touched, self._touched = self._touched, set()
        if self._is_another:
            self._is_another = False
            return None
        return touched if count == noted else None

    def begins(self) -> None:
        """A transaction is about to begin."""
        if self._syncs < 0:
            self._syncs = self.execute("PRAGMA synchronous").fetchone()[0]
        if self._safe is None and self._syncs < _FULL:
            self._safe = _memory()
            self.backup(self._safe)

    def commits(self) -> None:
        """A transaction is about to be committed."""
        if self._safe is not None:
            self._unsynced += 1
            if self._unsynced > _UNSYNCED_COMMITS_MAX:
                self._safe, self._unsynced = None, 0

    @property
    def for_commits(self) -> sqlite3.Connection:
        """What COMMIT is asked of."""
        return _NoRoom(self) if self._fails_commits else self  # type: ignore[return-value]

    def lose_power(self) -> None:
        """Keep what is on the disk, and nothing else."""
        if self.in_transaction:
            self.rollback()
        if self._safe is not None:
            self._safe.backup(self)
            self._safe, self._unsynced = None, 0
            self._is_another = True

    def fill(self, at_commit: bool) -> None:
        """Leave no room: not for another page, and not for a commit either."""
        self.is_full = True
        self._fails_commits = at_commit
        pages = self.execute("PRAGMA page_count").fetchone()[0]
        self.execute(f"PRAGMA max_page_count = {pages}")

    def free(self) -> None:
        self.is_full = self._fails_commits = False
        self.execute(f"PRAGMA max_page_count = {_NO_LIMIT}")

    def copy(self) -> sqlite3.Connection:
        """Return a copy of what is committed, to be used with `new`."""
        image = _memory()
        self.backup(image)
        return image


class _NoRoom:
    """A connection to a disk that has no room for the frame that would make a commit count."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._conn.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


def migrate(conn: sqlite3.Connection) -> None:
    """Make an empty ledger of an empty database, as the product does, and faster."""
    assert not conn.execute("SELECT 1 FROM sqlite_schema").fetchone()
    _empty().backup(conn)


def new(image: sqlite3.Connection | None = None) -> Disk:
    """Return a disk with a copy of an image on it, or with an empty ledger."""
    disk = sqlite3.connect(":memory:", isolation_level=None, factory=Disk, cached_statements=512)
    assert isinstance(disk, Disk)
    (image or _empty()).backup(disk)
    database.set_up_writer(disk)
    return disk


@cache
def _table(sql: str) -> str:
    """Return which table a statement writes to."""
    found = _WRITES.match(sql)
    return found[1].lower() if found else ""


@cache
def _empty() -> sqlite3.Connection:
    conn = _memory()
    _migrate(conn)
    return conn


def _memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)
