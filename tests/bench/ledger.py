"""Payments on one ledger: the product's store on a real file, beside bare SQLite on that disk."""

import asyncio
import resource
import sqlite3
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from edge import desk
from edge.appliance.clock import Clock
from edge.appliance.randomness import random_bytes
from edge.core import crypto
from edge.storage import database
from edge.storage.store import Store
from edge.storage.tx import Identity, Tx
from edge.storage.writer import Writer
from tests.bench.table import Row

ALONE, TOGETHER, WRITERS = 3_000, 40_000, 100


async def rows(folder: Path) -> list[Row]:
    bare_ms = _bare_commit_ms(folder / "bare.db")
    store = await _village(folder / "ledger.db")
    try:
        await store.write(_set_up)
        alone, alone_bytes = await _timed(lambda: _pay_alone(store))
        together, together_bytes = await _timed(lambda: _pay_together(store))
    finally:
        await store.close()
    return [
        Row("bare SQLite: one row, one commit", 1_000 / bare_ms, "commits/s"),
        Row("payments, one after another", ALONE / alone, "payments/s", 3_000),
        Row(f"payments, {WRITERS} writers", TOGETHER / together, "payments/s", 20_000),
        Row("written to disk for a payment alone", alone_bytes / ALONE, "bytes"),
        Row(f"written to disk for one of {WRITERS} writers", together_bytes / TOGETHER, "bytes"),
    ]


def _bare_commit_ms(path: Path) -> float:
    conn = sqlite3.connect(path, isolation_level=None)
    database.set_up_writer(conn)
    conn.execute("CREATE TABLE one (value BLOB) STRICT")
    times = []
    for _ in range(500):
        began = time.perf_counter()
        conn.execute("INSERT INTO one VALUES (?)", (bytes(242),))
        times.append(time.perf_counter() - began)
    conn.close()
    return sorted(times)[len(times) // 2] * 1_000


async def _village(path: Path) -> Store:
    clock, identity = Clock(), Identity("ose-missouri-001", crypto.SecretKey(bytes(32)))
    conn = database.open_writer(path, create=True)
    Writer(conn, identity, random_bytes, path).run([desk.found_village], clock.now_ms())
    conn.close()
    return await Store.open(path, identity, clock.now_ms, random_bytes)


def _set_up(tx: Tx) -> None:
    for number in range(WRITERS):
        desk.add_member(tx, f"Member {number}", "no PIN")
        desk.issue(tx, f"Member {number}", "100000")


async def _pay_alone(store: Store) -> None:
    for _ in range(ALONE):
        await store.write(lambda tx: desk.pay(tx, "Member 0", "Member 1", "1"))


async def _pay_together(store: Store) -> None:
    async def writer(number: int) -> None:
        payer, payee = f"Member {number}", f"Member {(number + 1) % WRITERS}"
        for _ in range(TOGETHER // WRITERS):
            await store.write(lambda tx: desk.pay(tx, payer, payee, "1"))

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))


async def _timed(work: Callable[[], Coroutine[Any, Any, None]]) -> tuple[float, int]:
    """Return seconds and bytes written (getrusage counts blocks of 512)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_oublock
    began = time.perf_counter()
    await work()
    took = time.perf_counter() - began
    return took, (resource.getrusage(resource.RUSAGE_SELF).ru_oublock - before) * 512
