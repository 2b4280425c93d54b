"""How much of a neighbour's log is taken in: as much as a village ever wrote at first, then so much
a day. What is over it waits; the neighbour offers it again with each exchange."""

from typing import Final

from edge.core import limits
from edge.storage import neighbours
from edge.storage.neighbours import Neighbour
from edge.storage.tx import Tx, View

FIRST_BYTES: Final = 512 * 1024 * 1024  # over a million records
DAILY_BYTES: Final = 32 * 1024 * 1024
BOUND_BYTES: Final = 32 * 1024 * 1024  # more, while a trade with it is bound: its end is in its log
RECORD_BYTES: Final = 128  # what each record takes beside its own bytes
PUSH_BYTES: Final = 1_024  # for a checkpoint and its cosignature
_BOUND: Final = (
    "SELECT 1 FROM trade WHERE neighbour = ? AND closed = 0"
    " AND (status IN ('ACCEPTED', 'HELD') OR status = 'PENDING' AND role = 'from') LIMIT 1"
)
TROUBLE: Final = "it has sent more records than this box takes in a day: the rest waits"


def has_room(view: View, neighbour: Neighbour, now_ms: int) -> bool:
    """Tell whether records of a neighbour are taken in now."""
    room = FIRST_BYTES - _counted(view, neighbour.village, now_ms)
    if room <= 0 and view.one(_BOUND, neighbour.village) is not None:
        room += BOUND_BYTES
    return room > 0


def count(tx: Tx, neighbour: Neighbour, records: int, size: int) -> None:
    """Count records that were taken in, of `size` bytes together."""
    counted = _counted(tx, neighbour.village, tx.stamp_ms)
    tx.run(
        "UPDATE neighbour SET taken_bytes = ?, taken_ms = ? WHERE village = ?",
        counted + size + records * RECORD_BYTES + PUSH_BYTES,
        tx.stamp_ms,
        neighbour.village,
    )


def note(tx: Tx, neighbour: Neighbour, has_room: bool) -> None:
    """Say that records wait, or that they do no longer; any other trouble stays as it is."""
    before, now = ("", TROUBLE) if not has_room else (TROUBLE, "")
    if neighbour.trouble == before:
        neighbours.set_trouble(tx, neighbour.village, now)


def _counted(view: View, village: str, now_ms: int) -> int:
    """Return how many bytes count still: a day's worth less each day."""
    taken_bytes, taken_ms = view.one(
        "SELECT taken_bytes, taken_ms FROM neighbour WHERE village = ?", village
    )
    passed_ms = max(0, now_ms - taken_ms)
    left: int = taken_bytes - DAILY_BYTES * passed_ms // limits.DAY_MS
    return max(0, left)
