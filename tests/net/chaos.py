"""Four real boxes whose members trade while boxes are killed and lines go bad; then all heals.

A seed makes the plan: who trades what with whom and when, which box loses its power, which line
turns how bad. How it interleaves is the machine's.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from itertools import combinations, permutations
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, cast

import msgspec

from edge import app, control
from edge.core import registry
from edge.errors import Refused, UnknownTrade, Unreachable
from edge.storage import logs, members, neighbours, trades
from edge.storage.tx import OWN_LOG, View
from tests.integration.boxes import RealBox, befriend, until
from tests.net.links import Links
from tests.net.proxy import Settings
from tests.simulation.laws import Laws
from tests.simulation.world import Village, World

VILLAGES: Final = ("ose-a-001", "ose-b-001", "ose-c-001", "ose-d-001")
PEOPLE: Final = ("Ada", "Ben", "Cleo")
GOODS: Final = ("Apple", "Honey")
HAS: Final = 10_000  # of everything, each
TRADES_EACH_S: Final = 3.5
TROUBLE_AFTER_S: Final = 6  # the last proposal
AGAIN_S: Final = 0.15  # until a command that was not answered is given again
HEALED_S_MAX: Final = 60
BOUND: Final = frozenset({"ACCEPTED", "HELD", "SETTLED", "ABORTED"})
GOOD: Final = Settings(delay_ms=0.0, jitter_ms=0.0, rate_bits_s=0.0, loss=0.0, cut=False)
BAD: Final[dict[str, Settings]] = {
    "slow": Settings(delay_ms=150.0, jitter_ms=100.0),
    "thin": Settings(rate_bits_s=64_000.0),
    "lossy": Settings(loss=0.2),
    "cut": Settings(cut=True),
}
_OPEN: Final = "SELECT count(*) FROM trade WHERE status IN ('PENDING', 'ACCEPTED', 'HELD')"
_BUSY: Final = (
    "SELECT (SELECT count(*) FROM trade WHERE closed = 0)"
    " + (SELECT count(*) FROM subject WHERE certificate IS NULL)"
)
Step = control.TradeAccept | control.TradeReject | control.TradeCancel


class Asked(NamedTuple):
    """A trade as its people know it: `bound` and `cancelled` are what the boxes have answered."""

    id: str
    giver: str
    taker: str
    bound: bool
    cancelled: bool


class Ends(NamedTuple):
    """How many sides of trades were open when all had healed, after how many seconds the last of
    them had ended, and nobody had more to say."""

    left: int
    ended_s: float
    quiet_s: float


class Chaos:
    """Four villages and their people. `counts` says what has happened."""

    def __init__(self, home: Path, seed: str) -> None:
        self.seed = seed
        self.links = Links(home, VILLAGES, Random(seed).randrange(1 << 32))
        self.counts: Counter[str] = Counter()
        self.asked: list[Asked] = []
        self._rng = Random(f"{seed} trouble")
        self._paid: Counter[str] = Counter()
        self._starting: dict[str, asyncio.Task[None]] = {}

    @property
    def boxes(self) -> dict[str, RealBox]:
        return self.links.boxes

    async def settle_in(self) -> None:
        """All are neighbours, everyone has everything, and every line between villages is long."""
        await self.links.start()
        for one, other in combinations(VILLAGES, 2):
            await befriend(self.boxes[one], self.boxes[other])
        await asyncio.gather(*map(self._furnish, VILLAGES))
        await until(self._know_each_other, "each knows whom the others trust")

    async def _furnish(self, village: str) -> None:
        box = self.boxes[village]
        for person in PEOPLE:
            await box.ask(control.MemberAdd(person, "2468"))
            await box.ask(control.Issue(person, str(HAS)))
            for good in GOODS:
                await box.ask(control.Declare(person, good, str(HAS)))
        for other in VILLAGES:
            if other != village:
                for asset in ("AT", *GOODS):
                    await box.ask(control.Limit(other, asset, str(100 * HAS)))

    async def _know_each_other(self) -> bool:
        exported = [await box.ask(control.ExportRegistry()) for box in self.boxes.values()]
        lists = [registry.decode_list(text.encode()) for text in exported]
        return all(
            sum(len(entry.trusted_villages) == len(VILLAGES) - 1 for entry in entries)
            == len(VILLAGES)
            for entries in lists
        )

    # What people do

    async def trade(self, count: int) -> Ends:
        """Let people make so many trades in the midst of all trouble, then let it heal."""
        async with asyncio.TaskGroup() as people:
            for number in range(count):
                people.create_task(self._trade(number))
            async with _meanwhile(self._power_cuts(), self._bad_lines(), *map(self._pay, VILLAGES)):
                await asyncio.sleep(count / TRADES_EACH_S + TROUBLE_AFTER_S)
            self.links.set(**GOOD)
            await asyncio.gather(*self._starting.values())
            healed_s = time.monotonic()
            left = [await self._count(each, _OPEN) for each in VILLAGES]
        return await self._end(healed_s, sum(left))

    async def _trade(self, number: int) -> None:
        rng = Random(f"{self.seed} trade {number}")
        await asyncio.sleep(number / TRADES_EACH_S)
        giver, taker = rng.sample(VILLAGES, 2)
        token = ("AT", f"{rng.randint(1, 20)}.{rng.randint(0, 99):02}")
        goods = (rng.choice(GOODS), str(rng.randint(1, 9)))
        sides = [(token, goods), (goods, token), (token, None), (goods, None), (None, token)]
        offer, request = rng.choices(sides, (4, 4, 1, 1, 1))[0]
        asked = control.TradePropose(
            rng.choice(PEOPLE), rng.choice(PEOPLE), taker, offer, request, id=f"trade {number}"
        )
        made = await self._do(giver, asked)
        what = rng.choices(("accept", "cancel as well", "decline"), (85, 10, 5))[0]
        bound, cancelled = await self._answer(made["id"], giver, taker, what)
        self.counts[what] += 1
        self.asked.append(Asked(made["id"], giver, taker, bound, cancelled))

    async def _answer(self, id_: str, giver: str, taker: str, what: str) -> tuple[bool, bool]:
        """Return whether the taker is bound, and whether the giver is told that it is not."""
        if what == "decline":
            await self._step(taker, control.TradeReject(id_))
            return False, False
        if what == "accept":
            return await self._step(taker, control.TradeAccept(id_)) in BOUND, False
        taken, withdrawn = await asyncio.gather(
            self._step(taker, control.TradeAccept(id_)), self._step(giver, control.TradeCancel(id_))
        )
        return taken in BOUND, withdrawn == "CANCELLED"

    async def _step(self, village: str, command: Step) -> str:
        """Return the trade's status once the box has answered."""
        try:
            found = await self._do(village, command)
        except Refused:  # the other one was faster, or an answer was lost
            known = await self._do(village, control.TradeList())
            found = next(each for each in known if each["id"] == command.trade)
            if found["status"] == "PENDING":
                raise
        return str(found["status"])

    async def _pay(self, village: str) -> None:
        """Pay a cent from one to the other, again and again."""
        giver, taker = PEOPLE[:2]
        while True:
            paid = self._paid[village]
            await self._do(village, control.Pay(giver, taker, "0.01", id=f"payment {paid}"))
            self._paid[village] += 1
            await asyncio.sleep(0.5)

    async def _do(self, village: str, command: control.AnyCommand) -> Any:
        """Give a command until it is answered. A trade may not have come to that box yet."""
        while True:
            try:
                return await self.boxes[village].ask(command)
            except (Unreachable, UnknownTrade):
                await asyncio.sleep(AGAIN_S)

    # Trouble

    async def _power_cuts(self) -> None:
        """Every second, kill a box that runs; it is started at once."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.7, 1.3))
            running = [each for each in VILLAGES if each not in self._starting]
            if running:
                self._power_cut(self._rng.choice(running))

    def _power_cut(self, village: str) -> None:
        box = self.boxes[village]
        assert box.process is not None
        assert box.process.poll() is None, f"{village} has stopped by itself"
        box.kill()
        self.counts["kill"] += 1
        self._starting[village] = asyncio.create_task(self._start(village))

    async def _start(self, village: str) -> None:
        await self.boxes[village].start()
        del self._starting[village]

    async def _bad_lines(self) -> None:
        """Let two lines at most be bad at a time, each for a second or two."""
        rng, ways = self._rng, list(permutations(VILLAGES, 2))
        troubled: list[tuple[str, str]] = []
        while True:
            await asyncio.sleep(rng.uniform(0.3, 0.9))
            a, b = rng.choice(ways)
            what = rng.choice((*BAD, "cut one way", "reset"))
            self.counts[what] += 1
            if what == "reset":
                await self.links.proxies[a, b].reset()
            elif what == "cut one way":
                self.links.ways[a, b].set(cut=True)
            else:
                self.links.between(a, b, **BAD[what])
            troubled.append((a, b))
            if len(troubled) > 2:
                self.links.between(*troubled.pop(0), **GOOD)

    # Healing

    async def _end(self, healed_s: float, left: int) -> Ends:
        await until(lambda: self._none(_OPEN), "every trade ends", HEALED_S_MAX)
        ended_s = time.monotonic() - healed_s
        await until(lambda: self._none(_BUSY), "nobody has more to say", HEALED_S_MAX)
        await until(self._have_all, "each has all of the others' logs", HEALED_S_MAX)
        assert ended_s <= HEALED_S_MAX, f"the last trade took {ended_s} s"
        return Ends(left, ended_s, time.monotonic() - healed_s)

    async def _none(self, sql: str) -> bool:
        return not any([await self._count(village, sql) for village in VILLAGES])

    async def _count(self, village: str, sql: str) -> int:
        with self.disk(village) as conn:
            count: int = conn.execute(sql).fetchone()[0]
        await asyncio.sleep(0)  # the lines go on between two looks
        return count

    async def _have_all(self) -> bool:
        with contextlib.ExitStack() as stack:
            views = {each: View(stack.enter_context(self.disk(each))) for each in VILLAGES}
            return all(
                logs.size_of(view, copy.log) == logs.size_of(views[copy.village], OWN_LOG)
                for view in views.values()
                for copy in neighbours.everyone(view)
            )

    @contextlib.contextmanager
    def disk(self, village: str) -> Iterator[sqlite3.Connection]:
        path = self.boxes[village].folder / app.LEDGER
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
            yield conn

    # What must be so in the end

    async def check(self) -> None:
        """Stop all boxes and look at their disks alone."""
        for box in self.boxes.values():
            assert box.stop() == 0, f"{box.village} did not stop cleanly"
            assert "Traceback" not in box.log.read_text(), box.village
        audits = (asyncio.to_thread(box.audit) for box in self.boxes.values())
        assert all("agree" in printed for printed in await asyncio.gather(*audits))
        with contextlib.ExitStack() as stack:
            disks = {each: stack.enter_context(self.disk(each)) for each in VILLAGES}
            self._check_laws(disks)
            self._check_acknowledged({name: View(conn) for name, conn in disks.items()})

    def _check_laws(self, disks: dict[str, sqlite3.Connection]) -> None:
        """Those of the simulation: both or neither, sums, mirrors, logs, receipts, audits."""
        certificates = check_disks(disks)
        assert all(each == certificates[0] for each in certificates), "seats decided differently"
        self.counts.update(certificates[0].values())

    def _check_acknowledged(self, views: dict[str, View]) -> None:
        """What people were told is so: no trade is lost or doubled, no step back, no payment."""
        found = {
            name: {each.id: each for each in trades.everyone(view)} for name, view in views.items()
        }
        for id_, giver, taker, bound, cancelled in self.asked:
            there, here = found[giver][id_], found[taker].get(id_)
            assert len(there.terms.seats) == len(VILLAGES), f"{id_} has no council"
            assert not bound or (here is not None and here.status in ("SETTLED", "ABORTED")), id_
            assert not cancelled or there.status == "CANCELLED", id_
        proposed = {each.id for known in found.values() for each in known.values()}
        assert proposed == {each.id for each in self.asked}
        for name, view in views.items():
            self._check_balances(name, view, list(found[name].values()))

    def _check_balances(self, village: str, view: View, known: list[trades.Trade]) -> None:
        account = {person: members.named(view, person).account for person in PEOPLE}
        expected: Counter[tuple[str, str]] = Counter()
        for person in PEOPLE:
            expected[account[person], "AT"] = HAS * 100
            for good in GOODS:
                expected[account[person], good.upper()] = HAS
        expected[account[PEOPLE[0]], "AT"] -= self._paid[village]
        expected[account[PEOPLE[1]], "AT"] += self._paid[village]
        for each in known:
            if each.status == "SETTLED":
                person = each.from_user if each.role == "from" else each.to_user
                sign = 1 if each.role == "from" else -1
                expected[account[person], each.terms.offer.asset] -= sign * each.terms.offer.amount
                expected[account[person], each.terms.request.asset] += (
                    sign * each.terms.request.amount
                )
        has = view.all(
            "SELECT account, asset, credits_posted - debits_posted FROM balance"
            " WHERE account LIKE 'member:%'"
        )
        unpaid = {(account, asset): amount for account, asset, amount in has}
        # one payment that nobody has heard the answer of may be there besides
        late = unpaid[account[PEOPLE[1]], "AT"] - expected[account[PEOPLE[1]], "AT"]
        assert late in (0, 1), f"payments of {village}: {late}"
        expected[account[PEOPLE[0]], "AT"] -= late
        expected[account[PEOPLE[1]], "AT"] += late
        assert unpaid == expected, f"balances of {village}"

    def logs(self, lines: int = 150) -> str:
        texts = {box.village: box.log.read_text().splitlines() for box in self.boxes.values()}
        return "\n".join(
            f"--- {village}\n" + "\n".join(text[-lines:]) for village, text in texts.items()
        )


def check_disks(disks: dict[str, sqlite3.Connection], ahead_s: int = 0) -> list[dict[bytes, str]]:
    """Check all laws on what some villages, whose clocks were so far ahead, have on their disks;
    return what each knows to be decided, by subject."""
    world = World(0)
    world.now_ms = time.time_ns() // 1_000_000 + ahead_s * 1000
    for name, conn in disks.items():
        (key,) = conn.execute("SELECT public_key FROM log WHERE id = 0").fetchone()
        world.villages[name] = cast("Village", _Still(name, conn, _Key(key)))
    Laws(world).at_rest()
    return [
        dict(conn.execute("SELECT subject, certificate ->> 'value' FROM subject"))
        for conn in disks.values()
    ]


class _Key(NamedTuple):
    public: bytes


class _Still(msgspec.Struct):
    """A village of which there is only its disk, for the laws to look at."""

    name: str
    conn: sqlite3.Connection
    key: _Key

    def look(self, fn: Any) -> Any:
        return fn(View(self.conn))


@contextlib.asynccontextmanager
async def _meanwhile(*parts: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run parts that never end by themselves; one that fails, fails all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part) for part in parts]
        yield
        for task in tasks:
            task.cancel()
