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

TRIES_PER_NAME: Final = 5  # from one address
TRIES_PER_NAME_ANYWHERE: Final = 20
TRIES_PER_ADDRESS: Final = 20
WAIT_S_MIN: Final = 30
WAIT_S_MAX: Final = 900
WAIT_ANYWHERE_S_MAX: Final = 300  # a stranger's doing keeps nobody out for longer
FORGET_S: Final = 86_400
KEYS_MAX: Final = 1_024
HOMES_PER_NAME_MAX: Final = 8
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
        self._here = Tries(TRIES_PER_NAME, monotonic_s)
        self._members = Tries(TRIES_PER_NAME_ANYWHERE, monotonic_s, WAIT_ANYWHERE_S_MAX, None)
        self._others = Tries(TRIES_PER_NAME_ANYWHERE, monotonic_s, WAIT_ANYWHERE_S_MAX)
        self._addresses = Tries(TRIES_PER_ADDRESS, monotonic_s)
        self._homes: dict[str, OrderedDict[str, None]] = {}  # by member: whence it has signed in
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._waiting = 0

    async def check(self, name: str, pin: str, address: str) -> Member:
        """Return the member. Raises NotSignedIn, the same for an unknown name and a wrong PIN, or
        TooMany with `retry_after_s`.

        Tries count for a name from one address, for that address, and, at a slower pace, for the
        name from anywhere: so guessing is slow, and a stranger's tries do not keep a member out
        where it has signed in before.
        """
        name = name[: limits.MEMBER_NAME_CHARS_MAX]
        if self._waiting >= CHECKS_WAITING_MAX:
            raise TooMany("many people are signing in just now: try again", retry_after_s=5)
        self._waiting += 1
        try:
            member = await self._runner.read(lambda view: members.find(view, name))
            counted = self._admit(members.fold(name), address, member)
            if not await self._is_right(member, pin) or member is None:
                raise NotSignedIn("the name or the PIN is not right")
        finally:
            self._waiting -= 1
        self._here.forget(_pair(members.fold(name), address))
        for tries, key in counted:
            tries.take_back(key)
        self._note_home(members.fold(name), address)
        return member

    def _admit(self, name: str, address: str, member: Member | None) -> "list[tuple[Tries, str]]":
        """Count a try before it is made: many at once cannot all come in under the bound. Return
        the counts."""
        counts = [(self._here, _pair(name, address)), (self._addresses, address)]
        if address not in self._homes.get(name, ()):
            counts.append((self._others if member is None else self._members, name))
        for tries, key in counts:
            tries.check(key)
        for tries, key in counts:
            tries.count(key)
        return counts

    def _note_home(self, key: str, address: str) -> None:
        """Keep a member's last few addresses; only who knows its PIN can add one."""
        homes = self._homes.setdefault(key, OrderedDict())
        homes.pop(address, None)
        homes[address] = None
        while len(homes) > HOMES_PER_NAME_MAX:
            homes.popitem(last=False)

    async def _is_right(self, member: Member | None, pin: str) -> bool:
        pin_hash = member.pin_hash if member else NOBODYS_PIN_HASH
        bounded = pin if len(pin) <= limits.PIN_CHARS_MAX else ""
        async with self._checks:
            return await self._run_blocking(lambda: crypto.check_pin(pin_hash, bounded))


class _Count(msgspec.Struct):
    tries: int
    last_s: float


class Tries:
    """Counts tries by key; after `free` of them each next one must wait, twice as long each time,
    up to `wait_s_max`.

    In memory only. Of more than `keys_max` the one with the fewest tries goes first, and of those
    the longest untouched: whoever tries many other keys does not free one that waits.
    """

    def __init__(
        self,
        free: int,
        monotonic_s: Callable[[], float],
        wait_s_max: int = WAIT_S_MAX,
        keys_max: int | None = KEYS_MAX,
    ) -> None:
        self._free = free
        self._monotonic_s = monotonic_s
        self._wait_s_max = wait_s_max
        self._keys_max = keys_max
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def check(self, key: str) -> None:
        """Raise TooMany if a try would come too early."""
        found = self._counts.get(key)
        if found is None or found.tries < self._free:
            return
        wait_s = min(self._wait_s_max, WAIT_S_MIN * 2 ** min(found.tries - self._free, 10))
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
        if self._keys_max is not None and len(self._counts) > self._keys_max:
            self._make_room(now_s)

    def forget(self, key: str) -> None:
        self._counts.pop(key, None)

    def take_back(self, key: str) -> None:
        """Undo one count: others who share the address do not gain by it."""
        found = self._counts.get(key)
        if found is not None:
            found.tries -= 1

    def _make_room(self, now_s: float) -> None:
        old = [key for key, each in self._counts.items() if now_s - each.last_s > FORGET_S]
        for key in old or [min(self._counts, key=lambda key: self._counts[key].tries)]:
            del self._counts[key]


def _pair(name: str, address: str) -> str:
    return f"{address} {name}"


def _duration(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{-(-seconds // 60)} minutes"
