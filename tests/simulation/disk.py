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
_FULL: Final = 2  # PRAGMA synchronous
_UNSYNCED_COMMITS_MAX: Final = 8  # then the system writes them anyway
_NO_LIMIT: Final = 1 << 30
_tables: dict[str, str] = {}  # by SQL text: which table it writes to


class Disk(sqlite3.Connection):
    """`touched`: the tables that may have changed since whoever cares emptied it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.touched: set[str] = set()
        self.is_full = False
        self.commits = 0
        self._fails_commits = False
        self._safe: sqlite3.Connection | None = None  # what a power cut leaves, if not all
        self._unsynced = 0

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        table = _tables.get(sql)
        if table is None:
            found = _WRITES.match(sql)
            table = _tables[sql] = found[1].lower() if found else ""
        if table:
            self.touched.add(table)
        elif sql == "COMMIT":
            return self._commit()
        elif sql == "BEGIN IMMEDIATE" and self._safe is None and self._synchronous() < _FULL:
            self._safe = _memory()
            self.backup(self._safe)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:
        found = _WRITES.match(sql)
        if found:
            self.touched.add(found[1].lower())
        return super().executemany(sql, parameters)

    def _commit(self) -> sqlite3.Cursor:
        if self._fails_commits:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        cursor = super().execute("COMMIT")
        self.commits += 1
        if self._safe is not None:
            self._unsynced += 1
            if self._unsynced > _UNSYNCED_COMMITS_MAX:
                self._safe, self._unsynced = None, 0
        return cursor

    def _synchronous(self) -> int:
        level: int = super().execute("PRAGMA synchronous").fetchone()[0]
        return level

    def lose_power(self) -> None:
        """Keep what is on the disk, and nothing else."""
        if self.in_transaction:
            self.rollback()
        if self._safe is not None:
            self._safe.backup(self)
            self._safe, self._unsynced = None, 0
            self.touched |= set(_tables.values())

    def fill(self, at_commit: bool) -> None:
        """Leave no room: not for another page, and not for a commit either."""
        self.is_full = True
        self._fails_commits = at_commit
        pages = super().execute("PRAGMA page_count").fetchone()[0]
        super().execute(f"PRAGMA max_page_count = {pages}")

    def free(self) -> None:
        self.is_full = self._fails_commits = False
        super().execute(f"PRAGMA max_page_count = {_NO_LIMIT}")

    def copy(self) -> sqlite3.Connection:
        """Return a copy of what is committed, to be used with `new`."""
        image = _memory()
        self.backup(image)
        return image


def new(image: sqlite3.Connection | None = None) -> Disk:
    """Return a disk with a copy of an image on it, or with an empty ledger."""
    disk = sqlite3.connect(":memory:", isolation_level=None, factory=Disk, cached_statements=512)
    assert isinstance(disk, Disk)
    (image or _empty()).backup(disk)
    database.set_up_writer(disk)
    return disk


@cache
def _empty() -> sqlite3.Connection:
    conn = _memory()
    database.migrate(conn)
    return conn


def _memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)
