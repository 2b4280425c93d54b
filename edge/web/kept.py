"""What was made of the database's state, kept until that state is another one."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar
from weakref import WeakValueDictionary

from edge.web.handlers import Committed

NOW: Final = -1  # before every stamp: Store.committed does not wait
T = TypeVar("T")
_State = tuple[int, int]  # the last commit's stamp, the minute


class Kept(Generic[T]):
    """Values by key, each good until anything at all is committed, or another minute begins.

    A commit counts from the moment in which whoever asked for it may be told. The least recently
    used make room once the sizes together are above `size_max`.
    """

    def __init__(
        self,
        committed: Committed,
        size_max: int,
        size_of: Callable[[T], int] = lambda _: 1,
    ) -> None:
        self._committed = committed
        self._size_max = size_max
        self._size_of = size_of
        self._size = 0
        self._values: OrderedDict[Hashable, tuple[_State, T]] = OrderedDict()
        self._making: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def get(self, key: Hashable, make: Callable[[], Awaitable[T]], minute: int = 0) -> T:
        """Return the value under a key; `make` it if there is none of this state, once for all who
        ask meanwhile. What `make` raises is raised, and nothing kept."""
        found = self._found(key, await self._state(minute))
        if found is not None:
            return found[0]
        lock = self._making.setdefault(key, asyncio.Lock())
        async with lock:
            state = await self._state(minute)  # before it is made: it may turn out newer, not older
            found = self._found(key, state)
            if found is None:
                found = (await make(),)
                self._keep(key, state, found[0])
            return found[0]

    async def _state(self, minute: int) -> _State:
        return await self._committed(NOW), minute

    def _found(self, key: Hashable, state: _State) -> tuple[T] | None:
        known = self._values.get(key)
        if known is None or known[0] != state:
            return None
        self._values.move_to_end(key)
        return (known[1],)

    def _keep(self, key: Hashable, state: _State, value: T) -> None:
        before = self._values.pop(key, None)
        if before is not None:
            self._size -= self._size_of(before[1])
        self._values[key] = (state, value)
        self._size += self._size_of(value)
        while self._size > self._size_max:
            _, (_, oldest) = self._values.popitem(last=False)
            self._size -= self._size_of(oldest)
