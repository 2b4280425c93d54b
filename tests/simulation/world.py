"""Villages in one process: the product's core, drivers and storage on an in-memory SQLite, with the
four seams replaced: clock, randomness, transport between villages, runner of transactions.

Everything follows from the seed. A world is quiet at first: a test exchanges messages itself, and
nothing takes time; a task may yield at a seam, as the seed's dice say. Given a `network`, it lives:
boxes `serve` on a SimulatedLoop, and what they read, write and say takes as long as it is told to.

A crash is real: what was not committed is rolled back, and from then on every seam refuses the
incarnation that crashed, whatever `except` and `finally` it still runs.
"""

import asyncio
import contextvars
import random
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from edge import desk, peering, trade_escrow
from edge.appliance.clock import Clock
from edge.core import crypto
from edge.core.registry import Location
from edge.errors import BoxError, DiskFull, StorageError, Unreachable
from edge.exchange import Heard, Said
from edge.federation_client import HEARTBEAT_S, FederationClient, Why
from edge.storage import facts
from edge.storage.tx import Identity, Tx, View
from edge.storage.writer import Outcome, Writer
from tests.simulation import disk
from tests.simulation.loop import OWNER, Crashed

T = TypeVar("T")
BEGINS_MS: Final = 1_760_000_000_000
CRASH_POINTS: Final = ("before commit", "after commit", "before sending", "after the answer")
LETTERS_KEPT_MAX: Final = 64
STARTS_AGAIN_S: Final = 10.0  # a box that has stopped itself


class Letter(NamedTuple):
    """A message as it went over the wire, to be delivered late and again."""

    sender: str
    receiver: str
    body: bytes


class Answering(Protocol):
    """What takes a message in: a village's client, or a stranger that a test has made."""

    async def answer(self, village: str, body: bytes) -> bytes: ...


class Carrier(Protocol):
    """What carries messages in a world that lives."""

    async def carry(self, letter: Letter) -> bytes: ...


class World:
    """Everything from one seed. `loss` is the chance of a lost request, and of a lost answer;
    `repeat` that a request arrives twice; `yields` how often a task may stand back at a seam: all
    of a quiet world."""

    def __init__(
        self, seed: int | str, loss: float = 0.0, repeat: float = 0.0, yields: int = 0
    ) -> None:
        self.seed = seed
        self.rng = random.Random(f"world {seed}")
        self.loss, self.repeat, self.yields = loss, repeat, yields
        self.only_dialler = ""  # the one village that can reach others, if not all can
        self.villages: dict[str, Village] = {}
        self.strangers: dict[str, Answering] = {}  # under village ids, beside the villages
        self.letters: deque[Letter] = deque(maxlen=LETTERS_KEPT_MAX)
        self.counts: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self.after_commit: Callable[[Village], None] | None = None
        self.refused: Callable[[str, str, BoxError], None] | None = None  # asked, asker, why
        self.stop: Callable[[BaseException], None] | None = None
        self.network: Carrier | None = None
        self.loop_time: Callable[[], float] = lambda: 0.0  # of the loop that it lives on
        self.journal: Callable[[str], None] | None = None
        self._begins_ms = BEGINS_MS
        self._trace = sha256()
        self._background: list[asyncio.Task[None]] = []

    @property
    def now_ms(self) -> int:
        """The true time. Set, all clocks jump with it, and nobody has waited."""
        return self._begins_ms + int(self.loop_time() * 1000)

    @now_ms.setter
    def now_ms(self, value: int) -> None:
        self._begins_ms += value - self.now_ms

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
        self.mark(event)

    def mark(self, event: str) -> None:
        """Make a thing part of the trace, and of the journal if one is kept."""
        self._trace.update(f"{self.loop_time():.6f} {event}\n".encode())
        if self.journal is not None:
            self.journal(event)

    def trace(self) -> str:
        """Return a hash over all that happened and all that is on the disks."""
        final = self._trace.copy()
        for village in self.villages.values():
            final.update("\n".join(village.conn.iterdump()).encode())
        return final.hexdigest()

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    def fail(self, error: BaseException) -> None:
        """Note what breaks the world; a living one stops at once."""
        self.failures.append(error)
        if self.stop is not None:
            self.stop(error)

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
        serving = receiver.spawn(self.serve(receiver.name, receiver.client, letter, answered))
        if self.network is None:
            self._background.append(serving)
        return await answered

    async def serve(
        self,
        receiver: str,
        answering: Answering,
        letter: Letter,
        answered: "asyncio.Future[bytes]",
    ) -> None:
        """Let a village answer a letter, in a task of its own."""
        try:
            answer = await answering.answer(letter.sender, letter.body)
        except Crashed:
            _break_off(answered, Unreachable(f"{receiver} went away"))
        except asyncio.CancelledError:
            raise
        except BoxError as error:
            if self.refused is not None:
                self.refused(receiver, letter.sender, error)
            _break_off(answered, error)
        except BaseException as error:  # noqa: BLE001 - it fails the test, whatever it is
            self.fail(error)
            _break_off(answered, Unreachable(f"{receiver} is broken"))
        else:
            self.letters.append(Letter(receiver, letter.sender, answer))
            if not answered.done():
                answered.set_result(answer)

    async def _ended(self, task: "asyncio.Task[None]") -> None:
        try:
            await task
        except Crashed:
            pass
        except BaseException as error:  # noqa: BLE001 - it fails the test, whatever it is
            self.fail(error)


