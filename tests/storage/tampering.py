"""What the tests of the audit do to a village's database, and how they ask what is wrong."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from edge.core import records
from edge.errors import AuditDifference
from edge.storage import database, logs
from edge.storage.audit import AuditReport, audit
from edge.storage.tx import OWN_LOG, Tx, View, position
from edge.storage.writer import Writer
from tests.storage.villages import Village

COPY = 1  # the number of the neighbour's log


class Story(NamedTuple):
    a: Village
    b: Village


def tampered(village: Village) -> Iterator[sqlite3.Connection]:
    """A copy of a village's database that keeps nobody from tampering with it."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    village.conn.backup(copy)
    for (name,) in copy.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        copy.execute(f"DROP TRIGGER {name}")
    yield copy
    copy.close()


@contextmanager
def no_trace(conn: sqlite3.Connection) -> Iterator[None]:
    """The triggers that kept others from tampering are there in here."""
    shipped = sqlite3.connect(":memory:", isolation_level=None)
    database.migrate(shipped)
    triggers = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
    there = dict(conn.execute(triggers))
    put_back = {name: sql for name, sql in shipped.execute(triggers) if name not in there}
    shipped.close()
    for sql in put_back.values():
        conn.execute(sql)
    try:
        yield
    finally:
        for name in put_back:
            conn.execute(f"DROP TRIGGER {name}")


def agreed(conn: sqlite3.Connection) -> AuditReport:
    """Return the report on a database that was changed and with which the audit agrees."""
    with no_trace(conn):
        return audit(View(conn))


def found_in(conn: sqlite3.Connection) -> str:
    """Return what the audit says of a database that it does not agree with."""
    with no_trace(conn), pytest.raises(AuditDifference) as caught:
        audit(View(conn))
    error = caught.value
    assert error.detail.startswith(f"{error.more['where']}: {error.more['what']}: expected ")
    assert not conn.in_transaction
    return error.detail


def index_of(conn: sqlite3.Connection, kind: str, log: int = OWN_LOG, last: bool = False) -> int:
    """Return the index of the first (or last) record of a kind."""
    first = position(log, 0, 0)
    rows = conn.execute(
        "SELECT position, record FROM entry WHERE position BETWEEN ? AND ? ORDER BY position",
        (first, first + 10_000),
    ).fetchall()
    found: list[int] = [
        at - first for at, record in rows if record.startswith(b'{"kind":"%b"' % kind.encode())
    ]
    return found[-1 if last else 0]


def flipped(data: bytes, at: int = 20) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def flip_text(text: str, at: int) -> str:
    """Change one letter of a base64 text into another."""
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


class Evil(NamedTuple):
    """A village that writes what it likes into its own log."""

    village: Village
    conn: sqlite3.Connection

    def write(self, fn: Callable[[Tx], Any], later_ms: int = 100_000) -> None:
        writer = Writer(self.conn, self.village.identity, self.village.rng.randbytes)
        [(_, error)] = writer.run([fn], self.village.now_ms + later_ms)
        assert error is None

    @property
    def size(self) -> int:
        return logs.size_of(View(self.conn), OWN_LOG)

    def record(self, kind: str) -> Any:
        return records.decode(
            logs.record_at(View(self.conn), OWN_LOG, index_of(self.conn, kind, last=True))
        )
