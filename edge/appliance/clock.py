"""The only module that asks what time it is."""

import time
from collections.abc import Callable
from pathlib import Path

from edge.core.limits import DAY_MS

SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")


class Clock:
    """The wall clock, unless it jumps: a Raspberry Pi wakes in the past and may be set all wrong.

    A jump of more than a day ahead, while no time service has set the clock, is not believed: time
    then goes on from before it. Log order never depends on any of this.
    """

    def __init__(
        self,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        is_synchronized: Callable[[], bool] = SYNCHRONIZED.exists,
    ) -> None:
        self._wall_ms = wall_ms
        self._monotonic_ms = monotonic_ms
        self.is_synchronized = is_synchronized  # by a time service, as far as this machine tells
        self._last = (wall_ms(), monotonic_ms())
        self.not_believed_ms: int | None = None

    def now_ms(self) -> int:
        """Return UTC in milliseconds."""
        wall, monotonic = self._wall_ms(), self._monotonic_ms()
        expected = self._last[0] + monotonic - self._last[1]
        if wall - expected > DAY_MS and not self.is_synchronized():
            self.not_believed_ms = wall
            return expected
        self.not_believed_ms = None
        self._last = (wall, monotonic)
        return wall

    def now_s(self) -> int:
        return self.now_ms() // 1000

    def monotonic_s(self) -> float:
        return self._monotonic_ms() / 1000