class Village:
    """One box: its disk survives a crash, its client and runner do not."""

    def __init__(self, world: World, name: str, image: sqlite3.Connection | None = None) -> None:
        self.world = world
        self.name = name
        self.rng = random.Random(f"{world.seed} {name}")
        self.key = crypto.SecretKey(random.Random(f"the key of {name}").randbytes(32))
        self.profile = peering.Profile(
            f"Village {name}", Location(38.45, -93.85), (f"{name}:7440",), bytes(32)
        )
        self.conn = disk.new(image)
        self.offset_ms = 0  # how wrong this box's clock is
        self.drift = 0.0  # and how much more each millisecond
        self.is_synchronized = True
        self.is_slow = False  # its disk
        self.loses_power_writing = False  # when it writes next
        self.transport_of: Callable[[Village], SimulatedTransport] = SimulatedTransport
        self.heartbeat_s: float = HEARTBEAT_S
        self.incarnation = 0
        self.crash_in: int | None = None  # how many crash points from now
        self.up = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.start()
        if image is None:
            self.now(desk.found_village)
            self.now(lambda tx: peering.refresh_entry(tx, self.profile))

    def start(self) -> None:
        """Come back with what is on the disk."""
        assert not self.conn.in_transaction, "the crash rolled back what was open"
        self.incarnation += 1
        self.crash_in = None
        self.up = True
        self.clock = Clock(self._wall_ms, self._monotonic_ms, lambda: self.is_synchronized)
        self.runner = SimulatedRunner(self)
        self.client = self.make_client()

    def make_client(self) -> FederationClient:
        return _Client(self)

    async def serve(self) -> None:
        """Run this box as the product's composition root does, until it crashes or is stopped. A
        box that cannot write its first rows, or stops itself, starts again a little later."""
        while True:
            try:
                await self.runner.write(lambda tx: peering.refresh_entry(tx, self.profile))
                await self.runner.write(facts.start)
                await self.client.run()
            except (Crashed, asyncio.CancelledError):
                return
            except (DiskFull, StorageError):
                self.world.note("stopped by its disk")
                await asyncio.sleep(STARTS_AGAIN_S)
            except BaseException as error:  # noqa: BLE001 - it fails the test, whatever it is
                self.world.fail(error)
                return

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run something in this box: it ends with the box."""
        context = contextvars.copy_context()
        context.run(OWNER.set, self)
        return asyncio.get_running_loop().create_task(coroutine, context=context)

    def set_off(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something in this box, and leave it to itself."""
        self.tasks.setdefault(self.spawn(coroutine))

    def crash(self, where: str) -> None:
        """Lose the power: raises Crashed."""
        self.lose_power(where)
        raise Crashed(f"{self.name} {where}")

    def lose_power(self, where: str) -> None:
        """Stop at once. Nothing of this incarnation goes on."""
        if self.runner.waits:
            self.world.note("crash with unwritten writes")
            if where == "at an await" and self.world.chance(0.5):
                self.runner.commit_all()  # the system had them, and nobody was told
        self.up = False
        self.incarnation += 1
        self.crash_in = None
        self.conn.lose_power()
        self.world.note(f"crash {where}")
        current = asyncio.current_task() if self.tasks else None
        for task in list(self.tasks):
            if task is not current:
                task.cancel()

    def crash_point(self, where: str) -> None:
        if self.crash_in is not None:
            if self.crash_in == 0:
                self.crash(where)
            self.crash_in -= 1

    def clock_ms(self) -> int:
        return self.clock.now_ms()

    def _wall_ms(self) -> int:
        return self.world.now_ms + self.offset_ms + int(self.drift * self._monotonic_ms())

    def _monotonic_ms(self) -> int:
        return int(self.world.loop_time() * 1000)

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


