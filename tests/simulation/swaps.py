"""A random federation of two villages, or three: people, assets, trades and all that can go wrong.

One seed is one whole story: members act at random, messages are lost, repeated and come again much
later, boxes lose their power at their crash points and come back, clocks jump. The laws are checked
after every commit and every step. Then the network heals, and everything has to end.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import combinations
from typing import Any, Final

from edge import desk, market, trade_delivery, trade_escrow
from edge.core import names
from edge.core.accounts import clearing_account
from edge.core.trade import CARRIED_OUT, Proposal
from edge.errors import BoxError, Refused, Unreachable
from edge.market import Ask
from edge.storage import ledger, listings, logs, members, neighbours, trades
from edge.storage.listings import Query
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx, View
from tests.answering import answering
from tests.simulation.laws import LawBroken, Laws
from tests.simulation.world import Village, World

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
STEPS: Final = 36
EXCHANGES_TO_END_MAX: Final = 4  # of a whole network, until every bound trade has ended
EXCHANGES_TO_REST_MAX: Final = 4  # more, until nobody has anything left to say

PEOPLE: Final = {
    "ose-missouri-001": ("Alice", "Ann", "Amir", "Aya"),
    "ose-california-001": ("Bob", "Bea", "Ben", "Bo"),
    "ose-texas-001": ("Tom", "Tea", "Tim", "Tess"),
    "ose-vermont-001": ("Vera", "Vic", "Val", "Vi"),
    "ose-ohio-001": ("Olga", "Otto", "Oki", "Ole"),
    "ose-utah-001": ("Uma", "Udo", "Ugo", "Ute"),
    "ose-kansas-001": ("Kim", "Kai", "Kate", "Kofi"),
}
SHARED: Final = {"Solar Panel": 0, "Flour": 3}
_ALONE: Final = (
    *(("Honey", 2), ("Seed Bag", 0), ("Wool", 1), ("Maple Syrup", 2)),
    *(("Corn", 1), ("Salt", 2), ("Wheat", 1)),
)
_AT_ODDS: Final = tuple(("Rope", decimals) for decimals in (1, 2, 1, 3, 2, 1, 2))
ALONE: Final = dict(zip(PEOPLE, _ALONE, strict=True))
AT_ODDS: Final = dict(zip(PEOPLE, _AT_ODDS, strict=True))

Act = Coroutine[Any, Any, None]


class Story:
    """One seed's federation. `run` plays it to its end and returns what happened, counted.
    `goes_on`: members also say what comes of the trades that are settled."""

    goes_on = True

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.rng = self.world.rng
        self.laws = Laws(self.world)
        names = self.choose_villages()
        self.all = [self.world.village(name) for name in names]
        self.people = {name: PEOPLE[name][: self.rng.randint(2, 4)] for name in names}
        self.proposals_left = self.rng.randint(5, 15)
        for a, b in combinations(self.all, 2):
            self.befriend(a, b)
        for village in self.all:
            village.now(lambda tx, v=village: self._furnish(tx, v))  # type: ignore[misc]

    async def run(self) -> Counter[str]:
        self._make_trouble()
        for _ in range(STEPS):
            for village in self.all:
                if not village.up and self.rng.random() < 0.5:
                    self._restart(village)
            count = self.rng.choice((1, 1, 2, 2, 3))
            await self._step([self._random_act() for _ in range(count)])
        await self._heal()
        self._count_ends()
        return self.world.counts

    def befriend(self, a: Village, b: Village) -> None:
        self.world.befriend(a, b)

    def choose_villages(self) -> list[str]:
        return list(PEOPLE)[:3][: self.rng.choice((2, 2, 2, 2, 3))]

    # Setting out

    def _furnish(self, tx: Tx, village: Village) -> None:
        rng = self.rng
        own = (ALONE[village.name], AT_ODDS[village.name])
        for name in self.people[village.name]:
            desk.add_member(tx, name, "")
            if rng.random() < 0.8:
                desk.issue(tx, name, str(rng.randint(100, 600)))
            else:
                desk.set_limit(tx, name, "AT", str(rng.randint(20, 200)))
            for resource, decimals in (*SHARED.items(), *own):
                if rng.random() < 0.9:
                    amount = f"{rng.randint(2, 12)}{'.5' if decimals else ''}"
                    desk.declare(tx, name, resource, amount, decimals)
        desk.issue(tx, "treasury", "50")
        for other in [name for name in self.people if name != village.name]:
            if rng.random() < 0.4:
                desk.set_limit(tx, other, "AT", str(rng.randint(50, 400)))
            if rng.random() < 0.2 and logs.asset_in(tx, OWN_LOG, "FLOUR"):
                desk.set_limit(tx, other, "Flour", "4.250")

    def _make_trouble(self) -> None:
        rng, world = self.rng, self.world
        world.yields = rng.choice((0, 1, 3))
        world.loss = rng.choice((0.0, 0.05, 0.2))
        world.repeat = rng.choice((0.0, 0.1, 0.3))
        if len(self.all) > 2:
            world.note("three villages")
        elif rng.random() < 0.25:
            world.only_dialler = rng.choice(self.all).name
            world.note("one-way dialling")
        if rng.random() < 0.3:
            rng.choice(self.all).offset_ms = rng.choice((-HOUR_MS, HOUR_MS))
            world.note("clock an hour off")

    # Steps

    async def _step(self, acts: list[Act]) -> None:
        await self.world.together(acts)
        self.laws.check()

    def _random_act(self) -> Act:
        acts: list[tuple[int, Callable[[], Act]]] = [
            (7, self._propose if self.proposals_left else self._accept),
            (9, self._accept),
            (1, self._reject),
            (1, self._cancel),
            (4, self._list),
            (1, self._take_back),
            (3, self._answer_listing if self.proposals_left else self._accept),
            (3, self._pay),
            (1, self._relimit),
            (9, self._exchange),
            (4, self._cross),
            (2, self._replay),
            (4, self._power_cut),
            (2, self._clock),
            (1, self._expire),
        ]
        if self.goes_on:
            acts += [(3, self._deliver), (1, self._dispute), (2, self._refund)]
        [chosen] = self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])
        return chosen()

    def _propose(self) -> Act:
        self.proposals_left -= 1
        rng = self.rng
        village, other = rng.sample(self.all, 2)
        person = rng.choice(self.people[village.name])
        to_user = rng.choice(self.people[other.name]) if rng.random() < 0.95 else "Nobody"
        token = ("AT", f"{rng.randint(1, 60)}.{rng.randint(0, 99):02}")
        goods = self._goods(village, other)
        offer: tuple[str, str] | None
        request: tuple[str, str] | None
        offer, request = rng.choice(((token, goods), (goods, token)))
        if rng.random() < 0.1:
            request = self._goods(other, village)
        elif rng.random() < 0.12:
            offer, request = rng.choice(((None, goods), (goods, None)))
        deadline_s = rng.choice((60, 600, 3_600, 86_400, 7 * 86_400))
        fee = rng.choice((0, 0, 1, 100, rng.randint(1, 500)))
        proposal = Proposal(other.name, to_user, offer, request, deadline_s)

        def propose(tx: Tx) -> None:
            trade_escrow.propose(tx, members.named(tx, person), proposal, fee)

        return self._ask("propose", village, propose)

    def _list(self) -> Act:
        rng = self.rng
        village, other = rng.sample(self.all, 2)
        person = rng.choice(self.people[village.name])
        item, quantity = self._goods(village, other)
        price_asset, price = rng.choice((("AT", "3.33"), ("AT", ""), self._goods(village, other)))
        side = rng.choice(("offer", "offer", "want"))
        ask = Ask(side, item, quantity, price_asset, price, "to be fetched", rng.randint(1, 20))  # type: ignore[arg-type]
        return self._ask(
            "list", village, lambda tx: market.list_goods(tx, members.named(tx, person), ask)
        )

    def _take_back(self) -> Act:
        village, pick = self.rng.choice(self.all), self.rng.randrange(1_000)

        def take_back(tx: Tx) -> None:
            found = listings.search(tx, Query(village=village.name), tx.minute)
            if found:
                chosen = found[pick % len(found)]
                assert chosen.member is not None
                member = members.by_id(tx, chosen.member)
                assert member is not None
                market.take_back(tx, member, chosen.id)
                self.world.counts["take back asked"] += 1

        return self._ask("take back", village, take_back)

    def _answer_listing(self) -> Act:
        """Propose what answers one of the neighbours' listings, as last heard."""
        self.proposals_left -= 1
        rng = self.rng
        village, other = rng.sample(self.all, 2)
        person = rng.choice(self.people[village.name])
        pick, amount = rng.randrange(1_000), rng.choice(("1", "1", "2", ""))

        def propose(tx: Tx) -> None:
            found = listings.search(tx, Query(village=other.name), tx.minute)
            if found:
                chosen = found[pick % len(found)]
                item = chosen.goods.item
                asked = amount or names.amount_text(item.amount, item.decimals)  # all of it
                proposal = answering(tx, other.name, chosen.id, asked)
                trade_escrow.propose(tx, members.named(tx, person), proposal)
                self.world.counts["answer asked"] += 1

        return self._ask("answer", village, propose)

    def _goods(self, village: Village, other: Village) -> tuple[str, str]:
        owner = self.rng.choice((village, other)).name
        choices = [*SHARED.items()] * 4 + [ALONE[owner], AT_ODDS[owner]]
        name, decimals = self.rng.choice(choices)
        part = f".{self.rng.randint(0, 10**decimals - 1):0{decimals}}" if decimals else ""
        return name, f"{self.rng.randint(1, 4)}{part}"

    def _accept(self) -> Act:
        return self._answer("accept", "to", trade_escrow.accept)

    def _reject(self) -> Act:
        return self._answer("reject", "to", trade_escrow.reject)

    def _cancel(self) -> Act:
        return self._answer("cancel", "from", trade_escrow.cancel)

    def _answer(
        self, what: str, role: str, do: Callable[[Tx, members.Member, Trade], Trade]
    ) -> Act:
        village = self.rng.choice(self.all)
        pick = self.rng.randrange(1_000)
        any_status = self.rng.random() < 0.15

        def answer(tx: Tx) -> None:
            mine = [known for known in trades.everyone(tx) if known.role == role and known.member]
            asked = [known for known in mine if any_status or known.status == "PENDING"]
            if asked:
                known = asked[pick % len(asked)]
                assert known.member is not None
                member = members.by_id(tx, known.member)
                assert member is not None
                do(tx, member, known)
                self.world.counts[f"{what} asked"] += 1

        return self._ask(what, village, answer)

    def _deliver(self) -> Act:
        return self._after("deliver", trade_delivery.deliver)

    def _dispute(self) -> Act:
        reason = self.rng.choice(("it is cracked", "nothing came", ""))
        return self._after(
            "dispute", lambda tx, member, known: trade_delivery.dispute(tx, member, known, reason)
        )

    def _refund(self) -> Act:
        def refund(tx: Tx, member: members.Member, known: Trade) -> Trade:
            return trade_escrow.propose(tx, member, trade_delivery.refund(tx, member, known))

        return self._after("refund", refund)

    def _after(self, what: str, do: Callable[[Tx, members.Member, Trade], Trade]) -> Act:
        """Do something about a trade that is carried out, whoever's that is."""
        village, pick = self.rng.choice(self.all), self.rng.randrange(1_000)

        def act(tx: Tx) -> None:
            mine = [each for each in trades.everyone(tx) if each.status in CARRIED_OUT]
            if mine:
                known = mine[pick % len(mine)]
                assert known.member is not None
                member = members.by_id(tx, known.member)
                assert member is not None
                do(tx, member, known)
                self.world.counts[f"{what} asked"] += 1

        return self._ask(what, village, act)

    def _pay(self) -> Act:
        village = self.rng.choice(self.all)
        payer, payee = self.rng.sample((*self.people[village.name], "treasury"), 2)
        code, amount = self.rng.choice((("AT", "25.50"), ("AT", "110"), ("Solar Panel", "3")))
        return self._ask("pay", village, lambda tx: desk.pay(tx, payer, payee, amount, code))

    def _relimit(self) -> Act:
        """Set a line, as a steward may at any time, also below what is in use."""
        village, other = self.rng.sample(self.all, 2)
        code = self.rng.choice(("AT", "SOLAR-PANEL"))
        amount = self.rng.choice(("3", "40", "900"))

        def relimit(tx: Tx) -> None:
            account = clearing_account(other.name)
            has = ledger.counters(tx, account, ledger.asset(tx, code))
            self.laws.lowered[village.name, account, code] = has.limit - has.available
            desk.set_limit(tx, other.name, code, amount)

        return self._ask("set line", village, relimit)

    def _expire(self) -> Act:
        return self._ask("expire", self.rng.choice(self.all), trade_escrow.expire)

    async def _ask(self, what: str, village: Village, fn: Callable[[Tx], object]) -> None:
        """What a person does: it is done, or refused with a reason."""
        if not village.up:
            return
        try:
            await village.runner.write(fn)
        except Refused as error:
            self.world.note(f"{what}: {error.slug}")
        else:
            self.world.note(what)

    async def _exchange(self) -> None:
        await self._meet(*self.rng.sample(self.all, 2))

    async def _cross(self) -> None:
        """Both call each other at once."""
        self.world.note("crossing exchanges")
        a, b = self.rng.sample(self.all, 2)
        ends = await asyncio.gather(self._meet(a, b), self._meet(b, a), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _meet(self, village: Village, other: Village) -> None:
        if not village.up:
            return
        try:
            await village.client.exchange(other.name)
        except Unreachable:
            self.world.note("unreachable")
        except BoxError as error:
            self._refused(error)

    async def _replay(self) -> None:
        """Deliver an old message again."""
        if not self.world.letters:
            return
        try:
            await self.world.deliver(self.rng.choice(self.world.letters))
        except Unreachable:
            return
        except BoxError as error:
            self._refused(error)
        self.world.note("replayed message")

    def _refused(self, error: BoxError) -> None:
        broken = LawBroken("honest villages agree", f"{type(error).__name__}: {error.detail}")
        self.world.failures.append(broken)
        raise broken from error

    async def _power_cut(self) -> None:
        self.rng.choice(self.all).crash_in = self.rng.randrange(6)

    async def _clock(self) -> None:
        rng, world = self.rng, self.world
        if rng.random() < 0.6:
            world.now_ms += rng.choice((1_000, MINUTE_MS, 20 * MINUTE_MS, 2 * HOUR_MS, DAY_MS))
            await self._expire_all()
            return
        village = rng.choice(self.all)
        before = village.offset_ms
        village.offset_ms = rng.choice((-HOUR_MS, -5 * MINUTE_MS, 0, 5 * MINUTE_MS, HOUR_MS))
        if village.offset_ms != before:
            world.note(f"clock jumps {'forth' if village.offset_ms > before else 'back'}")

    async def _expire_all(self) -> None:
        for village in self.all:
            await self._ask("expire", village, trade_escrow.expire)

    def _restart(self, village: Village) -> None:
        village.start()
        self.world.note("restart")
        self.laws.check()

    # Healing

    async def _heal(self) -> None:
        self.world.loss = self.world.repeat = 0.0
        for village in self.all:
            village.crash_in = None
            if not village.up:
                self._restart(village)
        if self.rng.random() < 0.3:
            self.world.note("late healing")
            self.world.now_ms += 9 * DAY_MS
            await self._step([self._expire_all()])
        await self._until(self._bound_ended, EXCHANGES_TO_END_MAX, "every bound trade ended")
        self.world.now_ms += (self.rng.choice((9, 40)) if self.goes_on else 9) * DAY_MS
        await self._step([self._expire_all()])
        await self._until(self._is_quiet, EXCHANGES_TO_REST_MAX, "nobody has more to say")
        self.laws.at_rest()

    async def _until(self, done: Callable[[], bool], exchanges_max: int, what: str) -> None:
        """Let each two villages meet in turn, each at most so many times."""
        for turn in range(exchanges_max):
            for pair in combinations(self.all, 2):
                if done():
                    return
                village, other = pair if turn % 2 else pair[::-1]
                if self.world.only_dialler == other.name:
                    village, other = other, village
                await self._step([self._meet(village, other)])
        if not done():
            raise LawBroken("every trade ends", f"after {exchanges_max} exchanges, not: {what}")

    def _bound_ended(self) -> bool:
        return not self._count("status IN ('ACCEPTED', 'HELD')")

    def _is_quiet(self) -> bool:
        """Nothing is left to say on any trade or listing, and each has the other's whole log."""
        sizes = {v.name: v.look(lambda view: logs.size_of(view, OWN_LOG)) for v in self.all}
        copies = [
            (View(village.conn), copy)
            for village in self.all
            for copy in village.look(neighbours.everyone)
            if copy.village in sizes
        ]
        whole = all(logs.size_of(view, copy.log) == sizes[copy.village] for view, copy in copies)
        told = not any(
            listings.changed(
                View(self.world.villages[copy.village].conn), copy.village, copy.listings_have
            )
            for _, copy in copies
        )
        among = ", ".join(f"'{name}'" for name in sizes)
        waits = f"(closed = 0 OR heard = 1) AND neighbour IN ({among})"
        return whole and told and not self._count(waits)

    def _count(self, condition: str) -> int:
        sql = f"SELECT count(*) FROM trade WHERE {condition}"
        return sum(village.conn.execute(sql).fetchone()[0] for village in self.all)

    def _count_ends(self) -> None:
        for village in self.all:
            for role, status, listing, terms in village.conn.execute(
                "SELECT role, status, listing, terms FROM trade"
            ):
                self.world.note(f"{role} {status}")
                if listing:
                    self.world.note(f"answer {status}")
                if b'"refund_of":null' not in terms:
                    self.world.note(f"refund {status}")
                if b'"amount":0}' in terms:
                    self.world.note(f"gift {status}")


def play(seed: int, goes_on: bool = True) -> tuple[Counter[str], str]:
    """Play one story; return what happened, counted, and the trace. What fails names its seed."""
    story = Story(seed)
    story.goes_on = goes_on
    return play_story(story, seed)


def play_story(story: Story, seed: int) -> tuple[Counter[str], str]:
    try:
        counts = asyncio.run(story.run())
        return counts, story.world.trace()
    except LawBroken as broken:
        raise LawBroken(broken.law, f"{broken} (seed={seed})") from broken
    except BaseException as error:
        raise LawBroken("own assertion", f"{error!r} (seed={seed})") from error
    finally:
        for village in story.all:
            village.conn.close()
