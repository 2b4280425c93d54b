"""Villages in one process: the product's core, drivers and storage on an in-memory SQLite, with the
four seams replaced: clock, randomness, transport between villages, runner of transactions.

Everything follows from the seed. At each seam a task may yield, as the seed's dice say, so that the
tasks of all villages interleave; asyncio runs what is ready first in, first out, and nothing here
waits for a timer, a thread or a socket.

A crash is real: what was not committed is rolled back, and from then on every seam refuses the
incarnation that crashed, whatever `except` and `finally` it still runs.
"""

import asyncio
import random
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from edge import desk, peering, trade_escrow
from edge.core import crypto
from edge.core.registry import Location
from edge.errors import BoxError, Unreachable
from edge.federation_client import FederationClient
from edge.storage import database
from edge.storage.tx import Identity, Tx, View
from edge.storage.writer import Outcome, Writer

T = TypeVar("T")
CRASH_POINTS: Final = ("before commit", "after commit", "before sending", "after the answer")
LETTERS_KEPT_MAX: Final = 64


class Crashed(BaseException):
    """The box lost its power here: nothing after this line runs in it."""


class Letter(NamedTuple):
    """A message as it went over the wire, to be delivered late and again."""

    sender: str
    receiver: str
    body: bytes


class Answering(Protocol):
    """What takes a message in: a village's client, or a stranger that a test has made."""

    async def answer(self, village: str, body: bytes) -> bytes: ...


