"""Villages in one process: the product's core, drivers and storage on an in-memory SQLite, with the
four seams replaced: clock, randomness, transport between villages, runner of transactions."""

import random
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from edge import desk, peering, trade_escrow
from edge.core import crypto
from edge.core.registry import Location
from edge.errors import Unreachable
from edge.federation_client import FederationClient
from edge.storage import database
from edge.storage.tx import Identity, Tx, View
from edge.storage.writer import Writer

T = TypeVar("T")


class InlineRunner:
    """Runs each transaction at once, on the caller's stack, each as a batch of its own."""

    def __init__(self, conn: sqlite3.Connection, identity: Identity, village: "Village") -> None:
        self.conn = conn
        self.village = village
        self.writer = Writer(conn, identity, village.rng.randbytes)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        self.village.crash_point("before commit")
        [(result, error)] = self.writer.run([fn], self.village.world.now_ms)
        self.village.crash_point("after commit")
        if error is not None:
            raise error
        answer: T = result
        return answer

    async def read(self, fn: Callable[[View], T]) -> T:
        return fn(View(self.conn))


class Crashed(BaseException):
    """The box lost its power here: nothing after this line runs in it."""


class Village:
    """One box: its disk survives a crash, its client and runner do not."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.rng = random.Random(f"{world.seed} {name}")
        self.key = crypto.SecretKey(self.rng.randbytes(32))
        self.profile = peering.Profile(
            f"Village {name}", Location(38.45, -93.85), (f"{name}:7440",), bytes(32)
        )
        self.conn = sqlite3.connect(":memory:", isolation_level=None)
        self.conn.execute("PRAGMA foreign_keys = ON")
        database.migrate(self.conn)
        self.crash_in: int | None = None
        self.up = False
        self.start()
        self.now(lambda tx: desk.found_village(tx))
        self.now(lambda tx: peering.refresh_entry(tx, self.profile))

    def start(self) -> None:
        """Come back with what is on the disk."""
        if self.conn.in_transaction:
            self.conn.execute("ROLLBACK")
        self.runner = InlineRunner(self.conn, Identity(self.name, self.key), self)
        self.client = FederationClient(
            self.runner, LocalTransport(self), trade_escrow, self.rng.randbytes
        )
        self.crash_in = None
        self.up = True

    def now(self, fn: Callable[[Tx], T]) -> T:
        """Run one write outside any crash point (a person's keystroke)."""
        [(result, error)] = self.runner.writer.run([fn], self.world.now_ms)
        if error is not None:
            raise error
        answer: T = result
        return answer

    def look(self, fn: Callable[[View], T]) -> T:
        return fn(View(self.conn))

    def crash_point(self, where: str) -> None:
        if self.crash_in is None:
            return
        if self.crash_in == 0:
            self.up = False
            raise Crashed(f"{self.name} {where}")
        self.crash_in -= 1


class LocalTransport:
    """Carries a message to the other village's client: loses it, or the answer, or says it twice."""

    def __init__(self, sender: Village) -> None:
        self.sender = sender

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        world = self.sender.world
        self.sender.crash_point("before sending")
        receiver = world.villages[village]
        if not receiver.up or world.lost():
            raise Unreachable(f"{village} does not answer")
        try:
            if world.repeated():
                await receiver.client.answer(self.sender.name, body)
            answer = await receiver.client.answer(self.sender.name, body)
        except Crashed:
            raise Unreachable(f"{village} went away") from None
        world.carried.append(body)
        world.carried.append(answer)
        if world.lost():
            raise Unreachable(f"the answer of {village} was lost")
        self.sender.crash_point("after the answer")
        return answer


class World:
    """Everything from one seed."""

    def __init__(self, seed: int, loss: float = 0.0, repeat: float = 0.0) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now_ms = 1_760_000_000_000
        self.loss, self.repeat = loss, repeat
        self.villages: dict[str, Village] = {}
        self.carried: list[bytes] = []

    def lost(self) -> bool:
        return self.rng.random() < self.loss

    def repeated(self) -> bool:
        return self.rng.random() < self.repeat

    def village(self, name: str) -> Village:
        self.villages[name] = Village(self, name)
        return self.villages[name]

    def befriend(self, a: Village, b: Village) -> None:
        """Make two villages neighbours by an invitation, the messages handed over directly."""
        invitation = a.now(peering.invite)
        sent = b.now(lambda tx: peering.take_up(tx, invitation))
        answered = a.now(lambda tx: peering.answer(tx, sent, a.profile))
        b.now(lambda tx: peering.complete(tx, invitation, sent, answered, b.profile))
