"""What the machine under a box says of itself: how full the disk is, and who has set the clock."""

import os
from pathlib import Path
from typing import Literal

import msgspec

from edge.appliance.clock import Clock
from edge.errors import StorageError

DISK_FREE_BYTES_MIN = 200_000_000
DISK_FREE_PERCENT_MIN = 5

# `doubted`: it jumped more than a day ahead and no time service has confirmed it; it is not used.
ClockState = Literal["synchronized", "unconfirmed", "doubted"]


class Disk(msgspec.Struct, frozen=True):
    """The disk on which a folder lies; `free_bytes` is what its owner may still use."""

    free_bytes: int
    total_bytes: int

    @property
    def free_percent(self) -> int:
        return self.free_bytes * 100 // self.total_bytes if self.total_bytes else 0

    @property
    def is_low(self) -> bool:
        few = self.free_bytes < DISK_FREE_BYTES_MIN
        return few or self.free_bytes * 100 < self.total_bytes * DISK_FREE_PERCENT_MIN


def disk_of(folder: Path) -> Disk:
    """Return how full a folder's disk is. Raises StorageError."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        raise StorageError(f"cannot ask how full the disk of {folder} is: {error}") from None
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def clock_state(clock: Clock) -> ClockState:
    clock.now_ms()  # looks whether it has jumped
    if clock.not_believed_ms is not None:
        return "doubted"
    return "synchronized" if clock.is_synchronized() else "unconfirmed"
