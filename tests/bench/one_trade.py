"""What one trade costs while nothing else goes on: with a council of four, and of the two parties
alone; on a good line, and with the villages far apart.

What villages say to each other is measured by the lines of tests/net, as payload of TCP: TLS is in
it, and what an open connection needs, but no headers of TCP or IP. How long a trade takes on a good
line is measured without these, and without counting.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Final, NamedTuple, Self

from edge import control
from tests.bench import counted
from tests.bench.boxes import written
from tests.bench.council import file_of, has_come, settled
from tests.bench.table import Row
from tests.integration.boxes import RealBox, befriend, until
from tests.net.links import Links

SETTINGS: Final = ["federation.heartbeat_s=60"]
NAMES: Final = ("ose-a-001", "ose-b-001", "ose-c-001", "ose-d-001")
ROUND_TRIP_MS: Final = 300
TRADES, FAR_TRADES = 20, 8
_PAGES: Final = "SELECT page_count FROM pragma_page_count()"
_PAGE_BYTES: Final = 4_096
_BUSY: Final = (
    "SELECT (SELECT count(*) FROM trade WHERE closed = 0)"
    " + (SELECT count(*) FROM subject WHERE certificate IS NULL)"
    " + (SELECT count(*) FROM told WHERE due = 1)"
)


class Cost(NamedTuple):
    """What one trade takes on average, at all villages together, until nobody has more to say of
    it."""

    signed: float
    verified: float
    exchanges: float
    wire_bytes: float
    written_bytes: float
    kept_bytes: float


class Villages:
    """Neighbours, the first two of which trade; others have seats."""

    def __init__(self, boxes: Sequence[RealBox]) -> None:
        self.boxes = boxes

    async def times(self, trades: int) -> list[float]:
        """Return how long so many trades take that follow each other in peace, in milliseconds."""
        times_ms = []
        for _ in range(trades):
            await self._quiet()
            times_ms.append(await self.trade())
        await self._quiet()
        return times_ms

    async def trade(self) -> float:
        """Return milliseconds from the acceptance until both parties show the trade as settled."""
        buyer, seller = self.boxes[:2]
        sides = ("AT", "1"), ("Apple", "1")
        made = await buyer.ask(control.TradePropose("Alice", "Bob", seller.village, *sides))
        await has_come(seller, made["id"])
        began = time.perf_counter()
        await seller.ask(control.TradeAccept(made["id"]))
        await asyncio.gather(*(settled(box, made["id"]) for box in (buyer, seller)))
        return (time.perf_counter() - began) * 1_000

    async def furnish(self) -> None:
        buyer, seller = self.boxes[:2]
        await buyer.ask(control.MemberAdd("Alice", "1234"))
        await buyer.ask(control.Issue("Alice", "900"))
        await seller.ask(control.MemberAdd("Bob", "1234"))
        await seller.ask(control.Declare("Bob", "Apple", "900"))
        for one, other in combinations(self.boxes, 2):
            await befriend(one, other)
        await until(self._all_know, "all hold each other's logs, and know whom the others trust")
        await self.trade()  # so that both catalogues know the goods
        for creditor, debtor in ((seller, buyer), (buyer, seller)):
            for asset in ("AT", "Apple"):
                await creditor.ask(control.Limit(debtor.village, asset, "100000"))

    async def _all_know(self) -> bool:
        known = [await box.ask(control.PeerList()) for box in self.boxes]
        return all(
            each["records_held"] and each["holds_of_ours"]
            for found in known
            for each in found["neighbours"]
        )

    async def _quiet(self) -> None:
        await until(self._is_quiet, "nobody has more to say")

    async def _is_quiet(self) -> bool:
        return not any(_number(box, _BUSY) for box in self.boxes)


class Measured(Villages):
    """Villages that count what they do, with lines between them. Enter it as an async context."""

    def __init__(self, home: Path, count: int) -> None:
        self.links = Links(home, NAMES[:count], 1, SETTINGS)
        super().__init__([])
        self._home = home
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.links)
            self.boxes = list(self.links.boxes.values())
            for box in self.boxes:
                counted.make(self._counts_of(box))
                box.module = counted.MODULE
                box.environment = {counted.VARIABLE: str(self._counts_of(box))}
            await self.links.start()
            await self.furnish()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def cost(self, trades: int) -> Cost:
        """Return what one of so many trades takes, that follow each other in peace."""
        await self._quiet()
        before = self._totals()
        await self.times(trades)
        differences = zip(before, self._totals(), strict=True)
        return Cost(*((now - was) / trades for was, now in differences))

    def _totals(self) -> list[int]:
        """Return what Cost says, but for the times, of all up to now."""
        counts = [counted.read(self._counts_of(box)) for box in self.boxes]
        return [
            *map(sum, zip(*counts, strict=True)),
            self.links.sent_bytes,
            sum(map(written, self.boxes)),
            sum(_number(box, _PAGES) for box in self.boxes) * _PAGE_BYTES,
        ]

    def _counts_of(self, box: RealBox) -> Path:
        return self._home / f"{box.village}.counts"


async def rows(folder: Path) -> list[Row]:
    found: list[Row] = []
    for name, count in (("two parties", 2), ("council of 4", 4)):
        homes = folder / f"{count} near", folder / f"{count} far"
        for home in homes:
            home.mkdir()
        times_ms = await _times(homes[0], count)
        async with Measured(homes[1], count) as villages:
            cost = await villages.cost(TRADES)
            villages.links.set(delay_ms=ROUND_TRIP_MS / 2)
            await villages.trade()  # with what was under way on the good line
            far_ms = await villages.times(FAR_TRADES)
        found += _rows(f"one trade, {name}", times_ms, cost, far_ms)
    return found


async def _times(home: Path, count: int) -> list[float]:
    boxes = [RealBox(home, name, SETTINGS) for name in NAMES[:count]]
    try:
        await asyncio.gather(*(box.start() for box in boxes))
        villages = Villages(boxes)
        await villages.furnish()
        return await villages.times(2 * TRADES)
    finally:
        for box in boxes:
            box.end()


def _rows(name: str, near_ms: list[float], cost: Cost, far_ms: list[float]) -> list[Row]:
    far = [each / ROUND_TRIP_MS for each in far_ms]
    return [
        Row(f"{name}: until both settled, p50", _part(near_ms, 50), "ms", 25, "less"),
        Row(f"{name}: until both settled, p95", _part(near_ms, 95), "ms"),
        Row(f"{name}: signatures made", cost.signed, ""),
        Row(f"{name}: signatures verified", cost.verified, ""),
        Row(f"{name}: exchanges", cost.exchanges, ""),
        Row(f"{name}: payload of TCP", cost.wire_bytes, "bytes"),
        Row(f"{name}: written to disk", cost.written_bytes, "bytes"),
        Row(f"{name}: stays on disk", cost.kept_bytes, "bytes"),
        Row(f"{name}: 300 ms away, p50", _part(far, 50), "round trips", 6, "less"),
        Row(f"{name}: 300 ms away, p95", _part(far, 95), "round trips", 6, "less"),
    ]


def _part(measured: list[float], percent: int) -> float:
    return sorted(measured)[len(measured) * percent // 100]


def _number(box: RealBox, sql: str) -> int:
    with contextlib.closing(file_of(box)) as conn:
        found: int = conn.execute(sql).fetchone()[0]
        return found
