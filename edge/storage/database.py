"""Opening the database file: pragmas, schema versions, checks, and what SQLite's errors mean."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from edge.core import replay, trade
from edge.errors import (
    BoxError,
    ConfigError,
    CorruptDatabase,
    DiskFull,
    NewerSchema,
    PeerError,
    StorageError,
)

SCHEMA_VERSION = 10
BUSY_MS = 5_000
CACHE_KIB = 4_096
CHECKED_BYTES_MAX = 64 * 1024 * 1024  # of a file that was closed cleanly; `audit` reads any


def open_writer(path: Path, create: bool = False) -> sqlite3.Connection:
    """Return the one connection that writes and checkpoints, with the schema brought up to date.

    Raises ConfigError (no database there, or one of a newer version), CorruptDatabase, DiskFull.
    """
    if not create and not path.exists():
        raise _no_village(path)
    doubtful = _was_cut_short(path) or _size(path) <= CHECKED_BYTES_MAX
    with storage_errors(path):
        conn = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            if not create and _version(conn) == 0:
                raise damaged(path, "it is empty")
            set_up_writer(conn)
            if doubtful:
                check_pages(conn, path)
            migrate(conn)
        except BaseException:
            conn.close()
            raise
    return conn


def set_up_writer(conn: sqlite3.Connection) -> None:
    """Acknowledged means durable: write-ahead log, flushed at every commit."""
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("PRAGMA secure_delete = ON")  # what people erase is not in the file any more
    conn.execute("PRAGMA recursive_triggers = ON")  # so that REPLACE cannot pass by the triggers
    conn.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    conn.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def open_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write. Raises ConfigError, CorruptDatabase."""
    if not path.exists():
        raise _no_village(path)
    with storage_errors(path):
        conn = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            set_up_reader(conn)
            if _version(conn) == 0:
                raise damaged(path, "it is empty")
        except BaseException:
            conn.close()
            raise
    return conn


def set_up_reader(conn: sqlite3.Connection) -> None:
    conn.execute("PRAGMA query_only = ON")
    conn.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    conn.execute(f"PRAGMA cache_size = -{CACHE_KIB // 2}")


def migrate(conn: sqlite3.Connection) -> None:
    """Apply the numbered schema files that this database lacks, each in one transaction."""
    version = _version(conn)
    conn.create_function("delivery_in", 2, _delivery_in, deterministic=True)
    conn.create_function("refund_in", 1, _refund_in, deterministic=True)
    for number, sql in _schema_files():
        if number > version:
            conn.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, naming the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its own messages
        raise damaged(path, error) from error


def explain(error: sqlite3.Error, path: Path) -> BoxError:
    """Return the BoxError for an SQLite error."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"the disk is full: nothing was written to {path}; free some space")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, error)
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return StorageError(f"{path} cannot be read or written ({error}): check the disk")
    return StorageError(f"{path}: {error}")


def _version(conn: sqlite3.Connection) -> int:
    version: int = conn.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise NewerSchema(
            f"the database has schema {version}, made by a newer version; "
            f"this one knows {SCHEMA_VERSION}"
        )
    return version


def _no_village(path: Path) -> ConfigError:
    return ConfigError(f"there is no village in {path.parent}: run village-edge init first")


def damaged(path: Path, why: object) -> CorruptDatabase:
    """Return the error for a file whose content cannot be right."""
    return CorruptDatabase(
        f"{path} is damaged ({why}): nothing is written to it; stop the box and restore a backup, "
        "and keep the damaged file"
    )


def check_pages(conn: sqlite3.Connection, path: Path) -> None:
    """Read every page. Raises CorruptDatabase naming the first that cannot be right."""
    result = conn.execute("PRAGMA quick_check(1)").fetchone()[0]
    if result != "ok":
        raise damaged(path, str(result).splitlines()[-1])


def _was_cut_short(path: Path) -> bool:
    """Tell whether the last writer was stopped by a power cut or a kill: SQLite then leaves its
    write-ahead log behind."""
    return path.with_name(f"{path.name}-wal").exists()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _delivery_in(record: bytes, part: str) -> bytes | str | None:
    """Return a part of what a record says of a delivery, None if it says nothing of one."""
    said = replay.said_in(record)
    if not isinstance(said, replay.Delivery):
        return None
    found: bytes | str = said._asdict()[part]
    return found


def _refund_in(terms: bytes) -> bytes | None:
    try:
        return trade.decode_terms(terms).refund_of
    except PeerError:
        return None  # the audit says so


def _schema_files() -> Iterator[tuple[int, str]]:
    folder = resources.files("edge.storage.schema")
    for file in sorted(folder.iterdir(), key=lambda item: item.name):
        if file.name.endswith(".sql"):
            yield int(file.name[:2]), file.read_text("utf-8")
