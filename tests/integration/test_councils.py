"""Four real boxes on loopback: two trade, all decide."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path
from typing import Final

import pytest

from edge import app, control
from tests.integration.boxes import RealBox, befriend, until

NAMES: Final = ("ose-a-001", "ose-b-001", "ose-c-001", "ose-d-001")


@pytest.fixture
async def boxes(tmp_path: Path) -> AsyncIterator[list[RealBox]]:
    made = [RealBox(tmp_path, name) for name in NAMES]
    try:
        await asyncio.gather(*(box.start() for box in made))
        await made[0].ask(control.MemberAdd("Alice", "2468"))
        await made[0].ask(control.Issue("Alice", "500"))
        await made[1].ask(control.MemberAdd("Bob", "2468"))
        await made[1].ask(control.Declare("Bob", "Solar Panel", "9"))
        for one, other in combinations(made, 2):
            await befriend(one, other)
        yield made
    finally:
        for box in made:
            box.end()


async def propose(boxes: list[RealBox]) -> str:
    """Propose a trade of which all four are to decide; return its id."""
    asked = control.TradePropose("Alice", "Bob", NAMES[1], ("AT", "10"), ("Solar Panel", "1"))
    found = await boxes[0].ask(asked)
    return str(found["id"])


async def status(box: RealBox, id_: str) -> str:
    found = await box.trade(id_)
    return str(found["status"]) if found else ""


async def test_a_council_of_real_boxes(boxes: list[RealBox]) -> None:
    a, b = boxes[:2]

    async def all_listed() -> bool:
        peers = [await box.ask(control.PeerList()) for box in boxes]
        return all(
            each["holds_of_ours"] and each["records_held"]
            for known in peers
            for each in known["neighbours"]
        )

    await until(all_listed, "all know each other")
    id_ = await propose(boxes)
    await until(lambda: status(b, id_), "B has heard")
    await b.ask(control.TradeAccept(id_))

    async def settled() -> bool:
        return {await status(a, id_), await status(b, id_)} == {"SETTLED"}

    await until(settled, "both have settled")
    await until(lambda: all_decided(boxes, 1), "all four know the decision")
    for box in boxes:
        box.audit()


async def all_decided(boxes: list[RealBox], count: int) -> bool:
    """Tell whether each box holds the certificates of so many subjects of councils."""
    return all(decided(box) == count for box in boxes)


def decided(box: RealBox) -> int:
    conn = sqlite3.connect(f"file:{box.folder / app.LEDGER}?mode=ro", uri=True)
    try:
        sql = "SELECT count(*) FROM subject WHERE certificate IS NOT NULL"
        return int(conn.execute(sql).fetchone()[0])
    finally:
        conn.close()
