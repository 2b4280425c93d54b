"""Checking a name and PIN, slowly and not too often: PINs are short."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from edge.core import crypto, limits
from edge.errors import NotSignedIn, TooMany
from edge.storage import members
from edge.storage.members import Member
from edge.storage.tx import Runner

TRIES_PER_NAME: Final = 5
TRIES_PER_ADDRESS: Final = 20
WAIT_S_MIN: Final = 30
WAIT_S_MAX: Final = 900
FORGET_S: Final = 86_400
KEYS_MAX: Final = 1_024
CHECKS_AT_ONCE: Final = 2  # each takes PIN_MEMORY_BYTES
CHECKS_WAITING_MAX: Final = 16

# The hash of a PIN that nobody knows, so that an unknown name takes as long as a wrong PIN.
NOBODYS_PIN_HASH: Final = (
    "$argon2id$v=19$m=16384,t=3,p=1$gsIQV46ng67ghwEouE30kg"
    "$ueDKU/sK1QBMr8/tew9B7mzZIHFqmvChRcNdC4MMoE0"
)

RunBlocking = Callable[[Callable[[], bool]], Awaitable[bool]]


class SignIn:
    """The one door. `run_blocking` runs a function on another thread."""

    def __init__(
        self, runner: Runner, run_blocking: RunBlocking, monotonic_s: Callable[[], float]
    ) -> None:
        self._runner = runner
        self._run_blocking = run_blocking
        self._names = Tries(TRIES_PER_NAME, monotonic_s)
        self._addresses = Tries(TRIES_PER_ADDRESS, monotonic_s)
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._waiting = 0

    async def check(self, name: str, pin: str, address: str) -> Member:
        """Return the member. Raises NotSignedIn, the same for an unknown name and a wrong PIN, or
        TooMany with `retry_after_s`."""
        name = name[: limits.MEMBER_NAME_CHARS_MAX]
        self._admit(members.fold(name), address)
        self._waiting += 1
        try:
            member = await self._checked(name, pin)
        finally:
            self._waiting -= 1
        self._names.forget(members.fold(name))
        self._addresses.take_back(address)
        return member

    def _admit(self, key: str, address: str) -> None:
        """Count a try before it is made: many at once cannot all come in under the bound."""
        if self._waiting >= CHECKS_WAITING_MAX:
            raise TooMany("many people are signing in just now: try again", retry_after_s=5)
        self._names.check(key)
        self._addresses.check(address)
        self._names.count(key)
        self._addresses.count(address)

    async def _checked(self, name: str, pin: str) -> Member:
        member = await self._runner.read(lambda view: members.find(view, name))
        pin_hash = member.pin_hash if member else NOBODYS_PIN_HASH
        bounded = pin if len(pin) <= limits.PIN_CHARS_MAX else ""
        async with self._checks:
            right = await self._run_blocking(lambda: crypto.check_pin(pin_hash, bounded))
        if member is None or not right:
            raise NotSignedIn("the name or the PIN is not right")
        return member


class _Count(msgspec.Struct):
    tries: int
    last_s: float


class Tries:
    """Counts tries by key; after `free` of them each next one must wait, twice as long each time.

    A table of at most KEYS_MAX, in memory only: the longest untouched goes first.
    """

    def __init__(self, free: int, monotonic_s: Callable[[], float]) -> None:
        self._free = free
        self._monotonic_s = monotonic_s
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def check(self, key: str) -> None:
        """Raise TooMany if a try would come too early."""
        found = self._counts.get(key)
        if found is None or found.tries < self._free:
            return
        wait_s = min(WAIT_S_MAX, WAIT_S_MIN * 2 ** min(found.tries - self._free, 10))
        left_s = found.last_s + wait_s - self._monotonic_s()
        if left_s > 0:
            seconds = int(left_s) + 1
            raise TooMany(
                f"too many wrong tries: wait {_duration(seconds)} and try again",
                retry_after_s=seconds,
            )

    def count(self, key: str) -> None:
        now_s = self._monotonic_s()
        found = self._counts.pop(key, None)
        old = found is None or now_s - found.last_s > FORGET_S
        tries = 0 if found is None or old else found.tries
        self._counts[key] = _Count(tries + 1, now_s)
        while len(self._counts) > KEYS_MAX:
            self._counts.popitem(last=False)

    def forget(self, key: str) -> None:
        self._counts.pop(key, None)

    def take_back(self, key: str) -> None:
        """Undo one count: others who share the address do not gain by it."""
        found = self._counts.get(key)
        if found is not None:
            found.tries -= 1


def _duration(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{-(-seconds // 60)} minutes"
