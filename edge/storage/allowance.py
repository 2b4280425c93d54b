"""How much of a neighbour's log, and of what it brings to councils, is taken in: as much as a
village ever wrote at first, then so much a day. What is over it waits; the neighbour offers it
again with each exchange.

What is said of a subject that is open is counted and never refused: a vote that is not taken in
would keep others from what they hold. New subjects are."""

from collections.abc import Sequence
from typing import Final

from edge.core import limits
from edge.core.receipt import Evidence
from edge.storage import neighbours
from edge.storage.neighbours import Neighbour
from edge.storage.tx import Tx, View

FIRST_BYTES: Final = 512 * 1024 * 1024  # over a million records
DAILY_BYTES: Final = 32 * 1024 * 1024
BOUND_BYTES: Final = 32 * 1024 * 1024  # more, while a trade with it is bound: its end is in its log
RECORD_BYTES: Final = 128  # what each record takes beside its own bytes
PUSH_BYTES: Final = 1_024  # for a checkpoint and its cosignature
SUBJECT_BYTES: Final = 1_024  # of a subject beside its terms, with whom was told of it
WORD_BYTES: Final = (
    256  # of a vote, a proposal or an *absent*, and of evidence beside what it holds
)
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
    count_bytes(tx, neighbour.village, size + records * RECORD_BYTES + PUSH_BYTES)


def size_of_words(evidence: Sequence[Evidence], news: Sequence[bool]) -> int:
    """Return how many bytes count of what a neighbour has said of a subject: `news` tells what of
    it was kept, the evidence first."""
    kept = [each for each, is_new in zip(evidence, news, strict=False) if is_new]
    size = sum(len(each.record) + 32 * len(each.proof) + len(each.checkpoint) for each in kept)
    return size + WORD_BYTES * sum(news)


def count_bytes(tx: Tx, village: str, size: int) -> None:
    tx.run(
        "UPDATE neighbour SET taken_bytes = ?, taken_ms = ? WHERE village = ?",
        _counted(tx, village, tx.stamp_ms) + size,
        tx.stamp_ms,
        village,
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
