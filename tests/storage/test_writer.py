"""The one writer over real SQLite files: batches, failures, stamps, and how it goes on."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import desk
from edge.core import checkpoint, merkle, records
from edge.core.accounts import Asset
from edge.errors import (
    AuditDifference,
    BadProof,
    CorruptDatabase,
    DiskFull,
    LimitExceeded,
    StorageError,
)
from edge.storage import database, facts, ledger, logs
from edge.storage.audit import audit
from edge.storage.tx import OWN_LOG, Identity, Tx, View
from edge.storage.writer import CommitFailed, Writer
from tests.storage.villages import START_MS, Village


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def village(path: Path) -> Iterator[Village]:
    village = with_members(Village("ose-missouri-001", path))
    yield village
    village.conn.close()


def with_members(village: Village) -> Village:
    village.write(lambda tx: desk.add_member(tx, "Alice", "-"))
    village.write(lambda tx: desk.add_member(tx, "Carol", "-"))
    village.write(lambda tx: desk.issue(tx, "Alice", "1000"))
    return village


def pay(tx: Tx) -> int:
    return desk.pay(tx, "Alice", "Carol", "1")


def everything(conn: sqlite3.Connection) -> dict[str, list[Any]]:
    """Return every row of every table."""
    names = conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {name: conn.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}


def fresh_root(view: View) -> bytes:
    """Return the root over the stored record bytes, from nothing."""
    rows = view.all("SELECT record FROM entry WHERE position < 1 << 40 ORDER BY position")
    edge, _ = merkle.extend(0, [], [merkle.leaf_hash(record) for (record,) in rows])
    return merkle.root_from_edge(edge)


def signed_head(village: Village) -> checkpoint.Checkpoint:
    last = logs.last_checkpoint(village.view, OWN_LOG)
    assert last is not None
    return checkpoint.open_checkpoint(last[2], village.name, village.identity.key.public)


# Batches


def test_a_batch_is_one_checkpoint(village: Village) -> None:
    before = village.conn.execute("SELECT count(*), max(size) FROM checkpoint").fetchone()
    indexes = village.write_all([pay] * 7)
    assert indexes == list(range(before[1], before[1] + 7))
    after = village.conn.execute("SELECT count(*), max(size) FROM checkpoint").fetchone()
    assert after == (before[0] + 1, before[1] + 7)
    head = signed_head(village)
    assert (head.size, head.root) == (after[1], fresh_root(village.view))


def test_a_batch_that_appends_nothing_signs_nothing(village: Village) -> None:
    before = village.conn.execute("SELECT count(*) FROM checkpoint").fetchone()
    village.write(lambda tx: facts.keep(tx, "colour", "green"))
    assert village.conn.execute("SELECT count(*) FROM checkpoint").fetchone() == before
    assert facts.read(village.view, "colour") == "green"


@pytest.mark.parametrize(
    "error", [LimitExceeded("no"), BadProof("no"), ValueError("no"), KeyError("no"), MemoryError()]
)
def test_a_write_that_fails_changes_nothing_and_the_others_stand(
    village: Village, error: Exception
) -> None:
    def fail(tx: Tx) -> None:
        facts.keep(tx, "colour", "green")
        pay(tx)
        logs.append_asset(tx, Asset("GOLD", "resource", 0))
        raise error

    size = logs.size_of(village.view, OWN_LOG)
    assert village.write_all([pay, fail, pay, fail]) == [size, error, size + 1, error]
    assert facts.read(village.view, "colour") is None
    assert logs.asset_in(village.view, OWN_LOG, "GOLD") is None
    assert logs.size_of(village.view, OWN_LOG) == size + 2
    audit(village.view)


def test_a_batch_in_which_all_fail_changes_nothing(village: Village) -> None:
    before = everything(village.conn)

    def fail(tx: Tx) -> None:
        pay(tx)
        raise LimitExceeded("no")

    outcomes = village.write_all([fail] * 3)
    assert [type(outcome) for outcome in outcomes] == [LimitExceeded] * 3
    assert everything(village.conn) == before


def test_a_later_write_of_a_batch_sees_the_earlier_ones(village: Village) -> None:
    def read_all(tx: Tx) -> int:
        return ledger.counters(tx, "member:2", ledger.asset(tx, "AT")).balance

    outcomes = village.write_all([read_all, pay, read_all, pay, read_all])
    assert outcomes[::2] == [0, 100, 200]


def test_a_catalogue_entry_that_was_undone_is_forgotten(village: Village) -> None:
    """What a transaction remembers of the catalogue is not what a failed write put into it."""

    def declare_and_fail(tx: Tx) -> None:
        desk.declare(tx, "Alice", "Gold", "1")
        ledger.asset(tx, "GOLD")
        raise LimitExceeded("no")

    def ask(tx: Tx) -> Asset | None:
        return logs.asset_in(tx, OWN_LOG, "GOLD") or tx.assets.get("GOLD")

    assert village.write_all([declare_and_fail, ask])[1] is None


def test_a_broken_law_undoes_the_whole_batch(village: Village) -> None:
    before = everything(village.conn)

    def broken(tx: Tx) -> None:
        pay(tx)
        raise AssertionError("this cannot be")

    with pytest.raises(AssertionError, match="this cannot be"):
        village.write_all([pay, broken, pay])
    assert everything(village.conn) == before
    assert not village.conn.in_transaction
    village.write(pay)
    audit(village.view)


def test_sqlites_own_trouble_undoes_the_whole_batch_and_is_everyones(village: Village) -> None:
    before = everything(village.conn)

    def trouble(tx: Tx) -> None:
        pay(tx)
        tx.run("INSERT INTO nowhere VALUES (1)")

    outcomes = village.write_all([pay, trouble, pay])
    assert [type(outcome) for outcome in outcomes] == [StorageError] * 3
    assert str(outcomes[0]) == "the database: no such table: nowhere"
    assert everything(village.conn) == before
    village.write(pay)
    audit(village.view)


# Stamps


def test_stamps_grow_whatever_the_clock_does(village: Village, path: Path) -> None:
    def stamp(tx: Tx) -> int:
        pay(tx)
        return tx.stamp_ms

    def at(now_ms: int) -> int:
        [(found, error)] = village.writer.run([stamp], now_ms)
        assert error is None
        assert isinstance(found, int)
        return found

    last = village.now_ms
    assert at(last + 5_000) == last + 5_000
    assert at(last + 5_000) == last + 5_001
    assert at(0) == last + 5_002
    village.start()
    assert at(last) == last + 5_003
    assert at(last + 70_000) == last + 70_000
    audit(village.view)


def test_what_waits_for_a_time_sees_a_clock_that_was_ahead_and_is_put_right(
    village: Village,
) -> None:
    """Stamps stand still until it has caught up: they only grow. Beside them is what it says."""

    def times(tx: Tx) -> tuple[int, int]:
        pay(tx)
        return tx.stamp_ms, tx.now_ms

    ahead = village.now_ms + 40 * 86_400_000
    seen = [
        village.writer.run([times], now_ms)[0][0]
        for now_ms in (ahead, village.now_ms, village.now_ms + 10_000, ahead + 9)
    ]
    assert seen == [
        (ahead, ahead),
        (ahead + 1, village.now_ms),
        (ahead + 2, village.now_ms + 10_000),
        (ahead + 9, ahead + 9),
    ]
    audit(village.view)


def test_a_record_without_a_sealed_stamp_keeps_the_minute(village: Village) -> None:
    """After a restart with a clock set back, minutes do not go back either."""
    [(index, _)] = village.writer.run(
        [lambda tx: tx.append(records.AssetRecord(tx.minute, "GOLD", "resource", 0))],
        START_MS + 10 * 60_000,
    )
    village.start()
    [(after, _)] = village.writer.run([pay], 0)
    minutes = [
        records.decode(logs.record_at(village.view, OWN_LOG, each)).minute
        for each in (index, after)
    ]
    assert minutes == [START_MS // 60_000 + 10] * 2


# Going on


def test_the_writer_goes_on_from_the_stored_edge(path: Path) -> None:
    """At every size the root is that of a fresh tree, whoever wrote the records before."""
    village = with_members(Village("ose-missouri-001", path))
    rng = random.Random(3)
    for _ in range(40):
        village.write_all([pay] * rng.randint(1, 5))
        head = signed_head(village)
        assert (head.size, head.root) == (
            logs.size_of(village.view, OWN_LOG),
            fresh_root(village.view),
        )
        if rng.random() < 0.4:
            village.conn.close()
            village.conn = database.open_writer(path)
            village.start()
    nodes = village.conn.execute("SELECT count(*) FROM node").fetchone()[0]
    assert nodes == sum(head.size >> level for level in range(1, 12))
    audit(village.view)
    village.conn.close()


@given(batches=st.lists(st.lists(st.booleans(), min_size=1, max_size=6), max_size=8))
def test_whatever_fails_the_log_is_whole(batches: list[list[bool]]) -> None:
    """Batches in which some writes fail, each after it has appended."""
    village = Village("ose-missouri-001")

    def appending(name: str, fails: bool) -> Callable[[Tx], int]:
        def append(tx: Tx) -> int:
            index = tx.append(records.AssetRecord(tx.minute, name, "resource", 0))
            tx.run("INSERT INTO asset VALUES (0, ?, 'resource', 0)", name)
            if fails:
                raise LimitExceeded("no")
            return index

        return append

    names = (f"A{number}" for number in range(1_000))
    expected = logs.size_of(village.view, OWN_LOG)
    for batch in batches:
        outcomes = village.write_all([appending(next(names), fails) for fails in batch])
        good = [outcome for outcome in outcomes if not isinstance(outcome, LimitExceeded)]
        assert good == list(range(expected, expected + batch.count(False)))
        expected += batch.count(False)
    report = audit(village.view)
    assert (report.size, report.root) == (expected, fresh_root(village.view))
    village.conn.close()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM entry WHERE position = (SELECT max(position) FROM entry)",
        "DELETE FROM node",
        "DELETE FROM checkpoint WHERE size = (SELECT max(size) FROM checkpoint)",
        "UPDATE checkpoint SET root = zeroblob(32)",
        "UPDATE node SET hash = zeroblob(32)",
        "UPDATE sealed SET posting = x'00'",
    ],
)
def test_a_log_that_is_not_what_was_signed_is_not_continued(
    village: Village, path: Path, damage: str
) -> None:
    village.write(pay)
    for kept in ("entry", "node", "checkpoint"):
        village.conn.execute(f"DROP TRIGGER {kept}_kept")
        village.conn.execute(f"DROP TRIGGER {kept}_fixed")
    assert village.conn.execute(damage).rowcount > 0
    with pytest.raises(CorruptDatabase) as error:
        Writer(village.conn, village.identity, bytes, path)
    assert error.value.detail.startswith(f"{path} is damaged (")


# A disk that is full, or gone


def test_a_full_database_is_a_full_disk(village: Village, path: Path) -> None:
    """SQLite cannot get another page: nothing is half done, and there is a way on."""
    village.writer = Writer(village.conn, village.identity, bytes, path)
    (pages,) = village.conn.execute("PRAGMA page_count").fetchone()
    village.conn.execute(f"PRAGMA max_page_count = {pages + 2}")
    done, outcomes = 0, []
    for _ in range(500):
        outcomes = village.write_all([pay] * 5)
        if isinstance(outcomes[0], BaseException):
            break
        done += 1
    assert done > 0
    assert [type(outcome) for outcome in outcomes] == [DiskFull] * 5
    expected = f"the disk is full: nothing was written to {path}; free some space"
    assert str(outcomes[0]) == expected
    before = everything(village.conn)
    assert {type(outcome) for outcome in village.write_all([pay] * 5)} == {DiskFull}
    assert everything(village.conn) == before
    audit(village.view)
    village.conn.execute(f"PRAGMA max_page_count = {pages * 10}")
    size = logs.size_of(village.view, OWN_LOG)
    assert village.write_all([pay] * 5) == list(range(size, size + 5))
    audit(village.view)


class FailingConnection(sqlite3.Connection):
    """Real SQLite, but for COMMIT: it fails as on a disk that takes no more."""

    code = 0

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.code:
            super().execute("ROLLBACK")
            error = sqlite3.OperationalError("disk trouble")
            error.sqlite_errorcode = self.code
            raise error
        return super().execute(sql, *values)


@pytest.fixture
def failing(village: Village, path: Path) -> Village:
    """The same village, written through a connection whose COMMIT can be made to fail."""
    village.conn.close()
    village.conn = sqlite3.connect(path, isolation_level=None, factory=FailingConnection)
    database.set_up_writer(village.conn)
    village.writer = Writer(village.conn, village.identity, bytes, path)
    return village


def test_a_disk_that_is_full_at_commit_undoes_the_batch(failing: Village) -> None:
    before = everything(failing.conn)
    assert isinstance(failing.conn, FailingConnection)
    failing.conn.code = sqlite3.SQLITE_FULL
    assert {type(outcome) for outcome in failing.write_all([pay] * 3)} == {DiskFull}
    assert everything(failing.conn) == before
    failing.conn.code = 0
    size = logs.size_of(failing.view, OWN_LOG)
    assert failing.write_all([pay] * 3) == [size, size + 1, size + 2]
    audit(failing.view)


def test_a_commit_of_which_nobody_knows_the_end_stops_the_writer(failing: Village) -> None:
    assert isinstance(failing.conn, FailingConnection)
    failing.conn.code = sqlite3.SQLITE_IOERR_FSYNC
    with pytest.raises(CommitFailed, match=r"ledger\.db cannot be read or written"):
        failing.write_all([pay])


def test_another_process_that_writes_is_waited_for_and_named(village: Village, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    village.conn.execute("PRAGMA busy_timeout = 10")
    [outcome] = village.write_all([pay])
    assert str(outcome) == "the database: database is locked"
    other.execute("ROLLBACK")
    other.close()
    village.write(pay)
    audit(village.view)


def test_a_wrong_identity_writes_what_the_audit_refuses(village: Village) -> None:
    """The writer signs with the key that it is given: whose it is, is the caller's to know."""
    stranger = Village("ose-ohio-001", founded=False).identity
    wrong = Writer(village.conn, Identity(village.name, stranger.key), bytes)
    wrong.run([pay], village.now_ms + 1)
    with pytest.raises(AuditDifference, match="its note: expected signed by the village"):
        audit(village.view)
