"""Trades that a council of four real boxes decides, beside those of two parties alone."""

import asyncio
import contextlib
import sqlite3
import time
from itertools import combinations
from pathlib import Path

from edge import app, control
from edge.core import trade
from tests.bench.boxes import processor_s, written
from tests.bench.table import Row
from tests.integration.boxes import RealBox, befriend, until

NAMES = ("ose-a-001", "ose-b-001", "ose-c-001", "ose-d-001")
ALONE, TOGETHER, AT_ONCE, PEOPLE = 40, 200, 50, 8
POLL_S = 0.002


async def rows(folder: Path) -> list[Row]:
    boxes = [RealBox(folder, name, ["federation.heartbeat_s=5"]) for name in NAMES]
    try:
        await asyncio.gather(*(box.start() for box in boxes))
        await _furnish(boxes)
        for one, other in combinations(boxes, 2):
            await befriend(one, other)
        await until(lambda: _all_know(boxes), "all know whom the others trust")
        await _trade(boxes, 0)  # so that both catalogues know the goods
        for creditor, debtor in (boxes[1::-1], boxes[:2]):
            for asset in ("AT", "Apple"):
                await creditor.ask(control.Limit(debtor.village, asset, "100000"))
        before = sum(map(written, boxes))
        times = sorted([await _trade(boxes, 0) for _ in range(ALONE)])
        bytes_each = (sum(map(written, boxes)) - before) / ALONE
        used = sum(map(processor_s, boxes))
        rate = await _many(boxes)
        used = (sum(map(processor_s, boxes)) - used) / TOGETHER * 1_000
        for box in boxes:
            box.audit()
    finally:
        for box in boxes:
            box.end()
    return [
        Row("council of 4: accepted to both settled, p50", times[ALONE // 2], "ms", 25, "less"),
        Row("council of 4: accepted to both settled, p95", times[ALONE * 95 // 100], "ms"),
        Row("council of 4: written to disk for a trade, 4 boxes", bytes_each, "bytes"),
        Row("council of 4: trades, 50 at once, all 4 boxes here", rate, "/s", 400),
        Row("council of 4: processor for each of those, 4 boxes", used, "ms"),
    ]


async def _furnish(boxes: list[RealBox]) -> None:
    a, b = boxes[:2]
    for n in range(PEOPLE):
        await a.ask(control.MemberAdd(f"Alice {n}", "1234"))
        await a.ask(control.Issue(f"Alice {n}", "900"))
        await b.ask(control.MemberAdd(f"Bob {n}", "1234"))
        await b.ask(control.Declare(f"Bob {n}", "Apple", "900"))


async def _all_know(boxes: list[RealBox]) -> bool:
    known = [await box.ask(control.PeerList()) for box in boxes]
    return all(
        each["records_held"] and each["holds_of_ours"]
        for found in known
        for each in found["neighbours"]
    )


def _proposal(boxes: list[RealBox], person: int) -> control.TradePropose:
    names = f"Alice {person}", f"Bob {person}", boxes[1].village
    return control.TradePropose(*names, ("AT", "1"), ("Apple", "1"))


async def _trade(boxes: list[RealBox], person: int) -> float:
    """Return milliseconds from the acceptance until both parties show the trade as settled."""
    made = await boxes[0].ask(_proposal(boxes, person))
    await has_come(boxes[1], made["id"])
    began = time.perf_counter()
    await boxes[1].ask(control.TradeAccept(made["id"]))
    await asyncio.gather(*(settled(box, made["id"]) for box in boxes[:2]))
    return (time.perf_counter() - began) * 1_000


async def has_come(box: RealBox, id_: str) -> None:
    """Wait for a trade, looking into the box's file so as not to keep the box busy."""
    with contextlib.closing(file_of(box)) as conn:
        while not _status(conn, id_):
            await asyncio.sleep(POLL_S)


async def settled(box: RealBox, id_: str) -> None:
    """Wait for a trade's end, in the same way."""
    with contextlib.closing(file_of(box)) as conn:
        while (status := _status(conn, id_)) != "SETTLED":
            assert status in ("PENDING", "ACCEPTED", "HELD"), status
            await asyncio.sleep(POLL_S)


def file_of(box: RealBox) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{box.folder / app.LEDGER}?mode=ro", uri=True)


def _status(conn: sqlite3.Connection, id_: str) -> str:
    """Return how a trade stands, empty if the box has not heard of it."""
    between = trade.ids_beginning(id_)
    assert between is not None
    found = conn.execute("SELECT status FROM trade WHERE subject BETWEEN ? AND ?", between)
    row = found.fetchone()
    return row[0] if row else ""


async def _many(boxes: list[RealBox]) -> float:
    """Return trades for each second, AT_ONCE under way at any time."""
    made = [await boxes[0].ask(_proposal(boxes, n % PEOPLE)) for n in range(AT_ONCE)]
    assert made
    began, left = time.perf_counter(), list(range(TOGETHER))

    async def one_after_another(number: int) -> None:
        while left:
            left.pop()
            await _trade(boxes, number % PEOPLE)

    await asyncio.gather(*(one_after_another(n) for n in range(AT_ONCE)))
    return TOGETHER / (time.perf_counter() - began)
