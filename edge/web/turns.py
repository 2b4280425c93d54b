"""A bound on work that anybody may ask for: a few at once, some who wait, and the rest refused."""

import asyncio

from edge.errors import TooMany

RETRY_S = 5


class Turns:
    """Enter it for each piece of work; make it within the running loop."""

    def __init__(self, at_once_max: int, waiting_max: int) -> None:
        self._turns = asyncio.Semaphore(at_once_max)
        self._all_max = at_once_max + waiting_max
        self._all = 0

    async def __aenter__(self) -> None:
        """Wait for a turn. Raises TooMany if too many wait already."""
        if self._all >= self._all_max:
            raise TooMany("too many look at once: try again in a moment", retry_after_s=RETRY_S)
        self._all += 1
        try:
            await self._turns.acquire()
        except BaseException:
            self._all -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._turns.release()
        self._all -= 1
