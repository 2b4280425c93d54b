"""Four real boxes on loopback: two trade, all decide."""

import asyncio
import contextlib
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from edge import app, control
from edge.errors import Unreachable
from tests.integration.boxes import RealBox, neighbouring, until, village_edge

NAMES: Final = ("ose-a-001", "ose-b-001", "ose-c-001", "ose-d-001")


@pytest.fixture
async def boxes(tmp_path: Path) -> AsyncIterator[list[RealBox]]:
    async for made in neighbouring(tmp_path, NAMES):
        yield made


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

    await until(lambda: all_listed(boxes), "all know each other")
    id_ = await propose(boxes)
    await until(lambda: status(b, id_), "B has heard")
    await b.ask(control.TradeAccept(id_))

    async def settled() -> bool:
        return {await status(a, id_), await status(b, id_)} == {"SETTLED"}

    await until(settled, "both have settled")
    await until(lambda: all_decided(boxes, 1), "all four know the decision")
    for box in boxes:
        box.audit()


async def all_listed(boxes: list[RealBox]) -> bool:
    peers = [await box.ask(control.PeerList()) for box in boxes]
    return all(
        each["holds_of_ours"] and each["records_held"]
        for known in peers
        for each in known["neighbours"]
    )


async def test_a_receipt_on_a_stick_ends_a_bound_trade(
    boxes: list[RealBox], tmp_path: Path
) -> None:
    """A loses power as it is about to settle, and finds all others gone when it is back: one of
    those that decided gives a file, and A's steward brings it."""
    a, b, c, d = boxes
    a.stop()
    await a.start(crash_at="before settled")
    await until(lambda: all_listed(boxes), "all know each other")
    id_ = await propose(boxes)
    await until(lambda: status(b, id_), "B has heard")
    with contextlib.suppress(Unreachable):
        await b.ask(control.TradeAccept(id_))
    await a.died()
    await until(lambda: all_decided([b, c, d], 1), "the others have decided")

    [seen] = await c.ask(control.TradeList(deciding=True))
    assert (seen["id"], seen["decided"], seen["message"]) == (
        id_,
        "COMMIT",
        "Decided: carried out.",
    )
    assert not {"Alice", "Bob"} & set(re.findall(r"\w+", json.dumps(seen)))
    assert await b.ask(control.TradeList(deciding=True)) == []
    assert await c.ask(control.TradeList(counted=True)) == {"trades": [], "undecided": 0}
    in_full = await c.ask(control.TradeShow(id_))
    assert {seat["village"] for seat in in_full["standing"]["seats"]} == set(NAMES)
    stick = tmp_path / "receipt.json"
    for box in (b, c, d):
        box.kill()
    done = village_edge("export", "receipt", id_, "--dir", c.folder, "--output", stick)
    assert done.code == 0, done.err

    await a.start()
    assert await status(a, id_) == "HELD"
    retried = await a.ask(control.TradeRetry(id_))
    assert [each["village"] for each in retried["asked"]] == [b.village, c.village, d.village]
    for each in retried["asked"]:
        assert (each["answered"], "answer" in each["reason"]) == (False, True)
    abandon = ("trade", "abandon", id_, "--dir", a.folder)
    refused = village_edge(*abandon)
    assert (refused.code, refused.out) == (1, "")
    for said in (
        "neither a clock nor a steward",
        "any 3 of the 4 villages",
        "the receipt that it exports",
    ):
        assert said in refused.err
    spoilt = tmp_path / "spoilt.json"
    spoilt.write_text(stick.read_text().replace('"COMMIT"', '"ABORT"'))
    refused = village_edge(*abandon, "--evidence", spoilt)
    assert (refused.code, "does not hold" in refused.err) == (1, True)
    for other in ("nothing.json", spoilt.parent):
        assert village_edge(*abandon, "--evidence", other).code == 2
    assert await status(a, id_) == "HELD"

    done = village_edge(*abandon, "--evidence", stick)
    assert (done.code, " SETTLED " in done.out) == (0, True), done.err
    again = village_edge(*abandon, "--evidence", stick)
    assert (again.code, "the trade is done" in again.err) == (1, True)
    own = village_edge("export", "receipt", id_, "--dir", a.folder)
    assert own.code == 0
    await asyncio.gather(*(box.start() for box in (b, c, d)))
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