class _Client(FederationClient):
    """The product's, whose refusals of what it is answered are told."""

    def __init__(self, village: Village) -> None:
        super().__init__(
            village.runner,
            village.transport_of(village),
            trade_escrow,
            village.rng.randbytes,
            village.heartbeat_s,
        )
        self._village = village

    async def _exchange_once(self, village: str, why: Why) -> tuple[Said | None, Heard]:
        try:
            return await super()._exchange_once(village, why)
        except BoxError as error:
            if self._village.world.refused is not None:
                self._village.world.refused(self._village.name, village, error)
            raise


class SimulatedRunner:
    """One incarnation's runner: transactions inline, those that wait together in one batch."""

    def __init__(self, village: Village) -> None:
        self.village = village
        self.incarnation = village.incarnation
        self.writer = _Writer(village)
        self._waiting: list[_Write] = []

    @property
    def waits(self) -> int:
        """How many writes have not reached the disk."""
        return len(self._waiting)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        mine = _Write(fn)
        self._waiting.append(mine)
        if self.village.loses_power_writing:
            self.village.loses_power_writing = False
            asyncio.get_running_loop().call_soon(self._lose_power)
        await self.seam(writes=True)
        if mine.outcome is None:
            self.commit_all()
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

    async def seam(self, writes: bool = False) -> None:
        """Stand back for as long as it takes. Raises Crashed in an incarnation that is no more."""
        self._refuse_the_dead()
        world, rng = self.village.world, self.village.world.rng
        if world.network is not None:
            dice = rng.random()
            if writes:
                await asyncio.sleep(dice * (1.6 if self.village.is_slow else 0.008))
            else:
                await asyncio.sleep(dice / 1_000 if dice < 0.3 else 0)
        else:
            for _ in range(rng.randrange(world.yields + 1)):
                await asyncio.sleep(0)
        self._refuse_the_dead()

    def commit_all(self) -> None:
        batch, self._waiting = self._waiting, []
        if len(batch) > 1:
            self.village.world.note("shared batch")
        try:
            outcomes = self.writer.run([each.fn for each in batch], self.village.clock_ms())
        except AssertionError as error:
            self.village.world.fail(error)
            raise
        if isinstance(outcomes[0][1], DiskFull):
            self.village.world.note("full disk")
        for each, outcome in zip(batch, outcomes, strict=True):
            each.outcome = outcome

    def _lose_power(self) -> None:
        if self.village.incarnation == self.incarnation:
            self.village.lose_power("in a flush")

    def _refuse_the_dead(self) -> None:
        if self.village.incarnation != self.incarnation:
            raise Crashed(f"{self.village.name} is not that box any more")


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

    def run(self, writes: Sequence[Callable[[Tx], Any]], now_ms: int) -> list[Outcome]:
        self._village.conn.begins()
        return super().run(writes, now_ms)

    def _commit(self) -> DiskFull | None:
        self._village.crash_point("before commit")
        kept = self.conn
        if self._village.conn.is_full:
            self.conn = self._village.conn.for_commits
        try:
            full = super()._commit()
        finally:
            self.conn = kept
        if full is not None:
            return full
        self._village.conn.commits()
        if self._village.world.after_commit is not None:
            self._village.world.after_commit(self._village)
        self._village.crash_point("after commit")
        return None


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
        carry = self._carry if world.network is None else world.network.carry
        answer = await carry(letter)
        if sender.incarnation != self._incarnation:
            raise Crashed(f"{sender.name} is not that box any more")
        sender.crash_point("after the answer")
        return answer

    async def _carry(self, letter: Letter) -> bytes:
        world = self._sender.world
        if world.only_dialler not in ("", letter.sender):
            raise Unreachable(f"{letter.receiver} cannot be dialled from here")
        if world.chance(world.loss):
            world.note("lost request")
            raise Unreachable(f"{letter.receiver} does not answer")
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
        if world.chance(world.loss):
            world.note("lost answer")
            raise Unreachable(f"the answer of {letter.receiver} was lost")
        return answer


def _break_off(answered: "asyncio.Future[bytes]", error: BoxError) -> None:
    if not answered.done():
        answered.set_exception(error)
