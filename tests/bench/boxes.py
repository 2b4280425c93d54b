"""Whole boxes: two real processes with TLS between them."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from edge import app, control, desk
from edge.appliance.clock import Clock
from edge.appliance.randomness import random_bytes
from edge.storage import database
from edge.storage.tx import Identity
from edge.storage.writer import Writer
from tests.bench.table import Row
from tests.integration.boxes import RealBox

RECORDS, TRADES, IDLE_S = 100_000, 100, 10


async def rows(folder: Path) -> list[Row]:
    seller = RealBox(folder, "ose-california-001", ["federation.heartbeat_s=60"])
    buyer = RealBox(folder, "ose-missouri-001", ["federation.heartbeat_s=60"])
    _fill(seller)
    try:
        await seller.start()
        await buyer.start()
        sync_s = await _sync(seller, buyer)
        trades, bytes_written = await _trade(buyer, seller)
        idle = await _idle(buyer)
        buyer.stop()
        began = await _start_s(buyer)
    finally:
        seller.end()
        buyer.end()
    return [
        Row(f"sync of {RECORDS:,} records into a fresh copy", sync_s, "s", 1.0, "less"),
        Row("trade, accepted to both settled, p50", trades[TRADES // 2], "ms", 20, "less"),
        Row("trade, accepted to both settled, p95", trades[TRADES * 95 // 100], "ms"),
        Row("written to disk for a trade, both boxes", bytes_written / TRADES, "bytes"),
        Row("resident memory, idle after the above", idle[0], "MB", 70, "less"),
        Row("processor, idle", idle[1], "%"),
        Row("start, until the page and port answer", began, "s", 0.6, "less"),
    ]


def _fill(box: RealBox) -> None:
    """Give a village's log RECORDS records before its box runs."""
    path = box.folder / app.LEDGER
    conn = database.open_writer(path)
    identity = Identity(box.village, app.read_identity(box.folder))
    writer, clock = Writer(conn, identity, random_bytes, path), Clock()
    writer.run([lambda tx: desk.add_member(tx, "Ann", "no PIN")], clock.now_ms())
    writer.run([lambda tx: desk.issue(tx, "Ann", "1000000")], clock.now_ms())
    writer.run([lambda tx: desk.add_member(tx, "Bob", "no PIN")], clock.now_ms())
    writer.run([lambda tx: desk.declare(tx, "Bob", "Apple", str(TRADES))], clock.now_ms())
    for _ in range(RECORDS // 500):
        pay = lambda tx: desk.pay(tx, "Ann", "treasury", "1")  # noqa: E731
        writer.run([pay] * 500, clock.now_ms())
    conn.close()


async def _sync(seller: RealBox, buyer: RealBox) -> float:
    invitation = (await seller.ask(control.PeerInvite()))["invitation"]
    began = time.perf_counter()
    await buyer.ask(control.PeerAdd(invitation))
    took = time.perf_counter() - began
    [peer] = (await buyer.ask(control.PeerList()))["neighbours"]
    assert peer["records_held"] >= RECORDS, peer
    return took


async def _trade(buyer: RealBox, seller: RealBox) -> tuple[list[float], int]:
    """Return sorted milliseconds for each trade, as the accepting program sees it, and the bytes
    that both processes wrote."""
    await buyer.ask(control.MemberAdd("Alice", "1234"))
    await buyer.ask(control.Issue("Alice", "900"))
    times: list[float] = []
    before = written(buyer) + written(seller)
    for _ in range(TRADES):
        made = await buyer.ask(
            control.TradePropose("Alice", "Bob", seller.village, ("AT", "1"), ("Apple", "1"))
        )
        if made["status"] == "PENDING" and not times:
            await seller.ask(control.Limit(buyer.village, "AT", "100000"))
            await buyer.ask(control.Limit(seller.village, "Apple", "100000"))
        began = time.perf_counter()
        done = await seller.ask(control.TradeAccept(made["id"]))
        times.append((time.perf_counter() - began) * 1_000)
        assert done["status"] == "SETTLED", done
    return sorted(times), written(buyer) + written(seller) - before


async def _idle(box: RealBox) -> tuple[float, float]:
    """Return resident megabytes and percent of one core."""
    began = processor_s(box)
    await asyncio.sleep(IDLE_S)
    used = processor_s(box) - began
    status = (_proc(box) / "status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(resident.split()[1]) / 1_000, used / IDLE_S * 100


async def _start_s(box: RealBox) -> float:
    """Return the median seconds from starting the process to its word that all ports answer."""
    times = []
    for _ in range(5):
        command = [sys.executable, "-m", "edge", "serve", "--dir", str(box.folder)]
        command += [
            f"--set=listen.{name}=127.0.0.1:0" for name in ("federation", "page", "page_tls")
        ]
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        while b"federation" not in await process.stdout.readline():
            pass
        times.append(time.perf_counter() - began)
        process.terminate()
        await process.wait()
    return sorted(times)[len(times) // 2]


def _proc(box: RealBox) -> Path:
    assert box.process is not None
    return Path("/proc") / str(box.process.pid)


def written(box: RealBox) -> int:
    text = (_proc(box) / "io").read_text()
    return int(
        next(line for line in text.splitlines() if line.startswith("write_bytes")).split()[1]
    )


def processor_s(box: RealBox) -> float:
    fields = (_proc(box) / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
