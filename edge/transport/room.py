"""Room in memory for the bodies that are being read and answered."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from edge.errors import TooMany

RETRY_S = 5


class Room:
    """`bytes_max` for all together, of which one owner has at most `share_bytes_max`."""

    def __init__(self, bytes_max: int, share_bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._share_bytes_max = share_bytes_max
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, owner: str, size: int) -> Iterator[None]:
        """Have room for `size` bytes. Raises TooMany, with `retry_after_s`, if there is none."""
        if self._taken[owner] + size > self._share_bytes_max:
            raise TooMany("too many of your requests are being read: wait", retry_after_s=RETRY_S)
        if self._taken.total() + size > self._bytes_max:
            raise TooMany("this box is busy: try again in a moment", retry_after_s=RETRY_S)
        self._taken[owner] += size
        try:
            yield
        finally:
            self._taken[owner] -= size
            if not self._taken[owner]:
                del self._taken[owner]
