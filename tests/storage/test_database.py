"""Opening a database file: what is refused and how it is said; what the schema itself forbids."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.errors import (
    BoxError,
    ConfigError,
    CorruptDatabase,
    DiskFull,
    StorageError,
)
from edge.storage import database
from edge.storage.audit import audit
from edge.storage.tx import View
from edge.storage.writer import Writer
from tests.storage import villages

PAGE = 4_096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def conn(path: Path) -> Iterator[sqlite3.Connection]:
    conn = database.open_writer(path, create=True)
    yield conn
    conn.close()


@pytest.mark.parametrize("open_", [database.open_writer, database.open_reader])
def test_where_there_is_no_village(path: Path, open_: object) -> None:
    assert callable(open_)
    expected = f"there is no village in {path.parent}: run village-edge init first"
    with pytest.raises(ConfigError) as missing:
        open_(path)
    assert missing.value.detail == expected
    assert not path.exists()


@pytest.mark.parametrize("open_", [database.open_writer, database.open_reader])
def test_an_empty_file_is_a_damaged_one_and_stays_empty(path: Path, open_: object) -> None:
    assert callable(open_)
    path.touch()
    with pytest.raises(CorruptDatabase, match="it is empty"):
        open_(path)
    assert path.read_bytes() == b""


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "ledger.db"
    with pytest.raises(StorageError) as error:
        database.open_writer(path, create=True)
    assert str(path) in error.value.detail
    assert type(error.value) is StorageError


@pytest.mark.parametrize("open_", [database.open_writer, database.open_reader])
@pytest.mark.parametrize("content", [b"a shopping list\n" * 100, bytes(PAGE), b"\xff" * PAGE])
def test_a_file_that_is_no_database(path: Path, content: bytes, open_: object) -> None:
    assert callable(open_)
    path.write_bytes(content)
    with pytest.raises(CorruptDatabase) as error:
        open_(path)
    assert error.value.detail.startswith(f"{path} is damaged (file is not a database): ")
    assert path.read_bytes() == content


@pytest.mark.parametrize("open_", [database.open_writer, database.open_reader])
def test_a_newer_schema_is_refused(path: Path, open_: object) -> None:
    assert callable(open_)
    conn = database.open_writer(path, create=True)
    newer = database.SCHEMA_VERSION + 1
    conn.execute(f"PRAGMA user_version = {newer}")
    conn.close()
    with pytest.raises(ConfigError, match=f"schema {newer}, made by a newer version; this one "):
        open_(path)


def test_opening_again_changes_nothing(path: Path) -> None:
    villages.Village("ose-missouri-001", path).conn.close()
    before = path.read_bytes()
    for _ in range(2):
        database.open_writer(path).close()
        database.open_reader(path).close()
    assert path.read_bytes() == before


def test_the_writer_is_set_up_to_keep_what_it_acknowledges(conn: sqlite3.Connection) -> None:
    pragmas = {
        name: conn.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")
    }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "recursive_triggers": 1,
    }
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    assert version == database.SCHEMA_VERSION


def test_a_reader_cannot_write(conn: sqlite3.Connection, path: Path) -> None:
    reader = database.open_reader(path)
    for sql in ("INSERT INTO fact VALUES ('a', 'b')", "DROP TABLE fact", "PRAGMA user_version = 7"):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute(sql)
    reader.execute("PRAGMA query_only = OFF")  # the file itself was opened for reading only
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("INSERT INTO fact VALUES ('a', 'b')")
    reader.close()


# The schema


def tables(conn: sqlite3.Connection) -> list[str]:
    rows = conn.execute("PRAGMA table_list").fetchall()
    return [name for _, name, kind, *_ in rows if kind == "table" and not name.startswith("sqlite")]


def test_every_table_is_strict(conn: sqlite3.Connection) -> None:
    strict = {row[1]: row[5] for row in conn.execute("PRAGMA table_list")}
    assert [name for name in tables(conn) if not strict[name]] == []
    assert len(tables(conn)) > 15


def test_no_column_takes_another_type(conn: sqlite3.Connection) -> None:
    """A text where a number belongs, and so on, for every column of every table."""
    wrong = {"INTEGER": "'one'", "BLOB": "'text'", "TEXT": "x'00'"}
    conn.execute("PRAGMA ignore_check_constraints = ON")
    conn.execute("PRAGMA foreign_keys = OFF")
    for table in tables(conn):
        columns = [(row[1], row[2]) for row in conn.execute(f"PRAGMA table_info({table})")]
        right = {"INTEGER": "1", "BLOB": "x'00'", "TEXT": "'text'"}
        for column, _ in columns:
            values = [wrong[k] if c == column else right[k] for c, k in columns]
            with pytest.raises(sqlite3.IntegrityError, match=r"cannot store|datatype mismatch"):
                conn.execute(f"INSERT INTO {table} VALUES ({', '.join(values)})")
        conn.execute(f"INSERT INTO {table} VALUES ({', '.join(right[k] for _, k in columns)})")


KEPT = {
    "entry": ("log only grows", "UPDATE entry SET leaf = leaf"),
    "node": ("log only grows", "UPDATE node SET hash = hash"),
    "checkpoint": ("checkpoints are kept", "UPDATE checkpoint SET note = note"),
    "cosignature": ("cosignatures are kept", "UPDATE cosignature SET line = line"),
    "vote": ("votes are kept", "UPDATE vote SET value = value"),
}


@pytest.mark.parametrize("table", KEPT)
def test_what_was_said_is_kept(path: Path, table: str) -> None:
    reason, update = KEPT[table]
    a, _ = villages.every_record_kind(path)
    a.conn.execute("PRAGMA foreign_keys = OFF")
    before = a.conn.execute(f"SELECT * FROM {table}").fetchall()
    assert before
    for sql in (
        update,
        f"DELETE FROM {table}",
        f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
        f"REPLACE INTO {table} SELECT * FROM {table} LIMIT 1",
    ):
        with pytest.raises(sqlite3.IntegrityError, match=reason):
            a.conn.execute(sql)
    assert a.conn.execute(f"SELECT * FROM {table}").fetchall() == before
    a.conn.close()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO log VALUES (0, 'a-b-001', x'00')",
        "INSERT INTO entry VALUES (0, x'00', x'00')",
        "INSERT INTO entry VALUES (0, zeroblob(32), zeroblob(60001))",
        "INSERT INTO node VALUES (0, zeroblob(33))",
        "INSERT INTO checkpoint VALUES (0, -1, zeroblob(32), '')",
        "INSERT INTO statement VALUES (zeroblob(32), 0, 0, 'perhaps')",
        "INSERT INTO asset VALUES (0, 'AT', 'promise', 2)",
        "INSERT INTO asset VALUES (0, 'AT', 'token', 7)",
        "INSERT INTO balance VALUES ('a', 'AT', -1, 0, 0, 0, 0, 0, NULL)",
        "INSERT INTO balance VALUES ('a', 'AT', 0, 9007199254740992, 0, 0, 0, 0, NULL)",
        "INSERT INTO balance VALUES ('a', 'AT', 0, 0, 0, 0, -1, 0, NULL)",
        "INSERT INTO balance VALUES ('a', 'AT', 9007199254740991, 0, 1, 0, 0, 0, NULL)",
        "INSERT INTO balance VALUES ('a', 'AT', 0, 9007199254740991, 0, 1, 0, 0, NULL)",
    ],
)
def test_a_value_out_of_bounds_is_refused(conn: sqlite3.Connection, sql: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
        conn.execute(sql)


# Damage


def damaged(path: Path) -> BoxError | None:
    """Open a database, write to it and audit it; return the error by which damage was noticed."""
    try:
        conn = database.open_writer(path)
    except BoxError as error:
        return error
    try:
        with database.storage_errors(path):
            Writer(conn, villages.Village("ose-missouri-001", founded=False).identity, bytes, path)
            audit(View(conn))
    except BoxError as error:
        return error
    finally:
        conn.close()
    return None


def test_a_damaged_page_is_noticed_and_named(path: Path) -> None:
    """Each page of the file in turn is overwritten, as by a worn memory card."""
    a, _ = villages.every_record_kind(path)
    a.conn.close()
    whole = path.read_bytes()
    errors = []
    for start in range(0, len(whole), PAGE):
        path.write_bytes(whole[:start] + b"\xa5" * PAGE + whole[start + PAGE :])
        errors.append(damaged(path))
    assert [type(error) for error in errors] == [CorruptDatabase] * len(errors)
    assert all(error is not None and str(path) in error.detail for error in errors)
    path.write_bytes(whole)
    assert damaged(path) is None


def test_a_large_file_is_read_whole_only_after_a_power_cut(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = villages.every_record_kind(path)
    a.conn.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-PAGE] + b"\xa5" * PAGE)
    monkeypatch.setattr(database, "CHECKED_BYTES_MAX", len(whole) - 1)
    database.open_writer(path).close()  # `audit` will find it
    path.with_name(f"{path.name}-wal").touch()
    with pytest.raises(CorruptDatabase, match="is damaged"):
        database.open_writer(path)


def test_a_flipped_bit_never_gives_a_raw_error(path: Path) -> None:
    """Wherever it is: it is noticed as damage or as a difference, or it does not matter."""
    a, _ = villages.every_record_kind(path)
    a.conn.close()
    whole = path.read_bytes()
    rng = random.Random(7)
    noticed = 0
    for _ in range(150):
        at = rng.randrange(len(whole))
        spoilt = bytearray(whole)
        spoilt[at] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
        noticed += damaged(path) is not None
    assert noticed > 5


def test_damage_found_while_reading_is_named(path: Path) -> None:
    """The file is whole when it is opened, and its middle is lost later."""
    a, _ = villages.every_record_kind(path)
    a.conn.close()
    reader = database.open_reader(path)
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xa5" * (path.stat().st_size - PAGE))
    with pytest.raises(CorruptDatabase) as error, database.storage_errors(path):
        audit(View(reader))
    assert error.value.detail.startswith(f"{path} is damaged (database disk image is malformed): ")
    reader.close()


def test_what_sqlite_says_is_explained(path: Path) -> None:
    def explained(code: int) -> BoxError:
        error = sqlite3.OperationalError("what happened")
        error.sqlite_errorcode = code
        return database.explain(error, path)

    kinds = {
        sqlite3.SQLITE_FULL: DiskFull,
        sqlite3.SQLITE_CORRUPT: CorruptDatabase,
        sqlite3.SQLITE_CORRUPT_INDEX: CorruptDatabase,
        sqlite3.SQLITE_NOTADB: CorruptDatabase,
        sqlite3.SQLITE_IOERR_FSYNC: StorageError,
        sqlite3.SQLITE_CANTOPEN: StorageError,
        sqlite3.SQLITE_READONLY: StorageError,
        sqlite3.SQLITE_BUSY: StorageError,
    }
    for code, kind in kinds.items():
        error = explained(code)
        assert type(error) is kind
        assert str(path) in error.detail
    assert type(database.explain(sqlite3.Error("without a code"), path)) is StorageError
