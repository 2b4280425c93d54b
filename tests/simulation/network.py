"""The lines between villages: what is said on them may be lost, repeated, late, and out of order,
and each direction of each line may be cut.

Every message's fate is thrown from dice of its own. What has to happen at least once, and has not
by then, happens to the next message that it can happen to.
"""

import asyncio
import contextvars
import hashlib
import random
from collections import Counter
from typing import Final

from edge.core import limits
from edge.errors import BoxError, Unreachable
from tests.simulation.council_liar import Liar
from tests.simulation.world import Letter, World

FAULTS: Final = (
    "lost request",
    "lost answer",
    "repeated request",
    "reordered",
    "minutes late",
)
LATE_S: Final = (31.0, 240.0)
OVERTAKEN_S: Final = 0.7  # after the later one: whoever has sent it had given it up


Held = tuple[Letter, int, "asyncio.Future[bytes]"]


class Network:
    """Carries the letters of a world, each way within `latency_ms` unless something happens to it.
    `rates`: how often each of FAULTS does."""

    def __init__(self, world: World, rates: dict[str, float], latency_ms: int) -> None:
        self.world = world
        self.rates = rates
        self.latency_s = latency_ms / 1000
        self.due: set[str] = set()  # what is to happen at the next chance
        self.cut: Counter[tuple[str, str]] = Counter()  # (sender, receiver): nothing comes through
        self.undialled: Counter[tuple[str, str]] = Counter()  # the first cannot call the second
        self.bodies: dict[str, bytes] | None = None  # by digest, if they are to be kept
        self._held: dict[tuple[str, str], list[Held]] = {}  # until a later letter has arrived
        self._outside = contextvars.Context()  # of no box
        self._rng = random.Random(f"network {world.seed}")
        self._sent: Counter[tuple[str, str]] = Counter()
        self._arrived: Counter[tuple[str, str]] = Counter()

    def heal(self) -> None:
        self.rates = {}
        self.due.clear()
        self.cut.clear()
        self.undialled.clear()

    async def carry(self, letter: Letter) -> bytes:
        """Return the answer. Raises Unreachable, or the error that the receiver answers."""
        link = (letter.sender, letter.receiver)
        if self.undialled[link] or (self.cut[link] and self._rng.random() < 0.5):
            self.world.note("cannot dial" if self.undialled[link] else "cut off")
            await asyncio.sleep(self.latency_s)
            raise Unreachable(f"{letter.receiver} cannot be reached from here")
        self._sent[link] += 1
        number = self._sent[link]
        self.world.mark(f"> {number} {self._digest(letter)}")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()
        for _ in range(2 if self._happens("repeated request") else 1):
            if self._happens("lost request"):
                continue
            if not self._held.get(link) and self._happens("reordered"):
                self._held[link] = [(letter, number, answered)]
                continue
            loop.call_later(
                self._delay_s(), self._arrive, letter, number, answered, context=self._outside
            )
        try:
            async with asyncio.timeout(limits.ANSWER_S_MAX):
                return await answered
        except TimeoutError:
            raise Unreachable(f"{letter.receiver} does not answer in time") from None

    def say_again(self, letter: Letter) -> None:
        """Deliver an old letter once more; nobody waits for its answer."""
        self.world.note("replayed message")
        self._arrive(letter, 0, asyncio.get_running_loop().create_future())

    def _arrive(self, letter: Letter, number: int, answered: "asyncio.Future[bytes]") -> None:
        link = (letter.sender, letter.receiver)
        if self.cut[link]:
            self.world.note("cut off")
            return
        if 0 < number < self._arrived[link]:
            self.world.note("reordered")
        self._arrived[link] = max(number, self._arrived[link])
        for held in self._held.pop(link, []):
            asyncio.get_running_loop().call_later(
                OVERTAKEN_S, self._arrive, *held, context=self._outside
            )
        self.world.mark(f"< {number} {self._digest(letter)}")
        loop = asyncio.get_running_loop()
        made: asyncio.Future[bytes] = loop.create_future()
        made.add_done_callback(lambda done: self._answer(letter, done, answered))
        stranger = self.world.strangers.get(letter.receiver)
        if stranger is not None:
            assert isinstance(stranger, Liar)
            host = stranger.face_for(letter.sender)
            host.set_off(self.world.serve(letter.receiver, stranger, letter, made))
            return
        receiver = self.world.villages[letter.receiver]
        if not receiver.up:
            made.set_exception(Unreachable(f"{letter.receiver} does not answer"))
            return
        receiver.set_off(self.world.serve(receiver.name, receiver.client, letter, made))

    def _answer(
        self, letter: Letter, made: "asyncio.Future[bytes]", answered: "asyncio.Future[bytes]"
    ) -> None:
        error = made.exception()
        if self.cut[letter.receiver, letter.sender] or self._happens("lost answer"):
            return
        if error is None:
            back = Letter(letter.receiver, letter.sender, made.result())
            self.world.mark(f"= {self._digest(back)}")
        delay_s = self._rng.random() * self.latency_s
        if self._happens("minutes late"):
            delay_s = self._rng.uniform(*LATE_S)
        asyncio.get_running_loop().call_later(
            delay_s, _settle, made, answered, context=self._outside
        )

    def _digest(self, letter: Letter) -> str:
        digest = hash_of(letter.body)
        if self.bodies is not None:
            self.bodies[digest] = letter.body
        return f"{letter.sender} {letter.receiver} {digest}"

    def _happens(self, fault: str) -> bool:
        if fault in self.due:
            self.due.remove(fault)
        elif not self._rng.random() < self.rates.get(fault, 0.0):
            return False
        if fault != "reordered":  # that is counted where it is seen
            self.world.note(fault)
        return True

    def _delay_s(self) -> float:
        if self._happens("minutes late"):
            return self._rng.uniform(*LATE_S)
        return self._rng.uniform(0.02, 1.0) * self.latency_s


def _settle(made: "asyncio.Future[bytes]", answered: "asyncio.Future[bytes]") -> None:
    if answered.done():
        return
    error = made.exception()
    if isinstance(error, BoxError):
        answered.set_exception(error)
    else:
        answered.set_result(made.result())


def hash_of(body: bytes) -> str:
    """Return what the journal and the trace call a message."""
    return hashlib.blake2b(body, digest_size=6).hexdigest()
