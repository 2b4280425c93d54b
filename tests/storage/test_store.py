"""The product's runner: group commit, cancellation, readers, stopping; kill -9 of a process."""

import asyncio
import contextlib
import gc
import inspect
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite
import pytest

from edge import desk
from edge.core.accounts import Entry
from edge.errors import (
    ConfigError,
    CorruptDatabase,
    DiskFull,
    LimitExceeded,
    StorageError,
    TooMany,
)
from edge.storage import database, facts, ledger, logs, store
from edge.storage.audit import audit
from edge.storage.store import Store, run_on
from edge.storage.tx import OWN_LOG, Tx, View
from edge.storage.writer import CommitFailed, Writer
from tests.storage.villages import START_MS, Village

ROOT: Final = Path(__file__).parents[2]
SOON_S: Final = 20


@pytest.fixture
def village(tmp_path: Path) -> Village:
    """A village at `path`, whose database nobody has open."""
    village = Village("ose-missouri-001", tmp_path / "ledger.db")
    village.write(lambda tx: desk.add_member(tx, "Alice", "-"))
    village.write(lambda tx: desk.add_member(tx, "Carol", "-"))
    village.write(lambda tx: desk.issue(tx, "Alice", "1000000"))
    village.conn.close()
    return village


@pytest.fixture
def path(village: Village, tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@asynccontextmanager
async def opened(village: Village, path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(path, village.identity, lambda: START_MS + 10**6, os.urandom)
    try:
        yield opened
    finally:
        async with asyncio.timeout(SOON_S):
            await opened.close()


@contextlib.contextmanager
def looked_at(path: Path) -> Iterator[View]:
    """Look at what is committed, through a connection of one's own."""
    conn = database.open_reader(path)
    yield View(conn)
    conn.close()


def count(path: Path, table: str) -> int:
    with looked_at(path) as view:
        found: int = view.one(f"SELECT count(*) FROM {table}")[0]
        return found


def size(view: View) -> int:
    return logs.size_of(view, OWN_LOG)


def pay(tx: Tx) -> int:
    return desk.pay(tx, "Alice", "Carol", "1")


class Gate:
    """A write that waits on the database thread until it is let go on."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, tx: Tx) -> int:
        index = pay(tx)
        facts.keep(tx, "gate", "passed")
        self.reached.set()
        assert self.open.wait(SOON_S)
        return index

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, SOON_S)


# Writing


async def test_writes_that_wait_together_share_a_commit(village: Village, path: Path) -> None:
    before, checkpoints = count(path, "entry"), count(path, "checkpoint")
    async with opened(village, path) as box:
        indexes = await asyncio.gather(*(box.write(pay) for _ in range(300)))
        with looked_at(path) as view:  # what is acknowledged is there, with the box still running
            assert size(view) == before + 300
    assert sorted(indexes) == list(range(before, before + 300))
    assert count(path, "checkpoint") - checkpoints == 2  # of at most 256 writes each
    with looked_at(path) as view:
        assert audit(view).size == before + 300


async def test_a_write_that_fails_is_its_own(village: Village, path: Path) -> None:
    def fail(tx: Tx) -> None:
        facts.keep(tx, "colour", "green")
        desk.pay(tx, "Alice", "Carol", "99999999")

    async with opened(village, path) as box:
        before = await box.read(size)
        done = await asyncio.gather(
            *(box.write(fn) for fn in (pay, fail, pay)), return_exceptions=True
        )
        assert [type(each) for each in done] == [int, LimitExceeded, int]
        assert await box.read(lambda view: facts.read(view, "colour")) is None
        assert await box.read(lambda view: audit(view).size) == before + 2


async def test_a_full_disk_is_for_the_caller_and_passes(village: Village, path: Path) -> None:
    def allow(pages: int) -> Any:
        return lambda tx: tx.conn.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    async with opened(village, path) as box:
        await box.write(allow(1))  # not below what there is: SQLite takes that instead
        before = await box.read(size)
        outcomes: list[Any] = []
        while not any(isinstance(each, DiskFull) for each in outcomes):
            before = await box.read(size)
            outcomes = await asyncio.gather(
                *(box.write(pay) for _ in range(20)), return_exceptions=True
            )
        assert {type(each) for each in outcomes} == {DiskFull}
        assert str(path) in str(outcomes[0])
        assert await box.read(lambda view: audit(view).size) == before
        await box.write(allow(100_000))
        assert await box.write(pay) == before
        assert await box.read(lambda view: audit(view).size) == before + 1


async def test_a_write_goes_on_without_the_task_that_asked(village: Village, path: Path) -> None:
    """Cancelled while it runs or while it waits: it is done once, and nobody is told."""
    async with opened(village, path) as box:
        before, gate = await box.read(size), Gate()
        running = asyncio.create_task(box.write(gate))
        await gate.until_reached()
        waiting = [asyncio.create_task(box.write(pay)) for _ in range(5)]
        await asyncio.sleep(0)
        for task in (running, waiting[1], waiting[3]):
            task.cancel()
        gate.open.set()
        done = await asyncio.gather(running, *waiting, return_exceptions=True)
        cancelled = [index for index, each in enumerate(done) if not isinstance(each, int)]
        assert cancelled == [0, 2, 4]
        assert [type(done[index]) for index in cancelled] == [asyncio.CancelledError] * 3
        assert await box.write(pay) == before + 6
        assert await box.read(lambda view: audit(view).size) == before + 7


async def test_a_failure_of_a_cancelled_write_disturbs_nobody(village: Village, path: Path) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def fail(tx: Tx) -> None:
        raise LimitExceeded("no")

    async with opened(village, path) as box:
        gate = Gate()
        running = asyncio.create_task(box.write(gate))
        await gate.until_reached()
        waiting = asyncio.create_task(box.write(fail))
        await asyncio.sleep(0)
        waiting.cancel()
        gate.open.set()
        await running
        await box.write(pay)
    assert complaints == []


async def test_more_than_can_wait_is_refused(
    village: Village, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WAITING_WRITES_MAX", 3)
    async with opened(village, path) as box:
        gate = Gate()
        running = asyncio.create_task(box.write(gate))
        await gate.until_reached()
        done = asyncio.gather(*(box.write(pay) for _ in range(5)), return_exceptions=True)
        await asyncio.sleep(0)
        gate.open.set()
        await running
        assert [type(each) for each in await done] == [int, int, int, TooMany, TooMany]
        assert isinstance(await box.write(pay), int)


# Stopping


async def test_a_broken_law_stops_the_store(village: Village, path: Path) -> None:
    def broken(tx: Tx) -> None:
        pay(tx)
        raise AssertionError("sums are zero")

    async with opened(village, path) as box:
        before, gate = await box.read(size), Gate()
        running = asyncio.create_task(box.write(gate))
        await gate.until_reached()
        together = asyncio.gather(
            *(box.write(fn) for fn in (pay, broken, pay)), return_exceptions=True
        )
        await asyncio.sleep(0)
        gate.open.set()
        assert await running == before
        stopped = await together
        assert [type(each) for each in stopped] == [StorageError] * 3
        assert str(stopped[0]) == "the box stops, since its database may be wrong: sums are zero"
        with pytest.raises(AssertionError, match="sums are zero"):
            await box.failed
        with pytest.raises(StorageError, match="the box is stopping: nothing more is written"):
            await box.write(pay)
        assert await box.read(lambda view: audit(view).size) == before + 1  # reading goes on


async def test_a_broken_law_stops_what_waits_behind_its_batch(
    village: Village, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BATCH_WRITES_MAX", 2)

    def broken(tx: Tx) -> None:
        raise AssertionError("sums are zero")

    async with opened(village, path) as box:
        done = await asyncio.gather(
            *(box.write(fn) for fn in (pay, broken, pay, pay, pay)), return_exceptions=True
        )
        assert [type(each) for each in done] == [StorageError] * 5
        assert box.failed.done()
        assert isinstance(box.failed.exception(), AssertionError)


async def test_a_commit_that_fails_stops_the_store(
    village: Village, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Writer) -> None:
        raise CommitFailed("disk I/O error")

    async with opened(village, path) as box:
        monkeypatch.setattr(Writer, "_commit", fail)
        with pytest.raises(StorageError, match="the box stops, since its database may be wrong"):
            await box.write(pay)
        assert isinstance(box.failed.exception(), CommitFailed)


async def test_closing_finishes_what_waits(village: Village, path: Path) -> None:
    before = count(path, "entry")
    async with opened(village, path) as box:
        done = asyncio.gather(*(box.write(pay) for _ in range(600)))
        await asyncio.sleep(0)
    assert not path.with_name("ledger.db-wal").exists()  # all of it is in the database itself
    assert len(set(await done)) == 600
    assert count(path, "entry") == before + 600
    with pytest.raises(StorageError, match="the box is stopping"):
        await box.write(pay)


# Reading


async def test_a_read_sees_only_what_is_committed(village: Village, path: Path) -> None:
    async with opened(village, path) as box:
        before, gate = await box.read(size), Gate()
        running = asyncio.create_task(box.write(gate))
        await gate.until_reached()
        assert await box.read(lambda view: (size(view), facts.read(view, "gate"))) == (before, None)
        gate.open.set()
        await running
        after = await box.read(lambda view: (size(view), facts.read(view, "gate")))
        assert after == (before + 1, "passed")


async def test_a_read_sees_one_state(village: Village, path: Path) -> None:
    """However long it takes, and whatever is committed meanwhile."""
    reached, go_on = threading.Event(), threading.Event()

    def look(view: View) -> tuple[int, int]:
        first = size(view)
        reached.set()
        assert go_on.wait(SOON_S)
        return first, size(view)

    async with opened(village, path) as box:
        looking = asyncio.create_task(box.read(look))
        assert await asyncio.to_thread(reached.wait, SOON_S)
        index = await box.write(pay)
        go_on.set()
        assert await looking == (index, index)
        assert await box.read(size) == index + 1


async def test_a_read_cannot_write(village: Village, path: Path) -> None:
    async with opened(village, path) as box:
        with pytest.raises(StorageError, match="readonly database"):
            await box.read(lambda view: facts.keep(view, "colour", "green"))
        assert await box.read(lambda view: facts.read(view, "colour")) is None


async def test_a_read_that_fails_leaves_its_reader_usable(village: Village, path: Path) -> None:
    def fail(view: View) -> None:
        raise KeyError("mine")

    async with opened(village, path) as box:
        for _ in range(2 * store.READERS):
            with pytest.raises(KeyError, match="mine"):
                await box.read(fail)
            with pytest.raises(StorageError, match="no such table: nowhere"):
                await box.read(lambda view: view.one("SELECT 1 FROM nowhere"))
        assert await box.read(size) > 0


async def test_a_cancelled_read_leaves_its_reader_usable(village: Village, path: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def look(view: View) -> int:
        reached.set()
        assert go_on.wait(SOON_S)
        return size(view)

    async with opened(village, path) as box:
        for _ in range(store.READERS):
            reached.clear()
            looking = asyncio.create_task(box.read(look))
            assert await asyncio.to_thread(reached.wait, SOON_S)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking
        go_on.set()
        sizes = await asyncio.gather(*(box.read(size) for _ in range(10)))
        assert len(set(sizes)) == 1


async def test_reads_go_on_beside_a_long_write(village: Village, path: Path) -> None:
    async with opened(village, path) as box:
        gate = Gate()
        running = asyncio.create_task(box.write(gate))
        await gate.until_reached()
        sizes = await asyncio.gather(*(box.read(size) for _ in range(20)))
        assert len(set(sizes)) == 1
        assert not running.done()
        gate.open.set()
        await running


# Opening


async def test_opening_fails_with_what_is_wrong_and_leaves_no_thread(
    village: Village, path: Path, tmp_path: Path
) -> None:
    before = threading.active_count()
    spoilt = tmp_path / "spoilt.db"
    spoilt.write_bytes(b"a shopping list\n" * 100)
    for at, error in ((tmp_path / "nowhere.db", ConfigError), (spoilt, CorruptDatabase)):
        with pytest.raises(error, match=str(at.parent)):
            await Store.open(at, village.identity, lambda: START_MS, os.urandom)
    conn = database.open_writer(path)
    conn.execute("DROP TRIGGER checkpoint_kept")
    conn.execute("DELETE FROM checkpoint")
    conn.close()
    with pytest.raises(CorruptDatabase, match="differs from its own last checkpoint"):
        await Store.open(path, village.identity, lambda: START_MS, os.urandom)
    async with asyncio.timeout(SOON_S):
        while threading.active_count() > before:
            await asyncio.sleep(0.01)


async def test_the_private_way_into_aiosqlite(path: Path) -> None:
    """`run_on` uses what aiosqlite has for itself. This says what of it must stay as it is."""
    assert inspect.iscoroutinefunction(aiosqlite.Connection._execute)
    parameters = list(inspect.signature(aiosqlite.Connection._execute).parameters)
    assert parameters == ["self", "fn", "args", "kwargs"]
    threads: list[threading.Thread] = []

    def work(conn: sqlite3.Connection) -> bool:
        threads.append(threading.current_thread())
        conn.execute("BEGIN IMMEDIATE")
        began = conn.in_transaction
        conn.execute("ROLLBACK")
        return began

    def fail(conn: sqlite3.Connection) -> None:
        raise KeyError("mine")

    connection = await aiosqlite.Connection(lambda: database.open_writer(path), 64)
    try:
        assert isinstance(connection._conn, sqlite3.Connection)
        assert await run_on(connection, lambda conn: conn) is connection._conn
        done = await asyncio.gather(*(run_on(connection, work) for _ in range(10)))
        assert done == [True] * 10  # whole, one after the other: else BEGIN would have failed
        assert len(set(threads)) == 1
        assert threads[0] is not threading.current_thread()
        with pytest.raises(KeyError, match="mine"):
            await run_on(connection, fail)
    finally:
        await connection.close()


# Power


@pytest.mark.parametrize(("writers", "lines"), [(1, 40), (30, 500), (200, 3_000)])
def test_what_was_acknowledged_is_there_after_kill_9(
    village: Village, path: Path, writers: int, lines: int
) -> None:
    command = [sys.executable, "-m", "tests.storage.acknowledging", str(path), str(writers)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        said = b""
        while said.count(b"\n") < lines:
            part = process.stdout.read(65_536)
            assert part, "the process ended by itself"
            said += part
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    acknowledged = [tuple(map(int, line.split())) for line in said.splitlines()]
    assert len(acknowledged) >= lines
    conn = database.open_writer(path)
    report = audit(View(conn))
    for index, amount in acknowledged:
        paid = ledger.posting_of(View(conn), index).entries
        assert paid == (Entry("member:1", "AT", -amount), Entry("member:2", "AT", amount))
    writer = Writer(conn, village.identity, os.urandom, path)
    assert writer.run([pay], START_MS) == [(report.size, None)]
    audit(View(conn))
    conn.close()


async def test_committed_tells_of_batches_on_disk_and_of_no_others(
    village: Village, path: Path
) -> None:
    async with opened(village, path) as own:
        stamp = await own.committed(-1)
        waiting = [asyncio.create_task(own.committed(stamp)) for _ in range(3)]
        with pytest.raises(LimitExceeded):
            await own.write(lambda tx: desk.pay(tx, "Carol", "Alice", "1"))
        stamps = await asyncio.gather(*(own.write(lambda tx: tx.stamp_ms) for _ in range(5)))
        async with asyncio.timeout(SOON_S):
            told = await asyncio.gather(*waiting)
            assert all(stamp < each <= max(stamps) for each in told)
            assert await own.committed(min(stamps) - 1) == max(stamps)
        later = asyncio.create_task(own.committed(max(stamps)))
        await asyncio.sleep(0)
        assert not later.done()
        later.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await later


async def test_committed_begins_where_the_database_is(village: Village, path: Path) -> None:
    """A box that begins again knows of no stamp that it did not use."""
    async with opened(village, path) as own:
        used = await own.write(lambda tx: (desk.pay(tx, "Alice", "Carol", "1"), tx.stamp_ms)[1])
    async with opened(village, path) as again:
        assert await again.committed(-1) >= used


async def test_a_read_that_fails_after_its_asker_left_is_no_news(
    village: Village, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is told of it as of a fault that was never looked at."""
    begun, go_on = threading.Event(), threading.Event()

    def fail(_: View) -> None:
        begun.set()
        go_on.wait(SOON_S)
        raise ValueError("the box stops")

    async with opened(village, path) as box:
        asking = asyncio.create_task(box.read(fail))
        await asyncio.to_thread(begun.wait, SOON_S)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        go_on.set()
        for _ in range(store.READERS + 1):
            await box.read(lambda view: None)
        del asking
        gc.collect()
        await asyncio.sleep(0)
    assert "never retrieved" not in caplog.text


async def test_an_opening_that_is_cancelled_leaves_no_thread(
    village: Village, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the thread was doing: it has ended when the cancelled task has."""
    begun, go_on = threading.Event(), threading.Event()
    open_writer = database.open_writer

    def slow(path: Path) -> sqlite3.Connection:
        begun.set()
        go_on.wait(SOON_S)
        return open_writer(path)

    monkeypatch.setattr(database, "open_writer", slow)
    before = set(threading.enumerate())
    opening = asyncio.create_task(Store.open(path, village.identity, lambda: START_MS, os.urandom))
    while not begun.is_set():
        await asyncio.sleep(0)
    (made,) = [each for each in set(threading.enumerate()) - before if _is_worker(each)]
    opening.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not made.is_alive()


def _is_worker(thread: threading.Thread) -> bool:
    return "_connection_worker_thread" in thread.name
