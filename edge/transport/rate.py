"""How often somebody may ask: so many at once, then so many a second."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from edge.errors import TooMany

OWNERS_MAX: Final = 4_096


class _Left(msgspec.Struct):
    requests: float
    at_s: float


class Rate:
    """Of each owner `at_once` requests, of which `per_s` come back each second.

    In memory only. Of more than OWNERS_MAX the one longest unheard goes first: it has most of its
    own back by then.
    """

    def __init__(self, at_once: int, per_s: float, monotonic_s: Callable[[], float]) -> None:
        self._at_once = at_once
        self._per_s = per_s
        self._monotonic_s = monotonic_s
        self._owners: OrderedDict[str, _Left] = OrderedDict()

    def take(self, owner: str) -> None:
        """Count one request. Raises TooMany, with `retry_after_s`, if it comes too early."""
        now_s = self._monotonic_s()
        found = self._owners.pop(owner, None) or _Left(self._at_once, now_s)
        back = (now_s - found.at_s) * self._per_s
        left = _Left(min(self._at_once, found.requests + back), now_s)
        self._owners[owner] = left
        if len(self._owners) > OWNERS_MAX:
            self._owners.popitem(last=False)
        if left.requests < 1:
            wait_s = int((1 - left.requests) / self._per_s) + 1
            raise TooMany("you ask too often: wait a moment", retry_after_s=wait_s)
        left.requests -= 1
