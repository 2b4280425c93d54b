"""A copy of the whole database as it is at one moment, made while a box goes on writing."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge.core import merkle
from edge.errors import CorruptDatabase
from edge.storage import database, facts, logs
from edge.storage.tx import OWN_LOG, View

STEP_PAGES = 1_024  # 4 MiB: so much is copied between two words of progress
CACHE_KIB = 1_024


class Snapshot(msgspec.Struct, frozen=True):
    """What a copy holds: `size` and `root` of the own log, `schema` of the database."""

    village: str
    schema: int
    size: int
    root: bytes


def take(source: Path, target: Path, progress: Callable[[int, int], None]) -> Snapshot:
    """Copy the database by SQLite's online backup into a new file, which stands alone then, and
    check the copy. `progress` is given pages done and in all.

    It is one state: the copying reads in one transaction, which others' writes do not touch.
    Raises ConfigError, CorruptDatabase, DiskFull, StorageError.
    """
    reader = database.open_reader(source)
    try:
        with database.storage_errors(source):
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM fact").fetchone()  # the moment
        with database.storage_errors(target):
            copy = sqlite3.connect(target, isolation_level=None)
            try:
                copy.execute("PRAGMA synchronous = OFF")  # the file is made anew if this breaks off
                copy.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
                reader.backup(
                    copy,
                    pages=STEP_PAGES,
                    progress=lambda _, left, all_: progress(all_ - left, all_),
                )
                copy.execute("PRAGMA journal_mode = DELETE")  # no second file belongs to it
                return check(copy, target)
            finally:
                copy.close()
    finally:
        reader.close()


def check(conn: sqlite3.Connection, path: Path) -> Snapshot:
    """Read every page of a database, and compare the own log's end with its last checkpoint.

    Raises CorruptDatabase."""
    found = conn.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise database.damaged(path, str(found).splitlines()[-1])
    view = View(conn)
    try:
        head = logs.head_of(view, OWN_LOG)
        size, root, _ = logs.last_checkpoint(view, OWN_LOG) or (0, merkle.EMPTY_ROOT, "")
        assert (head.size, head.root) == (size, root), "the log differs from its last checkpoint"
    except AssertionError as error:
        raise database.damaged(path, error) from error
    village = facts.read(view, "village_id")
    if village is None:
        raise CorruptDatabase(f"{path} names no village")
    schema = conn.execute("PRAGMA user_version").fetchone()[0]
    return Snapshot(village, schema, size, root)
