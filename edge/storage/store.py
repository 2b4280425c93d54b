"""The product's runner of transactions: aiosqlite, one writer thread, a few reader threads.

Writes that wait together share one transaction, one checkpoint signature and one flush to disk
(group commit). A write goes on when the task that asked for it is cancelled.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

from edge.errors import StorageError, TooMany
from edge.storage import database
from edge.storage.tx import Identity, Tx, View
from edge.storage.writer import Writer

T = TypeVar("T")
BATCH_WRITES_MAX = 256
WAITING_WRITES_MAX = 10_000
READERS = 2

_Waiting = tuple[Callable[[Tx], Any], "asyncio.Future[Any]"]


class Store:
    """Open with `await Store.open(...)`, and `await close()` it: an open aiosqlite connection keeps
    the process alive."""

    def __init__(
        self,
        path: Path,
        writer: Writer,
        connection: aiosqlite.Connection,
        readers: list[aiosqlite.Connection],
        now_ms: Callable[[], int],
    ) -> None:
        self._path = path
        self._writer = writer
        self._connection = connection
        self._readers: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        self._all_readers = readers
        for reader in readers:
            self._readers.put_nowait(reader)
        self._now_ms = now_ms
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._stamp_ms = writer.stamp_ms
        self._committed = asyncio.Event()  # a new one for each batch
        self._task = asyncio.create_task(self._write_batches(), name="writer")
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(
        cls,
        path: Path,
        identity: Identity,
        now_ms: Callable[[], int],
        random: Callable[[int], bytes],
    ) -> Self:
        """Open an existing database. Raises ConfigError, CorruptDatabase, StorageError."""
        connection = await _connect(lambda: database.open_writer(path))
        readers: list[aiosqlite.Connection] = []
        try:
            writer: Writer = await run_on(
                connection, lambda conn: Writer(conn, identity, random, path)
            )
            for _ in range(READERS):
                readers.append(await _connect(lambda: database.open_reader(path)))
        except BaseException as error:
            for each in (*readers, connection):
                await each.close()
            if isinstance(error, sqlite3.Error):
                raise database.explain(error, path) from error
            raise
        return cls(path, writer, connection, readers, now_ms)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` as one transaction and return its result once that is on disk."""
        if self._closing or self._task.done():
            raise StorageError("the box is stopping: nothing more is written")
        if len(self._waiting) >= WAITING_WRITES_MAX:
            raise TooMany("the box has more to write than it can: try again in a moment")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((fn, future))
        self._wake.set()
        return await future  # if this task is cancelled, the write goes on without it

    async def read(self, fn: Callable[[View], T]) -> T:
        """Run `fn` over one consistent state of what is committed."""
        reader = await self._readers.get()
        try:
            reading = asyncio.ensure_future(run_on(reader, lambda conn: self._read(conn, fn)))
            reading.add_done_callback(_seen)
            return await asyncio.shield(reading)
        finally:
            self._readers.put_nowait(reader)

    async def committed(self, after_ms: int) -> int:
        """Wait until a batch with a stamp above `after_ms` is on disk; return the last one's stamp.

        It may stand for many: whoever asks too late is told of all at once.
        """
        while self._stamp_ms <= after_ms:
            await self._committed.wait()
        return self._stamp_ms

    async def close(self) -> None:
        """Finish the writes that wait, empty the write-ahead log, and close."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(self._task, return_exceptions=True)
        for reader in self._all_readers:
            await reader.close()
        await self._connection.close()

    def _read(self, conn: sqlite3.Connection, fn: Callable[[View], T]) -> T:
        with database.storage_errors(self._path):
            conn.execute("BEGIN")
            try:
                return fn(View(conn))
            finally:
                conn.rollback()

    async def _write_batches(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = [
                self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_WRITES_MAX))
            ]
            try:
                await self._write(batch)
            except Exception as error:  # noqa: BLE001 - a broken law or failed commit: stop here
                self._fail(batch, error)
                return

    async def _write(self, batch: list[_Waiting]) -> None:
        writes = [fn for fn, _ in batch]
        outcomes = await run_on(
            self._connection, lambda _: self._writer.run(writes, self._now_ms())
        )
        self._tell_committed()
        for (_, future), (result, error) in zip(batch, outcomes, strict=True):
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def _tell_committed(self) -> None:
        if self._stamp_ms < self._writer.stamp_ms:
            self._stamp_ms = self._writer.stamp_ms
            self._committed.set()
            self._committed = asyncio.Event()

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        stopped = StorageError(f"the box stops, since its database may be wrong: {error}")
        for _, future in [*batch, *self._waiting]:
            if not future.done():
                future.set_exception(stopped)
                future.exception()
        if not self.failed.done():
            self.failed.set_exception(error)


def _seen(task: "asyncio.Future[Any]") -> None:
    """Take note of what a task raised: whoever asked may have been cancelled meanwhile."""
    if not task.cancelled():
        task.exception()


async def _connect(open_: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
    """Open on a thread of its own. If `open_` raises, or who asked is cancelled, that thread has
    ended before this does: left to itself it would report to a loop that may be closed by then."""
    failed: list[BaseException] = []

    def connect() -> sqlite3.Connection:
        try:
            return open_()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)
            return sqlite3.connect(":memory:")

    opening = asyncio.ensure_future(_open(aiosqlite.Connection(connect, iter_chunk_size=64)))
    try:
        connection = await asyncio.shield(opening)
    except asyncio.CancelledError:
        await (await opening).close()
        raise
    if failed:
        await connection.close()
        raise failed[0]
    return connection


async def _open(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connection


async def run_on(connection: aiosqlite.Connection, fn: Callable[[sqlite3.Connection], T]) -> T:
    """Run one plain function on a connection's thread, as one unit.

    aiosqlite 0.22 has no public call for it: this is the only place that knows, and a test pins it.
    """
    result: T = await connection._execute(lambda: fn(connection._conn))  # type: ignore[no-untyped-call]
    return result