class World:
    """Everything from one seed. `loss` is the chance of a lost request, and of a lost answer;
    `repeat` that a request arrives twice; `yields` how often a task may stand back at a seam."""

    def __init__(
        self, seed: int | str, loss: float = 0.0, repeat: float = 0.0, yields: int = 0
    ) -> None:
        self.seed = seed
        self.rng = random.Random(f"world {seed}")
        self.now_ms = 1_760_000_000_000
        self.loss, self.repeat, self.yields = loss, repeat, yields
        self.only_dialler = ""  # the one village that can reach others, if not all can
        self.villages: dict[str, Village] = {}
        self.strangers: dict[str, Answering] = {}  # under village ids, beside the villages
        self.letters: deque[Letter] = deque(maxlen=LETTERS_KEPT_MAX)
        self.counts: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self.after_commit: Callable[[Village], None] | None = None
        self._trace = sha256()
        self._background: list[asyncio.Task[None]] = []

    def village(self, name: str) -> "Village":
        self.villages[name] = Village(self, name)
        return self.villages[name]

    def befriend(self, a: "Village", b: "Village", council_seats: int = 4) -> None:
        """Make two villages neighbours by an invitation, the messages handed over directly."""
        invitation = a.now(lambda tx: peering.invite(tx, council_seats=council_seats))
        sent = b.now(lambda tx: peering.take_up(tx, invitation))
        answered = a.now(lambda tx: peering.answer(tx, sent, a.profile))
        b.now(lambda tx: peering.complete(tx, invitation, sent, answered, b.profile))

    def note(self, event: str) -> None:
        """Count what happened, and make it part of the trace."""
        self.counts[event] += 1
        self._trace.update(f"{event}\n".encode())

    def trace(self) -> str:
        """Return a hash over all that happened and all that is on the disks."""
        final = self._trace.copy()
        for village in self.villages.values():
            final.update("\n".join(village.conn.iterdump()).encode())
        return final.hexdigest()

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    async def together(self, coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Run tasks side by side to their ends, and all that they left behind; then raise the first
        failure. A crash ends a task, and is none."""
        tasks = [asyncio.create_task(each) for each in coroutines]
        for task in tasks:
            await self._ended(task)
        while self._background:
            await self._ended(self._background.pop(0))
        if self.failures:
            raise self.failures[0]

    async def deliver(self, letter: Letter) -> bytes:
        """Return what the receiver answers. Raises Unreachable, or the error that it answers.

        The receiver works in a task of its own, which goes on if the sender dies.
        """
        if letter.receiver in self.strangers:
            return await self.strangers[letter.receiver].answer(letter.sender, letter.body)
        receiver = self.villages[letter.receiver]
        if not receiver.up:
            raise Unreachable(f"{receiver.name} does not answer")
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(self._serve(receiver, letter, answered))
        self._background.append(serving)
        return await answered

    async def _serve(
        self, receiver: "Village", letter: Letter, answered: "asyncio.Future[bytes]"
    ) -> None:
        try:
            answer = await receiver.client.answer(letter.sender, letter.body)
        except Crashed:
            answered.set_exception(Unreachable(f"{receiver.name} went away"))
        except BoxError as error:
            answered.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - it fails the test, whatever it is
            self.failures.append(error)
            answered.set_exception(Unreachable(f"{receiver.name} is broken"))
        else:
            self.letters.append(Letter(receiver.name, letter.sender, answer))
            answered.set_result(answer)

    async def _ended(self, task: "asyncio.Task[None]") -> None:
        try:
            await task
        except Crashed:
            pass
        except BaseException as error:  # noqa: BLE001 - it fails the test, whatever it is
            self.failures.append(error)


class Village:
    """One box: its disk survives a crash, its client and runner do not."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rng = random.Random(f"{world.seed} {name}")
        self.key = crypto.SecretKey(self.rng.randbytes(32))
        self.profile = peering.Profile(
            f"Village {name}", Location(38.45, -93.85), (f"{name}:7440",), bytes(32)
        )
        self.conn = _new_disk()
        self.offset_ms = 0  # how wrong this box's clock is
        self.incarnation = 0
        self.crash_in: int | None = None  # how many crash points from now
        self.up = False
        self.start()
        self.now(desk.found_village)
        self.now(lambda tx: peering.refresh_entry(tx, self.profile))

    def start(self) -> None:
        """Come back with what is on the disk."""
        assert not self.conn.in_transaction, "the crash rolled back what was open"
        self.incarnation += 1
        self.crash_in = None
        self.up = True
        self.runner = SimulatedRunner(self)
        self.client = FederationClient(
            self.runner, SimulatedTransport(self), trade_escrow, self.rng.randbytes
        )

    def crash(self, where: str) -> None:
        """Lose the power: raises Crashed."""
        self.up = False
        self.incarnation += 1
        self.crash_in = None
        if self.conn.in_transaction:
            self.conn.execute("ROLLBACK")
        self.world.note(f"crash {where}")
        raise Crashed(f"{self.name} {where}")

    def crash_point(self, where: str) -> None:
        if self.crash_in is not None:
            if self.crash_in == 0:
                self.crash(where)
            self.crash_in -= 1

    def clock_ms(self) -> int:
        return self.world.now_ms + self.offset_ms

    def now(self, fn: Callable[[Tx], T]) -> T:
        """Run one write at once, with no crash point in it."""
        armed, self.crash_in = self.crash_in, None
        [(result, error)] = self.runner.writer.run([fn], self.clock_ms())
        self.crash_in = armed
        if error is not None:
            raise error
        answer: T = result
        return answer

    def look(self, fn: Callable[[View], T]) -> T:
        return fn(View(self.conn))


class SimulatedRunner:
    """One incarnation's runner: transactions inline, those that wait together in one batch."""

    def __init__(self, village: Village) -> None:
        self.village = village
        self.incarnation = village.incarnation
        self.writer = _Writer(village)
        self._waiting: list[_Write] = []

    async def write(self, fn: Callable[[Tx], T]) -> T:
        mine = _Write(fn)
        self._waiting.append(mine)
        await self.seam()
        if mine.outcome is None:
            self._commit_all()
        await self.seam()
        assert mine.outcome is not None
        result, error = mine.outcome
        if error is not None:
            raise error
        answer: T = result
        return answer

    async def read(self, fn: Callable[[View], T]) -> T:
        await self.seam()
        return fn(View(self.village.conn))

    async def seam(self) -> None:
        """Stand back a few turns, or none. Raises Crashed in an incarnation that is no more."""
        self._refuse_the_dead()
        world = self.village.world
        for _ in range(world.rng.randrange(world.yields + 1)):
            await asyncio.sleep(0)
        self._refuse_the_dead()

    def _refuse_the_dead(self) -> None:
        if self.village.incarnation != self.incarnation:
            raise Crashed(f"{self.village.name} is not that box any more")

    def _commit_all(self) -> None:
        batch, self._waiting = self._waiting, []
        if len(batch) > 1:
            self.village.world.note("shared batch")
        outcomes = self.writer.run([each.fn for each in batch], self.village.clock_ms())
        for each, outcome in zip(batch, outcomes, strict=True):
            each.outcome = outcome


class _Write:
    """One write that waits for its batch."""

    __slots__ = ("fn", "outcome")

    def __init__(self, fn: Callable[[Tx], Any]) -> None:
        self.fn = fn
        self.outcome: Outcome | None = None


class _Writer(Writer):
    """The product's writer, with a crash point on either side of COMMIT."""

    def __init__(self, village: Village) -> None:
        super().__init__(village.conn, Identity(village.name, village.key), village.rng.randbytes)
        self._village = village

    def _commit(self) -> None:
        self._village.crash_point("before commit")
        super()._commit()
        if self._village.world.after_commit is not None:
            self._village.world.after_commit(self._village)
        self._village.crash_point("after commit")


class SimulatedTransport:
    """Carries a message to the other village's client: or loses it or the answer, or repeats it."""

    def __init__(self, sender: Village) -> None:
        self._sender = sender
        self._incarnation = sender.incarnation

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        world, sender = self._sender.world, self._sender
        sender.crash_point("before sending")
        letter = Letter(sender.name, village, body)
        world.letters.append(letter)
        if world.only_dialler not in ("", sender.name):
            raise Unreachable(f"{village} cannot be dialled from here")
        if world.chance(world.loss):
            world.note("lost request")
            raise Unreachable(f"{village} does not answer")
        if world.chance(world.repeat):
            world.note("repeated request")
            answers = await asyncio.gather(
                world.deliver(letter), world.deliver(letter), return_exceptions=True
            )
            for each in answers:
                if isinstance(each, BaseException):
                    raise each
            answer = world.rng.choice([each for each in answers if isinstance(each, bytes)])
        else:
            answer = await world.deliver(letter)
        if sender.incarnation != self._incarnation:
            raise Crashed(f"{sender.name} is not that box any more")
        if world.chance(world.loss):
            world.note("lost answer")
            raise Unreachable(f"the answer of {village} was lost")
        sender.crash_point("after the answer")
        return answer


def _new_disk() -> sqlite3.Connection:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("PRAGMA foreign_keys = ON")
    database.migrate(conn)
    return conn
