"""One seed's federation: boxes that run, people who trade, and all that can go wrong; then it
heals, and everything has to end.

The boxes do what the product's do, by themselves. People and trouble come at times that the plan's
dice throw, each from dice of their own.
"""

import asyncio
import gc
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import combinations, permutations
from sqlite3 import Connection
from typing import Any, Final, TypeVar

from edge import abandon, desk, market, trade_delivery, trade_escrow, trade_receipt
from edge.core import council, merkle, names
from edge.core.accounts import clearing_account
from edge.core.receipt import Receipt
from edge.core.trade import CARRIED_OUT, ENDED, Proposal, decode_terms
from edge.core.witness import AddCheckpoint
from edge.errors import BoxError, Refused, StorageError, Unreachable
from edge.market import Ask
from edge.storage import (
    councils,
    deliveries,
    holds,
    ledger,
    listings,
    logs,
    members,
    neighbours,
    trades,
    witness,
)
from edge.storage.listings import Query
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx, View
from tests.answering import answering
from tests.simulation import network
from tests.simulation.council_liar import Liar
from tests.simulation.journal import Journal
from tests.simulation.law import LawBroken
from tests.simulation.laws import Laws
from tests.simulation.loop import Crashed, simulated_loop
from tests.simulation.memory import remembered
from tests.simulation.network import Network
from tests.simulation.plan import AWAY, MESSAGES, NAMES, RESTORED, Plan
from tests.simulation.world import Village, World

T = TypeVar("T")
MINUTE_S: Final = 60.0
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
SLEEP_MS: Final = 9 * DAY_MS  # longer than any deadline, by whatever clock it was made
LOOKS_S: Final = 2.0  # how often people and the story look
BACKUP_S: Final = 90.0  # from the beginning
RESTORED_S: Final = 62 * MINUTE_S

PEOPLE: Final = ("Alice Quill", "Bob Quill", "Cleo Quill", "Dan Quill")
SHARED: Final = {"Solar Panel": 0, "Flour": 3}
_ALONE: Final = (
    *(("Honey", 2), ("Seed Bag", 0), ("Wool", 1), ("Maple Syrup", 2)),
    *(("Apple", 0), ("Salt", 3), ("Clay", 1)),
)
ALONE: Final = dict(zip(NAMES, _ALONE, strict=True))
AT_ODDS: Final = {name: ("Rope", at % 3 + 1) for at, name in enumerate(NAMES)}


def ends_within_s(heartbeat_s: float, round_: int) -> float:
    """Return the bound: within so many seconds of a whole network every trade ends that can.

    Two heartbeats bring everyone into touch and pass on what each holds, a third what that leads
    to. A council whose seats are in a round then needs the waits of four rounds, of which one has
    an honest proposer that the others follow.
    """
    waits_ms = sum(3 * council.timeout_ms(max(round_, 0) + each, 0) for each in range(4))
    return 4 * heartbeat_s + waits_ms / 1000 + 60


