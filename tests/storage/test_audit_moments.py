"""At every moment of many trades, whatever is lost between the villages, both audits agree."""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from edge import desk, trade_escrow
from edge.core import messages
from edge.core.trade import Status
from edge.errors import Refused
from edge.exchange import compose, receive
from edge.storage import members, trades
from edge.storage.audit import audit
from edge.storage.trades import Trade
from edge.storage.tx import Tx
from tests.storage import villages
from tests.storage.villages import Village

SEEDS, STEPS = 5, 80
DAY_MS = 86_400_000


class Market:
    """Two villages whose people do what the dice say."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.a, self.b = villages.neighbours_with_goods()
        self.b.write(lambda tx: desk.set_limit(tx, self.a.name, "AT", "100000"))

    def step(self) -> None:
        do = self.dice.choices(
            [self.propose, self.answer, self.cancel, self.pay, self.limit, self.wait, self.say],
            [4, 6, 1, 1, 1, 1, 12],
        )[0]
        with suppress(Refused):
            do()

    def propose(self) -> None:
        offer = ("AT", str(self.dice.randint(1, 9_000)))
        villages.propose(self.a, self.b, offer, fee=self.dice.choice([0, 5]))

    def answer(self) -> None:
        known = self._some(self.b)
        bob = members.named(self.b.view, "Bob")
        answer: Callable[..., Trade] = self.dice.choice(
            [trade_escrow.accept, trade_escrow.accept, trade_escrow.reject]
        )
        self.b.write(lambda tx: answer(tx, bob, known))

    def cancel(self) -> None:
        villages.cancel(self.a, self._some(self.a).subject)

    def pay(self) -> None:
        self.a.write(lambda tx: desk.pay(tx, "Alice", "Carol", str(self.dice.randint(1, 5_000))))
        self.a.write(lambda tx: desk.issue(tx, "Alice", "1000"))

    def limit(self) -> None:
        """A line that is lowered under an open proposal makes the proposer say no-hold."""
        line = str(self.dice.choice([0, 1, 3, 10]))
        self.a.write(lambda tx: desk.set_limit(tx, self.b.name, "Solar Panel", line))

    def wait(self) -> None:
        for village in (self.a, self.b):
            village.now_ms += self.dice.choice([60_000, DAY_MS, 2 * DAY_MS])
            village.write(trade_escrow.expire)

    def say(self) -> None:
        """One message, of which the answer may be lost, or the message itself."""
        speaker, hearer = self.dice.sample([self.a, self.b], 2)
        if self.dice.random() < 0.6:
            villages.say(speaker, hearer)
            return
        said = compose(speaker.view, trade_escrow, hearer.name, (), 0)
        body = messages.encode(said.message)

        def take(tx: Tx) -> None:
            receive(tx, trade_escrow, messages.decode_exchange(body), None)

        if self.dice.random() < 0.7:
            hearer.write(take)

    def _some(self, village: Village) -> Trade:
        pending = [t for t in trades.everyone(village.view) if t.status is Status.PENDING]
        return self.dice.choice(pending or trades.everyone(village.view) or [self._none()])

    def _none(self) -> Trade:
        raise Refused("there is no trade yet")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_both_audits_agree_at_every_moment(seed: int) -> None:
    market = Market(seed)
    for _ in range(STEPS):
        market.step()
        for village in (market.a, market.b):
            audit(village.view)
    villages.sync(market.a, market.b)
    a, b = audit(market.a.view), audit(market.b.view)
    assert a.settled == b.settled > 0
    seen = {
        status
        for village in (market.a, market.b)
        for (status,) in village.conn.execute("SELECT DISTINCT status FROM trade")
    }
    assert {"SETTLED", "CANCELLED"} <= seen
    held = [t for t in trades.everyone(market.a.view) if t.status in (Status.ACCEPTED, Status.HELD)]
    assert held == []


def test_the_dice_reach_every_end() -> None:
    """Over the seeds above, every way in which a trade can end has been audited."""
    seen: set[str] = set()
    for seed in range(SEEDS):
        market = Market(seed)
        for _ in range(STEPS):
            market.step()
        for village in (market.a, market.b):
            seen |= {s for (s,) in village.conn.execute("SELECT DISTINCT status FROM trade")}
    assert seen >= {"SETTLED", "ABORTED", "REJECTED", "CANCELLED", "EXPIRED"}