class Federation:
    """Play it with `run`. `counts` says what happened, `longest_s` how long the slowest trade took
    to end after all had healed."""

    def __init__(self, made: Plan) -> None:
        self.plan = made
        self.world = World(made.seed)
        self.laws = Laws(self.world)
        self.loop = simulated_loop()
        self.world.loop_time = self.loop.time
        self.network = Network(self.world, self._rates(), made.latency_ms)
        self.world.network = self.network
        self.world.refused = self._refused
        self.world.stop = self._stop
        self.rng = self.dice("people")
        self.liars: list[Liar] = []
        self.away: set[str] = set()  # honest, and without power for long
        self.restored: dict[int, str] = {}  # who is, by the place among those with manners
        self.proposed: set[bytes] = set()
        self.longest_s = 0.0
        self.bound_s = 0.0
        self.image: Connection | None = None  # an old backup
        self.heals = False
        self.to_be_restored = made.manners.count(RESTORED)  # nobody knows which
        self._tasks: list[asyncio.Task[Any]] = []
        for name, image in zip(NAMES, founded(made.villages, made.seats), strict=False):
            self.world.villages[name] = self._village(name, image)

    def dice(self, name: str) -> random.Random:
        """Return dice of its own for a part of the story."""
        return random.Random(f"{self.plan.seed} {name}")

    @property
    def all(self) -> list[Village]:
        """The honest villages."""
        return list(self.world.villages.values())

    @property
    def living(self) -> list[Village]:
        """Those of them that are not away."""
        return [village for village in self.all if village.name not in self.away]

    @property
    def counts(self) -> Counter[str]:
        return self.world.counts

    def run(self) -> None:
        """Play it to its end. Raises LawBroken."""
        with remembered(), _loud_clients(self.world):
            self.loop.run(self._story())

    def keep(self, journal: Journal) -> None:
        """Keep what happens in a journal."""
        self.world.journal = lambda event: journal.lines.append((self.loop.time(), event))
        self.network.bodies = journal.bodies

    def _village(self, name: str, image: Connection) -> Village:
        village = Village(self.world, name, image)
        village.heartbeat_s = self.plan.heartbeat_s
        village.start()
        return village

    def _stop(self, error: BaseException) -> None:
        self.loop.failure = self.loop.failure or error

    def _refused(self, asked: str, asker: str, error: BoxError) -> None:
        """Honest villages never refuse what the other says."""
        if isinstance(error, Unreachable | StorageError):
            return
        if asked in self.world.villages and asker in self.world.villages:
            what = f"{asked} refuses {asker}: {type(error).__name__}: {error.detail}"
            self.world.fail(LawBroken("honest villages agree", what))
        else:
            self.world.note(f"the liar is refused: {error.slug}")

    def _rates(self) -> dict[str, float]:
        rng = self.dice("rates")
        rates = {each: rng.choice((0.02, 0.05, 0.12)) for each in MESSAGES}
        return {each: rate for each, rate in rates.items() if each in self.plan.faults}

    # The story

    async def _story(self) -> None:
        end_s = self.plan.minutes * MINUTE_S
        self.laws.check()
        for village in self.all:
            rng = self.dice(f"furnish {village.name}")
            village.now(lambda tx, v=village, r=rng: self._furnish(tx, v, r))  # type: ignore[misc]
        for at, manners in enumerate(self.plan.manners):
            if manners not in (RESTORED, AWAY):
                self._turn(at, manners)
        for village in [*self.all, *(face for liar in self.liars for face in liar.faces)]:
            village.set_off(village.serve())
        people = [self._trade(number, end_s) for number in range(self.plan.trades)]
        people += [self._act(number, end_s) for number in range(self.plan.trades * 2)]
        for each in (*people, *self._trouble(end_s)):
            self._tasks.append(asyncio.ensure_future(each))
        await asyncio.sleep(end_s)
        for _ in range(20):
            if all(self.counts[each] for each in self.plan.faults):
                break
            await asyncio.sleep(MINUTE_S)
        await self._heal()
        self._count()

    def _furnish(self, tx: Tx, village: Village, rng: random.Random) -> None:
        for name in PEOPLE:
            desk.add_member(tx, name, "")
            if rng.random() < 0.85:
                desk.issue(tx, name, str(rng.randint(300, 900)))
            else:
                desk.set_limit(tx, name, "AT", str(rng.randint(60, 300)))
            for resource, decimals in (
                *SHARED.items(),
                ALONE[village.name],
                AT_ODDS[village.name],
            ):
                if rng.random() < 0.9:
                    amount = f"{rng.randint(6, 20)}{'.5' if decimals else ''}"
                    desk.declare(tx, name, resource, amount, decimals)
        desk.issue(tx, "treasury", "50")
        for other in NAMES[: self.plan.villages]:
            if other != village.name and rng.random() < 0.2:
                desk.set_limit(tx, other, "AT", str(rng.randint(50, 400)))
            if other != village.name and rng.random() < 0.2 and logs.asset_in(tx, 0, "FLOUR"):
                desk.set_limit(tx, other, "Flour", "4.250")

    def _turn(self, at: int, manners: str, image: Connection | None = None) -> None:
        """Make a liar of one village: from here on nothing that it says or holds is believed."""
        rng = self.dice(f"liar {at}")
        village = self.world.villages[self.restored.get(at) or self._any(rng)]
        if image is not None:
            village.lose_power("for good")
            village = Village(self.world, village.name, image)
            village.heartbeat_s = self.plan.heartbeat_s
            village.start()
        kinds = manners.split("+")
        liar = Liar(village, kinds, rng.choice((0.3, 0.7)), 2 if "two logs" in kinds else 1)
        for face in liar.faces:
            face.heartbeat_s = self.plan.heartbeat_s
            face.client = face.make_client()
        liar.shown = {each.name: rng.choice(liar.faces) for each in self.all}
        self.laws.forget(village.name)
        self.liars.append(liar)

    def _any(self, rng: random.Random) -> str:
        """Return an honest village to which nothing lasting happens otherwise."""
        spared = {*self.away, *self.restored.values()}
        return rng.choice([each.name for each in self.all if each.name not in spared])

    # Trades

    async def _trade(self, number: int, end_s: float) -> None:
        """One trade, from its proposal to what people answer to it."""
        rng = self.dice(f"trade {number}")
        bursts = self.plan.bursts
        await asyncio.sleep((0.03 + 0.75 * rng.randrange(bursts) / bursts) * end_s)
        await asyncio.sleep(rng.random() * (1 if bursts < 20 else 20))
        deadline_s = rng.choice((60, 60, 180, 600, 3_600, 86_400, 7 * 86_400))
        subject = None
        for _ in range(30):
            subject, giver, taker = await self._propose(rng, deadline_s)
            if subject is not None:
                break
            await asyncio.sleep(rng.uniform(1, 20))
        if subject is None:
            return
        self.proposed.add(subject)
        fate = rng.choices(
            ("accept", "accept late", "reject", "cancel", "cross", "leave"), (66, 8, 5, 6, 12, 3)
        )[0]
        if fate in ("cancel", "cross"):
            self._soon(self._cancel(subject, giver, rng.uniform(0, 20)))
        if fate in ("accept", "cross", "accept late"):
            wait_s = rng.uniform(60, 300) if fate == "accept late" else 8 + rng.random()
            self._soon(self._answer(subject, taker, wait_s, "accept", trade_escrow.accept))
        elif fate == "reject":
            self._soon(
                self._answer(subject, taker, rng.uniform(0, 12), "reject", trade_escrow.reject)
            )

    async def _propose(self, rng: random.Random, deadline_s: int) -> tuple[bytes | None, str, str]:
        """Ask a box for one; return the subject, if one came of it, and the two villages."""
        names_ = rng.sample(NAMES[: self.plan.villages], 2)
        village, other = self._box(names_[0], names_[1]), names_[1]
        person, to_user = rng.choice(PEOPLE), rng.choice(PEOPLE)
        if rng.random() < 0.04:
            to_user = "Nobody Quill"
        token = ("AT", f"{rng.randint(1, 40)}.{rng.randint(0, 99):02}")
        goods = self._goods(rng, village.name, other)
        offer: tuple[str, str] | None
        request: tuple[str, str] | None
        offer, request = rng.choice(((token, goods), (goods, token)))
        if rng.random() < 0.1:
            request = self._goods(rng, other, village.name)
        elif rng.random() < 0.12:
            offer, request = rng.choice(
                ((None, goods), (goods, None), (None, token), (token, None))
            )
        fee = rng.choice((0, 0, 1, 100, rng.randint(1, 500)))
        proposal = Proposal(other, to_user, offer, request, deadline_s)

        def propose(tx: Tx) -> Trade:
            made = trade_escrow.propose(tx, members.named(tx, person), proposal, fee)
            return self._with_council(made)

        made = await self._ask("propose", village, propose, other)
        return (made.subject if made is not None else None), village.name, other

    def _with_council(self, made: Trade) -> Trade:
        """People trade with a liar only where a council decides: of two, a silent one blocks."""
        seats = {seat.village for seat in made.terms.seats}
        liars = len(seats - self.world.villages.keys()) + self.to_be_restored
        if liars > (len(seats) - 1) // 3:
            raise Refused("no council")
        return made

    async def _answer(
        self,
        subject: bytes,
        name: str,
        wait_s: float,
        what: str,
        do: Callable[[Tx, members.Member, Trade], Trade],
    ) -> None:
        """Do it once the proposal has come, and again if the box does not want it yet."""
        await asyncio.sleep(wait_s)
        for _ in range(40):
            village = self._box(name)
            known = village.look(lambda view: trades.find(view, subject))
            if known is not None and known.status != "PENDING":
                return
            if known is not None:

                def answer(tx: Tx) -> Trade:
                    found = trades.by_subject(tx, subject)
                    member = members.by_id(tx, found.member) if found.member else None
                    if member is None:
                        raise Refused("nobody")
                    return self._with_council(do(tx, member, found))

                if await self._ask(what, village, answer, known.neighbour):
                    return
            await asyncio.sleep(3 * LOOKS_S)

    async def _cancel(self, subject: bytes, name: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        village = self._box(name)

        def cancel(tx: Tx) -> Trade:
            found = trades.by_subject(tx, subject)
            assert found.member is not None
            member = members.by_id(tx, found.member)
            assert member is not None
            return trade_escrow.cancel(tx, member, found)

        if village.look(lambda view: trades.find(view, subject)) is not None:
            await self._ask("cancel", village, cancel, "")

    # What else people do

    async def _act(self, number: int, end_s: float) -> None:
        rng = self.dice(f"act {number}")
        await asyncio.sleep(rng.random() * end_s)
        acts: tuple[tuple[int, Callable[[random.Random], Awaitable[object]]], ...] = (
            (5, self._list),
            (1, self._take_back),
            (4, self._answer_listing),
            (4, self._accept_any),
            (4, self._pay),
            (2, self._relimit),
            (1, self._expire),
            (4, self._audit_by_witness),
            (2, self._cross),
            (3, self._move_liar),
            (12, self._deliver),
            (4, self._dispute),
            (6, self._refund),
            (3, self._give_up),
        )
        [chosen] = rng.choices([act for _, act in acts], [weight for weight, _ in acts])
        await chosen(rng)

    async def _list(self, rng: random.Random) -> None:
        village, other = rng.sample(self.all, 2)
        person = rng.choice(PEOPLE)
        item, quantity = self._goods(rng, village.name, other.name)
        prices = (("AT", "3.33"), ("AT", ""), self._goods(rng, village.name, other.name))
        price_asset, price = rng.choice(prices)
        side = rng.choice(("offer", "offer", "want"))
        ask = Ask(side, item, quantity, price_asset, price, "to be fetched", rng.randint(1, 20))  # type: ignore[arg-type]
        await self._ask(
            "list", village, lambda tx: market.list_goods(tx, members.named(tx, person), ask)
        )

    async def _take_back(self, rng: random.Random) -> None:
        village, pick = rng.choice(self.all), rng.randrange(1_000)

        def take_back(tx: Tx) -> None:
            found = listings.search(tx, Query(village=village.name), tx.minute)
            if found:
                chosen = found[pick % len(found)]
                assert chosen.member is not None
                member = members.by_id(tx, chosen.member)
                assert member is not None
                market.take_back(tx, member, chosen.id)
                self.counts["take back asked"] += 1

        await self._ask("take back", village, take_back)

    async def _answer_listing(self, rng: random.Random) -> None:
        """Propose what answers one of the neighbours' listings, as last heard."""
        village, other = rng.sample(self.all, 2)
        person = rng.choice(PEOPLE)
        pick, amount = rng.randrange(1_000), rng.choice(("1", "1", "2", ""))

        def propose(tx: Tx) -> Trade:
            found = listings.search(tx, Query(village=other.name), tx.minute)
            if not found:
                raise Refused("nothing listed")
            chosen = found[pick % len(found)]
            item = chosen.goods.item
            asked = amount or names.amount_text(item.amount, item.decimals)  # all of it
            proposal = answering(tx, other.name, chosen.id, asked)
            made = trade_escrow.propose(tx, members.named(tx, person), proposal)
            return self._with_council(made)

        made = await self._ask("answer", village, propose, other.name)
        for _ in range(3):
            if made is None:  # perhaps something is listed by then
                await asyncio.sleep(10 * LOOKS_S)
                made = await self._ask("answer", village, propose, other.name)
        if made is not None:
            self.proposed.add(made.subject)
            do = rng.choice((trade_escrow.accept, trade_escrow.accept, trade_escrow.reject))
            if rng.random() < 0.4:  # at about the time at which it is accepted
                self._soon(self._cancel(made.subject, village.name, rng.uniform(4.5, 6.5)))
            self._soon(self._answer(made.subject, other.name, 5, "accept", do))

    async def _accept_any(self, rng: random.Random) -> None:
        """Somebody tries to accept a trade that may have ended, or not be theirs to accept."""
        village, pick = rng.choice(self.all), rng.randrange(1_000)

        def accept(tx: Tx) -> None:
            mine = [known for known in trades.everyone(tx) if known.member]
            if mine:
                known = mine[pick % len(mine)]
                assert known.member is not None
                member = members.by_id(tx, known.member)
                assert member is not None
                self._with_council(trade_escrow.accept(tx, member, known))

        await self._ask("accept", village, accept)

    async def _deliver(self, rng: random.Random) -> None:
        await self._after("deliver", rng, trade_delivery.deliver)

    async def _dispute(self, rng: random.Random) -> None:
        reason = rng.choice(("it is cracked", "nothing came", ""))

        def dispute(tx: Tx, member: members.Member, known: Trade) -> Trade:
            return trade_delivery.dispute(tx, member, known, reason)

        await self._after("dispute", rng, dispute)

    async def _refund(self, rng: random.Random) -> None:
        def refund(tx: Tx, member: members.Member, known: Trade) -> Trade:
            asked = trade_delivery.refund(tx, member, known)
            return self._with_council(trade_escrow.propose(tx, member, asked))

        made = await self._after("refund", rng, refund)
        if made is not None and rng.random() < 0.9:
            self._soon(self._answer(made.subject, made.neighbour, 5, "accept", trade_escrow.accept))

    async def _after(
        self,
        what: str,
        rng: random.Random,
        do: Callable[[Tx, members.Member, Trade], Trade],
    ) -> Trade | None:
        """Do something about a trade that is carried out, whoever's that is."""
        village, pick = rng.choice(self.all), rng.randrange(1_000)

        def act(tx: Tx) -> Trade:
            mine = [each for each in trades.everyone(tx) if each.status in CARRIED_OUT]
            if not mine:
                raise Refused("nothing is carried out")
            known = mine[pick % len(mine)]
            assert known.member is not None
            member = members.by_id(tx, known.member)
            assert member is not None
            return do(tx, member, known)

        return await self._ask(what, village, act)

    async def _give_up(self, rng: random.Random) -> None:
        """A steward gives up a trade, with the decision as evidence if there is one anywhere."""
        village, pick = rng.choice(self.all), rng.randrange(1_000)

        def give_up(tx: Tx) -> None:
            left = [each for each in trades.everyone(tx) if each.status not in ENDED]
            if not left:
                raise Refused("nothing is open")
            proven = [each for each in left if self._evidence(each.subject)]
            known = (proven or left)[pick % len(proven or left)]
            evidence = self._evidence(known.subject)
            abandon.abandon(tx, known, "the steward", "", evidence)
            self.counts["give up with evidence"] += evidence is not None

        await self._ask("give up", village, give_up)

    def _evidence(self, subject: bytes) -> Receipt | None:
        """Return a receipt that an honest seat can make."""
        for village in self.all:
            view = View(village.conn)
            opened, known = councils.find(view, subject), trades.find(view, subject)
            with suppress(BoxError):
                if opened is not None and opened.certificate is not None:
                    return trade_receipt.of_subject(view, opened)
                if known is not None and known.certificate is not None:
                    return trade_escrow.receipt(view, known)
        return None

    async def _pay(self, rng: random.Random) -> None:
        village = rng.choice(self.all)
        payer, payee = rng.sample((*PEOPLE, "treasury"), 2)
        code, amount = rng.choice((("AT", "25.50"), ("AT", "310"), ("Solar Panel", "3")))
        await self._ask("pay", village, lambda tx: desk.pay(tx, payer, payee, amount, code))

    async def _relimit(self, rng: random.Random) -> None:
        """Set a line, as a steward may at any time, also below what is in use."""
        village, other = rng.sample(self.all, 2)
        code = rng.choice(("AT", "SOLAR-PANEL"))
        amount = rng.choice(("3", "40", "900", "900"))

        def relimit(tx: Tx) -> None:
            account = clearing_account(other.name)
            has = ledger.counters(tx, account, ledger.asset(tx, code))
            self.laws.lowered[village.name, account, code] = has.limit - has.available
            desk.set_limit(tx, other.name, code, amount)

        await self._ask("set line", village, relimit)

    async def _expire(self, rng: random.Random) -> None:
        await self._ask("expire", rng.choice(self.all), trade_escrow.expire)

    async def _cross(self, rng: random.Random) -> None:
        """Two call each other at once."""
        one, other = rng.sample(self.all, 2)
        for a, b in ((one, other), (other, one)):
            if a.up:
                a.set_off(_kicked(a, b.name))
        self.world.note("crossing exchanges")

    async def _audit_by_witness(self, rng: random.Random) -> None:
        """Somebody brings a village's checkpoint to another, to be cosigned as C2SP has it."""
        names_ = rng.sample(NAMES[: self.plan.villages], 2)
        owner = self._box(names_[0])
        cosigner = self.world.villages.get(names_[1])
        if cosigner is None or not cosigner.up:
            return
        view = View(owner.conn)
        rows = owner.conn.execute(
            "SELECT size, note FROM checkpoint WHERE log = 0 ORDER BY size DESC LIMIT 6"
        ).fetchall()
        size, note = rng.choice((rows[0], rows[0], rows[0], rng.choice(rows)))
        log = cosigner.look(lambda view: neighbours.log_of(view, owner.name))
        last = cosigner.look(lambda view: logs.cosignature_for(view, log, cosigner.name))
        old = last.size if last is not None and rng.random() < 0.8 else rng.choice((0, size, 3))
        proof: list[bytes] = []
        if 0 < old < size:
            nodes = logs.read_nodes(view, OWN_LOG, merkle.nodes_for_consistency(old, size))
            proof = merkle.consistency_proof(old, size, nodes)
        asked = AddCheckpoint.of(old, proof, note)
        await self._outcome(
            "witness",
            cosigner,
            cosigner.spawn(witness.add_checkpoint(cosigner.runner, cosigner.name, asked)),
        )

    # Liars

    async def _move_liar(self, rng: random.Random) -> None:
        """A liar's people accept or cancel, in one of its logs or in both."""
        if not self.liars:
            return
        liar = rng.choice(self.liars)
        face = rng.choice(liar.faces)
        liar.silent = "says nothing" in liar.manners and rng.random() < 0.5
        pick = rng.randrange(1_000)
        do, role = rng.choice(((trade_escrow.accept, "to"), (trade_escrow.cancel, "from")))

        def move(tx: Tx) -> None:
            mine = [each for each in trades.everyone(tx) if each.member]
            asked = [each for each in mine if (each.role, each.status) == (role, "PENDING")]
            if asked:
                known = asked[pick % len(asked)]
                assert known.member is not None
                member = members.by_id(tx, known.member)
                assert member is not None
                self._with_council(do(tx, member, known))

        await self._outcome("the liar moves", face, face.spawn(face.runner.write(move)))

    async def _deny(self, liar: Liar) -> None:
        """As soon as a proposer that lies holds, let it say in its log that it does not."""
        denied: set[bytes] = set()
        face = liar.faces[0]

        def deny(tx: Tx) -> None:
            for known in trades.everyone(tx):
                held = known.role == "from" and known.status in ("ACCEPTED", "HELD")
                if held and known.subject not in denied and known.to_signature is not None:
                    holds.append_no_hold(tx, known, known.to_signature)
                    denied.add(known.subject)

        while not self.heals:
            await asyncio.sleep(LOOKS_S / 2)
            before = len(denied)
            await self._outcome("the liar denies", face, face.spawn(face.runner.write(deny)))
            self.counts["said hold and no-hold"] += len(denied) - before

    # Asking a box

    def _box(self, name: str, towards: str = "") -> Village:
        """Return a village's box: of a liar the face that it shows."""
        if name in self.world.villages:
            return self.world.villages[name]
        liar = next(each for each in self.liars if each.name == name)
        return liar.face_for(towards)

    def _goods(self, rng: random.Random, village: str, other: str) -> tuple[str, str]:
        owner = rng.choice((village, other))
        name, decimals = rng.choice([*SHARED.items()] * 4 + [ALONE[owner], AT_ODDS[owner]])
        part = f".{rng.randint(0, 10**decimals - 1):0{decimals}}" if decimals else ""
        return name, f"{rng.randint(1, 3)}{part}"

    async def _ask(
        self, what: str, village: Village, fn: Callable[[Tx], T], kick: str = ""
    ) -> T | None:
        """What a person asks of a box: it is done, or refused with a reason; or nobody knows."""
        if not village.up:
            return None

        async def ask() -> T:
            done = await village.runner.write(fn)
            if kick:
                village.client.kick(kick)
            return done

        return await self._outcome(what, village, village.spawn(ask()))

    async def _outcome(self, what: str, village: Village, task: "asyncio.Task[T]") -> T | None:
        await asyncio.wait([task])
        if task.cancelled() or isinstance(task.exception(), Crashed | asyncio.CancelledError):
            self.world.note("nobody knows")
            return None
        error = task.exception()
        if isinstance(error, BoxError):
            self.world.note(f"{what}: {error.slug}")
            return None
        if error is not None:
            self.world.fail(error)
            return None
        self.world.note(what)
        return task.result()

    def _soon(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.ensure_future(coroutine))

    # Trouble

    def _trouble(self, end_s: float) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what goes wrong, each with dice of its own."""
        troubles: dict[str, tuple[int, Callable[[random.Random], Awaitable[None]]]] = {
            "crash": (4, self._crash),
            "power cut": (3, self._power_cut),
            "partition": (2, self._partition),
            "one-way partition": (2, self._one_way),
            "undialled": (2, self._undialled),
            "clock jump": (3, self._clock_jump),
            "clock drift": (2, self._clock_drift),
            "full disk": (2, self._full_disk),
            "slow disk": (2, self._slow_disk),
            "replayed message": (4, self._replay),
        }
        for fault, (count, trouble) in troubles.items():
            for number in range(count if fault in self.plan.faults else 0):
                rng = self.dice(f"{fault} {number}")
                yield _later(rng.uniform(0.03, 0.85) * end_s, trouble, rng)
        yield self._see_to_it(end_s)
        yield self._restart()
        if RESTORED in self.plan.manners:
            yield self._restore()
        for at, manners in enumerate(self.plan.manners):
            if manners == AWAY:
                rng = self.dice(f"away {at}")
                yield _later(rng.uniform(0.2, 0.6) * end_s, self._go_away, rng)
        for liar in self.liars:
            if "holds and lies" in liar.manners:
                yield self._deny(liar)

    async def _see_to_it(self, end_s: float) -> None:
        """Let each enabled fault of messages happen, if by chance none has yet."""
        while not self.heals:
            await asyncio.sleep(end_s / 14)
            for fault in network.FAULTS:
                if fault in self.plan.faults and not self.counts[fault]:
                    self.network.due.add(fault)

    async def _restart(self) -> None:
        rng = self.dice("restart")
        while not self.heals:
            await asyncio.sleep(LOOKS_S)
            for village in self.all:
                if village.name in self.away:
                    continue
                if not village.up and rng.random() < rng.choice((0.5, 0.1, 0.02)):
                    self._start(village)

    def _start(self, village: Village) -> None:
        self.laws.check()
        village.start()
        self.world.note("restart")
        village.set_off(village.serve())

    async def _go_away(self, rng: random.Random) -> None:
        """Let a village lose its power until all that others can end without it has ended."""
        name = self._any(rng)
        self.away.add(name)
        if self.world.villages[name].up:
            self.world.villages[name].lose_power("for long")
        self.world.note(AWAY)

    async def _crash(self, rng: random.Random) -> None:
        """Stop a box at one of its next awaits."""
        village = rng.choice(self.living)
        village.crash_in = rng.choice((0, 3, 20, 60, rng.randrange(200)))
        self.counts["crash"] += 1

    async def _power_cut(self, rng: random.Random) -> None:
        """Take a box's power away while it writes: what was not flushed is lost."""
        rng.choice(self.living).loses_power_writing = True
        self.counts["power cut"] += 1

    async def _partition(self, rng: random.Random) -> None:
        await self._cut_off("partition", rng, both=True)

    async def _one_way(self, rng: random.Random) -> None:
        await self._cut_off("one-way partition", rng, both=False)

    async def _cut_off(self, what: str, rng: random.Random, both: bool) -> None:
        """Let nothing through from some villages to the others, or either way."""
        all_names = list(NAMES[: self.plan.villages])
        some = rng.sample(all_names, rng.randint(1, len(all_names) - 1))
        links = [(a, b) for a, b in permutations(all_names, 2) if a in some and b not in some]
        if both:
            links += [(b, a) for a, b in links]
        self.world.note(what)
        self.network.cut.update(links)
        await asyncio.sleep(rng.choice((10, 60, 180, 300)))
        if not self.heals:
            self.network.cut.subtract(links)

    async def _undialled(self, rng: random.Random) -> None:
        """Let one village call nobody for a while; it can be called."""
        name = rng.choice(NAMES[: self.plan.villages])
        links = [(name, other) for other in NAMES if other != name]
        self.world.note("undialled")
        self.network.undialled.update(links)
        await asyncio.sleep(rng.choice((30, 120, 400)))
        if not self.heals:
            self.network.undialled.subtract(links)

    async def _clock_jump(self, rng: random.Random) -> None:
        village = rng.choice(self.all)
        jumps = (-HOUR_MS, -5 * MINUTE_MS, 0, 5 * MINUTE_MS, HOUR_MS, 40 * DAY_MS)
        before, village.offset_ms = village.offset_ms, rng.choice(jumps)
        village.is_synchronized = village.offset_ms <= DAY_MS
        if before != village.offset_ms:
            self.world.note(f"clock jumps {'forth' if village.offset_ms > before else 'back'}")
        self.world.note("clock jump")

    async def _clock_drift(self, rng: random.Random) -> None:
        rng.choice(self.all).drift = rng.choice((-0.02, -0.001, 0.001, 0.02))
        self.world.note("clock drift")

    async def _full_disk(self, rng: random.Random) -> None:
        """Let a disk be full until it has been felt, and for a while longer."""
        village = rng.choice(self.living)
        village.conn.fill(at_commit=rng.random() < 0.5)
        felt = self.counts["full disk"]
        while self.counts["full disk"] == felt and not self.heals:
            if village not in self.living:
                village.conn.free()
                village = rng.choice(self.living)
            village.conn.fill(at_commit=True)
            await asyncio.sleep(LOOKS_S)
        await asyncio.sleep(rng.choice((1, 20, 90)))
        village.conn.free()

    async def _slow_disk(self, rng: random.Random) -> None:
        village = rng.choice(self.all)
        village.is_slow = True
        self.world.note("slow disk")
        await asyncio.sleep(rng.choice((20, 120)))
        village.is_slow = False

    async def _replay(self, rng: random.Random) -> None:
        if self.world.letters:
            self.network.say_again(rng.choice(self.world.letters))

    async def _restore(self) -> None:
        """Put an old copy on a box, and let it go on: it counts as a liar from then on."""
        await asyncio.sleep(BACKUP_S)
        for at, manners in enumerate(self.plan.manners):
            if manners == RESTORED:
                self.restored[at] = self._any(self.dice(f"liar {at}"))
                self._soon(self._restore_one(at))

    async def _restore_one(self, at: int) -> None:
        image = self.world.villages[self.restored[at]].conn.copy()
        await asyncio.sleep(RESTORED_S + at)
        self._turn(at, RESTORED, image)
        self.to_be_restored -= 1
        self.world.note("lie: was restored")
        face = self.liars[-1].faces[0]
        face.set_off(face.serve())

    # Healing

    async def _heal(self) -> None:
        self.heals = True
        self.to_be_restored = 0
        self.network.heal()
        for village in self.all:
            village.conn.free()
            village.is_slow = village.loses_power_writing = False
            village.crash_in = None
            village.is_synchronized = True
            village.offset_ms = min(village.offset_ms, HOUR_MS)
            if not village.up and village.name not in self.away:
                self._start(village)
        for task in self._tasks:
            task.cancel()
        self.world.note("healed")
        living = {each.name for each in self.living}
        await self._until(lambda: not self._bound(living), "every bound trade has ended")
        self.world.now_ms = max(self.world.now_ms, self.laws.latest_ms) + SLEEP_MS
        await self._expire_all()
        everyone = set(NAMES)
        await self._until(lambda: not self._bound(everyone), "every trade with a liar has ended")
        if self.away:
            await self._come_back()
        await self._until(self._is_quiet, "nobody has more to say")
        self.laws.at_rest()

    async def _come_back(self) -> None:
        for name in sorted(self.away):
            self._start(self.world.villages[name])
        self.away.clear()
        await self._expire_all()
        everyone = set(NAMES)
        await self._until(lambda: not self._bound(everyone), "those that were away have ended all")

    async def _expire_all(self) -> None:
        for village in self.living:
            await self._ask("expire", village, trade_escrow.expire)
            village.client.kick_all()

    def _bound(self, neighbours_: set[str]) -> int:
        """Count the bound trades of the living with these; not those that need seats which are
        away."""
        living = {each.name for each in self.living}
        liars = {each.name for each in self.liars}
        found = 0
        for village in self.living:
            for terms, neighbour in village.conn.execute(
                "SELECT terms, neighbour FROM trade WHERE status IN ('ACCEPTED', 'HELD')"
            ):
                seats = {seat.village for seat in decode_terms(terms).seats}
                gone = seats - living
                lacks = len(gone) > (len(seats) - 1) // 3 and bool(gone - liars)
                found += neighbour in neighbours_ and not lacks
        return found

    async def _until(self, done: Callable[[], bool], what: str) -> None:
        bound_s = ends_within_s(self.plan.heartbeat_s, self._round())
        began_s = self.loop.time()
        while not done():
            await asyncio.sleep(LOOKS_S)
            passed_s = self.loop.time() - began_s
            if passed_s > bound_s:
                subject = self._open_subject()
                raise LawBroken("every trade ends", f"not in {bound_s:.0f} s: {what}", subject)
        passed_s = self.loop.time() - began_s
        if passed_s > self.longest_s:
            self.longest_s, self.bound_s = passed_s, bound_s

    def _round(self) -> int:
        """Return the latest round that an honest seat is in, of an open subject."""
        rows = [
            row
            for village in self.all
            for row in village.conn.execute("SELECT subject FROM subject WHERE certificate IS NULL")
        ]
        found = [
            village.look(lambda view: councils.find(view, subject))  # noqa: B023
            for village in self.all
            for (subject,) in rows
        ]
        return max((each.state.round for each in found if each is not None), default=0)

    def _open_subject(self) -> bytes | None:
        for village in self.all:
            row = village.conn.execute(
                "SELECT subject FROM trade WHERE status IN ('ACCEPTED', 'HELD') OR closed = 0"
            ).fetchone()
            if row:
                subject: bytes = row[0]
                return subject
        return None

    def _is_quiet(self) -> bool:
        """Nothing is left to say on any trade or listing, each has the others' whole logs, and each
        subject is decided."""
        sizes = {v.name: v.look(lambda view: logs.size_of(view, OWN_LOG)) for v in self.all}
        among = ", ".join(f"'{name}'" for name in sizes)
        if self._count_trades(f"(closed = 0 OR heard = 1) AND neighbour IN ({among})"):
            return False
        for village in self.all:
            view = View(village.conn)
            if view.one("SELECT 1 FROM subject WHERE certificate IS NULL"):
                return False
            if any(village.look(lambda view: deliveries.untold(view, each)) for each in sizes):  # noqa: B023
                return False
            for copy in village.look(neighbours.everyone):
                if copy.village in sizes:
                    there = View(self.world.villages[copy.village].conn)
                    if logs.size_of(view, copy.log) != sizes[copy.village]:
                        return False
                    if listings.changed(there, copy.village, copy.listings_have):
                        return False
        return True

    def _count_trades(self, condition: str) -> int:
        sql = f"SELECT count(*) FROM trade WHERE {condition}"
        return sum(village.conn.execute(sql).fetchone()[0] for village in self.all)

    # Counting

    def _count(self) -> None:
        self.counts["trades"] = len(self.proposed)
        decided: dict[bytes, str] = {}
        for village in self.all:
            view = View(village.conn)
            for role, status, listing, subject in village.conn.execute(
                "SELECT role, status, listing, subject FROM trade"
            ):
                known = trades.by_subject(view, subject)
                self.world.note(f"{role} {status}")
                if listing:
                    self.world.note(f"answer {status}")
                self._count_kinds(known, status)
                if known.certificate is not None:
                    decided[subject] = known.certificate.value
            for (subject,) in village.conn.execute("SELECT subject FROM subject"):
                certificate = councils.named(view, subject).certificate
                if certificate is not None:
                    decided[subject] = certificate.value
                    if certificate.round:
                        self.world.note("decided in a later round")
                if councils.absents(view, subject):
                    self.world.note("absent")
            for _ in village.conn.execute("SELECT 1 FROM misbehaviour"):
                self.world.note("shown to have lied")
        self.counts.update(decided.values())

    def _count_kinds(self, known: Trade, status: str) -> None:
        if known.terms.refund_of:
            self.world.note(f"refund {status}")
        if 0 in (known.terms.offer.amount, known.terms.request.amount):
            self.world.note(f"gift {status}")
        if known.certificate is not None:
            self.world.note(f"seats {len(known.terms.seats)}")


@contextmanager
def _loud_clients(world: World) -> Iterator[None]:
    """Let what a client takes for a fault of its own box, and survives, break the world."""

    class Breaks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            world.fail(error or AssertionError(record.getMessage()))

    log, handler = logging.getLogger("edge.federation_client"), Breaks(logging.ERROR)
    before = log.level, log.propagate
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.ERROR)
    gc_was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before
        if gc_was_on:
            gc.enable()


@cache
def founded(count: int, seats: int) -> tuple[Connection, ...]:
    """Return the disks of so many villages that are neighbours, and know it: made once. Their
    charters say that up to `seats` decide."""
    world = World("founded")
    found = [world.village(name) for name in NAMES[:count]]
    for a, b in combinations(found, 2):
        world.befriend(a, b, council_seats=max(seats, 4))
    for _ in range(2):
        for a, b in permutations(found, 2):
            asyncio.run(a.client.exchange(b.name))
    return tuple(village.conn.copy() for village in found)


async def _later(
    seconds: float, trouble: Callable[[random.Random], Awaitable[None]], rng: random.Random
) -> None:
    await asyncio.sleep(seconds)
    await trouble(rng)


async def _kicked(village: Village, other: str) -> None:
    village.client.kick(other)


def play(made: Plan, journal: Journal | None = None) -> Federation:
    """Play a plan to its end. Raises LawBroken, also for whatever else breaks; it names the seed
    and the step."""
    federation = Federation(made)
    if journal is not None:
        federation.keep(journal)
    try:
        federation.run()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        law = error.law if isinstance(error, LawBroken) else "own assertion"
        what = str(error).removeprefix(f"{law}: ") if law != "own assertion" else repr(error)
        where = f"seed {made.seed}, step {federation.loop.steps}, {federation.loop.time():.3f} s"
        broken = LawBroken(law, f"{what} ({where})", getattr(error, "subject", None))
        broken.seed = made.seed
        raise broken from error
    return federation
